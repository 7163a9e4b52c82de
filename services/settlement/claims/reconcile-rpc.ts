import type { ConnectRouter } from "@connectrpc/connect";
import type { VendorId } from "../../core/units.ts";
import { required } from "../../wire/field.ts";
import { ReconcileService } from "../../wire/gen/tokengrid/v1/claim_pb.js";
import { fromDiscrepancy, fromReconciliation } from "../../wire/reconcile.ts";
import { toPeriod } from "../../wire/settlement.ts";
import { requireVendor, vendorOf } from "../caller.ts";
import type { ReconcileRuns } from "./reconcile-run.ts";

/** Differences that are sent to who does not say how many he wants. */
const discrepanciesDefault = 1_000;
/** Of one message. */
const pageDiscrepancies = 500;

export function serveReconcile(
  router: ConnectRouter,
  { reconcileRuns }: { readonly reconcileRuns: ReconcileRuns },
): void {
  router.service(ReconcileService, {
    async *reconcile(request, { values }) {
      const vendor = required("vendor_id", request.vendorId) as VendorId;
      requireVendor(values, vendor);
      const period = toPeriod(required("period", request.period));
      const discrepanciesMax =
        request.discrepanciesMax === 0 ? discrepanciesDefault : request.discrepanciesMax;
      const asked = { vendor, period, discrepanciesMax, isSevereOnly: request.severeOnly };
      for await (const step of reconcileRuns.run(asked)) {
        if (step.kind === "progress") {
          const { kind: _kind, ...value } = step;
          yield { part: { case: "progress" as const, value } };
          continue;
        }
        const { reconciliation, discrepancies } = step;
        // Who is watched is not told what by.
        const audits = vendorOf(values) === undefined ? step.audits : [];
        const value = fromReconciliation(reconciliation, { vendor, period, audits });
        yield { part: { case: "report" as const, value } };
        for (let from = 0; from < discrepancies.length; from += pageDiscrepancies) {
          const page = discrepancies.slice(from, from + pageDiscrepancies).map(fromDiscrepancy);
          yield { part: { case: "discrepancies" as const, value: { discrepancies: page } } };
        }
      }
    },
  });
}

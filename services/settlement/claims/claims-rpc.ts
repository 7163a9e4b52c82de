import type { ConnectRouter } from "@connectrpc/connect";
import { fromClaimText } from "../../core/settlement/claims/claim.ts";
import type { AttemptId, PairId, VendorId } from "../../core/units.ts";
import type { ClaimRow, LedgerStore } from "../../io/ledger-store.ts";
import { fromClaimResult, fromUsageClaim, toUsageClaim } from "../../wire/claim.ts";
import { toConnectError } from "../../wire/errors.ts";
import { required } from "../../wire/field.ts";
import { ClaimService } from "../../wire/gen/tokengrid/v1/claim_pb.js";
import { toPeriod } from "../../wire/settlement.ts";
import { requireVendor } from "../caller.ts";
import type { Claims } from "./claims.ts";

/** Claims of a list that does not say how many it wants. */
const listClaimsDefault = 100;

export function serveClaims(
  router: ConnectRouter,
  parts: { readonly store: LedgerStore; readonly claims: Claims },
): void {
  const { store, claims } = parts;
  router.service(ClaimService, {
    async submitClaims({ vendorId, batchJson: text, jws, claims: sent }, { values }) {
      const vendor = required("vendor_id", vendorId) as VendorId;
      requireVendor(values, vendor);
      const signed = { vendor, text, jws, claims: sent.map(toUsageClaim) };
      const { batch, hash, results } = await claims.submit(signed);
      return { batchId: batch, batchHash: hash, results: results.map(fromClaimResult) };
    },
    async getClaimChain({ vendorId }, { values }) {
      requireVendor(values, required("vendor_id", vendorId));
      const head = claims.headOf(`vendor:${vendorId}` as PairId);
      return { batches: head?.number ?? 0n, lastHash: head?.hash ?? "" };
    },
    async listClaims({ vendorId, period, limit, pageToken }, { values }) {
      requireVendor(values, required("vendor_id", vendorId));
      const asked = toPeriod(required("period", period));
      const most = limit === 0 ? listClaimsDefault : limit;
      const pair = `vendor:${vendorId}` as PairId;
      const rows = await store.claims(pair, asked, toPlace(pageToken), most);
      const last = rows.length < most ? undefined : rows.at(-1);
      return {
        claims: rows.map(({ text }) => fromUsageClaim(fromClaimText(text))),
        nextPageToken: fromPlace(last),
      };
    },
  });
}

/** `<rev>:<attempt>`; empty at the end of the list. */
function fromPlace(row: Pick<ClaimRow, "attempt" | "rev"> | undefined): string {
  return row === undefined ? "" : `${row.rev}:${row.attempt}`;
}

function toPlace(token: string): Pick<ClaimRow, "attempt" | "rev"> | undefined {
  if (token === "") return undefined;
  const [, rev, attempt] = /^(\d{1,9}):(.+)$/s.exec(token) ?? [];
  if (rev === undefined || attempt === undefined) {
    throw toConnectError("BAD_REQUEST", `page_token: expected one of an answer, found ${token}`);
  }
  return { rev: BigInt(rev), attempt: attempt as AttemptId };
}

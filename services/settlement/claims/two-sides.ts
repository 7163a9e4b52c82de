import type { ConnectRouter } from "@connectrpc/connect";
import { readClosing } from "../../core/settlement/statements/closing.ts";
import { defaultContract } from "../../core/settlement/terms/contract.ts";
import type { Dispute } from "../../core/settlement/claims/dispute.ts";
import type { Period } from "../../core/settlement/statements/period.ts";
import { accountsOfStatement } from "../../core/settlement/claims/dispute-accounts.ts";
import { fromStatementText } from "../../core/settlement/statements/statement-text.ts";
import { payableNano, type ReconCounts } from "../../core/settlement/statements/statement.ts";
import { sha256 } from "../../io/signing.ts";
import type { InstantUs, Nano, PairId, VendorId } from "../../core/units.ts";
import { serveClaims } from "./claims-rpc.ts";
import { Claims, type KeyOf } from "./claims.ts";
import { serveDisputes } from "./disputes-rpc.ts";
import { Disputes, type Disputable } from "./disputes.ts";
import { serveNetting } from "./netting-rpc.ts";
import { NettingRuns } from "./netting.ts";
import type { SettlementParts } from "../parts.ts";
import { serveReconcile } from "./reconcile-rpc.ts";
import { ReconcileRuns } from "./reconcile-run.ts";
import { VendorWatch } from "./vendor-watch.ts";

/** What vendors count and argue about, beside what we do. */
export interface TwoSides {
  /** ClaimService, ReconcileService, DisputeService and NettingService. */
  routes(router: ConnectRouter): void;
  /** For a statement that is closed: undefined where the vendor claimed nothing. */
  recon(pair: PairId, period: Period): Promise<ReconCounts | undefined>;
  /** Of a statement, what stands in dispute or was decided in one. */
  disputedNano(statement: string): Promise<Nano>;
  /** All there ever were. */
  disputes(): readonly Dispute[];
  /** Fires every timer of a dispute that is due, each once. Resolves to how many. */
  fireTimers(): Promise<number>;
  /** Timers of disputes, looked at until the signal says stop. */
  follow(signal: AbortSignal): void;
}

/** How often timers of disputes are looked at. They are in days. */
const timerIntervalMs = 60_000;

/** To be called before the parts are started, since its reducers have to hear of every document. */
export function openTwoSides(
  parts: Pick<
    SettlementParts,
    "store" | "writer" | "documents" | "agreements" | "closed" | "log" | "nowUs"
  >,
  keyOf: KeyOf,
  options: { readonly pageRows?: number } = {},
): TwoSides {
  const { store, writer, agreements, closed, log } = parts;
  const nowUs = (): InstantUs => parts.nowUs();
  const common = { store, writer, documents: parts.documents, keyOf, nowUs };
  const termsOf = (pair: PairId, us: InstantUs) =>
    agreements.contractOf(pair, us) ?? defaultContract;
  const statementOf = async (id: string): Promise<Disputable | undefined> => {
    const document = await store.document("closing", id);
    if (document === undefined) return undefined;
    const { pair, atUs, isPayable, totals } = readClosing(document.body);
    const statement = await store.document("statement", id);
    if (statement === undefined) return undefined;
    const statedNano = isPayable ? payableNano({ isPayable, totals }) : undefined;
    const accounts = accountsOfStatement(fromStatementText(statement.body, sha256));
    return { pair, statedUs: atUs, statedNano, accounts };
  };
  const claimedBeyondNano = async (id: string): Promise<Nano> => {
    const document = await store.document("closing", id);
    if (document === undefined) return 0n;
    const { pair, ...period } = readClosing(document.body);
    if (!pair.startsWith("vendor:")) return 0n;
    return reconcileRuns.claimedBeyondNano(pair.slice("vendor:".length) as VendorId, period);
  };
  const claims = new Claims({ ...common, termsOf, closingsOf: (pair) => closed.of(pair) });
  const watch = new VendorWatch(common);
  const disputes = new Disputes({ ...common, termsOf, statementOf, claimedBeyondNano, log });
  const netting = new NettingRuns({ ...common, unpaidOf: (pair) => disputes.unpaid(pair) });
  const reconcileRuns = new ReconcileRuns({
    ...options,
    store,
    watch,
    termsOf: (pair, us) => agreements.contractWith(pair, us),
    bookOf: (book, version) => agreements.bookOf(book, version),
    closingsOf: (pair) => closed.of(pair),
    receivedUs: (batch) => claims.receivedUs(batch),
  });
  return {
    routes: (router) => {
      serveClaims(router, { store, claims });
      serveReconcile(router, { reconcileRuns });
      serveDisputes(router, { disputes });
      serveNetting(router, { netting });
    },
    recon: async (pair, period) =>
      pair.startsWith("vendor:")
        ? reconcileRuns.countsOf(pair.slice("vendor:".length) as VendorId, period)
        : undefined,
    disputes: () => disputes.list(),
    disputedNano: async (statement) => disputes.takenNano(statement),
    fireTimers: async () => disputes.fireTimers(),
    follow: (signal) => {
      const timer = setInterval(() => {
        disputes
          .fireTimers()
          .catch((error: unknown) => log.error({ error }, "timers of disputes were not fired"));
      }, timerIntervalMs);
      signal.addEventListener("abort", () => clearInterval(timer), { once: true });
    },
  };
}

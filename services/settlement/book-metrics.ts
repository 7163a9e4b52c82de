import { fromAcceptedText } from "../core/settlement/claims/claim-batch-text.ts";
import { leakages, type Leakage } from "../core/settlement/terms/contract.ts";
import {
  decidedStates,
  disputeStates,
  type Dispute,
  type DisputeState,
} from "../core/settlement/claims/dispute.ts";
import type { LedgerEntry } from "../core/settlement/ledger/ledger.ts";
import type { LedgerBatch } from "../io/ledger-store.ts";
import { Counter, Gauge, type Registry } from "../io/metrics.ts";

const nanoPerCny = 1_000_000_000;
const leakagePrefix = "exp:leakage:";
const receivablePrefix = "asset:receivable:";

/** What becomes of the money for packages, otherwise than by use. */
const packageEvents = ["purchase", "refund", "expire"] as const;
type PackageEvent = (typeof packageEvents)[number];

const claimResults = ["accepted", "returned"] as const;

/** States in which somebody waits for somebody. */
const openStates = disputeStates.filter(
  (state) => !decidedStates.includes(state) && state !== "withdrawn" && state !== "settled",
);

/** Counted from what was committed, so that it agrees with the books, whoever wrote it. */
export class BookMetrics {
  readonly #leakage: Counter<"account">;
  readonly #packages: Counter<"event">;
  readonly #claims: Counter<"result">;
  readonly #refusals: Counter;

  constructor(
    registry: Registry,
    known: { readonly disputes: () => readonly Dispute[]; readonly slices: () => number },
  ) {
    const registers = [registry];
    this.#leakage = new Counter({
      name: "tokengrid_ledger_leakage_cny_total",
      help: "Owed to vendors and paid by no tenant, in CNY",
      labelNames: ["account"] as const,
      registers,
    });
    this.#packages = new Counter({
      name: "tokengrid_settlement_packages_cny_total",
      help: "Packages bought, given back, and what expired of them unused, in CNY",
      labelNames: ["event"] as const,
      registers,
    });
    this.#claims = new Counter({
      name: "tokengrid_settlement_claims_total",
      help: "What vendors say they served, attempt by attempt; returned ones have a defect",
      labelNames: ["result"] as const,
      registers,
    });
    this.#refusals = new Counter({
      name: "tokengrid_settlement_quota_refusals_total",
      help: "Gateways that asked for units of a package and got none: tenants are answered with 429",
      registers,
    });
    for (const account of leakages) this.#leakage.inc({ account }, 0);
    for (const event of packageEvents) this.#packages.inc({ event }, 0);
    for (const result of claimResults) this.#claims.inc({ result }, 0);
    disputesGauge(registry, known.disputes);
    slicesGauge(registry, known.slices);
  }

  onCommitted({
    entries,
    claims,
    documents,
  }: Pick<LedgerBatch, "entries" | "claims" | "documents">): void {
    for (const entry of entries) this.#onEntry(entry);
    this.#claims.inc({ result: "accepted" }, claims.length);
    for (const { kind, body } of documents) {
      if (kind !== "claim-batch") continue;
      this.#claims.inc({ result: "returned" }, fromAcceptedText(body).refused.length);
    }
  }

  onQuotaRefused(): void {
    this.#refusals.inc();
  }

  /** A counter cannot fall: what a correction takes back is not taken off. */
  #onEntry({ kind, unit, debit, credit, amount }: LedgerEntry): void {
    if (unit !== "CNY:nano") return;
    const cny = Number(amount) / nanoPerCny;
    const account = debit.startsWith(leakagePrefix) ? debit.slice(leakagePrefix.length) : "";
    if (isLeakage(account)) this.#leakage.inc({ account }, cny);
    if (!isPackageEvent(kind)) return;
    // What the rule of a package keeps of a refund is no refund.
    const isKept = kind === "refund" && !credit.startsWith(receivablePrefix);
    if (!isKept) this.#packages.inc({ event: kind }, cny);
  }
}

function disputesGauge(registry: Registry, disputes: () => readonly Dispute[]): void {
  new Gauge({
    name: "tokengrid_settlement_disputes_open",
    help: "Disputes that are not decided, by state",
    labelNames: ["state"] as const,
    registers: [registry],
    collect() {
      const count = new Map<DisputeState, number>(openStates.map((state) => [state, 0]));
      for (const { state } of disputes()) {
        const before = count.get(state);
        if (before !== undefined) count.set(state, before + 1);
      }
      for (const [state, found] of count) this.set({ state }, found);
    },
  });
}

function slicesGauge(registry: Registry, slices: () => number): void {
  new Gauge({
    name: "tokengrid_settlement_quota_slices",
    help: "Parts of packages that are held for gateways",
    registers: [registry],
    collect() {
      this.set(slices());
    },
  });
}

function isLeakage(account: string): account is Leakage {
  return leakages.some((each) => each === account);
}

function isPackageEvent(kind: string): kind is PackageEvent {
  return packageEvents.some((each) => each === kind);
}

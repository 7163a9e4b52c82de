import { isWithoutAttempt } from "../../core/settlement/claims/claim.ts";
import type { Closing } from "../../core/settlement/statements/closing.ts";
import type { Contract } from "../../core/settlement/terms/contract.ts";
import type { Counted } from "../../core/settlement/claims/counted.ts";
import { nameOfPeriod, usPerHour, type Period } from "../../core/settlement/statements/period.ts";
import type { PriceBook } from "../../core/settlement/pricing/price-book.ts";
import type { Span } from "../../core/settlement/claims/recon-judge.ts";
import { Merge, type Group } from "../../core/settlement/claims/recon-merge.ts";
import { beyondNano, reconCounts } from "../../core/settlement/claims/recon-totals.ts";
import {
  Reconciler,
  type Discrepancy,
  type Reconciliation,
} from "../../core/settlement/claims/reconcile.ts";
import type { ReconCounts } from "../../core/settlement/statements/statement.ts";
import type { AttemptId, BookId, InstantUs, Nano, PairId, VendorId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import { ourPages, pageRowsDefault, seenIn, theirPages, valuationOf } from "./recon-sources.ts";
import type { Audit, Listening, Seen, VendorWatch } from "./vendor-watch.ts";

/** Contracts differ in this alone for a comparison. */
type Terms = Pick<Contract, "toleranceTokens" | "tolerancePpm" | "aggregatePpm" | "timeZone">;

interface Parts {
  readonly store: LedgerStore;
  readonly watch: VendorWatch;
  /** Of the vendor, at an instant. */
  termsOf(pair: PairId, us: InstantUs): Terms;
  bookOf(book: BookId, version: bigint): PriceBook | undefined;
  closingsOf(pair: PairId): readonly Closing[];
  /** When a batch of claims came. */
  receivedUs(batch: string): InstantUs | undefined;
  readonly pageRows?: number;
}

export interface ReconcileAsked {
  readonly vendor: VendorId;
  readonly period: Period;
  /** Differences that are kept; all are counted. */
  readonly discrepanciesMax: number;
  readonly isSevereOnly: boolean;
}

export type ReconcileStep =
  | {
      readonly kind: "progress";
      readonly records: bigint;
      readonly claims: bigint;
      readonly recordsTotal: bigint;
    }
  | {
      readonly kind: "done";
      readonly reconciliation: Reconciliation;
      readonly discrepancies: readonly Discrepancy[];
      readonly audits: readonly Audit[];
    };

/** Rows of both sides between two words about how far it is. */
const progressRows = 20_000n;

/**
 * Compares a vendor's claims with our records, as they stream from the ledger: a page of each is held, and the
 * differences that were asked for. What was closed is evidence for the tests over time, once.
 */
export class ReconcileRuns {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async *run(asked: ReconcileAsked): AsyncGenerator<ReconcileStep> {
    const { vendor, period } = asked;
    const { watch } = this.#parts;
    const pair = `vendor:${vendor}` as PairId;
    const name = nameOfPeriod(period);
    const closings = this.#parts.closingsOf(pair);
    const isClosed = closings.some((each) => each.kind === "daily" && each.name === name);
    const isNews = isClosed && !watch.hasHeard(pair, name);
    const listening = isNews ? watch.listen(pair) : undefined;
    const found: Discrepancy[] = [];
    const reconciliation = yield* this.#compare(
      { pair, vendor, period, closings },
      listening,
      (each) => {
        const isWanted = !asked.isSevereOnly || each.severity !== "warning";
        if (isWanted && found.length < asked.discrepanciesMax) found.push(each);
      },
    );
    if (listening !== undefined) await watch.keep(pair, name, listening);
    yield { kind: "done", reconciliation, discrepancies: found, audits: watch.auditsOf(pair) };
  }

  /** For a statement: the counts alone. Undefined where the vendor has claimed nothing at all. */
  async countsOf(vendor: VendorId, period: Period): Promise<ReconCounts | undefined> {
    const pair = `vendor:${vendor}` as PairId;
    const [any] = await this.#parts.store.claims(pair, period, undefined, 1);
    if (any === undefined) return undefined;
    const closings = this.#parts.closingsOf(pair);
    const steps = this.#compare({ pair, vendor, period, closings }, undefined, () => undefined);
    for (;;) {
      const step = await steps.next();
      if (step.done === true) return reconCounts(step.value.buckets);
    }
  }

  /** What a vendor's claims of a period come to beyond our records of it, each counted once; 0 if they do not. */
  async claimedBeyondNano(vendor: VendorId, period: Period): Promise<Nano> {
    const pair = `vendor:${vendor}` as PairId;
    const closings = this.#parts.closingsOf(pair);
    const steps = this.#compare({ pair, vendor, period, closings }, undefined, () => undefined);
    for (;;) {
      const step = await steps.next();
      if (step.done === true) return beyondNano(step.value.buckets);
    }
  }

  async *#compare(
    asked: {
      readonly pair: PairId;
      readonly vendor: VendorId;
      readonly period: Period;
      readonly closings: readonly Closing[];
    },
    listening: Listening | undefined,
    onDiscrepancy: (discrepancy: Discrepancy) => void,
  ): AsyncGenerator<ReconcileStep, Reconciliation> {
    const { pair, vendor, period, closings } = asked;
    const { store, pageRows = pageRowsDefault } = this.#parts;
    const terms = this.#parts.termsOf(pair, period.fromUs);
    const { timeZone } = terms;
    // The clocks of two parties differ, and so do the days on which they have the same attempt.
    const span: Span = { fromUs: period.fromUs - usPerHour, toUs: period.toUs + usPerHour };
    const known = {
      bookOf: (book: BookId, version: bigint) => this.#parts.bookOf(book, version),
      closings,
      receivedUs: (batch: string) => this.#parts.receivedUs(batch),
    };
    const valuation = await valuationOf(store, { pair, span, timeZone }, known);
    const seen = new WeakMap<Counted, Seen>();
    const reconciler = new Reconciler({
      span: period,
      timeZone,
      tolerance: {
        tokens: terms.toleranceTokens,
        ppm: terms.tolerancePpm,
        aggregatePpm: terms.aggregatePpm,
      },
      hasNameless: await this.#hasNameless(pair, span),
      onDiscrepancy,
      ...(listening && {
        onPair: (ours: Counted, theirs: Counted) =>
          listening.hear(ours, theirs, seen.get(ours) ?? unseen),
      }),
    });
    const pages = {
      ours: ourPages(
        store,
        { vendor, span },
        {
          valuation,
          pageRows,
          ...(listening && {
            onRecord: (counted, record) => void seen.set(counted, seenIn(record)),
          }),
        },
      ),
      theirs: theirPages(store, { pair, span }, { valuation, pageRows }),
    };
    const rows = { ours: 0n, theirs: 0n };
    const recordsTotal = valuation.attempts;
    let told = 0n;
    const merge = new Merge<Counted>();
    for (let side = merge.wants; side !== undefined; side = merge.wants) {
      const { value: page = [] } = await pages[side].next();
      rows[side] += BigInt(page.length);
      const groups = merge.feed(side, page);
      const orphans = await this.#orphansOf(groups, vendor);
      for (const group of groups) {
        reconciler.add(group, orphans.has(group.attempt) ? "orphan" : "phantom");
      }
      if (rows.ours + rows.theirs < told + progressRows) continue;
      told = rows.ours + rows.theirs;
      yield { kind: "progress", records: rows.ours, claims: rows.theirs, recordsTotal };
    }
    return reconciler.end();
  }

  async #hasNameless(pair: PairId, span: Span): Promise<boolean> {
    const after = { attempt: "~" as AttemptId, rev: 0n };
    const [first] = await this.#parts.store.claims(pair, span, after, 1);
    return first !== undefined;
  }

  /** Of claims without a posted record, those whose attempt waits in quarantine. */
  async #orphansOf(groups: readonly Group<Counted>[], vendor: VendorId): Promise<Set<string>> {
    const alone = groups
      .filter(({ ours, attempt }) => ours.length === 0 && !isWithoutAttempt(attempt))
      .map(({ attempt }) => attempt as AttemptId);
    if (alone.length === 0) return new Set();
    const records = await this.#parts.store.recordsOf(alone);
    const waiting = records.filter((each) => each.vendor === vendor && each.state === "waiting");
    return new Set(waiting.map(({ attempt }) => attempt));
  }
}

const unseen: Seen = { bytes: undefined, idsReturned: undefined, idsCanonical: undefined };

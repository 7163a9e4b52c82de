import { noTokens, type Tokens } from "../counting/usage.ts";
import { isWithoutAttempt } from "./claim.ts";
import { difference, type Counted, type Tolerance } from "./counted.ts";
import type { TimeZone } from "../statements/period.ts";
import { matchByLooks } from "./recon-fuzzy.ts";
import {
  judgeAlone,
  judgeDuplicate,
  judgePair,
  type Orphan,
  type Span,
  type Verdict,
} from "./recon-judge.ts";
import { Merge, type Group } from "./recon-merge.ts";
import { ReconTotals, type Breach, type BucketTotals, type LineTotal } from "./recon-totals.ts";

/** One difference between a record and a claim, or one of them without the other. */
export interface Discrepancy extends Verdict {
  readonly attempt: string;
  readonly ours: Counted | undefined;
  readonly theirs: Counted | undefined;
  /** Theirs less ours. */
  readonly tokens: Tokens;
  /** Theirs less ours; undefined where one of them has no price. */
  readonly amountNano: bigint | undefined;
  /** Taken for the same attempt by its looks. */
  readonly isFuzzy: boolean;
}

export interface ReconOptions {
  readonly span: Span;
  readonly timeZone: TimeZone;
  readonly tolerance: Tolerance;
  /** Some of the items have no attempt id: what has no counterpart is kept until the end. */
  readonly hasNameless?: boolean;
  /** Called in the order of attempts; what is matched by its looks comes last. */
  readonly onDiscrepancy?: (discrepancy: Discrepancy) => void;
  /** Every pair of one attempt that both priced alike, for what looks at vendors over time. */
  readonly onPair?: (ours: Counted, theirs: Counted) => void;
}

export interface Reconciliation {
  /** Every record and claim of the period is in exactly one of them. */
  readonly buckets: BucketTotals;
  readonly lines: readonly LineTotal[];
  readonly breaches: readonly Breach[];
  readonly discrepancies: bigint;
  readonly fuzzyPairs: bigint;
  /** More had no counterpart than are kept for a match by looks: those beyond were not tried. */
  readonly isFuzzyCut: boolean;
}

/** Items without a counterpart that are kept for a match by looks, of both parties. */
export const fuzzyItemsMax = 500_000;

/**
 * Compares what two parties counted, attempt by attempt. Its memory grows with pools, models, slots and days and with
 * what has no name, not with the number of records.
 */
export class Reconciler {
  readonly #options: ReconOptions;
  readonly #totals: ReconTotals;
  readonly #ours: Counted[] = [];
  readonly #theirs: Counted[] = [];
  /** Of claims kept for later: whether an open attempt accounts for them. */
  readonly #orphans = new Set<string>();
  #discrepancies = 0n;
  #fuzzyPairs = 0n;
  #isFuzzyCut = false;

  constructor(options: ReconOptions) {
    this.#options = options;
    this.#totals = new ReconTotals(options.timeZone);
  }

  /** `orphan` says whether an attempt that is open, crashed or in quarantine accounts for a claim without a record. */
  add({ ours, theirs }: Group<Counted>, orphan: Orphan): void {
    const [a, ...moreOurs] = ours;
    const [b, ...moreTheirs] = theirs;
    if (a !== undefined && b !== undefined) this.#pair(a, b, false);
    else if (a !== undefined) this.#alone(a, "ours", orphan);
    else if (b !== undefined) this.#alone(b, "theirs", orphan);
    for (const item of moreOurs) this.#duplicate(item, "ours");
    for (const item of moreTheirs) this.#duplicate(item, "theirs");
  }

  /** To be called once, when both sources have ended. */
  end(): Reconciliation {
    const { tolerance } = this.#options;
    const rest = matchByLooks({ ours: this.#ours, theirs: this.#theirs }, tolerance);
    for (const { ours, theirs } of rest.pairs) this.#pair(ours, theirs, true);
    for (const item of rest.ours) this.#judgeAlone(item, "ours", "phantom");
    for (const item of rest.theirs) {
      this.#judgeAlone(item, "theirs", this.#orphans.has(item.attempt) ? "orphan" : "phantom");
    }
    return {
      buckets: this.#totals.buckets,
      lines: this.#totals.lines,
      breaches: this.#totals.breaches(tolerance),
      discrepancies: this.#discrepancies,
      fuzzyPairs: this.#fuzzyPairs,
      isFuzzyCut: this.#isFuzzyCut,
    };
  }

  #pair(ours: Counted, theirs: Counted, isFuzzy: boolean): void {
    const { tolerance, span, onPair } = this.#options;
    const verdict = judgePair(ours, theirs, tolerance, span);
    this.#totals.add(verdict.bucket, "ours", ours);
    this.#totals.add(verdict.bucket, "theirs", theirs);
    const { bucket } = verdict;
    if (bucket === "matched" || bucket === "in-tolerance") this.#totals.addPassed(ours, theirs);
    if (isFuzzy) this.#fuzzyPairs += 1n;
    else if (bucket !== "outside" && bucket !== "price") onPair?.(ours, theirs);
    this.#report(verdict, { ours, theirs, isFuzzy });
  }

  #alone(item: Counted, side: "ours" | "theirs", orphan: Orphan): void {
    const isKept = this.#options.hasNameless === true || isWithoutAttempt(item.attempt);
    if (isKept && this.#ours.length + this.#theirs.length < fuzzyItemsMax) {
      (side === "ours" ? this.#ours : this.#theirs).push(item);
      if (orphan === "orphan") this.#orphans.add(item.attempt);
      return;
    }
    this.#isFuzzyCut ||= isKept;
    this.#judgeAlone(item, side, orphan);
  }

  #judgeAlone(item: Counted, side: "ours" | "theirs", orphan: Orphan): void {
    const verdict = judgeAlone(item, side, { span: this.#options.span, orphan });
    this.#one(verdict, item, side);
  }

  #duplicate(item: Counted, side: "ours" | "theirs"): void {
    this.#one(judgeDuplicate(item, this.#options.span), item, side);
  }

  #one(verdict: Verdict, item: Counted, side: "ours" | "theirs"): void {
    this.#totals.add(verdict.bucket, side, item);
    const sides = { ours: undefined, theirs: undefined, [side]: item };
    this.#report(verdict, { ...sides, isFuzzy: false });
  }

  #report(verdict: Verdict, found: Pick<Discrepancy, "ours" | "theirs" | "isFuzzy">): void {
    if (verdict.severity === undefined) return;
    this.#discrepancies += 1n;
    const { onDiscrepancy } = this.#options;
    if (onDiscrepancy === undefined) return;
    const { ours, theirs } = found;
    onDiscrepancy({
      ...verdict,
      ...found,
      attempt: ours?.attempt ?? theirs?.attempt ?? "",
      tokens: difference(ours?.tokens ?? noTokens, theirs?.tokens ?? noTokens),
      amountNano: gapNano(ours, theirs),
    });
  }
}

/** Two sources at once, sorted by attempt and revision. */
export function reconcile(
  ours: readonly Counted[],
  theirs: readonly Counted[],
  options: ReconOptions & { isKnownAttempt?(attempt: string): boolean },
): Reconciliation {
  const merge = new Merge<Counted>();
  const reconciler = new Reconciler(options);
  const groups = [
    ...merge.feed("ours", ours),
    ...(ours.length === 0 ? [] : merge.feed("ours", [])),
    ...merge.feed("theirs", theirs),
    ...(theirs.length === 0 ? [] : merge.feed("theirs", [])),
  ];
  for (const group of groups) {
    const isKnown = options.isKnownAttempt?.(group.attempt) ?? false;
    reconciler.add(group, isKnown ? "orphan" : "phantom");
  }
  return reconciler.end();
}

function gapNano(ours: Counted | undefined, theirs: Counted | undefined): bigint | undefined {
  const [a, b] = [ours, theirs].map((item) => (item === undefined ? 0n : item.amountNano));
  return a === undefined || b === undefined ? undefined : b - a;
}

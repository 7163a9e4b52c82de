import { gramsPerJoule, JOULES_PER_KWH } from "../energy.ts";
import type { AttemptOutcome } from "../lease.ts";
import { keys } from "../table.ts";
import type { Instant } from "../units.ts";
import type { Candidate, Decision } from "./decide.ts";
import type { Objectives, Policy } from "./policy.ts";
import { terms, type TermName } from "./terms.ts";

/** Decisions of one world added up. All are expectations of the chosen pool's bill, but for what was counted. */
export interface Totals {
  decisions: number;
  placed: number;
  unplaceable: number;
  readonly costNano: Record<TermName, number>;
  /** At the site. */
  kwh: number;
  gramsCo2Location: number;
  gramsCo2Market: number;
  ttftMs: number;
  finishMs: number;
  /** Objectives that are expected to be missed: the probabilities added up. */
  missesExpected: number;
  tokens: number;
  /** Of the tokens, those served in the west. */
  tokensWest: number;
}

/** Objectives missed by requests whose outcome is known, at the pool where they were served. */
export interface Realised {
  outcomes: number;
  ttftMissed: number;
  tpotMissed: number;
  failed: number;
}

/** One stretch of time, both worlds beside each other. */
export interface Bucket {
  readonly at: Instant;
  readonly recorded: Totals;
  readonly other: Totals;
}

export interface Flow {
  /** `none`: nobody could serve it. */
  readonly from: string;
  readonly to: string;
  readonly decisions: number;
}

export const termNames = keys(terms);

/** Kept apart in time; twice as many are put together in twos. */
const BUCKETS_MAX = 60;
const BUCKET_MS = 1_000;

/** Two replays of the same requests, in yuan, kWh, gCO2e, time, objectives and place. */
export class Comparison {
  readonly recorded = noTotals();
  readonly other = noTotals();
  /** Of requests that both worlds sent to the same pool, and of the others. */
  readonly realisedSame = noneRealised();
  readonly realisedMoved = noneRealised();
  readonly #flows = new Map<string, number>();
  #changed = 0;
  #buckets: { at: Instant; recorded: Totals; other: Totals }[] = [];
  #bucketMs = BUCKET_MS;

  /** Returns whether the decision is another one. */
  add(recorded: Decision, other: Decision, residualGramsPerKwh: number): boolean {
    const bucket = this.#bucketAt(recorded.decidedAt);
    for (const into of [this.recorded, bucket.recorded]) addTo(into, recorded, residualGramsPerKwh);
    for (const into of [this.other, bucket.other]) addTo(into, other, residualGramsPerKwh);
    const [from, to] = [nameOf(recorded), nameOf(other)];
    if (from === to) return false;
    this.#changed += 1;
    const key = `${from}\n${to}`;
    this.#flows.set(key, (this.#flows.get(key) ?? 0) + 1);
    return true;
  }

  addOutcome(outcome: AttemptOutcome, objectives: Objectives, hasMoved: boolean): void {
    const into = hasMoved ? this.realisedMoved : this.realisedSame;
    into.outcomes += 1;
    if (outcome.result !== "ok" && outcome.result !== "cancelled") into.failed += 1;
    if ((outcome.ttftMs ?? 0) > objectives.ttftMsMax) into.ttftMissed += 1;
    if ((outcome.itlMsMean ?? 0) > objectives.tpotMsMax) into.tpotMissed += 1;
  }

  /** Decisions for another pool, or for none where there was one, or the other way round. */
  get changed(): number {
    return this.#changed;
  }

  /** Largest first. */
  get flows(): readonly Flow[] {
    return [...this.#flows]
      .map(([key, decisions]) => {
        const [from = "", to = ""] = key.split("\n");
        return { from, to, decisions };
      })
      .toSorted((a, b) => b.decisions - a.decisions || (a.from + a.to < b.from + b.to ? -1 : 1));
  }

  /** In order of time. */
  get buckets(): readonly Bucket[] {
    return this.#buckets;
  }

  get bucketMs(): number {
    return this.#bucketMs;
  }

  #bucketAt(instant: Instant): Bucket {
    const startOf = () => Math.floor(instant / this.#bucketMs) * this.#bucketMs;
    for (;;) {
      const at = startOf();
      const last = this.#buckets.at(-1);
      if (last !== undefined && last.at >= at) return last;
      const first = this.#buckets[0]?.at ?? at;
      if ((at - first) / this.#bucketMs < BUCKETS_MAX) {
        const bucket = { at, recorded: noTotals(), other: noTotals() };
        this.#buckets.push(bucket);
        return bucket;
      }
      this.#widen();
    }
  }

  #widen(): void {
    this.#bucketMs *= 2;
    const wide = Map.groupBy(
      this.#buckets,
      ({ at }) => Math.floor(at / this.#bucketMs) * this.#bucketMs,
    );
    this.#buckets = [...wide].map(([at, parts]) => ({
      at,
      recorded: sumOf(parts.map(({ recorded }) => recorded)),
      other: sumOf(parts.map(({ other }) => other)),
    }));
  }
}

/** What is told of a comparison. */
export type Compared = Pick<
  Comparison,
  | "recorded"
  | "other"
  | "realisedSame"
  | "realisedMoved"
  | "changed"
  | "flows"
  | "buckets"
  | "bucketMs"
>;

export function totalNano({ costNano }: Totals): number {
  return termNames.reduce((sum, term) => sum + costNano[term], 0);
}

/** What is paid: for tokens, and for power where the operator pays it. */
export function moneyNano({ costNano }: Totals): number {
  return costNano.price + costNano.energy;
}

function nameOf(decision: Decision): string {
  return decision.kind === "placed" ? decision.pool : "none";
}

function addTo(into: Totals, decision: Decision, residualGramsPerKwh: number): void {
  into.decisions += 1;
  if (decision.kind === "unplaceable") {
    into.unplaceable += 1;
    return;
  }
  into.placed += 1;
  addBill(into, decision.chosen, residualGramsPerKwh);
}

function addBill(into: Totals, { terms: bill, expected, evidence }: Candidate, residual: number) {
  const { costNano } = into;
  for (const term of termNames) costNano[term] += bill[term];
  const { joules, uncachedTokens, cachedTokens, outputTokens } = expected;
  into.kwh += joules / JOULES_PER_KWH;
  into.gramsCo2Location += joules * gramsPerJoule(evidence, "location-based", residual);
  into.gramsCo2Market += joules * gramsPerJoule(evidence, "market-based", residual);
  into.ttftMs += expected.ttftMs;
  into.finishMs += expected.finishMs;
  into.missesExpected += expected.missProbability;
  const tokens = uncachedTokens + cachedTokens + outputTokens;
  into.tokens += tokens;
  if (evidence.region.side === "west") into.tokensWest += tokens;
}

function noTotals(): Totals {
  return {
    decisions: 0,
    placed: 0,
    unplaceable: 0,
    costNano: Object.fromEntries(termNames.map((term) => [term, 0])) as Record<TermName, number>,
    kwh: 0,
    gramsCo2Location: 0,
    gramsCo2Market: 0,
    ttftMs: 0,
    finishMs: 0,
    missesExpected: 0,
    tokens: 0,
    tokensWest: 0,
  };
}

function sumOf(parts: readonly Totals[]): Totals {
  const sum = noTotals();
  for (const part of parts) {
    for (const term of termNames) sum.costNano[term] += part.costNano[term];
    for (const key of keys(sum)) if (key !== "costNano") sum[key] += part[key];
  }
  return sum;
}

function noneRealised(): Realised {
  return { outcomes: 0, ttftMissed: 0, tpotMissed: 0, failed: 0 };
}

/** What a class promised when the decision was made. */
export function objectivesOf(decision: Decision, policy: Policy): Objectives {
  return policy.objectives[decision.request.class];
}

import type { UnplaceableReason } from "../lease.ts";
import type { Pool } from "../pool.ts";
import { seedFromText } from "../random.ts";
import type { Geography } from "../region.ts";
import type { AttemptId, Instant, ModelId, PoolId, RowId } from "../units.ts";
import type { Expected } from "./expect.ts";
import { notServed, refusalOf, type Refusal, type RejectReason } from "./filters.ts";
import type { Policy, PolicyOverride, PolicyRow } from "./policy.ts";
import { Prospect, toAsk, type Ask } from "./prospect.ts";
import type { PlacementRequest } from "./request.ts";
import { standingOf } from "./standing.ts";
import { partsOf, type AppliedTariff } from "./tariffs.ts";
import { terms, type TermName } from "./terms.ts";

/** The pools as one replica knew them at one revision. */
export interface Snapshot {
  readonly revision: number;
  readonly now: Instant;
  readonly geography: Geography;
  readonly pools: readonly Pool[];
  /** Pools left out because they do not serve the model: counted, not listed. Absent means 0. */
  readonly poolsElsewhere?: number;
}

/** A pool and its bill. */
export interface Candidate {
  readonly pool: PoolId;
  readonly terms: Readonly<Record<TermName, number>>;
  /** The sum of the terms, to the last nano. */
  readonly costNano: number;
  readonly expected: Expected;
  /** The part of `preference` that each row gave. */
  readonly tariffs: readonly AppliedTariff[];
  /** Rows that mark the pool and change nothing. */
  readonly warnings: readonly RowId[];
  /** Rows without which the pool would be out. */
  readonly exemptions: readonly RowId[];
  /** The pool as it was: every input of the bill with its source and age. */
  readonly evidence: Pool;
}

/** A pool and why it is out. */
export interface Rejection extends Refusal {
  readonly pool: PoolId;
}

/** Why a decision came out as it did. */
export interface Evidence {
  readonly attempt: AttemptId;
  readonly request: PlacementRequest;
  readonly model: ModelId;
  readonly decidedAt: Instant;
  readonly seed: number;
  readonly snapshotRevision: number;
  readonly policyRevision: number;
  /** The row that the decision is filed under: the first that applies and names the request's class. */
  readonly policyRow: PolicyRow | undefined;
  /** All rows that applied, in order, those of overrides among them. */
  readonly policyRows: readonly PolicyRow[];
  /** All overrides that applied, in order. */
  readonly overrides: readonly PolicyOverride[];
  /** In the order of the snapshot. */
  readonly candidates: readonly Candidate[];
  readonly rejections: readonly Rejection[];
  /** Pools that do not serve the model and are not listed above. */
  readonly poolsElsewhere: number;
  /** Pools that were looked at: candidates and rejections together. */
  readonly evaluated: number;
  /** The same in numbers. Cheap, where the lists may have to be made first. */
  readonly tally: Tally;
  /** The same where it costs nothing. Undefined: it would have to be made. */
  readonly tallyAtHand: Tally | undefined;
}

export interface Tally {
  readonly candidates: number;
  /** By the filter that rejected them; those that were not looked at are not in it. */
  readonly poolsByReason: ReadonlyMap<RejectReason, number>;
}

export interface Placed extends Evidence {
  readonly kind: "placed";
  readonly pool: PoolId;
  readonly costNano: number;
  /** Its bill, which is also among the candidates. */
  readonly chosen: Candidate;
}

export interface Unplaceable extends Evidence {
  readonly kind: "unplaceable";
  readonly reason: UnplaceableReason;
  /** Where budgets alone are in the way: the pool at which there is room first. Undefined otherwise, or never. */
  readonly soonest: Rejection | undefined;
}

export type Decision = Placed | Unplaceable;

/** A way to choose. All pools of the snapshot serve the model, and the list is never changed afterwards. */
export type Choose = (request: PlacementRequest, snapshot: Snapshot, policy: Policy) => Decision;

/**
 * Chooses the pool with the lowest expected cost that the rules allow. Depends on its arguments
 * alone, so that any decision can be made again, to explain it or to audit it.
 */
export function decide(request: PlacementRequest, snapshot: Snapshot, policy: Policy): Decision {
  const ask = toAsk(request, policy, snapshot);
  const candidates: Candidate[] = [];
  const rejections: Rejection[] = [];
  for (const pool of snapshot.pools) {
    const served = pool.served.get(request.model);
    if (served === undefined) {
      rejections.push({ pool: pool.id, ...notServed(pool, ask) });
      continue;
    }
    const at = new Prospect(standingOf(pool, served, ask), ask);
    const refusal = refusalOf(at, ask);
    if (refusal === undefined) candidates.push(candidateOf(at, ask));
    else rejections.push({ pool: pool.id, ...refusal });
  }
  const tally = { candidates: candidates.length, poolsByReason: countsOf(rejections) };
  const evidence: Evidence = {
    attempt: request.attempt,
    request,
    model: request.model,
    decidedAt: snapshot.now,
    seed: seedFromText(request.attempt),
    snapshotRevision: snapshot.revision,
    policyRevision: policy.revision,
    policyRow: ask.rules.filedUnder,
    policyRows: ask.rules.rows,
    overrides: ask.rules.overrides,
    candidates,
    rejections,
    poolsElsewhere: snapshot.poolsElsewhere ?? 0,
    evaluated: snapshot.pools.length,
    tally,
    tallyAtHand: tally,
  };
  const best = pick(candidates, evidence.seed);
  if (best === undefined) {
    const reason = unplaceableReason(rejections);
    const soonest = reason === "budget-exhausted" ? soonestOf(rejections) : undefined;
    return { kind: "unplaceable", reason, soonest, ...evidence };
  }
  const { pool, costNano } = best;
  return { kind: "placed", pool, costNano, chosen: best, ...evidence };
}

/** The bill. The table is spelt out so that it is inlined: walked by key it takes twice as long. */
export function candidateOf(at: Prospect, ask: Ask): Candidate {
  const price = wholeNano(terms.price(at, ask));
  const energy = wholeNano(terms.energy(at, ask));
  const carbon = wholeNano(terms.carbon(at, ask));
  const latency = wholeNano(terms.latency(at, ask));
  const congestion = wholeNano(terms.congestion(at, ask));
  const budget = wholeNano(terms.budget(at, ask));
  const preference = wholeNano(terms.preference(at, ask));
  const { pool, rates, rows } = at;
  const tokens = ask.inputTokens + ask.outputTokens;
  return {
    pool: pool.id,
    terms: { price, energy, carbon, latency, congestion, budget, preference },
    costNano: price + energy + carbon + latency + congestion + budget + preference,
    expected: at.foreseen(ask),
    tariffs: partsOf(rates, tokens),
    warnings: rows.warnings,
    exemptions: rows.exemptions,
    evidence: pool,
  };
}

/**
 * The most that a term comes to, in nano: 100,000 CNY. What a vendor says of its pool may be beyond all reason, and then
 * the pool is merely the dearest.
 */
export const TERM_NANO_MAX = 1e14;

/** Whole and small enough, so that a double adds them up exactly, in any order. */
export function wholeNano(nano: number): number {
  if (!(nano <= TERM_NANO_MAX)) return TERM_NANO_MAX;
  // Adding 0 takes the sign from a zero.
  return Math.max(-TERM_NANO_MAX, Math.round(nano) + 0);
}

/** Equal costs go in an order drawn from the seed: spread over attempts, the same for each. */
function pick(candidates: readonly Candidate[], seed: number): Candidate | undefined {
  let best: Candidate | undefined;
  for (const each of candidates) if (best === undefined || isBefore(each, best, seed)) best = each;
  return best;
}

export function isBefore(a: Candidate, b: Candidate, seed: number): boolean {
  if (a.costNano !== b.costNano) return a.costNano < b.costNano;
  return isDrawnFirst(a.evidence, b.evidence, seed);
}

export function isDrawnFirst(a: Pool, b: Pool, seed: number): boolean {
  const [drawA, drawB] = [seedFromText(a.id, seed), seedFromText(b.id, seed)];
  return drawA !== drawB ? drawA < drawB : a.id < b.id;
}

export function countsOf(
  rejections: readonly Pick<Refusal, "reason">[],
): ReadonlyMap<RejectReason, number> {
  const counts = new Map<RejectReason, number>();
  for (const { reason } of rejections) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return counts;
}

/** Of those that are alike the first. */
export function soonestOf<Each extends { readonly roomInMs?: number | undefined }>(
  refusals: readonly Each[],
): Each | undefined {
  let soonest: Each | undefined;
  for (const each of refusals) {
    if (each.roomInMs === undefined) continue;
    if (each.roomInMs < (soonest?.roomInMs ?? Infinity)) soonest = each;
  }
  return soonest;
}

/** What the caller can do about it: ask for something else, or wait. Looks no further than it has to. */
export function unplaceableReason(
  refusals: Iterable<Pick<Refusal, "reason" | "isLasting">>,
): UnplaceableReason {
  let isServed = false;
  let isTooLong = true;
  let isBudgeted = false;
  for (const { reason, isLasting } of refusals) {
    if (reason === "model-not-served") continue;
    if (!isLasting && reason !== "budget") return "no-eligible-pool";
    isServed = true;
    isTooLong &&= reason === "context-too-long";
    isBudgeted ||= !isLasting;
  }
  if (!isServed) return "model-not-found";
  if (isTooLong) return "context-too-long";
  return isBudgeted ? "budget-exhausted" : "unsatisfiable";
}

import type { Lease, PlaceOutcome } from "../core/lease.ts";
import type { Decision, Unplaceable } from "../core/placement/decide.ts";
import { poolsByFilter } from "../core/placement/explain.ts";
import { passedOverText } from "../core/placement/model-choice.ts";
import type { Instant, RowId } from "../core/units.ts";
import { assert } from "../core/assert.ts";

/** How much is remembered: whichever bound is reached first. */
export const decisionLimits = {
  decisionsMax: 100_000,
  /** Pools of all decisions together, as a decision holds them as they were; a rejection weighs more. */
  poolsMax: 2_000_000,
  ageMsMax: 3_600_000,
  /** The newest of one request: attempts are few, and an id that is used for all is a mistake. */
  perRequestMax: 64,
  /** Above it a part of each tenth of a second is left out here, so that the rest reaches further back. */
  perSecondMax: 1_000,
} as const;

export type DecisionLimits = Readonly<Record<keyof typeof decisionLimits, number>>;

/** How often the bounds are looked at: taking one off the front moves all the others. */
const notesPerForgetting = 256;

const windowMs = 100;

/** When to ask again while no pool is eligible: after the next reports. */
const retryAfterMs = 1_000;
/** What the field of the answer holds; a budget of months has room later. */
const retryAfterMsMax = 2 ** 32 - 1;

/** A rejection is kept in words, a pool only by reference. */
const rejectionWeight = 8;

interface Kept {
  readonly number: number;
  readonly decision: Decision;
  readonly weight: number;
}

/** The newest decisions in memory, to be explained and watched. All of them are in the journal. */
export class Decisions {
  readonly #limits: DecisionLimits;
  /** In order. */
  #kept: Kept[] = [];
  #count = 0;
  #pools = 0;
  #windowUntil: Instant = -Infinity;
  #leftInWindow = 0;
  readonly #byRequest = new Map<string, Decision[]>();

  constructor(limits: Partial<DecisionLimits> = {}) {
    this.#limits = { ...decisionLimits, ...limits };
  }

  /** Nothing of the decision is read that would have to be made first. */
  note(decision: Decision): void {
    this.#count += 1;
    if (!this.#isRoomAt(decision.decidedAt)) return;
    const pools = decision.evaluated + decision.poolsElsewhere;
    const weight = 1 + pools * (decision.kind === "placed" ? 1 : rejectionWeight);
    this.#kept.push({ number: this.#count - 1, decision, weight });
    this.#pools += weight;
    const ofRequest = this.#byRequest.get(decision.request.request);
    if (ofRequest === undefined) this.#byRequest.set(decision.request.request, [decision]);
    else if (ofRequest.push(decision) > this.#limits.perRequestMax) ofRequest.shift();
    if (this.#kept.length % notesPerForgetting === 0) this.#forget(decision.decidedAt);
  }

  /** How many there ever were: the number that the next one gets. */
  get count(): number {
    return this.#count;
  }

  get last(): Decision | undefined {
    return this.#kept.at(-1)?.decision;
  }

  /** Oldest first. */
  ofRequest(request: string): readonly Decision[] {
    return this.#byRequest.get(request) ?? [];
  }

  ofAttempt(attempt: string): readonly Decision[] {
    return this.#kept
      .map(({ decision }) => decision)
      .filter((decision) => decision.attempt === attempt);
  }

  /** Those from this number on that are still here, at most the newest so many. Oldest first. */
  from(number: number, atMost: number): readonly Decision[] {
    const newest = this.#kept.slice(Math.max(0, this.#kept.length - atMost));
    return newest.filter((each) => each.number >= number).map(({ decision }) => decision);
  }

  #isRoomAt(now: Instant): boolean {
    if (now >= this.#windowUntil) {
      this.#windowUntil = now + windowMs;
      this.#leftInWindow = Math.ceil((this.#limits.perSecondMax * windowMs) / 1_000);
    }
    this.#leftInWindow -= 1;
    return this.#leftInWindow >= 0;
  }

  #forget(now: Instant): void {
    const { decisionsMax, poolsMax, ageMsMax } = this.#limits;
    let end = 0;
    let pools = this.#pools;
    for (const { decision, weight } of this.#kept) {
      const isKept =
        this.#kept.length - end <= decisionsMax &&
        pools <= poolsMax &&
        now - decision.decidedAt <= ageMsMax;
      if (isKept) break;
      pools -= weight;
      end += 1;
    }
    for (const { decision } of this.#kept.slice(0, end)) this.#unlist(decision);
    this.#kept = this.#kept.slice(end);
    this.#pools = pools;
  }

  #unlist(decision: Decision): void {
    const { request } = decision.request;
    const ofRequest = this.#byRequest.get(request);
    // Forgotten in order: if it is still there, it is the oldest.
    if (ofRequest?.[0] === decision) ofRequest.shift();
    if (ofRequest?.length === 0) this.#byRequest.delete(request);
  }
}

/** Which budget has no room, and what became of the other models that the name stands for. */
function detailOf(decision: Unplaceable): string | undefined {
  const budget = decision.soonest?.detail;
  const others = decision.request.passedOver?.map(passedOverText) ?? [];
  const all = budget === undefined ? others : [budget, ...others];
  return all.length === 0 ? undefined : all.join("; ");
}

/**
 * After the next reports, or when a budget has room; 0: waiting does not help. No rejections are read: to make them takes
 * as long as many placements.
 */
function retryAfterMsOf(decision: Unplaceable): number {
  if (decision.reason === "no-eligible-pool") return retryAfterMs;
  if (decision.reason !== "budget-exhausted") return 0;
  const soonestMs = decision.soonest?.roomInMs ?? 0;
  return Math.min(retryAfterMsMax, Math.max(1, Math.ceil(soonestMs)));
}

/** The answer of the core as a gateway gets it. */
export function outcomeOf(
  decision: Decision,
  lease: Lease | undefined,
  now: Instant,
): PlaceOutcome {
  if (decision.kind === "unplaceable") {
    return {
      kind: "unplaceable",
      reason: decision.reason,
      poolsByFilter: poolsByFilter(decision),
      retryAfterMs: retryAfterMsOf(decision),
      policyRow: decision.policyRow?.id,
      detail: detailOf(decision),
    };
  }
  assert(lease !== undefined, "a placement comes with a lease");
  const { chosen } = decision;
  const served = chosen.evidence.served.get(decision.model);
  assert(served?.price !== undefined, "a placed pool serves at a price");
  return {
    kind: "placed",
    placement: {
      lease: lease.id,
      fence: lease.fence,
      ttlMs: Math.max(0, Math.floor(lease.expiresAt - now)),
      pool: lease.pool,
      vendor: chosen.evidence.vendor,
      ...(decision.request.choices !== undefined && { model: decision.model }),
      engineModelName: served.engineModelName,
      priceBook: served.price.book,
      priceVersion: served.price.version,
      costNano: decision.costNano,
      ttftMsExpected: chosen.expected.ttftMs,
      policyRow: decision.policyRow?.id ?? ("" as RowId),
      snapshotRevision: decision.snapshotRevision,
      policyRevision: decision.policyRevision,
      joulesExpected: chosen.expected.joules,
      gramsCo2Expected: chosen.expected.gramsCo2,
    },
  };
}

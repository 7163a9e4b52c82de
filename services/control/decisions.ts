import type { Lease, PlaceOutcome } from "../core/lease.ts";
import type { Decision } from "../core/placement/decide.ts";
import type { Instant, RowId } from "../core/units.ts";
import { assert } from "../core/assert.ts";
import { poolsByFilter } from "../wire/decision.ts";

/** How much is remembered: whichever bound is reached first. */
export const decisionLimits = {
  decisionsMax: 100_000,
  /** Candidates and rejections of all decisions together: they are what takes memory. */
  billsMax: 200_000,
  ageMsMax: 3_600_000,
  /** The newest of one request: attempts are few, and an id that is used for all is a mistake. */
  perRequestMax: 64,
} as const;

/** How often the bounds are looked at: taking one off the front moves all the others. */
const notesPerForgetting = 256;

/** When to ask again while no pool is eligible: after the next reports. */
const retryAfterMs = 1_000;

/** The newest decisions in memory, to be explained and watched. All of them are in the journal. */
export class Decisions {
  readonly #limits: Readonly<Record<keyof typeof decisionLimits, number>>;
  /** In order; a decision's number is its place from the first ever. */
  #kept: Decision[] = [];
  #forgotten = 0;
  #bills = 0;
  readonly #byRequest = new Map<string, Decision[]>();

  constructor(limits: Partial<Record<keyof typeof decisionLimits, number>> = {}) {
    this.#limits = { ...decisionLimits, ...limits };
  }

  note(decision: Decision): void {
    this.#kept.push(decision);
    this.#bills += billsOf(decision);
    const ofRequest = this.#byRequest.get(decision.request.request);
    if (ofRequest === undefined) this.#byRequest.set(decision.request.request, [decision]);
    else if (ofRequest.push(decision) > this.#limits.perRequestMax) ofRequest.shift();
    if (this.count % notesPerForgetting === 0) this.#forget(decision.decidedAt);
  }

  /** How many there ever were: the number that the next one gets. */
  get count(): number {
    return this.#forgotten + this.#kept.length;
  }

  get last(): Decision | undefined {
    return this.#kept.at(-1);
  }

  /** Oldest first. */
  ofRequest(request: string): readonly Decision[] {
    return this.#byRequest.get(request) ?? [];
  }

  ofAttempt(attempt: string): readonly Decision[] {
    return this.#kept.filter((each) => each.attempt === attempt);
  }

  /** Those from this number on that are still here, at most the newest so many. Oldest first. */
  from(number: number, atMost: number): readonly Decision[] {
    const start = Math.max(number - this.#forgotten, this.#kept.length - atMost, 0);
    return this.#kept.slice(start);
  }

  #forget(now: Instant): void {
    const { decisionsMax, billsMax, ageMsMax } = this.#limits;
    let end = 0;
    let bills = this.#bills;
    for (const decision of this.#kept) {
      const isKept =
        this.#kept.length - end <= decisionsMax &&
        bills <= billsMax &&
        now - decision.decidedAt <= ageMsMax;
      if (isKept) break;
      bills -= billsOf(decision);
      end += 1;
    }
    for (const decision of this.#kept.slice(0, end)) this.#unlist(decision);
    this.#kept = this.#kept.slice(end);
    this.#forgotten += end;
    this.#bills = bills;
  }

  #unlist(decision: Decision): void {
    const { request } = decision.request;
    const ofRequest = this.#byRequest.get(request);
    // Forgotten in order: if it is still there, it is the oldest.
    if (ofRequest?.[0] === decision) ofRequest.shift();
    if (ofRequest?.length === 0) this.#byRequest.delete(request);
  }
}

function billsOf(decision: Decision): number {
  return 1 + decision.candidates.length + decision.rejections.length;
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
      retryAfterMs: decision.reason === "no-eligible-pool" ? retryAfterMs : 0,
      policyRow: decision.policyRow?.id,
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

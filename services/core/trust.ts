import { slotsTotalOf } from "./health.ts";
import type { AgainstProfile, Delivery, Observed, Served } from "./pool.ts";

/** How far a pool does what it says, 1 is all of it. Each part is within 0..1, and the trust is their product. */
export interface Trust {
  readonly trust: number;
  readonly parts: Readonly<Record<TrustPart, number>>;
}

export type TrustPart = "ttft" | "tpot" | "errors" | "delivery";

/** Models are simpler than engines: a time up to so many times the declared one is as declared. */
const TTFT_TOLERANCE = 1.6;
const TPOT_TOLERANCE = 1.25;
/** Failures and short attempts happen to the best, up to this part of all. */
const ERROR_TOLERANCE = 0.02;
const SHORT_TOLERANCE = 0.2;
/** After so many attempts, half of what they say against a pool is believed. */
const ATTEMPTS_HALF_BELIEVED = 8;

/** Slots that count before any attempt, whatever is declared: what is declared may be a lie. */
const SLOTS_AT_FIRST = 16;
/** Slots that count are at most so many times those at which the pool did what it promised. */
const SLOTS_GROWTH = 2;
const SLOTS_MIN = 4;
/** What an attempt that got too little takes from the slots that are proven. */
const SLOTS_SHRINK = 0.97;
const SHORT_WEIGHT = 0.05;
const SHARE_MIN = 1 / 64;
/** Half of what an index says is believed at first; it weighs as much as so many tokens that were seen. */
const CACHE_PRIOR_RATIO = 0.5;
const CACHE_PRIOR_TOKENS = 4_000;
const CACHE_FORGETTING = 0.99;

const FULL: Trust = { trust: 1, parts: { ttft: 1, tpot: 1, errors: 1, delivery: 1 } };

export function trustOf({ observed }: Pick<Served, "observed">): Trust {
  if (observed === undefined) return FULL;
  const { attempts, errorRatio, delivery } = observed;
  const parts = {
    ttft: asDeclared(observed.ttftAgainstProfile, TTFT_TOLERANCE),
    tpot: asDeclared(observed.tpotAgainstProfile, TPOT_TOLERANCE),
    errors: Math.min(1, 1 - errorRatio + ERROR_TOLERANCE),
    delivery: Math.min(1, 1 - delivery.shortRatio + SHORT_TOLERANCE),
  };
  const belief = attempts / (attempts + ATTEMPTS_HALF_BELIEVED);
  const product = parts.ttft * parts.tpot * parts.errors * parts.delivery;
  return { trust: 1 - belief * (1 - product), parts };
}

function asDeclared(found: AgainstProfile | undefined, tolerance: number): number {
  if (found === undefined || !(found.observedMs > tolerance * found.declaredMs)) return 1;
  return (tolerance * Math.max(0, found.declaredMs)) / found.observedMs;
}

/**
 * Slots that count: what the vendor says, but no more than twice what it has shown. It bounds what a pool can win by
 * advertising; leases are granted by the declared slots all the same, so that nobody is refused for want of a proof.
 */
export function slotsCounted(served: Served, share: number): number {
  const slots = slotsTotalOf(served);
  const proven = served.observed?.delivery.slotsProven;
  // Ours alone: the other replicas are taken to have shown as much of their shares.
  const counted =
    proven === undefined
      ? SLOTS_AT_FIRST
      : Math.max(SLOTS_MIN, (SLOTS_GROWTH * proven) / Math.max(share, SHARE_MIN));
  return Math.min(slots, counted);
}

/** How an attempt went against what the pool promised. */
export interface Delivered {
  /** In time for its class, or as the declared profile says. Undefined: it tells nothing. */
  readonly isInTime: boolean | undefined;
  /** Worse than declared by more than is put down to the model. Undefined: it tells nothing. */
  readonly isShort: boolean | undefined;
  /** Leases of ours at the pool when it was granted, itself included. */
  readonly slotsLeased: number;
  readonly cachedTokensForetold: number;
  /** Undefined: the engine did not say. */
  readonly cachedTokensFound: number | undefined;
}

export function deliveryAfter(
  observed: Observed | undefined,
  attempt: Delivered,
  share: number,
): Delivery {
  const before = observed?.delivery ?? {
    slotsProven: (SLOTS_AT_FIRST / SLOTS_GROWTH) * Math.max(share, SHARE_MIN),
    shortRatio: 0,
    cachedTokensForetold: 0,
    cachedTokensFound: 0,
  };
  const { isInTime, isShort, slotsLeased, cachedTokensForetold, cachedTokensFound } = attempt;
  return {
    slotsProven: provenAfter(before.slotsProven, isInTime, slotsLeased),
    shortRatio:
      isShort === undefined
        ? before.shortRatio
        : before.shortRatio + SHORT_WEIGHT * (Number(isShort) - before.shortRatio),
    ...(cachedTokensFound === undefined || cachedTokensForetold <= 0
      ? {
          cachedTokensForetold: before.cachedTokensForetold,
          cachedTokensFound: before.cachedTokensFound,
        }
      : {
          cachedTokensForetold:
            CACHE_FORGETTING * before.cachedTokensForetold + cachedTokensForetold,
          cachedTokensFound:
            CACHE_FORGETTING * before.cachedTokensFound +
            Math.min(cachedTokensFound, cachedTokensForetold),
        }),
  };
}

/** Grows with what was done, shrinks with what was not: additive increase by use, multiplicative decrease. */
function provenAfter(proven: number, isInTime: boolean | undefined, slotsLeased: number): number {
  if (isInTime === undefined) return proven;
  if (isInTime) return Math.max(proven, slotsLeased);
  return Math.max(SLOTS_MIN / SLOTS_GROWTH, proven * SLOTS_SHRINK);
}

/** Part of what the prefix index says that turns out to be so at this pool, 0..1. */
export function cacheBelief(observed: Observed | undefined): number {
  const { cachedTokensForetold = 0, cachedTokensFound = 0 } = observed?.delivery ?? {};
  return (
    (cachedTokensFound + CACHE_PRIOR_RATIO * CACHE_PRIOR_TOKENS) /
    (cachedTokensForetold + CACHE_PRIOR_TOKENS)
  );
}

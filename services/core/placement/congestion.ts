import type { Served } from "../pool.ts";
import type { Load } from "./load.ts";
import type { CongestionPrice } from "./policy.ts";

/**
 * What a slot is worth in a pool now to who comes next: next to nothing while slots are free, the full price when none
 * is. The form of a loss system's implied cost; README.md says why and from whom.
 */
export function shadowNanoPerSlotMs(price: CongestionPrice, load: Load): number {
  return price.fullNanoPerSlotMs * load.slotsUsedRatio ** price.exponent;
}

/** The same for a token of KV cache. 0 while its use is not known: the slot's price still counts. */
export function shadowNanoPerKvTokenMs(price: CongestionPrice, load: Load): number {
  return price.fullNanoPerKvTokenMs * (load.kvUsedRatio ?? 0) ** price.exponent;
}

/**
 * What a ms of delay to everybody in one replica costs, in nano. Those of other replicas' callers that are in flight besides
 * ours are taken to be like ours.
 */
export function othersNanoPerMs(served: Served, load: Load): number {
  const { slotsLeased, waitNanoPerMsLeased, replicas } = served;
  if (slotsLeased === 0) return 0;
  return (waitNanoPerMsLeased * Math.max(1, load.inFlight / slotsLeased)) / replicas;
}

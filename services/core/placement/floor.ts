import type { PriceEstimate } from "../pool.ts";
import type { Ask, Prospect } from "./prospect.ts";
import type { TimeCoefficients } from "./standing.ts";

/**
 * What a request costs at a pool at least, in nano: straight lines in its lengths, which take a
 * nanosecond to work out. A pool whose floor is above the best cost so far is not the cheapest.
 */
export interface Floor {
  readonly base: number;
  readonly perInputToken: number;
  /** The same for a prompt that may be in the cache. */
  readonly perCachedToken: number;
  readonly perOutputToken: number;
  /** Of requests that need more KV cache each than this, it says nothing. */
  readonly kvTokensEachMax: number;
}

export function floorOf(at: Prospect, ask: Ask): Floor {
  const { times, energy, price } = at;
  const { objectives, policy } = ask;
  const nanoPerJoule = energy.nanoPerJoule + energy.gramsPerJoule * policy.carbonNanoPerGram;
  const nanoPerMillijoule = (nanoPerJoule * energy.pue) / 1_000;
  // Of prefill and decoding: all of it is waited for, holds a slot, and draws what is measured.
  const nanoPerMs =
    objectives.waitNanoPerMs +
    at.standing.shadowNanoPerSlotMs +
    energy.wattsPerRequest * nanoPerMillijoule;
  const stepMs = stepFloorMs(times);
  const { othersNanoPerMs } = at.standing;
  const prefillNano =
    times.msPerUncachedToken * nanoPerMs +
    times.prefillMsPerToken * othersNanoPerMs +
    energy.millijoulesAddedPerUncachedToken * nanoPerMillijoule;
  const decodeNano =
    stepMs * times.stretch * nanoPerMs +
    times.stepMsPerSequence * othersNanoPerMs +
    stepMs * energy.wattsAdded * nanoPerMillijoule;
  const pico = leastPico(price);
  const preference = at.preferenceNanoPerToken;
  return {
    base:
      at.roundTripMs * objectives.waitNanoPerMs +
      times.ttftOffsetMs * nanoPerMs -
      stepMs * times.stretch * nanoPerMs,
    perInputToken: pico.uncachedInput / 1_000 + preference + prefillNano,
    perCachedToken: Math.min(pico.uncachedInput, pico.cacheRead) / 1_000 + preference,
    perOutputToken: pico.output / 1_000 + preference + decodeNano,
    kvTokensEachMax: (times.replicas * times.kvTokensTotal) / (times.inFlight + 1),
  };
}

/** While the KV cache has room, no batch is smaller and no step shorter. */
function stepFloorMs(times: TimeCoefficients): number {
  const batch =
    times.runningWhenFull > 0
      ? times.runningWhenFull / times.replicas
      : Math.min(times.batch, times.sequencesMax);
  const kvTokens =
    times.kvRequestsLikeIt < 0 ? 0 : Math.min(times.kvTokensOthers, times.kvTokensTotal);
  return (
    times.stepBaseMs +
    times.stepMsPerSequence * Math.max(1, batch) +
    times.stepMsPerKvToken * kvTokens
  );
}

interface LeastPico {
  readonly uncachedInput: number;
  readonly cacheRead: number;
  readonly output: number;
}

/** Over all brackets. Without a price the pool is out, and its floor is never asked. */
function leastPico(price: PriceEstimate | undefined): LeastPico {
  let uncachedInput = price?.uncachedInputPicoPerToken ?? 0;
  let cacheRead = price?.cacheReadPicoPerToken ?? 0;
  let output = price?.outputPicoPerToken ?? 0;
  for (const bracket of price?.brackets ?? []) {
    uncachedInput = Math.min(uncachedInput, bracket.uncachedInputPicoPerToken);
    cacheRead = Math.min(cacheRead, bracket.cacheReadPicoPerToken);
    output = Math.min(output, bracket.outputPicoPerToken);
  }
  return { uncachedInput, cacheRead, output };
}

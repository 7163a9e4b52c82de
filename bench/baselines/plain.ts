/** Policies that count: random, round robin, least request, power of two choices. */

import type { Prospect } from "../../services/core/placement/prospect.ts";
import type { PoolId } from "../../services/core/units.ts";
import {
  byId,
  drawn,
  drawnByWeight,
  lowest,
  lowestAll,
  rivalOf,
  sampled,
  slotsOf,
  unitsOf,
  type Baseline,
  type Sight,
  type Way,
} from "./rival.ts";

/** SMG looks at its workers every 10 s (pub). */
export const SMG_POLL_MS = 10_000;

export const plain = {
  random: {
    name: "random",
    source: "§2.1",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf(({ random }) => ({ pick: (among) => drawn(among, random) })),
      "capacity-weighted": rivalOf(weightedRandom),
    },
  },
  "round-robin": {
    name: "round robin",
    source: "§2.1",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf(roundRobin),
      "capacity-weighted": rivalOf(smoothRoundRobin),
    },
  },
  "least-request": {
    name: "least request, full scan (nginx, HAProxy)",
    source: "§2.2",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => leastRequest(sight, () => 1)),
      "capacity-weighted": rivalOf((sight) => leastRequest(sight, slotsOf)),
    },
  },
  "least-request-envoy": {
    name: "least request (Envoy)",
    source: "§2.2",
    reportIntervalMs: undefined,
    variants: {
      // Equal weights are two random choices.
      "as published": rivalOf((sight) => powerOfTwo(sight, false)),
      "capacity-weighted": rivalOf(leastRequestRotation),
    },
  },
  "power-of-two": {
    name: "power of two choices, by requests",
    source: "§2.3",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => powerOfTwo(sight, false)),
      "capacity-weighted": rivalOf((sight) => powerOfTwo(sight, true)),
    },
  },
  "power-of-two-smg": {
    name: "power of two choices, by KV use (SMG)",
    source: "§2.3",
    reportIntervalMs: SMG_POLL_MS,
    variants: {
      "as published": rivalOf((sight) => powerOfTwoByKv(sight, false), SMG_POLL_MS),
      "capacity-weighted": rivalOf((sight) => powerOfTwoByKv(sight, true), SMG_POLL_MS),
    },
  },
  "litellm-least-busy": {
    name: "LiteLLM, least busy",
    source: "§2.11",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => leastBusy(sight, false)),
      "capacity-weighted": rivalOf((sight) => leastBusy(sight, true)),
    },
  },
  "litellm-simple-shuffle": {
    name: "LiteLLM, simple shuffle",
    source: "§2.11",
    reportIntervalMs: undefined,
    // Weighted random; who configures no weights has a plain draw.
    variants: {
      "as published": rivalOf(({ random }) => ({ pick: (among) => drawn(among, random) })),
      "capacity-weighted": rivalOf(weightedRandom),
    },
  },
} satisfies Record<string, Baseline>;

function weightedRandom({ random }: Sight): Way {
  return { pick: (among) => drawnByWeight(among, slotsOf, random) };
}

/** One counter per model over the pools in the order of their ids. */
function roundRobin(): Way {
  let count = 0;
  return {
    pick: (among) => {
      const next = byId(among)[count % among.length];
      count += 1;
      return next;
    },
  };
}

function smoothRoundRobin(): Way {
  const rotation = new SmoothRotation();
  return { pick: (among) => rotation.next(byId(among), slotsOf) };
}

/**
 * As nginx does it: everybody gains his weight, the one with the most is next and pays the sum. Shares are
 * exactly in proportion after each round of as many picks as the weights add up to.
 */
class SmoothRotation {
  readonly #current = new Map<PoolId, number>();

  /** Among at least one; ties go to the first. */
  next(among: readonly Prospect[], weightOf: (at: Prospect) => number): Prospect | undefined {
    let [total, most] = [0, -Infinity];
    let best: Prospect | undefined;
    for (const at of among) {
      const weight = weightOf(at);
      const current = (this.#current.get(at.pool.id) ?? 0) + weight;
      this.#current.set(at.pool.id, current);
      total += weight;
      if (current > most) [most, best] = [current, at];
    }
    if (best !== undefined) this.#current.set(best.pool.id, most - total);
    return best;
  }
}

/** `argmin r/w`; ties by weighted round robin among those that tie, as nginx has it. */
function leastRequest({ inFlight }: Sight, weightOf: (at: Prospect) => number): Way {
  const rotation = new SmoothRotation();
  return {
    pick: (among) => {
      const tied = lowestAll(among, (at) => inFlight(at.pool.id) / weightOf(at));
      return rotation.next(byId(tied), weightOf);
    },
  };
}

/** Exponent of the active requests in Envoy's weights: its default (pub). */
const ACTIVE_REQUEST_BIAS = 1;

/**
 * Envoy's form for unequal weights: a rotation in which a pool's next turn is `1 / weight` after the one
 * it has, with `weight = w / (r + 1)^bias` as it is then. One who was away does not catch up.
 */
function leastRequestRotation({ inFlight }: Sight): Way {
  const turnByPool = new Map<PoolId, number>();
  let now = 0;
  const stepOf = (at: Prospect): number =>
    (inFlight(at.pool.id) + 1) ** ACTIVE_REQUEST_BIAS / slotsOf(at);
  const turnOf = (at: Prospect): number => {
    const turn = turnByPool.get(at.pool.id) ?? now + stepOf(at);
    turnByPool.set(at.pool.id, turn);
    return Math.max(turn, now);
  };
  return {
    pick: (among) => {
      const [next] = lowestAll(byId(among), turnOf);
      if (next === undefined) return undefined;
      now = turnOf(next);
      turnByPool.set(next.pool.id, now + stepOf(next));
      return next;
    },
  };
}

/** Two different pools at random, the one with fewer in flight. Equal ones: the first drawn. */
function powerOfTwo({ random, inFlight }: Sight, isWeighted: boolean): Way {
  const loadOf = (at: Prospect): number => inFlight(at.pool.id) / unitsOf(at, isWeighted);
  return { pick: (among) => fewer(sampled(among, 2, random), loadOf) };
}

/** SMG's: if both have a report, the lower KV use, else the fewer in flight; `≤` favours the first. */
function powerOfTwoByKv({ random, inFlight, report }: Sight, isWeighted: boolean): Way {
  return {
    pick: (among) => {
      const two = sampled(among, 2, random);
      const used = new Map(two.map((at) => [at, report(at)?.kvUsedRatio?.value]));
      const isKnown = [...used.values()].every((ratio) => ratio !== undefined);
      return fewer(two, (at) =>
        isKnown ? (used.get(at) ?? 0) : inFlight(at.pool.id) / unitsOf(at, isWeighted),
      );
    },
  };
}

function fewer(
  [first, second]: readonly Prospect[],
  loadOf: (at: Prospect) => number,
): Prospect | undefined {
  if (first === undefined || second === undefined) return first;
  return loadOf(first) <= loadOf(second) ? first : second;
}

function leastBusy({ random, inFlight }: Sight, isWeighted: boolean): Way {
  return {
    pick: (among) => lowest(among, (at) => inFlight(at.pool.id) / unitsOf(at, isWeighted), random),
  };
}

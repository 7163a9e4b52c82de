import { valued, type Duals, type Valued } from "./lagrangian.ts";
import type { Problem } from "./problem.ts";

export interface Raised {
  readonly duals: Duals;
  readonly boundNano: number;
}

/** Of the mean price, how far the first step of each price goes; found by trying. */
const STEP_SHARE = 0.04;

/**
 * Better prices by subgradient steps: dearer where the cheapest choices use more than there is, cheaper where less.
 * Each price has a step of its own, smaller the more it was moved already (AdaGrad: Duchi, Hazan, Singer 2011), as
 * bins and seats hardly know of each other. Every value is a bound, so the best of them is.
 */
export function raised(problem: Problem, start: Duals, rounds: number): Raised {
  const nothing: Duals = { replica: start.replica.map(() => 0), slot: start.slot.map(() => 0) };
  let best: Raised = { duals: nothing, boundNano: valued(problem, nothing).boundNano };
  const stepNano = STEP_SHARE * Math.max(meanPrice(start.replica), meanPrice(start.slot));
  const moved: Duals = { replica: start.replica.map(() => 0), slot: start.slot.map(() => 0) };
  let at = start;
  for (let round = 0; round <= rounds; round++) {
    const value = valued(problem, at);
    if (value.boundNano > best.boundNano) best = { duals: at, boundNano: value.boundNano };
    if (stepNano === 0) break;
    at = next(problem, { at, moved, value, stepNano });
  }
  return best;
}

function next(
  problem: Problem,
  from: {
    readonly at: Duals;
    readonly moved: Duals;
    readonly value: Valued;
    readonly stepNano: number;
  },
): Duals {
  const { at, moved, value, stepNano } = from;
  const prices = (
    price: Float64Array,
    overs: Float64Array,
    [usedMs, capacityMs]: readonly [Float64Array, Float64Array],
  ): Float64Array =>
    price.map((each, index) => {
      const overMs = (usedMs[index] ?? 0) - (capacityMs[index] ?? 0);
      if (!Number.isFinite(overMs) || overMs === 0 || (each === 0 && overMs < 0)) return each;
      const sum = (overs[index] ?? 0) + overMs * overMs;
      overs[index] = sum;
      return Math.max(0, each + (stepNano * overMs) / Math.sqrt(sum));
    });
  return {
    replica: prices(at.replica, moved.replica, [value.replicaMs, problem.replicaMs]),
    slot: prices(at.slot, moved.slot, [value.slotMs, problem.slotMs]),
  };
}

/** Of those that are any: the rounding of a solver is none. */
function meanPrice(prices: Float64Array): number {
  const most = prices.reduce((sum, price) => Math.max(sum, price), 0);
  const some = prices.filter((price) => price > most / 1_000);
  return some.length === 0 ? 0 : some.reduce((sum, price) => sum + price, 0) / some.length;
}

import { valued, type Duals } from "./lagrangian.ts";
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
  const nothing: Duals = start.map(() => 0);
  let best: Raised = { duals: nothing, boundNano: valued(problem, nothing).boundNano };
  const stepNano = STEP_SHARE * meanPrice(start);
  const moved: Duals = start.map(() => 0);
  let at = start;
  for (let round = 0; round <= rounds; round++) {
    const { boundNano, replicaMs } = valued(problem, at);
    if (boundNano > best.boundNano) best = { duals: at, boundNano };
    if (stepNano === 0) break;
    at = at.map((price, index) => {
      const overMs = (replicaMs[index] ?? 0) - (problem.replicaMs[index] ?? 0);
      if (!Number.isFinite(overMs) || overMs === 0 || (price === 0 && overMs < 0)) return price;
      moved[index] = (moved[index] ?? 0) + overMs * overMs;
      return Math.max(0, price + (stepNano * overMs) / Math.sqrt(moved[index]));
    });
  }
  return best;
}

/** Of those that are any: the rounding of a solver is none. */
function meanPrice(prices: Float64Array): number {
  const most = prices.reduce((sum, price) => Math.max(sum, price), 0);
  const some = prices.filter((price) => price > most / 1_000);
  return some.length === 0 ? 0 : some.reduce((sum, price) => sum + price, 0) / some.length;
}

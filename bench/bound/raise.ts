import { valued, type Duals, type Valued } from "./lagrangian.ts";
import type { Problem } from "./problem.ts";

export interface Raised {
  readonly duals: Duals;
  readonly boundNano: number;
}

/**
 * Better prices by subgradient steps: dearer where the cheapest choices use more than there is, cheaper where less.
 * The step is Polyak's towards a target a little above the best value so far; the target comes nearer whenever a few
 * steps have found nothing. Every value is a bound, so the best of them is.
 */
export function raised(problem: Problem, start: Duals, rounds: number): Raised {
  let best: Raised = { duals: start, boundNano: -Infinity };
  const nothing = { replica: start.replica.map(() => 0), slot: start.slot.map(() => 0) };
  for (const duals of [nothing, start]) {
    const { boundNano } = valued(problem, duals);
    if (boundNano > best.boundNano) best = { duals, boundNano };
  }
  let at = best.duals;
  let gapShare = GAP_FIRST;
  let failures = 0;
  for (let round = 0; round < rounds; round++) {
    const value = valued(problem, at);
    if (value.boundNano > best.boundNano) {
      best = { duals: at, boundNano: value.boundNano };
      failures = 0;
    } else failures += 1;
    if (failures > FAILURES_MAX) {
      gapShare /= 2;
      failures = 0;
      at = best.duals;
      continue;
    }
    const targetNano = best.boundNano + gapShare * Math.abs(best.boundNano);
    at = stepped(problem, at, value, targetNano);
  }
  return best;
}

/** Above the best value, in parts of it. */
const GAP_FIRST = 0.01;
const FAILURES_MAX = 4;

function stepped(problem: Problem, at: Duals, value: Valued, targetNano: number): Duals {
  const excess = (used: Float64Array, capacity: Float64Array, price: Float64Array): Float64Array =>
    used.map((usedMs, index) => {
      const overMs = usedMs - (capacity[index] ?? 0);
      const isFloor = (price[index] ?? 0) === 0 && overMs < 0;
      return Number.isFinite(overMs) && !isFloor ? overMs : 0;
    });
  const replica = excess(value.replicaMs, problem.replicaMs, at.replica);
  const slot = excess(value.slotMs, problem.slotMs, at.slot);
  const norm = squared(replica) + squared(slot);
  if (norm === 0) return at;
  const step = (targetNano - value.boundNano) / norm;
  const moved = (price: Float64Array, over: Float64Array): Float64Array =>
    price.map((each, index) => Math.max(0, each + step * (over[index] ?? 0)));
  return { replica: moved(at.replica, replica), slot: moved(at.slot, slot) };
}

function squared(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value * value, 0);
}

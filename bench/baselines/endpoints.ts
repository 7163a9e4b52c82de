/** What pools know of themselves and tell to who asks, over all dispatchers of a run. */

import type { AttemptOutcome, Lease } from "../../services/core/lease.ts";
import type { Placed } from "../../services/core/placement/decide.ts";
import type { Prospect } from "../../services/core/placement/prospect.ts";
import type { ModelId, PoolId } from "../../services/core/units.ts";

/** A lease of this dispatcher, as the policy that asked for it sees it. */
export interface Flight {
  readonly lease: Lease;
  readonly decision: Placed;
  /** In flight at the pool when it came, over all dispatchers. */
  readonly others: number;
}

/** Completions that a pool remembers, and of these, how far from the requests in flight now (house). */
const COMPLETIONS_MAX = 64;
const NEAR_RATIO = 0.1;
/** How a failure counts, so that a pool that fails fast does not look fast (house). */
const FAILED_MS = 10_000;

/** A model at a pool. */
type Place = Pick<Prospect, "pool" | "served">;

interface Completion {
  /** Others that were in flight when it came. */
  readonly others: number;
  readonly ms: number;
}

interface OfPool {
  inFlight: number;
  completions: Completion[];
}

/**
 * Requests in flight and times of recent completions, for probes. One for all dispatchers of a run: a pool counts what
 * all of them sent.
 */
export class Endpoints {
  readonly #byModel = new Map<ModelId, Map<PoolId, OfPool>>();

  inFlight({ pool, served }: Place): number {
    return this.#of(served.model, pool.id).inFlight;
  }

  /**
   * Median of recent completions that came when about as many were in flight; of all there are when none is near (house).
   * 0 while nothing was completed: a pool that nobody knows is tried.
   */
  latencyMs({ pool, served }: Place): number {
    const { completions, inFlight } = this.#of(served.model, pool.id);
    const far = Math.max(1, NEAR_RATIO * inFlight);
    const near = completions.filter(({ others }) => Math.abs(others - inFlight) <= far);
    return medianOf((near.length > 0 ? near : completions).map(({ ms }) => ms));
  }

  /** Tells how many others are there. */
  came(pool: PoolId, model: ModelId): number {
    const there = this.#of(model, pool);
    there.inFlight += 1;
    return there.inFlight - 1;
  }

  went({ lease, decision, others }: Flight, outcome: AttemptOutcome | undefined): void {
    const there = this.#of(lease.model, lease.pool);
    there.inFlight -= 1;
    const ms = msOf(outcome, decision.chosen.expected.roundTripMs);
    if (ms === undefined) return;
    there.completions.push({ others, ms });
    if (there.completions.length > COMPLETIONS_MAX) there.completions.shift();
  }

  #of(model: ModelId, pool: PoolId): OfPool {
    const byPool = this.#byModel.get(model) ?? new Map<PoolId, OfPool>();
    this.#byModel.set(model, byPool);
    const known = byPool.get(pool) ?? { inFlight: 0, completions: [] };
    byPool.set(pool, known);
    return known;
  }
}

/** At the pool, without the network. Undefined: it says nothing of the pool. */
function msOf(outcome: AttemptOutcome | undefined, roundTripMs: number): number | undefined {
  switch (outcome?.result) {
    case "ok":
      return outcome.durationMs === undefined
        ? undefined
        : Math.max(0, outcome.durationMs - roundTripMs);
    case "connect-error":
    case "timeout":
    case "upstream-5xx":
    case "reset":
      return FAILED_MS;
    case "upstream-4xx":
    case "cancelled":
    case undefined:
      return undefined;
  }
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1] ?? 0, sorted[sorted.length >> 1] ?? 0];
  return (low + high) / 2;
}

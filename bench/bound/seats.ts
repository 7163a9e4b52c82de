import { assert } from "../../services/core/assert.ts";
import {
  gramsPerJoule,
  hourEndsAt,
  powerNanoPerJoule,
  prefillWatts,
  pueOf,
  replicaWatts,
} from "../../services/core/energy.ts";
import { EngineReplica } from "../../services/core/engine-replica.ts";
import type { Policy } from "../../services/core/placement/policy.ts";
import type { EngineProfile, Pool } from "../../services/core/pool.ts";
import type { Geography } from "../../services/core/region.ts";
import type { Instant, ModelId } from "../../services/core/units.ts";
import type { ServedEngine } from "../../services/sim/fleet.ts";
import type { WorldFault } from "../../services/sim/world-options.ts";

/** Sequences of which each number is a level of its own; above, a level is a range. */
const SINGLE_LEVELS = 32;
/** End of a range / its beginning. */
const LEVEL_RATIO = 1.08;

/**
 * Steps in which between `low` and `high` sequences decode together. Of a range each coefficient is the least that
 * any number in it has, so that nothing that is true of one of them costs more.
 */
export interface Level {
  readonly low: number;
  readonly high: number;
  /** W + a·B: what a step takes from each sequence, without KV. */
  readonly stepMs: number;
  /** (W + a·B) / B: what a token takes of the replica. */
  readonly shareMs: number;
  /** The same × draw above rest, in watt-ms. */
  readonly shareWattMs: number;
  /** Draw above rest. */
  readonly watts: number;
}

/** One model of one pool. */
export interface Seat {
  readonly pool: Pool;
  readonly model: ModelId;
  readonly profile: EngineProfile;
  readonly replicas: number;
  readonly levels: readonly Level[];
  /** Above rest. */
  readonly prefillWatts: number;
  readonly dead: readonly Span[];
}

export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

export function seatOf(options: {
  readonly pool: Pool;
  readonly model: ModelId;
  readonly engine: ServedEngine;
  readonly requests: number;
  readonly faults: readonly WorldFault[];
}): Seat {
  const { pool, model, engine, requests, faults } = options;
  const { profile, power, replicas } = engine;
  const { restWatts } = new EngineReplica(profile, { power });
  const sequences = Math.max(1, Math.min(profile.sequencesMax, requests));
  const wattsAt = (batch: number): number => replicaWatts(power, batch) - restWatts;
  assert(wattsAt(1) >= 0, "a replica that decodes draws no less than one at rest");
  assert(wattsAt(sequences) >= wattsAt(1), "a larger batch draws no less");
  return {
    pool,
    model,
    profile,
    replicas,
    levels: levelsOf(profile, sequences, wattsAt),
    prefillWatts: prefillWatts(power) - restWatts,
    dead: faults.flatMap((fault) =>
      fault.kind === "pool-dies" && fault.pool === pool.id
        ? [{ fromMs: fault.atMs, toMs: fault.atMs + fault.forMs }]
        : [],
    ),
  };
}

function levelsOf(
  { stepBaseMs, stepMsPerSequence }: EngineProfile,
  sequences: number,
  wattsAt: (batch: number) => number,
): Level[] {
  const levels: Level[] = [];
  for (let low = 1; low <= sequences;) {
    const end = low <= SINGLE_LEVELS ? low : Math.floor(low * LEVEL_RATIO);
    const high = Math.min(sequences, Math.max(low, end));
    let shareWattMs = Infinity;
    for (let batch = low; batch <= high; batch++) {
      shareWattMs = Math.min(
        shareWattMs,
        wattsAt(batch) * (stepBaseMs / batch + stepMsPerSequence),
      );
    }
    levels.push({
      low,
      high,
      stepMs: stepBaseMs + stepMsPerSequence * low,
      shareMs: stepBaseMs / high + stepMsPerSequence,
      shareWattMs,
      watts: wattsAt(low),
    });
    low = high + 1;
  }
  return levels;
}

/** Of a span of time the part in which the pool is there, in ms. Infinite if the span is. */
export function aliveMs({ dead }: Pick<Seat, "dead">, { fromMs, toMs }: Span): number {
  const within = dead
    .map((each) => ({ fromMs: Math.max(fromMs, each.fromMs), toMs: Math.min(toMs, each.toMs) }))
    .filter((each) => each.toMs > each.fromMs)
    .toSorted((a, b) => a.fromMs - b.fromMs);
  let deadMs = 0;
  let untilMs = fromMs;
  for (const each of within) {
    deadMs += Math.max(0, each.toMs - Math.max(untilMs, each.fromMs));
    untilMs = Math.max(untilMs, each.toMs);
  }
  return toMs - fromMs - deadMs;
}

/** What a joule of IT costs at least in a span of epoch time, in nano-CNY: power and carbon, at the site. */
export function nanoPerJouleMin(
  { pool }: Pick<Seat, "pool">,
  { policy, geography }: { readonly policy: Policy; readonly geography: Geography },
  { from, to }: { readonly from: Instant; readonly to: Instant },
): { readonly energy: number; readonly carbon: number } {
  const pue = pueOf(pool);
  const grams = gramsPerJoule(pool, "location-based", geography.residualGramsPerKwh);
  // Prices go by the hour of the day: one day knows them all.
  const end = Math.min(to, from + DAY_MS);
  let power = Infinity;
  for (let at = from; at < end || at === from; at = hourEndsAt(at)) {
    power = Math.min(power, powerNanoPerJoule(pool.region, at) ?? 0);
  }
  return { energy: pue * power, carbon: pue * grams * policy.carbonNanoPerGram };
}

const DAY_MS = 86_400_000;

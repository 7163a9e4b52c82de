/** LiteLLM's latency-based routing: what it learned from its own answers. */

import type { AttemptOutcome } from "../../services/core/lease.ts";
import type { Prospect } from "../../services/core/placement/prospect.ts";
import type { Instant, PoolId } from "../../services/core/units.ts";
import { isFailure } from "./outcomes.ts";
import { drawn, rivalOf, type Baseline, type Sight, type Way } from "./rival.ts";

export const learned = {
  "litellm-latency": {
    name: "LiteLLM, latency-based",
    source: "§2.11",
    reportIntervalMs: undefined,
    // Ours are streamed. The unstreamed form goes by whole times, which is what its name says.
    variants: {
      "as published": rivalOf((sight) => latencyBased(sight, "streamed", overwriteLast)),
      "as published, unstreamed": rivalOf((sight) =>
        latencyBased(sight, "unstreamed", overwriteLast),
      ),
      "true ring": rivalOf((sight) => latencyBased(sight, "streamed", dropFirst)),
      "true ring, unstreamed": rivalOf((sight) => latencyBased(sight, "unstreamed", dropFirst)),
    },
  },
} satisfies Record<string, Baseline>;

/** Samples kept, what a time-out counts for, margin, life of the samples since the last write (pub). */
const SAMPLES_MAX = 10;
const TIMEOUT_SECONDS = 1_000;
const BUFFER = 0;
const LIFE_MS = 3_600_000;
/** A pool is left out so long after a failure (house). */
const COOL_DOWN_MS = 5_000;

type Append = (samples: readonly number[], sample: number) => readonly number[];

/** As it is written: when the list is full, the newest sample takes the place of the last one. */
function overwriteLast(samples: readonly number[], sample: number): readonly number[] {
  return [...samples.slice(0, SAMPLES_MAX - 1), sample];
}

/** As a ring of ten would be. */
function dropFirst(samples: readonly number[], sample: number): readonly number[] {
  return [...samples, sample].slice(-SAMPLES_MAX);
}

interface Samples {
  /** Seconds per completion token: of the whole answer, and to the first token. */
  latency: readonly number[];
  ttft: readonly number[];
}

/**
 * At random among the pools with the lowest mean. A streamed request sums times to first token and divides by the number
 * of whole times; a pool without samples scores 0. No limits of tokens or requests per minute are set.
 */
function latencyBased({ random }: Sight, kind: "streamed" | "unstreamed", append: Append): Way {
  const byPool = new Map<PoolId, Samples>();
  const coolUntilByPool = new Map<PoolId, Instant>();
  let writtenAt: Instant = -Infinity;
  const samplesOf = (pool: PoolId): Samples => {
    const samples = byPool.get(pool) ?? { latency: [], ttft: [] };
    byPool.set(pool, samples);
    return samples;
  };
  const scoreOf = ({ pool }: Prospect): number => {
    const { latency, ttft } = samplesOf(pool.id);
    if (latency.length === 0) return 0;
    const samples = kind === "streamed" && ttft.length > 0 ? ttft : latency;
    return samples.reduce((sum, sample) => sum + sample, 0) / latency.length;
  };
  const learn = (pool: PoolId, outcome: AttemptOutcome, now: Instant): void => {
    const samples = samplesOf(pool);
    const { result, durationMs, ttftMs, outputTokens = 0 } = outcome;
    if (isFailure(outcome)) coolUntilByPool.set(pool, now + COOL_DOWN_MS);
    if (result === "timeout") samples.latency = append(samples.latency, TIMEOUT_SECONDS);
    const isSample = result === "ok" && durationMs !== undefined && outputTokens > 0;
    if (isSample) samples.latency = append(samples.latency, durationMs / 1_000 / outputTokens);
    if (isSample && ttftMs !== undefined) {
      samples.ttft = append(samples.ttft, ttftMs / 1_000 / outputTokens);
    }
    if (isSample || result === "timeout") writtenAt = now;
  };
  return {
    pick: (among, { now }) => {
      if (now - writtenAt >= LIFE_MS) byPool.clear();
      const cool = among.filter(({ pool }) => (coolUntilByPool.get(pool.id) ?? now) <= now);
      const fit = cool.length > 0 ? cool : among;
      const least = Math.min(...fit.map(scoreOf));
      return drawn(
        fit.filter((at) => scoreOf(at) <= least * (1 + BUFFER)),
        random,
      );
    },
    onEnd: ({ lease }, outcome, now) => {
      if (outcome !== undefined) learn(lease.pool, outcome, now);
    },
  };
}

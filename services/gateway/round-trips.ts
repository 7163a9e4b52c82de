import { create } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { setTimeout as delay } from "node:timers/promises";
import type { OriginId, PoolId } from "../core/units.ts";
import type { Log } from "../io/log.ts";
import {
  FigureSchema,
  FigureSource,
  type Figure,
  type PoolService,
} from "../wire/gen/tokengrid/v1/pool_pb.js";
import type { PoolDirectory, PoolEntry } from "./pools.ts";
import type { Upstreams } from "./upstream.ts";

export interface RoundTripTimings {
  readonly probeMs: number;
  /** A sample counts for so long. */
  readonly windowMs: number;
}

export const defaultRoundTripTimings: RoundTripTimings = { probeMs: 10_000, windowMs: 60_000 };

/** The first request on a new connection pays for opening it, the second shows the way alone. */
const probesPerRound = 2;
/** Fewer say nothing: each of them may have been held up by something else. */
const samplesMin = 4;
/** More than a window of probes has; the oldest go first. */
const samplesMax = 64;
/** What a busy start adds to one round is not in all of them, so the first ones follow each other soon. */
const early = { rounds: 5, pauseMs: 300 } as const;
const probeTimeoutMs = 5_000;

interface Sample {
  readonly at: number;
  readonly ms: number;
}

/**
 * How far the pools are from where this gateway stands, by probes of `/health`. The least of a while counts, as whatever
 * else takes time only adds to it. What requests from elsewhere show of their paths is in their leases' releases.
 */
export class RoundTrips {
  readonly #timings: RoundTripTimings;
  readonly #samples = new Map<PoolId, Sample[]>();

  constructor(timings: RoundTripTimings) {
    this.#timings = timings;
  }

  observe(pool: PoolId, ms: number): void {
    const samples = this.#samples.get(pool) ?? [];
    this.#samples.set(pool, samples);
    if (samples.push({ at: performance.now(), ms }) > samplesMax) samples.shift();
  }

  /** What enough samples of the window say. */
  figures(): Record<string, Figure> {
    const now = performance.now();
    const { windowMs } = this.#timings;
    return Object.fromEntries(
      [...this.#samples].flatMap(([pool, samples]) => {
        const fresh = samples.filter(({ at }) => now - at <= windowMs);
        if (fresh.length < samplesMin) return [];
        const least = fresh.reduce((best, each) => (each.ms <= best.ms ? each : best));
        return [[pool, toFigure(least.ms, now - least.at, windowMs)]];
      }),
    );
  }

  /** Of pools that are gone. */
  #forget({ pools }: PoolDirectory): void {
    for (const pool of this.#samples.keys()) if (!pools.has(pool)) this.#samples.delete(pool);
  }

  /** Probes every pool and reports what is known, again and again, until the signal says stop. */
  async watch(options: {
    readonly origin: OriginId;
    readonly directory: PoolDirectory;
    readonly upstreams: Upstreams;
    readonly client: Client<typeof PoolService>;
    readonly log: Log;
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { origin: originId, directory, client, log, signal } = options;
    for (let round = 0; !signal.aborted;) {
      await Promise.all([...directory.pools.values()].map((pool) => this.#probe(pool, options)));
      this.#forget(directory);
      try {
        const roundTripMsByPool = this.figures();
        if (Object.keys(roundTripMsByPool).length > 0) {
          await client.observePaths(
            { originId, roundTripMsByPool },
            { timeoutMs: probeTimeoutMs, signal },
          );
        }
      } catch (error) {
        log.debug({ error: String(error) }, "round trips not reported");
      }
      if (directory.pools.size > 0) round++;
      const isEarly = round <= early.rounds;
      const pauseMs = isEarly ? early.pauseMs : this.#timings.probeMs * (0.8 + 0.4 * Math.random());
      await delay(pauseMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  async #probe(
    pool: PoolEntry,
    { origin, upstreams }: { readonly origin: OriginId; readonly upstreams: Upstreams },
  ): Promise<void> {
    for (let number = 0; number < probesPerRound; number++) {
      const ms = await roundTripMs(pool, origin, upstreams);
      if (ms !== undefined) this.observe(pool.id, ms);
    }
  }
}

/** Undefined if the pool does not answer well. */
function roundTripMs(
  { endpoint }: PoolEntry,
  origin: OriginId,
  upstreams: Upstreams,
): Promise<number | undefined> {
  return new Promise((resolve) => {
    let sentAt = performance.now();
    let ms: number | undefined;
    const call = upstreams.dispatch(
      endpoint,
      { method: "GET", path: "/health", headers: { "x-tokengrid-origin": origin } },
      {
        sent: () => {
          sentAt = performance.now();
        },
        headers: (status) => {
          if (status === 200) ms = performance.now() - sentAt;
        },
        packet: () => undefined,
        end: () => resolve(ms),
        failed: () => resolve(undefined),
      },
    );
    setTimeout(() => call.abort(), probeTimeoutMs).unref();
  });
}

function toFigure(value: number, ageMs: number, validMs: number): Figure {
  return create(FigureSchema, {
    value,
    source: FigureSource.MEASURED,
    ageMs: Math.round(ageMs),
    validMs,
  });
}

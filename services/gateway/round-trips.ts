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

const originsMax = 64;
/** The first request on a new connection pays for opening it, the second shows the way alone. */
const probesPerRound = 2;
/** What a busy start adds to one round is not in all of them, so the first ones follow each other soon. */
const early = { rounds: 5, pauseMs: 300 } as const;
const probeTimeoutMs = 5_000;

interface Sample {
  readonly at: number;
  readonly ms: number;
}

/**
 * How far the pools are, from where demand arises. The least of a while is kept: whatever else takes time only
 * adds to it, so response headers of real requests are samples too, and probes of `/health` better ones.
 */
export class RoundTrips {
  readonly #timings: RoundTripTimings;
  readonly #samples = new Map<OriginId, Map<PoolId, Sample>>();

  constructor(timings: RoundTripTimings) {
    this.#timings = timings;
  }

  observe(origin: OriginId, pool: PoolId, ms: number): void {
    let byPool = this.#samples.get(origin);
    if (byPool === undefined) {
      if (this.#samples.size >= originsMax) return;
      byPool = new Map();
      this.#samples.set(origin, byPool);
    }
    const now = performance.now();
    const known = byPool.get(pool);
    const isOld = known === undefined || now - known.at > this.#timings.windowMs;
    if (isOld || ms <= known.ms) byPool.set(pool, { at: now, ms });
  }

  /** What is known and not too old, by origin. */
  figures(): ReadonlyMap<OriginId, Record<string, Figure>> {
    const now = performance.now();
    const { windowMs } = this.#timings;
    return new Map(
      [...this.#samples].map(([origin, byPool]) => [
        origin,
        Object.fromEntries(
          [...byPool]
            .filter(([, { at }]) => now - at <= windowMs)
            .map(([pool, { at, ms }]) => [pool, toFigure(ms, now - at, windowMs)]),
        ),
      ]),
    );
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
    const { directory, client, log, signal } = options;
    for (let round = 0; !signal.aborted;) {
      await Promise.all([...directory.pools.values()].map((pool) => this.#probe(pool, options)));
      try {
        for (const [originId, roundTripMsByPool] of this.figures()) {
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
      if (ms !== undefined) this.observe(origin, pool.id, ms);
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

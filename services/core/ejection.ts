import { isEjected } from "./health.ts";
import type { Pool } from "./pool.ts";
import type { Instant, PoolId } from "./units.ts";

/** So many failures in a row at one model put a pool out. */
const FAILURES_IN_ROW_MAX = 5;
const PAUSE_MS = 30_000;
const PAUSE_MS_MAX = 300_000;
/** Most of the pools that are out together, but at least one may be. */
const EJECTED_RATIO_MAX = 0.1;

interface Record {
  readonly ejections: number;
  readonly until: Instant;
}

export type EjectionsImage = readonly (readonly [PoolId, Record])[];

/**
 * Who is out for failing, and for how long: 30 s times the number of ejections, at most 300 s. After
 * its pause the next failure puts a pool out again, and a success clears it. A pool that has been in
 * service for the longest pause begins anew.
 */
export class Ejections {
  readonly #records = new Map<PoolId, Record>();

  /** Until when the pool is out after this failure. Undefined: it stays as it is. */
  after(
    failuresInRow: number,
    pool: Pool,
    { now, pools }: { readonly now: Instant; readonly pools: number },
  ): Instant | undefined {
    if (failuresInRow < FAILURES_IN_ROW_MAX || isEjected(pool, now)) return undefined;
    if (this.#outAt(now) + 1 > Math.max(1, Math.floor(pools * EJECTED_RATIO_MAX))) return undefined;
    const before = this.#records.get(pool.id);
    const isRecent = before !== undefined && now - before.until < PAUSE_MS_MAX;
    const ejections = (isRecent ? before.ejections : 0) + 1;
    const until = now + Math.min(PAUSE_MS_MAX, PAUSE_MS * ejections);
    this.#records.set(pool.id, { ejections, until });
    return until;
  }

  image(): EjectionsImage {
    return [...this.#records];
  }

  restore(image: EjectionsImage): void {
    for (const [pool, record] of image) this.#records.set(pool, record);
  }

  #outAt(now: Instant): number {
    let out = 0;
    for (const { until } of this.#records.values()) if (until > now) out += 1;
    return out;
  }
}

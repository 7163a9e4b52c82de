import type { Dispatcher } from "../core/dispatcher.ts";
import type { Instant, PoolId } from "../core/units.ts";
import type { PoolStatusRecord } from "./registry-feed.ts";
import type { Step } from "./loop.ts";

export type DrainState = "draining" | "drained" | "cut" | "cancelled";

export interface DrainProgress {
  readonly state: DrainState;
  readonly leasesLeft: number;
  readonly leasesCut: number;
}

interface Drain {
  readonly cutAt: Instant;
  leasesCut: number;
  isOver: boolean;
}

/**
 * The drains under way. They run by the registry's word and the clock, not by the caller who began them: who leaves the
 * stream, or a restart, changes nothing.
 */
export class Drains {
  readonly #dispatcher: Dispatcher;
  readonly #step: Step;
  readonly #drains = new Map<PoolId, Drain>();

  constructor(dispatcher: Dispatcher, step: Step) {
    this.#dispatcher = dispatcher;
    this.#step = step;
  }

  /** What operators want of the pool has changed. */
  learn(pool: PoolId, { status, cutAt }: PoolStatusRecord): void {
    if (status !== "draining") this.#drains.delete(pool);
    else this.#drains.set(pool, { cutAt: cutAt ?? Infinity, leasesCut: 0, isOver: false });
  }

  /** Ends what is done, and cuts what is left at its deadline. */
  tick(now: Instant): void {
    for (const [pool, drain] of this.#drains) {
      if (drain.isOver) continue;
      if (this.#leasesAt(pool) > 0 && now >= drain.cutAt) {
        const effects = this.#step({ kind: "pool-cut", at: now, pool });
        drain.leasesCut = effects.filter(({ kind }) => kind === "revoke").length;
      }
      drain.isOver = this.#leasesAt(pool) === 0;
    }
  }

  progress(pool: PoolId): DrainProgress {
    const drain = this.#drains.get(pool);
    const leasesLeft = this.#leasesAt(pool);
    if (drain === undefined) return { state: "cancelled", leasesLeft, leasesCut: 0 };
    const { leasesCut, isOver } = drain;
    if (!isOver) return { state: "draining", leasesLeft, leasesCut };
    return { state: leasesCut > 0 ? "cut" : "drained", leasesLeft, leasesCut };
  }

  #leasesAt(id: PoolId): number {
    const pool = this.#dispatcher.pools.find((each) => each.id === id);
    if (pool === undefined) return 0;
    return [...pool.served.values()].reduce((sum, { slotsLeased }) => sum + slotsLeased, 0);
  }
}

import { assert } from "./assert.ts";
import type { Pool } from "./pool.ts";
import type { ModelId, PoolId } from "./units.ts";

/** Pools of one model, in the order in which they came. */
interface Roster {
  pools: Pool[];
  readonly placeByPool: Map<PoolId, number>;
  /** Somebody keeps the array: the next change is made to a copy. */
  isLent: boolean;
}

export interface PoolTableImage {
  readonly pools: readonly Pool[];
  /** The order of a model's pools is that in which they came to serve it. */
  readonly rosters: readonly (readonly [ModelId, readonly PoolId[]])[];
}

/**
 * The pools of a replica, found by id and by model: a placement looks at those that serve its model
 * and at no other.
 */
export class PoolTable {
  readonly #byId = new Map<PoolId, Pool>();
  readonly #rosters = new Map<ModelId, Roster>();

  get size(): number {
    return this.#byId.size;
  }

  get(id: PoolId): Pool | undefined {
    return this.#byId.get(id);
  }

  all(): readonly Pool[] {
    return [...this.#byId.values()];
  }

  /** Never changed afterwards: the caller may keep it. */
  serving(model: ModelId): readonly Pool[] {
    const roster = this.#rosters.get(model);
    if (roster === undefined) return [];
    roster.isLent = true;
    return roster.pools;
  }

  set(pool: Pool): void {
    const before = this.#byId.get(pool.id);
    this.#byId.set(pool.id, pool);
    if (before !== undefined) this.#strike(before, pool);
    for (const model of pool.served.keys()) this.#enter(pool, model);
  }

  image(): PoolTableImage {
    return {
      pools: this.all(),
      rosters: [...this.#rosters].map(([model, { pools }]) => [model, pools.map(({ id }) => id)]),
    };
  }

  restore({ pools, rosters }: PoolTableImage): void {
    for (const pool of pools) this.#byId.set(pool.id, pool);
    for (const [model, ids] of rosters) {
      const roster = this.#writable(model);
      for (const [place, id] of ids.entries()) {
        const pool = this.#byId.get(id);
        assert(pool !== undefined, "a roster lists pools of the table");
        roster.pools[place] = pool;
        roster.placeByPool.set(id, place);
      }
    }
  }

  #enter(pool: Pool, model: ModelId): void {
    const roster = this.#writable(model);
    const place = roster.placeByPool.get(pool.id) ?? roster.pools.length;
    roster.placeByPool.set(pool.id, place);
    roster.pools[place] = pool;
  }

  /** Takes it out of the rosters of models that it served before and no more. */
  #strike(before: Pool, after: Pool): void {
    for (const model of before.served.keys()) {
      if (after.served.has(model)) continue;
      const rest = this.#writable(model).pools.filter(({ id }) => id !== before.id);
      const placeByPool = new Map(rest.map(({ id }, place) => [id, place]));
      this.#rosters.set(model, { pools: rest, placeByPool, isLent: false });
    }
  }

  #writable(model: ModelId): Roster {
    let roster = this.#rosters.get(model);
    if (roster === undefined) {
      roster = { pools: [], placeByPool: new Map(), isLent: false };
      this.#rosters.set(model, roster);
    }
    if (roster.isLent) {
      roster.pools = [...roster.pools];
      roster.isLent = false;
    }
    return roster;
  }
}

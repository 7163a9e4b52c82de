import { assert } from "../core/assert.ts";
import type { Effect, Event } from "../core/events.ts";
import type { Lease } from "../core/lease.ts";
import type { Pool, PoolRegistration } from "../core/pool.ts";
import type { LeaseId, ModelId, PoolId } from "../core/units.ts";

interface Place {
  count: number;
  readonly limit: number;
}

/** Counts leases from outside, by what was granted and given back, and holds the replica to its limits. */
export class LeaseWatch {
  readonly #places = new Map<PoolId, Map<ModelId, Place>>();
  readonly #held = new Map<LeaseId, Place>();
  #fence = 0;
  #granted = 0;

  /** `share` is the part of what the pools declare that the replica may grant. */
  constructor(pools: readonly Pick<PoolRegistration, "id" | "models">[], share: number) {
    for (const { id, models } of pools) {
      const places = models.map(
        ({ model, slotsTotal }) =>
          [model, { count: 0, limit: Math.floor(slotsTotal * share) }] as const,
      );
      this.#places.set(id, new Map(places));
    }
  }

  /** Leases that were ever granted. */
  get granted(): number {
    return this.#granted;
  }

  get held(): number {
    return this.#held.size;
  }

  see(event: Event, effects: readonly Effect[]): void {
    if (event.kind === "lease-released") this.#drop(event.lease);
    for (const effect of effects) {
      if (effect.kind === "revoke") this.#drop(effect.lease.id);
      if (effect.kind === "answer" && effect.lease !== undefined) this.#hold(effect.lease);
    }
  }

  /** What the replica believes is what was granted. */
  check(pools: readonly Pool[]): void {
    let leased = 0;
    for (const pool of pools) {
      for (const { model, slotsLeased } of pool.served.values()) {
        const place = this.#places.get(pool.id)?.get(model);
        assert(slotsLeased === place?.count, "a pool's leases are those that were granted");
        leased += slotsLeased;
      }
    }
    assert(leased === this.#held.size, "no lease is of an unknown pool");
  }

  #hold(lease: Lease): void {
    assert(lease.fence > this.#fence, "fences only grow");
    this.#fence = lease.fence;
    this.#granted += 1;
    const place = this.#places.get(lease.pool)?.get(lease.model);
    assert(place !== undefined, "a lease is for what a pool serves");
    this.#held.set(lease.id, place);
    place.count += 1;
    assert(place.count <= place.limit, "a pool never has more leases than slots");
  }

  #drop(id: LeaseId): void {
    const place = this.#held.get(id);
    assert(place !== undefined, "a lease ends once");
    this.#held.delete(id);
    place.count -= 1;
  }
}

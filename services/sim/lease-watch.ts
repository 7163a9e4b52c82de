import { assert } from "../core/assert.ts";
import type { Effect, Event } from "../core/events.ts";
import type { Lease } from "../core/lease.ts";
import type { Pool, PoolRegistration } from "../core/pool.ts";
import type { LeaseId } from "../core/units.ts";

/** Counts leases from outside, by what was granted and given back, and holds the replica to its limits. */
export class LeaseWatch {
  readonly #limits: ReadonlyMap<string, number>;
  readonly #held = new Map<LeaseId, Lease>();
  readonly #counts = new Map<string, number>();
  #fence = 0;
  #granted = 0;

  /** `share` is the part of what the pools declare that the replica may grant. */
  constructor(pools: readonly Pick<PoolRegistration, "id" | "models">[], share: number) {
    this.#limits = new Map(
      pools.flatMap(({ id, models }) =>
        models.map(({ model, slotsTotal }) => {
          const limit = Math.floor(slotsTotal * share);
          return [keyOf({ pool: id, model }), limit] as const;
        }),
      ),
    );
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
        const count = this.#counts.get(keyOf({ pool: pool.id, model })) ?? 0;
        assert(slotsLeased === count, "a pool's leases are those that were granted");
        leased += slotsLeased;
      }
    }
    assert(leased === this.#held.size, "no lease is of an unknown pool");
  }

  #hold(lease: Lease): void {
    assert(lease.fence > this.#fence, "fences only grow");
    this.#fence = lease.fence;
    this.#granted += 1;
    this.#held.set(lease.id, lease);
    const key = keyOf(lease);
    const count = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, count);
    assert(count <= (this.#limits.get(key) ?? 0), "a pool never has more leases than slots");
  }

  #drop(id: LeaseId): void {
    const lease = this.#held.get(id);
    assert(lease !== undefined, "a lease ends once");
    this.#held.delete(id);
    const key = keyOf(lease);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) - 1);
  }
}

function keyOf({ pool, model }: Pick<Lease, "pool" | "model">): string {
  return `${pool}\n${model}`;
}

import { Ejections } from "./ejection.ts";
import type { Figure } from "./figure.ts";
import { withBound, withPath } from "./paths.ts";
import { PoolTable } from "./pool-table.ts";
import type { Pool, Served } from "./pool.ts";
import { PricesInForce } from "./prices-in-force.ts";
import type { Geography } from "./region.ts";
import type { Instant, ModelId, OriginId, PoolId } from "./units.ts";

/** In the same order. Entry by entry, as each grant and each end comes here: a copy of the map takes longer. */
function withServed(
  before: ReadonlyMap<ModelId, Served>,
  model: ModelId,
  served: Served,
): ReadonlyMap<ModelId, Served> {
  const after = new Map<ModelId, Served>();
  for (const [each, known] of before) after.set(each, each === model ? served : known);
  return after;
}

/** The pools of a replica with what becomes of them: each change makes another value of the pool. */
export class KnownPools extends PoolTable {
  readonly ejections = new Ejections();
  readonly prices = new PricesInForce();
  /** When the first price that a pool has now ends. */
  pricesUntil: Instant = Infinity;

  change(id: PoolId, changes: Partial<Pool>): void {
    const pool = this.get(id);
    if (pool !== undefined) this.set({ ...pool, ...changes });
  }

  changeServed(id: PoolId, model: ModelId, change: (served: Served) => Served): void {
    const pool = this.get(id);
    const served = pool?.served.get(model);
    if (pool === undefined || served === undefined) return;
    this.set({ ...pool, served: withServed(pool.served, model, change(served)) });
  }

  /** As they are at an instant, prices included, without a change to what is known. */
  at(now: Instant): readonly Pool[] {
    const pools = this.all();
    return now < this.pricesUntil ? pools : pools.map((pool) => this.prices.withPrices(pool, now));
  }

  refreshPrices(now: Instant): void {
    this.prices.forgetEnded(now);
    this.pricesUntil = this.prices.nextStartAfter(now);
    for (const pool of this.all()) this.setPriced(pool, now);
  }

  setPriced(pool: Pool, now: Instant): void {
    const priced = this.prices.withPrices(pool, now);
    this.set(priced);
    for (const { price } of priced.served.values()) {
      if (price !== undefined) this.pricesUntil = Math.min(this.pricesUntil, price.until);
    }
  }

  ejectIfFailing(id: PoolId, model: ModelId, now: Instant): void {
    const pool = this.get(id);
    const failuresInRow = pool?.served.get(model)?.observed?.failuresInRow;
    if (pool === undefined || failuresInRow === undefined) return;
    const until = this.ejections.after(failuresInRow, pool, { now, pools: this.size });
    if (until !== undefined) this.set({ ...pool, ejectedUntil: until });
  }

  boundPath(
    id: PoolId,
    origin: OriginId,
    headersMs: number,
    at: { readonly geography: Geography; readonly now: Instant },
  ): void {
    const pool = this.get(id);
    if (pool === undefined) return;
    const bounded = withBound(pool, origin, headersMs, at);
    if (bounded !== pool) this.set(bounded);
  }

  observePaths(
    origin: OriginId,
    roundTripMsByPool: ReadonlyMap<PoolId, Figure>,
    now: Instant,
  ): void {
    for (const [id, found] of roundTripMsByPool) {
      const pool = this.get(id);
      const better = pool && withPath(pool, origin, found, now);
      if (better !== undefined && better !== pool) this.set(better);
    }
  }
}

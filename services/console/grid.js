/** What the page knows of the grid: the pools as last heard, the placements as they came, and their rates. */

import { list, number, toCity, toPlaced, toPool } from "./messages.js";

/**
 * @typedef {import("./rpc.js").Json} Json
 * @typedef {import("./messages.js").Place} Place
 * @typedef {import("./messages.js").Pool} Pool
 * @typedef {import("./messages.js").Served} Served
 * @typedef {import("./messages.js").Placed} Placed
 *
 * @typedef {object} Flow
 * @property {string} origin
 * @property {string} region
 * @property {number} perSecond
 * @property {number} missPerSecond how many of them will probably miss an objective
 */

/** A flow forgets half of what it carried in this time. */
const flowHalfLifeMs = 8_000;
const flowPerSecondMin = 0.02;
/** Below this a share says nothing. */
const placedPerSecondMin = 0.1;
const placedMax = 400;
export const seriesSeconds = 300;

/** One number per second and name, for the last five minutes. */
export class Series {
  /** @type {number[]} */ times = [];
  /** @type {Record<string, (number | null)[]>} */ values = {};

  /**
   * @param {number} second
   * @param {Record<string, number | undefined>} row
   */
  add(second, row) {
    this.times.push(second);
    for (const [name, value] of Object.entries(row)) (this.values[name] ??= []).push(value ?? null);
    if (this.times.length <= seriesSeconds) return;
    this.times.shift();
    for (const column of Object.values(this.values)) column.shift();
  }
}

export class Grid {
  /** @type {Map<string, Pool>} */ pools = new Map();
  /** @type {Map<string, Place>} */ regions = new Map();
  /** @type {Map<string, Place>} */ cities = new Map();
  /** @type {Placed[]} newest first */ placed = [];
  /** @type {Map<string, Flow>} */ flows = new Map();
  series = new Series();
  /** @type {Map<string, { tokens: number, at: number, perSecond: number }>} */
  #tokenRates = new Map();
  #placements = 0;
  #unplaceable = 0;
  #costNano = 0n;
  #decayedAt = 0;

  /** @param {readonly Json[]} cities rows of the preset */
  setCities(cities) {
    for (const city of cities) this.cities.set(String(city["id"]), toCity(city));
  }

  /**
   * @param {Json} message a `WatchResponse`
   * @param {number} now
   */
  applyPools(message, now) {
    const pools = list(message["pools"]).map(toPool);
    this.pools = new Map(pools.map((pool) => [pool.id, pool]));
    for (const pool of pools) {
      this.regions.set(pool.region.id, pool.region);
      for (const served of pool.models) this.#measure(pool, served, now);
    }
  }

  /**
   * @param {Json} message a `WatchDecisionsResponse`
   * @param {number} now
   * @returns {{ placed: readonly Placed[], fresh: readonly Placed[] }} oldest first; fresh ones are of this moment
   */
  applyDecisions(message, now) {
    const placed = list(message["decisions"]).map((each) => toPlaced(each, now));
    const fresh = placed.filter(({ at }) => now - at < flowHalfLifeMs);
    const skipped = number(message["skipped"]);
    // What was skipped is taken to be like what was shown.
    const weight = fresh.length === 0 ? 1 : (fresh.length + skipped) / fresh.length;
    for (const each of fresh) this.#count(each, weight);
    this.placed = [...placed.toReversed(), ...this.placed].slice(0, placedMax);
    return { placed, fresh };
  }

  /**
   * Closes a second: what was counted in it becomes a point of each series.
   * @param {number} now
   */
  tick(now) {
    const tokens = this.tokensPerSecond(now);
    const placements = this.#placements;
    const west = this.#placedOn("west");
    const placed = west + this.#placedOn("east");
    this.series.add(Math.floor(now / 1_000), {
      placements,
      unplaceable: this.#unplaceable,
      tokensEast: tokens.east,
      tokensWest: tokens.west,
      westShare: placed < placedPerSecondMin ? undefined : west / placed,
      costNano: placements === 0 ? undefined : Number(this.#costNano) / placements,
    });
    this.#placements = 0;
    this.#unplaceable = 0;
    this.#costNano = 0n;
    this.#decay(now);
  }

  /**
   * Output tokens per second that the engines report, by side.
   * @param {number} now
   */
  tokensPerSecond(now) {
    const sums = { east: 0, west: 0 };
    for (const pool of this.pools.values()) {
      const side = pool.region.side === "east" ? "east" : "west";
      for (const { model } of pool.models) {
        const rate = this.#tokenRates.get(`${pool.id} ${model}`);
        if (rate !== undefined && now - rate.at < flowHalfLifeMs) sums[side] += rate.perSecond;
      }
    }
    return sums;
  }

  /** @param {string} origin */
  originOf(origin) {
    return this.cities.get(origin) ?? this.regions.get(origin);
  }

  /**
   * @param {Pool} pool
   * @param {Served} served
   * @param {number} now
   */
  #measure(pool, { model, outputTokens, outputAgeMs }, now) {
    if (outputTokens === undefined) return;
    const key = `${pool.id} ${model}`;
    const at = now - outputAgeMs;
    const before = this.#tokenRates.get(key);
    if (before === undefined || outputTokens < before.tokens) {
      this.#tokenRates.set(key, { tokens: outputTokens, at, perSecond: 0 });
      return;
    }
    const seconds = (at - before.at) / 1_000;
    // The same report again: its age is rounded, so its instant moves a little.
    if (seconds < 0.25) return;
    const perSecond = (outputTokens - before.tokens) / seconds;
    this.#tokenRates.set(key, { tokens: outputTokens, at, perSecond });
  }

  /**
   * @param {Placed} placed
   * @param {number} weight
   */
  #count({ origin, region, pool, costNano, missProbability = 0 }, weight) {
    if (pool === "") {
      this.#unplaceable += weight;
      return;
    }
    this.#placements += weight;
    this.#costNano += BigInt(Math.round(Number(costNano) * weight));
    const key = `${origin} ${region}`;
    const flow = this.flows.get(key) ?? { origin, region, perSecond: 0, missPerSecond: 0 };
    const perSecond = (weight * Math.LN2 * 1_000) / flowHalfLifeMs;
    flow.perSecond += perSecond;
    flow.missPerSecond += perSecond * missProbability;
    this.flows.set(key, flow);
  }

  /** Per second, over the last moments: one second alone holds too few. @param {string} side */
  #placedOn(side) {
    let perSecond = 0;
    for (const flow of this.flows.values()) {
      if (this.regions.get(flow.region)?.side === side) perSecond += flow.perSecond;
    }
    return perSecond;
  }

  /** @param {number} now */
  #decay(now) {
    const kept = 0.5 ** (Math.max(0, now - (this.#decayedAt || now)) / flowHalfLifeMs);
    this.#decayedAt = now;
    for (const [key, flow] of this.flows) {
      flow.perSecond *= kept;
      flow.missPerSecond *= kept;
      if (flow.perSecond < flowPerSecondMin) this.flows.delete(key);
    }
  }
}

/**
 * One figure for a pool from those of its models.
 * @param {Pool} pool
 * @param {(served: Served) => number | undefined} figure
 * @param {(served: Served) => number} [weight] 1 adds up, anything else is a mean
 */
export function overModels(pool, figure, weight) {
  let sum = 0;
  let weights = 0;
  let isKnown = false;
  for (const served of pool.models) {
    const value = figure(served);
    if (value === undefined) continue;
    isKnown = true;
    const share = weight?.(served) ?? 1;
    sum += value * share;
    weights += share;
  }
  if (!isKnown) return undefined;
  if (weight === undefined) return sum;
  return weights === 0 ? undefined : sum / weights;
}

/** What the page knows of the grid: the pools as last heard, the placements as they came, and their rates. */

/**
 * @typedef {import("./rpc.js").Json} Json
 *
 * @typedef {object} Place
 * @property {string} id
 * @property {string} nameEn
 * @property {string} nameZh
 * @property {number} latitude
 * @property {number} longitude
 * @property {string} side `east` or `west`
 * @property {string} role `demand-hub`, `supply-hub` or `city`
 *
 * @typedef {object} Served
 * @property {string} model
 * @property {number | undefined} running
 * @property {number | undefined} waiting
 * @property {number | undefined} kvRatio 0..1
 * @property {number} slotsTotal
 * @property {number} slotsLeased
 * @property {number} slotsGrantable
 * @property {number | undefined} ttftMs from our own attempts
 * @property {number | undefined} itlMs
 * @property {number | undefined} ttftGap (observed - declared) / declared
 * @property {number | undefined} itlGap
 * @property {number} attempts
 * @property {number | undefined} errorRatio
 * @property {number | undefined} outputTokens ever made, as the engine counts them
 * @property {number} outputAgeMs
 * @property {Record<string, number>} priceByClass pico-CNY per token
 * @property {string} priceSlot
 *
 * @typedef {object} Pool
 * @property {string} id
 * @property {string} vendor
 * @property {Place} region
 * @property {string} accelerator
 * @property {string} status `ready`, `cordoned` or `draining`
 * @property {string} health `fresh`, `stale`, `lost` or `ejected`
 * @property {number | undefined} reportAgeMs
 * @property {number} confidence 0..1
 * @property {readonly Served[]} models
 * @property {number | undefined} powerWatts
 * @property {number | undefined} pue
 * @property {number | undefined} greenShare 0..1
 * @property {number} locationGramsPerJoule
 * @property {number} marketGramsPerJoule
 * @property {ReadonlyMap<string, number>} roundTripMsByOrigin
 *
 * @typedef {object} Placed
 * @property {string} attempt
 * @property {string} request
 * @property {string} tenant
 * @property {string} model
 * @property {string} serviceClass
 * @property {string} origin
 * @property {string} pool empty if unplaceable
 * @property {string} region
 * @property {bigint} costNano
 * @property {string} row
 * @property {number | undefined} missProbability that an objective of its class is missed, 0..1
 * @property {number} at when it was decided, by this page's clock, in ms
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
  #placementsEast = 0;
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
    this.series.add(Math.floor(now / 1_000), {
      placements,
      unplaceable: this.#unplaceable,
      tokensEast: tokens.east,
      tokensWest: tokens.west,
      westShare: placements === 0 ? undefined : 1 - this.#placementsEast / placements,
      costNano: placements === 0 ? undefined : Number(this.#costNano) / placements,
    });
    this.#placements = 0;
    this.#placementsEast = 0;
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
    if (this.regions.get(region)?.side === "east") this.#placementsEast += weight;
    const key = `${origin} ${region}`;
    const flow = this.flows.get(key) ?? { origin, region, perSecond: 0, missPerSecond: 0 };
    const perSecond = (weight * Math.LN2 * 1_000) / flowHalfLifeMs;
    flow.perSecond += perSecond;
    flow.missPerSecond += perSecond * missProbability;
    this.flows.set(key, flow);
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

/** @param {Json} json @returns {Place} */
function toCity(json) {
  return {
    id: String(json["id"]),
    nameEn: String(json["name_en"]),
    nameZh: String(json["name_zh"]),
    latitude: number(json["lat"]),
    longitude: number(json["lon"]),
    side: String(json["side"]),
    role: "city",
  };
}

/** @param {Json} json @returns {Pool} */
function toPool(json) {
  const registration = record(json["registration"]);
  const region = record(json["region"]);
  return {
    id: string(registration["poolId"]),
    vendor: string(registration["vendorId"]),
    region: {
      id: string(registration["regionId"]),
      nameEn: string(region["nameEn"]),
      nameZh: string(region["nameZh"]),
      latitude: number(region["latitudeDegrees"]),
      longitude: number(region["longitudeDegrees"]),
      side: string(region["side"]),
      role: string(region["policyRole"]),
    },
    accelerator: string(registration["accelerator"]),
    status: enumWord(json["status"], "POOL_STATUS_"),
    health: enumWord(json["health"], "POOL_HEALTH_"),
    reportAgeMs: optional(json["reportAgeMs"]),
    confidence: number(json["confidence"]),
    models: list(json["models"]).map(toServed),
    powerWatts: figure(json["powerWatts"]),
    pue: figure(json["powerUsageEffectiveness"]),
    greenShare: figure(json["greenShare"]),
    locationGramsPerJoule: number(json["locationGramsPerJoule"]),
    marketGramsPerJoule: number(json["marketGramsPerJoule"]),
    roundTripMsByOrigin: new Map(
      Object.entries(record(json["roundTripMsByOrigin"])).map(([origin, each]) => [
        origin,
        figure(each) ?? Number.NaN,
      ]),
    ),
  };
}

/** @param {Json} json @returns {Served} */
function toServed(json) {
  const report = record(json["report"]);
  const observed = json["observed"] === undefined ? undefined : record(json["observed"]);
  const gaps = record(json["discrepancyRatioByFigure"]);
  const output = record(report["outputTokensTotal"]);
  return {
    model: string(json["modelId"]),
    running: figure(report["runningRequests"]),
    waiting: figure(report["waitingRequests"]),
    kvRatio: figure(report["kvUsedRatio"]),
    slotsTotal: number(json["slotsTotal"]),
    slotsLeased: number(json["slotsLeased"]),
    slotsGrantable: number(json["slotsGrantable"]),
    ttftMs: observed && number(observed["ttftMs"]),
    itlMs: observed && number(observed["itlMs"]),
    ttftGap: optional(gaps["ttft"]),
    itlGap: optional(gaps["tpot"]),
    attempts: number(observed?.["attempts"]),
    errorRatio: observed && number(observed["errorRatio"]),
    outputTokens: figure(report["outputTokensTotal"]),
    outputAgeMs: number(output["ageMs"]),
    priceByClass: Object.fromEntries(
      Object.entries(record(json["pricePicoPerTokenByClass"])).map(([name, pico]) => [
        name,
        number(pico),
      ]),
    ),
    priceSlot: string(json["priceSlot"]),
  };
}

/**
 * @param {Json} json
 * @param {number} now
 * @returns {Placed}
 */
function toPlaced(json, now) {
  return {
    attempt: string(json["attemptId"]),
    request: string(json["requestId"]),
    tenant: string(json["tenantId"]),
    model: string(json["modelId"]),
    serviceClass: enumWord(json["serviceClass"], "SERVICE_CLASS_"),
    origin: string(json["originId"]),
    pool: string(json["poolId"]),
    region: string(json["regionId"]),
    costNano: BigInt(string(json["costNano"]) || "0"),
    row: string(json["policyRow"]),
    missProbability: optional(json["missProbability"]),
    at: now - number(json["ageMs"]),
  };
}

/**
 * `POOL_STATUS_READY` without its prefix, as `ready`.
 * @param {unknown} value
 * @param {string} prefix
 */
export function enumWord(value, prefix) {
  return string(value).replace(prefix, "").toLowerCase().replaceAll("_", "-");
}

/** Protobuf's JSON leaves out what is 0 and writes 64-bit numbers as text. @param {unknown} value */
export function number(value) {
  return value === undefined ? 0 : Number(value);
}

/** @param {unknown} value */
export function optional(value) {
  return value === undefined ? undefined : Number(value);
}

/** @param {unknown} value */
export function string(value) {
  return typeof value === "string" ? value : "";
}

/** @param {unknown} value @returns {Json} */
export function record(value) {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

/** @param {unknown} value @returns {readonly Json[]} */
export function list(value) {
  return Array.isArray(value) ? value : [];
}

/** The value of a `Figure`, undefined where there is none. @param {unknown} value */
export function figure(value) {
  return value === undefined ? undefined : number(record(value)["value"]);
}

/** The services' messages as the page uses them: names without prefixes, numbers as numbers, unknown as undefined. */

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
 * @property {Record<string, number>} priceByClass pico-CNY per token, by `uncachedInput`, `response` and so on
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
 */

/** @param {Json} json @returns {Place} */
export function toCity(json) {
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
export function toPool(json) {
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
export function toPlaced(json, now) {
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

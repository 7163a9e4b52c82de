import type { Policy } from "./placement/policy.ts";
import type { Pool, PowerModel } from "./pool.ts";
import type { Region } from "./region.ts";
import type { Instant } from "./units.ts";

export const JOULES_PER_KWH = 3_600_000;
const HOUR_MS = 3_600_000;
const PUE_MAX = 1_000;
/** All regions keep the time of Asia/Shanghai, which has no daylight saving. */
const LOCAL_OFFSET_MS = 8 * HOUR_MS;

/** Draw of one accelerator while it decodes a batch, in watts. */
export function acceleratorWatts(model: PowerModel, batch: number): number {
  const { idleWatts, nominalWatts, steepness, midpointLog2 } = model;
  const rise = 1 + Math.exp(-steepness * (Math.log2(Math.max(1, batch)) - midpointLog2));
  return idleWatts + (nominalWatts - idleWatts) / rise;
}

/** Draw of one replica while it decodes a batch, its part of the node included, in watts of IT. */
export function replicaWatts(model: PowerModel, batch: number): number {
  return model.accelerators * acceleratorWatts(model, batch) + model.hostWatts;
}

/** Prefill runs at the rated power, whatever the batch. */
export function prefillWatts(model: PowerModel): number {
  return model.accelerators * model.nominalWatts + model.hostWatts;
}

/** Draw of a loaded accelerator without a request: the middle of 80 to 110 W, general knowledge. */
const REST_WATTS_PER_ACCELERATOR = 95;

/** Draw of a replica with nothing to do, in watts of IT. */
export function restWatts(model: PowerModel): number {
  return model.accelerators * REST_WATTS_PER_ACCELERATOR + model.hostWatts;
}

/** What a replica draws above that while it decodes a batch; below 1, the batch is the part of the time that it does. */
export function wattsAboveRest(model: PowerModel, batch: number): number {
  const watts = replicaWatts(model, batch) - restWatts(model);
  return Math.max(0, watts) * Math.min(1, batch);
}

/**
 * Site energy / IT energy. The target of its hub stands in for a pool that has not said. No site is better than 1 or worse
 * than 1,000, whatever its vendor says.
 */
export function pueOf(pool: Pool): number {
  return Math.min(PUE_MAX, Math.max(1, pool.pue?.value ?? pool.region.pueTarget));
}

/**
 * Grams of CO2 per joule at the site. `location-based` is the grid of the province; `market-based`
 * is the national residual mix for what was not bought green: a share that nobody has shown is
 * counted as not bought. The two are never mixed.
 */
export function gramsPerJoule(
  pool: Pool,
  account: Policy["carbonAccount"],
  residualGramsPerKwh: number,
): number {
  const gramsPerKwh =
    account === "location-based"
      ? pool.region.gridGramsPerKwh
      : residualGramsPerKwh * (1 - Math.min(1, pool.greenShare?.value ?? 0));
  return gramsPerKwh / JOULES_PER_KWH;
}

/** Price of power in the local hour, in nano-CNY per joule. Undefined: not known for the region. */
export function powerNanoPerJoule(region: Region, now: Instant): number | undefined {
  const nanoPerKwh = region.powerNanoPerKwhByHour[localHour(now)];
  return nanoPerKwh === undefined ? undefined : nanoPerKwh / JOULES_PER_KWH;
}

/** 0..23, Asia/Shanghai. */
export function localHour(now: Instant): number {
  return Math.floor((now + LOCAL_OFFSET_MS) / HOUR_MS) % 24;
}

/** When the local hour ends. */
export function hourEndsAt(now: Instant): Instant {
  return (Math.floor(now / HOUR_MS) + 1) * HOUR_MS;
}

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import type { EngineProfile } from "../core/pool.ts";
import type { Geography, Origin, Region } from "../core/region.ts";
import type { Calendar, DayKind } from "../core/settlement/pricing/price-book.ts";
import type { OriginId, RegionId } from "../core/units.ts";
import { checked, ConfigError } from "./config.ts";

/** Numbers that come with the product, each with its source in the file. */
const presetFolder = new URL("../../deploy/preset/", import.meta.url);

/** Path of a file of the preset. */
export function presetPath(name: string): string {
  return fileURLToPath(new URL(name, presetFolder));
}

/** Reads a JSON file of the preset. Fields that the schema does not name are notes for people. */
export function readPreset<Schema extends z.ZodType>(
  name: string,
  schema: Schema,
): z.output<Schema> {
  const path = presetPath(name);
  let data: unknown;
  try {
    data = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new ConfigError(path, [cause instanceof Error ? cause.message : String(cause)]);
  }
  return checked(path, data, schema);
}

const side = z.enum(["east", "west"]);
const hours = z.array(z.tuple([z.int().min(0).max(23), z.int().min(1).max(24)]));

const clustersSchema = z.array(
  z.object({
    id: z.string(),
    name_en: z.string(),
    name_zh: z.string(),
    hub: z.string(),
    side,
    policy_role: z.enum(["demand_hub", "supply_hub"]),
    lat: z.number(),
    lon: z.number(),
    pue_target: z.number().min(1),
    electricity_cny_per_kwh: z.object({
      peak: z.number().positive(),
      flat: z.number().positive(),
      valley: z.number().positive(),
      avg: z.number().positive(),
      hours_local: z.object({ peak: hours, flat: hours, valley: hours }).nullable(),
    }),
    grid_kgco2_per_kwh: z.object({ value: z.number().positive() }),
  }),
);

const citiesSchema = z.array(
  z.object({
    id: z.string(),
    name_en: z.string(),
    name_zh: z.string(),
    side,
    demand_area: z.string(),
    lat: z.number(),
    lon: z.number(),
  }),
);

const rttSchema = z.object({
  pairs: z.array(
    z.object({ city: z.string(), cluster: z.string(), rtt_ms: z.number().positive() }),
  ),
});

type Cluster = z.output<typeof clustersSchema>[number];

/** Demand area whose users are at home in a hub, by the hub's English name. */
const demandAreaByHub: Readonly<Record<string, string>> = {
  "Beijing-Tianjin-Hebei": "Beijing-Tianjin-Hebei",
  "Yangtze River Delta": "Yangtze River Delta",
  "Guangdong-Hong Kong-Macao Greater Bay Area": "Greater Bay Area",
  "Chengdu-Chongqing": "Chengdu-Chongqing",
  Guizhou: "Southwest",
  "Inner Mongolia": "North",
  Gansu: "Northwest",
  Ningxia: "Northwest",
};

/** National residual mix of 2023: the average without market-traded non-fossil power. */
const RESIDUAL_GRAMS_PER_KWH = 609.6;

/**
 * The ten national clusters, the 31 cities of demand and the round trips between them. A region's own
 * demand area is the one around its hub: whom a supply hub also serves is a preference of the policy, and
 * does not make those users local.
 */
export function loadGeography(): Geography {
  const clusters = readPreset("clusters.json", clustersSchema);
  const cities = readPreset("cities.json", citiesSchema);
  const { pairs } = readPreset("rtt.json", rttSchema);
  const roundTripMsPrior = new Map<OriginId, Map<RegionId, number>>();
  for (const { city, cluster, rtt_ms } of pairs) {
    const row = roundTripMsPrior.get(city as OriginId) ?? new Map<RegionId, number>();
    roundTripMsPrior.set(city as OriginId, row.set(cluster as RegionId, rtt_ms));
  }
  return {
    regions: new Map(clusters.map((each) => [each.id as RegionId, toRegion(each)])),
    origins: new Map(cities.map((each) => [each.id as OriginId, toOrigin(each)])),
    roundTripMsPrior,
    residualGramsPerKwh: RESIDUAL_GRAMS_PER_KWH,
  };
}

function toRegion(cluster: Cluster): Region {
  const hubEn = cluster.hub.replace(/ \(.*/, "");
  const demandArea = demandAreaByHub[hubEn];
  if (demandArea === undefined) {
    throw new ConfigError(presetPath("clusters.json"), [`${cluster.id}: unknown hub ${hubEn}`]);
  }
  return {
    id: cluster.id as RegionId,
    nameEn: cluster.name_en,
    nameZh: cluster.name_zh,
    hub: cluster.hub,
    side: cluster.side,
    policyRole: cluster.policy_role === "demand_hub" ? "demand-hub" : "supply-hub",
    demandAreas: new Set([demandArea]),
    latitudeDegrees: cluster.lat,
    longitudeDegrees: cluster.lon,
    gridGramsPerKwh: cluster.grid_kgco2_per_kwh.value * 1_000,
    pueTarget: cluster.pue_target,
    isMainland: true,
    powerNanoPerKwhByHour: Array.from({ length: 24 }, (_, hour) =>
      Math.round(powerCnyPerKwh(cluster, hour) * 1e9),
    ),
  };
}

/** Where the hours are not known, the mean price holds all day. */
function powerCnyPerKwh({ electricity_cny_per_kwh: price }: Cluster, hour: number): number {
  const { hours_local: bands } = price;
  if (bands === null) return price.avg;
  const covers = (band: z.output<typeof hours>): boolean =>
    band.some(([from, to]) => from <= hour && hour < to);
  if (covers(bands.peak)) return price.peak;
  return covers(bands.valley) ? price.valley : price.flat;
}

function toOrigin(city: z.output<typeof citiesSchema>[number]): Origin {
  return {
    id: city.id as OriginId,
    nameEn: city.name_en,
    nameZh: city.name_zh,
    demandArea: city.demand_area,
    side: city.side,
    latitudeDegrees: city.lat,
    longitudeDegrees: city.lon,
  };
}

const day = z.iso.date();

const calendarSchema = z.object({
  id: z.string(),
  version: z.int().positive(),
  timezone: z.string(),
  offset_minutes: z.int(),
  covers_from: day,
  covers_to: day,
  days: z.array(
    z.object({ from: day, to: day, kind: z.enum(["workday", "weekend", "holiday", "makeup"]) }),
  ),
});

const DAY_MS = 86_400_000;

/** Holidays and make-up workdays of mainland China, with the offset from UTC. */
export function loadCalendar(id = "cn-2026"): Calendar {
  const calendar = readPreset(`calendar-${id}.json`, calendarSchema);
  const kindByDate = new Map<string, DayKind>();
  for (const { from, to, kind } of calendar.days) {
    for (let at = Date.parse(from); at <= Date.parse(to); at += DAY_MS) {
      kindByDate.set(new Date(at).toISOString().slice(0, 10), kind);
    }
  }
  const midnightUs = (date: string): bigint =>
    BigInt(Date.parse(date) - calendar.offset_minutes * 60_000) * 1_000n;
  return {
    id: calendar.id,
    version: BigInt(calendar.version),
    timeZone: calendar.timezone,
    offsetMinutes: calendar.offset_minutes,
    kindByDate,
    coversFromUs: midnightUs(calendar.covers_from),
    coversToUs: midnightUs(calendar.covers_to),
  };
}

/** A replica whose coefficients are known in full. */
export interface EngineRow {
  readonly id: string;
  /** Kind of accelerator, such as `h100-sxm`. */
  readonly accelerator: string;
  readonly accelerators: number;
  readonly profile: EngineProfile;
  readonly quality: "fit" | "derived" | "roofline";
  readonly source: string;
}

const known = z.number().min(0).nullable();

const enginesSchema = z.object({
  replicas: z.array(
    z.object({
      id: z.string(),
      gpu: z.string(),
      gpus: z.int().positive(),
      W: known,
      a: known,
      h: known,
      p: known,
      chunk: known,
      kv_tokens: known,
      max_seqs: known,
      quality: z.enum(["fit", "derived", "roofline"]),
      src: z.string(),
    }),
  ),
});

/** Rows of `engine-params.json` by id. A row with an unknown coefficient cannot run and is left out. */
export function loadEngineProfiles(): ReadonlyMap<string, EngineRow> {
  const { replicas } = readPreset("engine-params.json", enginesSchema);
  const rows = new Map<string, EngineRow>();
  for (const { id, gpu, gpus, quality, src, ...row } of replicas) {
    const profile = toProfile(row);
    if (profile === undefined) continue;
    rows.set(id, { id, accelerator: gpu, accelerators: gpus, profile, quality, source: src });
  }
  return rows;
}

type Coefficients = Pick<
  z.output<typeof enginesSchema>["replicas"][number],
  "W" | "a" | "h" | "p" | "chunk" | "kv_tokens" | "max_seqs"
>;

function toProfile({ W, a, h, p, chunk, ...row }: Coefficients): EngineProfile | undefined {
  const { kv_tokens, max_seqs } = row;
  if (W === null || a === null || h === null || p === null) return undefined;
  if (chunk === null || kv_tokens === null || max_seqs === null) return undefined;
  return {
    stepBaseMs: W,
    stepMsPerSequence: a,
    stepMsPerKvToken: h,
    prefillMsPerToken: p,
    prefillChunkTokens: chunk,
    kvTokensTotal: kv_tokens,
    sequencesMax: max_seqs,
  };
}

import { z } from "zod";
import type { Figure } from "../core/figure.ts";
import type { EngineProfile, PoolRegistration, PowerModel, ServedModel } from "../core/pool.ts";
import type { PriceBook } from "../core/settlement/pricing/price-book.ts";
import type { BookId, Instant, ModelId, PoolId, RegionId, VendorId } from "../core/units.ts";
import { systemClock } from "../io/clock.ts";
import { ConfigError, readConfig } from "../io/config.ts";
import { presetPriceBooks, timeOfUseNames } from "../io/preset-prices.ts";
import { loadEngineProfiles, presetPath } from "../io/preset.ts";
import { honest, type Counting } from "./served-attempt.ts";

/** Vendors, pools and prices of a simulated fleet. */
export interface Fleet {
  readonly vendors: readonly Vendor[];
  readonly pools: readonly FleetPool[];
  readonly priceBooks: readonly PriceBook[];
  /** Names that stand for a model, such as `sim-chat`. */
  readonly aliases: ReadonlyMap<string, ModelId>;
}

export interface Vendor {
  readonly id: VendorId;
  readonly name: string;
  /** What it claims beside what it served. */
  readonly claims: Counting;
}

/** A pool before anybody serves it: it has no address and no agent yet. */
export interface FleetPool {
  readonly registration: Omit<PoolRegistration, "endpoint" | "generation">;
  readonly engines: ReadonlyMap<ModelId, ServedEngine>;
}

/** What serves one model: replicas that are all alike. */
export interface ServedEngine {
  readonly replicas: number;
  readonly profile: EngineProfile;
  readonly power: PowerModel;
  readonly quality: "fit" | "derived" | "roofline";
  /** Which engine is meant by it. */
  readonly standsFor: string;
}

/** A declaration stands until it is replaced; the protocol carries ages of up to 49 days. */
const DECLARED_VALID_MS = 30 * 86_400_000;

const id = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "expected lower-case letters, digits, -");
const coefficient = z.number().min(0);
const count = z.int().positive();

const profileSchema = z.strictObject({
  stepBaseMs: coefficient,
  stepMsPerSequence: coefficient,
  stepMsPerKvToken: coefficient,
  prefillMsPerToken: z.number().positive(),
  prefillChunkTokens: count,
  kvTokensTotal: count,
  sequencesMax: count,
});

const engineSchema = z.strictObject({
  accelerator: z.string(),
  accelerators: count,
  /** Of `engine-params.json`; or else `profile`. */
  row: z.string().optional(),
  profile: profileSchema.optional(),
  quality: z.enum(["fit", "derived", "roofline"]),
  standsFor: z.string(),
  note: z.string().optional(),
});

const powerSchema = z.strictObject({
  idleWatts: z.number().min(0),
  nominalWatts: z.number().positive(),
  steepness: z.number().positive(),
  midpointLog2: z.number(),
  hostWattsEach: z.number().min(0),
});

const poolSchema = z.strictObject({
  id,
  vendor: id,
  region: id,
  accelerator: z.string().max(64),
  pue: z.number().min(1).optional(),
  greenShare: z.number().min(0).max(1).optional(),
  dataClasses: z.array(z.enum(["general", "personal", "important", "core"])).min(1),
  mlpsLevel: z.int().min(1).max(5),
  tags: z.array(z.string().min(1).max(64)),
  serves: z
    .array(z.strictObject({ model: z.string(), engine: z.string(), replicas: count, slots: count }))
    .min(1),
});

const fleetSchema = z.strictObject({
  vendors: z.array(
    z.strictObject({
      id,
      name: z.string().min(1),
      /** A vendor that claims more than it served. Absent: an honest one. */
      claims: z.strictObject({ inflatePpm: z.int().min(0).max(1_000_000) }).default(honest),
    }),
  ),
  power: z.record(z.string(), powerSchema),
  engines: z.record(z.string(), engineSchema),
  models: z.record(z.string(), z.strictObject({ version: z.string(), contextTokensMax: count })),
  aliases: z.record(z.string(), z.string()),
  prices: z.strictObject({
    effectiveFrom: z.iso.datetime({ offset: true }),
    books: z.array(
      z.strictObject({
        vendor: id,
        timeOfUse: z.enum(timeOfUseNames),
        offers: z.array(
          z.strictObject({
            model: z.string(),
            list: z.tuple([z.string(), z.string()]),
            discountPpm: z.int().min(0).max(1_000_000),
          }),
        ),
      }),
    ),
  }),
  pools: z.array(poolSchema).min(1),
});

type FleetFile = z.output<typeof fleetSchema>;
type PoolFile = z.output<typeof poolSchema>;

/** Path of the fleet that comes with the product. */
export const presetFleetPath: string = presetPath("fleet.yaml");

/**
 * Reads a fleet; `now` is when its pools declare what they declare. Throws a `ConfigError` with every
 * mistake, also for a name that nothing in the file defines.
 */
export function loadFleet(path: string = presetFleetPath, now: Instant = systemClock.now()): Fleet {
  const file = readConfig(path, fleetSchema);
  const mistakes = mistakesIn(file);
  if (mistakes.length > 0) throw new ConfigError(path, mistakes);
  const effectiveFromUs = BigInt(Date.parse(file.prices.effectiveFrom)) * 1_000n;
  return {
    vendors: file.vendors.map((vendor) => ({ ...vendor, id: vendor.id as VendorId })),
    pools: file.pools.map((pool) => toFleetPool(pool, file, now)),
    priceBooks: presetPriceBooks(
      file.prices.books.map(({ vendor, timeOfUse, offers }) => ({
        book: `${vendor}-list` as BookId,
        vendor: vendor as VendorId,
        timeOfUse,
        effectiveFromUs,
        offers: offers.map(({ model, list: [listModel, listVendor], discountPpm }) => ({
          model: model as ModelId,
          list: { model: listModel, vendor: listVendor },
          discountPpm,
        })),
      })),
    ),
    aliases: new Map(Object.entries(file.aliases).map(([name, model]) => [name, model as ModelId])),
  };
}

/** Names that are used and not defined, and pools whose engines do not run on one kind of node. */
function mistakesIn(file: FleetFile): string[] {
  const mistakes: string[] = [];
  const rows = loadEngineProfiles();
  const vendors = new Set(file.vendors.map((each) => each.id));
  const sold = new Set(
    file.prices.books.flatMap(({ vendor, offers }) =>
      offers.map(({ model }) => `${vendor} ${model}`),
    ),
  );
  for (const [name, { row, profile, accelerator }] of Object.entries(file.engines)) {
    const isRow = row !== undefined && rows.has(row);
    if (isRow === (profile !== undefined)) {
      mistakes.push(`engines.${name}: expected a whole row of engine-params.json or a profile`);
    }
    if (!(accelerator in file.power)) mistakes.push(`engines.${name}: no power of ${accelerator}`);
  }
  for (const [alias, model] of Object.entries(file.aliases)) {
    if (!(model in file.models)) mistakes.push(`aliases.${alias}: unknown model ${model}`);
  }
  for (const pool of file.pools) {
    if (!vendors.has(pool.vendor)) mistakes.push(`${pool.id}: unknown vendor ${pool.vendor}`);
    mistakes.push(...servedMistakes(pool, file));
    for (const { model } of pool.serves) {
      if (!sold.has(`${pool.vendor} ${model}`)) {
        mistakes.push(`${pool.id}: ${pool.vendor} has no price for ${model}`);
      }
    }
  }
  return mistakes;
}

function servedMistakes(pool: PoolFile, file: FleetFile): string[] {
  const mistakes: string[] = [];
  const nodes = new Set<string>();
  for (const { model, engine: name } of pool.serves) {
    if (!(model in file.models)) mistakes.push(`${pool.id}: unknown model ${model}`);
    const engine = file.engines[name];
    if (engine === undefined) mistakes.push(`${pool.id}: unknown engine ${name}`);
    else nodes.add(`${engine.accelerators} ${engine.accelerator}`);
  }
  if (nodes.size > 1) {
    mistakes.push(`${pool.id}: expected one kind of node, found ${[...nodes].join(", ")}`);
  }
  return mistakes;
}

function toFleetPool(pool: PoolFile, file: FleetFile, now: Instant): FleetPool {
  const engines = new Map(
    pool.serves.map(({ model, ...serves }) => [model as ModelId, toServedEngine(serves, file)]),
  );
  const declared = (value: number | undefined): Figure | undefined =>
    value === undefined
      ? undefined
      : { value, source: "declared", observedAt: now, validMs: DECLARED_VALID_MS };
  return {
    registration: {
      id: pool.id as PoolId,
      vendor: pool.vendor as VendorId,
      region: pool.region as RegionId,
      engine: "vllm",
      models: [...engines].map(([model, engine]) => toServedModel(model, engine, file)),
      tags: new Set(pool.tags),
      accelerator: pool.accelerator,
      pue: declared(pool.pue),
      greenShare: declared(pool.greenShare),
      dataClasses: new Set(pool.dataClasses),
      mlpsLevel: pool.mlpsLevel,
      powerModel: [...engines.values()][0]?.power,
    },
    engines,
  };
}

function toServedModel(model: ModelId, engine: ServedEngine, file: FleetFile): ServedModel {
  const { version = "", contextTokensMax = 0 } = file.models[model] ?? {};
  return {
    model,
    engineModelName: model,
    version,
    contextTokensMax,
    slotsTotal: engine.replicas * engine.profile.sequencesMax,
    replicas: engine.replicas,
    engineProfile: engine.profile,
    capabilities: new Set(["continuous-usage", "cache-report"]),
  };
}

/** `mistakesIn` has seen that every name is defined. */
function toServedEngine(
  serves: { readonly engine: string; readonly replicas: number; readonly slots: number },
  file: FleetFile,
): ServedEngine {
  const engine = file.engines[serves.engine];
  const power = file.power[engine?.accelerator ?? ""];
  const profile = engine?.profile ?? loadEngineProfiles().get(engine?.row ?? "")?.profile;
  if (engine === undefined || power === undefined || profile === undefined) {
    throw new ConfigError("fleet", [`engine ${serves.engine} is not whole`]);
  }
  const { hostWattsEach, ...curve } = power;
  return {
    replicas: serves.replicas,
    profile: { ...profile, sequencesMax: Math.min(profile.sequencesMax, serves.slots) },
    power: {
      ...curve,
      accelerators: engine.accelerators,
      hostWatts: hostWattsEach * engine.accelerators,
    },
    quality: engine.quality,
    standsFor: engine.standsFor,
  };
}

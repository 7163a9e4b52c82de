import { assert } from "../core/assert.ts";
import type { Geography, Region } from "../core/region.ts";
import type { PriceBook } from "../core/settlement/pricing/price-book.ts";
import type { Instant, ModelId, PoolId, RegionId, VendorId } from "../core/units.ts";
import { loadGeography } from "../io/preset.ts";
import { loadFleet, type Fleet, type FleetPool } from "./fleet.ts";
import type { WorldFault } from "./world-options.ts";

/** Fleets that policies are compared on. */
export const fleetNames = ["homogeneous", "east-west", "faults"] as const;

export type FleetName = (typeof fleetNames)[number];

export interface TestedFleet {
  readonly fleet: Fleet;
  readonly geography: Geography;
  /** What goes wrong in a run so long. */
  readonly faults: (durationMs: number) => readonly WorldFault[];
}

/**
 * - `homogeneous`: pools that are alike in engine, price and place.
 * - `east-west`: the preset.
 * - `faults`: the same, and two of its pools die for a while, one vendor gets dearer, and reports stay away once.
 *
 * `scale` multiplies the replicas of every pool.
 */
export function testedFleet(
  name: FleetName,
  { startAt, scale = 1 }: { readonly startAt: Instant; readonly scale?: number },
): TestedFleet {
  const preset = scaled(loadFleet(undefined, startAt), scale);
  const geography = loadGeography();
  switch (name) {
    case "homogeneous":
      return { ...alike(preset, geography), faults: () => [] };
    case "east-west":
      return { fleet: preset, geography, faults: () => [] };
    case "faults":
      return {
        fleet: preset,
        geography,
        faults: (durationMs) => faultsOf(preset, startAt, durationMs),
      };
  }
}

export function scaled(fleet: Fleet, factor: number): Fleet {
  const times = (count: number): number => Math.ceil(count * factor);
  const pools = fleet.pools.map(({ registration, engines }) => ({
    registration: {
      ...registration,
      models: registration.models.map((model) => {
        const replicas = times(model.replicas);
        return { ...model, replicas, slotsTotal: (model.slotsTotal / model.replicas) * replicas };
      }),
    },
    engines: new Map(
      [...engines].map(([model, engine]) => [
        model,
        { ...engine, replicas: times(engine.replicas) },
      ]),
    ),
  }));
  return { ...fleet, pools };
}

/** One pool of the preset, so many times. */
const pattern = "west-inner-mongolia-1" as PoolId;
const copies = 10;

/** Whose prices have no hours. */
const vendorOfAll = "yunmeng" as VendorId;
const everywhere = "everywhere" as RegionId;
const roundTripMsOfAll = 20;

/** A single region that is local to everybody. */
function alike(
  preset: Fleet,
  geography: Geography,
): { readonly fleet: Fleet; readonly geography: Geography } {
  const like = preset.pools.find(({ registration }) => registration.id === pattern);
  const model = geography.regions.get("yrd-demo" as RegionId);
  assert(like !== undefined && model !== undefined, "the preset has the pool and the region");
  const origins = [...geography.origins.values()];
  const region: Region = {
    ...model,
    id: everywhere,
    nameEn: "Everywhere",
    nameZh: "各地",
    demandAreas: new Set(origins.map(({ demandArea }) => demandArea)),
  };
  const path = new Map([[everywhere, roundTripMsOfAll]]);
  return {
    fleet: {
      ...preset,
      pools: Array.from({ length: copies }, (_, at) => copyOf(like, preset, at)),
    },
    geography: {
      ...geography,
      regions: new Map([[everywhere, region]]),
      roundTripMsPrior: new Map(origins.map(({ id }) => [id, path])),
    },
  };
}

/** Of the models that the vendor sells. */
function copyOf(
  { registration, engines }: FleetPool,
  { priceBooks }: Fleet,
  at: number,
): FleetPool {
  const sold = new Set(priceBooks.filter(({ vendor }) => vendor === vendorOfAll).flatMap(soldIn));
  return {
    registration: {
      ...registration,
      id: `alike-${String(at + 1).padStart(2, "0")}` as PoolId,
      vendor: vendorOfAll,
      region: everywhere,
      models: registration.models.filter(({ model }) => sold.has(model)),
    },
    engines: new Map([...engines].filter(([model]) => sold.has(model))),
  };
}

function soldIn({ lines }: PriceBook): ModelId[] {
  return lines.map(({ model }) => model);
}

/** A large western and a large eastern pool; the vendor of the first of them. */
const diesFirst = "west-inner-mongolia-1" as PoolId;
const diesLater = "east-gba-1" as PoolId;
const getsDearer = "qilian" as VendorId;

/** In parts of the run: when it begins, and for how long. */
function faultsOf(fleet: Fleet, startAt: Instant, durationMs: number): WorldFault[] {
  const during = (from: number, to: number) => ({
    atMs: from * durationMs,
    forMs: (to - from) * durationMs,
  });
  const dearerAtMs = 0.5 * durationMs;
  const books = fleet.priceBooks.filter(({ vendor }) => vendor === getsDearer);
  return [
    { kind: "pool-dies", pool: diesFirst, ...during(0.2, 0.35) },
    { kind: "pool-dies", pool: diesLater, ...during(0.6, 0.75) },
    { kind: "reports-lost", ...during(0.4, 0.42) },
    ...books.map((book): WorldFault => {
      const dearer = changedPrices(book, { startsAt: startAt + dearerAtMs, percent: 130n });
      return { kind: "prices-change", book: dearer, atMs: dearerAtMs };
    }),
  ];
}

/** The next version of a book: from then on everything costs so many per cent of what it did. */
export function changedPrices(
  book: PriceBook,
  { startsAt, percent }: { readonly startsAt: Instant; readonly percent: bigint },
): PriceBook {
  return {
    ...book,
    version: book.version + 1n,
    effectiveFromUs: BigInt(Math.ceil(startsAt)) * 1_000n,
    lines: book.lines.map((line) => ({
      ...line,
      tiers: line.tiers.map((tier) => ({
        ...tier,
        pricePicoPerToken: (tier.pricePicoPerToken * percent) / 100n,
      })),
    })),
  };
}

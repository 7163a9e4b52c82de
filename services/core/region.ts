import type { OriginId, RegionId } from "./units.ts";

/** What decides in the policy, not the longitude: Chengdu-Chongqing is west and a demand hub. */
export type PolicyRole = "demand-hub" | "supply-hub";
export type Side = "east" | "west";

/** A data-centre cluster of a national computing hub. The unit of residency. */
export interface Region {
  readonly id: RegionId;
  readonly nameEn: string;
  readonly nameZh: string;
  readonly hub: string;
  readonly side: Side;
  readonly policyRole: PolicyRole;
  /** Demand areas whose users count as local here, such as `Yangtze River Delta`. */
  readonly demandAreas: ReadonlySet<string>;
  readonly latitudeDegrees: number;
  readonly longitudeDegrees: number;
  /** Of the province's grid, location-based, in grams of CO2 per kWh. */
  readonly gridGramsPerKwh: number;
  /** Target of the hub, used until a pool reports its own. */
  readonly pueTarget: number;
  readonly isMainland: boolean;
  /** Price of power by local hour of the day, 24 values, in nano-CNY per kWh. */
  readonly powerNanoPerKwhByHour: readonly number[];
}

/** A place where demand arises. */
export interface Origin {
  readonly id: OriginId;
  readonly nameEn: string;
  readonly nameZh: string;
  readonly demandArea: string;
  readonly side: Side;
  readonly latitudeDegrees: number;
  readonly longitudeDegrees: number;
}

/** The map that placement is decided on. Static: a change is a new release of the preset. */
export interface Geography {
  readonly regions: ReadonlyMap<RegionId, Region>;
  readonly origins: ReadonlyMap<OriginId, Origin>;
  /** Prior round trips, `estimated` by distance, in ms. A measured one replaces it. */
  readonly roundTripMsPrior: ReadonlyMap<OriginId, ReadonlyMap<RegionId, number>>;
  /** Grams of CO2 per kWh of the national residual mix, for market-based accounts. */
  readonly residualGramsPerKwh: number;
}

/** Before there is a map no pool has a place, and none joins. */
export const NO_GEOGRAPHY: Geography = {
  regions: new Map(),
  origins: new Map(),
  roundTripMsPrior: new Map(),
  residualGramsPerKwh: 0,
};

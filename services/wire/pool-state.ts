import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { deviationsOf, fittedCoefficients, type EngineFit } from "../core/engine-fit.ts";
import { gramsPerJoule } from "../core/energy.ts";
import {
  believed,
  discrepancyRatios,
  healthOf,
  slotsGrantable,
  slotsTotalOf,
  type PoolHealth,
} from "../core/health.ts";
import { shadowNanoPerSlotMs } from "../core/placement/congestion.ts";
import { loadOf } from "../core/placement/load.ts";
import type { Policy } from "../core/placement/policy.ts";
import type { Observed, Pool, PoolRegistration, PriceEstimate, Served } from "../core/pool.ts";
import type { Geography, Region } from "../core/region.ts";
import { entries } from "../core/table.ts";
import { cacheBelief, trustOf } from "../core/trust.ts";
import type { Instant } from "../core/units.ts";
import { fromMap, words } from "./field.ts";
import * as gen from "./gen/tokengrid/v1/pool_pb.js";
import {
  fromFigure,
  fromModelReport,
  fromPoolRegistration,
  poolStatuses,
  toAgeMs,
} from "./pool.ts";

export const poolHealths = words<PoolHealth, gen.PoolHealth>({
  fresh: gen.PoolHealth.FRESH,
  stale: gen.PoolHealth.STALE,
  lost: gen.PoolHealth.LOST,
  ejected: gen.PoolHealth.EJECTED,
});

/** What a pool is seen by. */
export interface Viewpoint {
  readonly now: Instant;
  readonly policy: Policy;
  readonly geography: Geography;
}

/** A pool as the replica that answers knows it. */
export function fromPool(pool: Pool, view: Viewpoint): gen.Pool {
  const { now, geography } = view;
  const { residualGramsPerKwh } = geography;
  return create(gen.PoolSchema, {
    registration: fromPoolRegistration(registrationOf(pool), now),
    status: poolStatuses.fromWord(pool.status),
    health: poolHealths.fromWord(healthOf(pool, now)),
    confidence: believed(pool, now),
    ...(pool.reportedAt === undefined ? {} : { reportAgeMs: toAgeMs(now - pool.reportedAt) }),
    reportSequence: BigInt(pool.reportSequence),
    models: [...pool.served.values()].map((served) => fromServed(pool, served, view)),
    ...(pool.powerWatts === undefined ? {} : { powerWatts: fromFigure(pool.powerWatts, now) }),
    ...(pool.energyJoulesTotal === undefined
      ? {}
      : { energyJoulesTotal: fromFigure(pool.energyJoulesTotal, now) }),
    ...(pool.pue === undefined ? {} : { powerUsageEffectiveness: fromFigure(pool.pue, now) }),
    ...(pool.greenShare === undefined ? {} : { greenShare: fromFigure(pool.greenShare, now) }),
    locationGramsPerJoule: gramsPerJoule(pool, "location-based", residualGramsPerKwh),
    marketGramsPerJoule: gramsPerJoule(pool, "market-based", residualGramsPerKwh),
    region: fromRegion(pool.region),
    roundTripMsByOrigin: fromMap(pool.roundTripMsFrom, (figure) => fromFigure(figure, now)),
  });
}

function registrationOf(pool: Pool): PoolRegistration {
  return { ...pool, region: pool.region.id, models: [...pool.served.values()] };
}

function fromServed(
  pool: Pool,
  served: Served,
  { now, policy }: Viewpoint,
): MessageInitShape<typeof gen.ServedModelStateSchema> {
  const { report, observed, price } = served;
  return {
    modelId: served.model,
    slotsTotal: Math.round(slotsTotalOf(served)),
    slotsGrantable: slotsGrantable(pool, served, now),
    slotsLeased: served.slotsLeased,
    ...(report === undefined ? {} : { report: fromModelReport(report, now) }),
    ...(observed === undefined ? {} : { observed: fromObserved(observed, served) }),
    discrepancyRatioByFigure: fromMap(discrepancyRatios(served), (ratio) => ratio),
    shadowNanoPerSlotMs: shadowNanoPerSlotMs(policy.congestion, loadOf(pool, served, now)),
    ...(price === undefined ? {} : fromPrice(price)),
  };
}

function fromObserved(
  observed: Observed,
  served: Served,
): MessageInitShape<typeof gen.ObservedSchema> {
  const { ttftMs, itlMs, errorRatio, attempts, tokensPerSecond, errors, fit } = observed;
  const { trust, parts } = trustOf(served);
  return {
    ...(ttftMs === undefined ? {} : { ttftMs }),
    ...(itlMs === undefined ? {} : { itlMs }),
    ...(tokensPerSecond === undefined ? {} : { tokensPerSecond }),
    errorRatio,
    attempts: BigInt(attempts),
    predictionErrorByFigure: Object.fromEntries(
      entries(errors).flatMap(([figure, error]) =>
        error === undefined ? [] : [[figure, { ...error, attempts: BigInt(error.attempts) }]],
      ),
    ),
    trust,
    trustByPart: parts,
    slotsProven: observed.delivery.slotsProven,
    cacheBelief: cacheBelief(observed),
    ...(fit === undefined ? {} : { engineFit: fromFit(fit) }),
  };
}

function fromFit(fit: EngineFit): MessageInitShape<typeof gen.EngineFitSchema> {
  const deviations = deviationsOf(fit);
  const values = { ...fit.profile, schedulingMs: fit.schedulingMs };
  return {
    observations: BigInt(fit.observations),
    coefficients: Object.fromEntries(
      fittedCoefficients.map((name) => [
        name,
        { value: values[name], deviation: deviations[name] },
      ]),
    ),
    errorOfFit: fit.errorOfFit,
    errorOfPlain: fit.errorOfPlain,
  };
}

/** The largest number that the field holds; prices beyond it are none that anybody pays. */
const picoMax = 2 ** 63 - 1_024;

function fromPrice(price: PriceEstimate) {
  const whole = (pico: number): bigint => BigInt(Math.round(Math.min(pico, picoMax)));
  return {
    pricePicoPerTokenByClass: {
      uncachedInput: whole(price.uncachedInputPicoPerToken),
      cacheRead: whole(price.cacheReadPicoPerToken),
      cacheWrite: whole(price.cacheWritePicoPerToken),
      response: whole(price.outputPicoPerToken),
      reasoning: whole(price.outputPicoPerToken),
    },
    priceBookId: price.book,
    priceVersion: BigInt(price.version),
    priceSlot: price.slot,
  };
}

function fromRegion(region: Region): MessageInitShape<typeof gen.RegionInfoSchema> {
  return {
    regionId: region.id,
    nameEn: region.nameEn,
    nameZh: region.nameZh,
    hub: region.hub,
    side: region.side,
    policyRole: region.policyRole,
    latitudeDegrees: region.latitudeDegrees,
    longitudeDegrees: region.longitudeDegrees,
  };
}

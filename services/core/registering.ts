import { priorRoundTrip } from "./network.ts";
import type { Figure } from "./figure.ts";
import type {
  EngineProfile,
  Pool,
  PoolRegistration,
  PowerModel,
  Served,
  ServedModel,
} from "./pool.ts";
import type { Geography, Region } from "./region.ts";
import type { Instant, ModelId, OriginId, RegionId } from "./units.ts";

/** A pool joins with a share of 0: nothing is granted before the registry says how much may be. */
export function joined(
  registration: PoolRegistration,
  before: Pool | undefined,
  options: {
    readonly region: Region;
    readonly geography: Geography;
    readonly now: Instant;
    readonly leasedOf: (model: ModelId) => number;
  },
): Pool {
  const { region, geography, now, leasedOf } = options;
  const { models, region: _region, ...facts } = registration;
  const powerModel = facts.powerModel && within(facts.powerModel);
  const isNewRun = before === undefined || registration.generation > before.generation;
  return {
    ...facts,
    ...(powerModel !== facts.powerModel && { powerModel }),
    region,
    served: new Map(
      models.map((each) => [each.model, toServed(each, before?.served.get(each.model), leasedOf)]),
    ),
    status: before?.status ?? "ready",
    share: before?.share ?? 0,
    reportedAt: before?.reportedAt,
    reportSequence: isNewRun ? 0 : before.reportSequence,
    reportValidMs: before?.reportValidMs ?? 1,
    powerWatts: before?.powerWatts,
    energyJoulesTotal: before?.energyJoulesTotal,
    roundTripMsFrom: withPriors(before?.roundTripMsFrom, region.id, geography, now),
    ejectedUntil: before?.ejectedUntil,
  };
}

function toServed(
  model: ServedModel,
  before: Served | undefined,
  leasedOf: (model: ModelId) => number,
): Served {
  const { engineProfile } = model;
  return {
    ...model,
    ...(engineProfile !== undefined && { engineProfile: within(engineProfile) }),
    report: before?.report,
    promptTokensPerSecond: before?.promptTokensPerSecond,
    outputTokensPerSecond: before?.outputTokensPerSecond,
    slotsLeased: leasedOf(model.model),
    promptsDoneAt: before?.promptsDoneAt ?? 0,
    waitNanoPerMsLeased: before?.waitNanoPerMsLeased ?? 0,
    grantedSinceReport: before?.grantedSinceReport ?? 0,
    endedSinceReport: before?.endedSinceReport ?? 0,
    slotsLeasedElsewhere: before?.slotsLeasedElsewhere ?? 0,
    observed: before?.observed,
    price: before?.price,
  };
}

/** As of the figures of a report: products of a few such numbers are still numbers. */
const DECLARED_MAX = 1e18;

/** The same value where nothing is beyond all reason. */
function within<Numbers extends EngineProfile | PowerModel>(declared: Numbers): Numbers {
  const pairs = Object.entries(declared) as [string, number][];
  if (pairs.every(([, value]) => Math.abs(value) <= DECLARED_MAX)) return declared;
  const bounded = pairs.map(([name, value]) => [
    name,
    Math.min(DECLARED_MAX, Math.max(-DECLARED_MAX, value)),
  ]);
  return Object.fromEntries(bounded) as Numbers;
}

/** What geography says of paths that nobody measured. */
function withPriors(
  known: ReadonlyMap<OriginId, Figure> | undefined,
  region: RegionId,
  { roundTripMsPrior }: Geography,
  now: Instant,
): ReadonlyMap<OriginId, Figure> {
  const paths = new Map(known);
  for (const [origin, priorByRegion] of roundTripMsPrior) {
    const value = priorByRegion.get(region);
    const isMeasured = paths.get(origin)?.source === "measured";
    if (value === undefined || isMeasured) continue;
    paths.set(origin, priorRoundTrip(value, now));
  }
  return paths;
}

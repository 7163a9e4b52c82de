import fc from "fast-check";
import { fitFrom, type EngineFit } from "../../../services/core/engine-fit.ts";
import type { EngineProfile, Pool } from "../../../services/core/pool.ts";
import type { Geography } from "../../../services/core/region.ts";
import type { OriginId, VendorId } from "../../../services/core/units.ts";
import {
  figure,
  modelReport,
  northgrid,
  observed,
  poolServing,
  price,
  shanghai,
} from "../fixtures.ts";

/** One of eight is the other. */
function seldom<Value>(value: Value, other: Value): fc.Arbitrary<Value> {
  return fc.nat(7).map((draw) => (draw === 0 ? other : value));
}

const anyFigures = {
  status: seldom("ready", "cordoned"),
  share: seldom(1, 0.3),
  leased: fc.integer({ min: 0, max: 7 }),
  running: fc.constantFrom(0, 2, 6, 40),
  waiting: fc.constantFrom(0, 0, 3),
  granted: fc.integer({ min: 0, max: 9 }),
  ended: fc.integer({ min: 0, max: 9 }),
  kvUsedRatio: fc.constantFrom(undefined, 0, 0.3, 0.8),
  promptTokensPerSecond: fc.constantFrom(0, 2_000, 15_000),
  roundTripMs: fc.constantFrom(undefined, 4, 17.5, 30, 38),
  // Few prices, so that other terms decide, and now and then the seed.
  pico: fc.constantFrom(8_000_000, 8_200_000, 9_000_000),
  isBracketed: fc.boolean(),
  greenShare: fc.constantFrom(undefined, 0.3, 0.8),
  engine: fc.constantFrom("declared", "reported", "assumed"),
  offsetMs: fc.constantFrom(0, 0, -200, 350),
  tpotRatio: fc.constantFrom(1, 1, 0.7, 2.5),
  errorRatio: fc.constantFrom(0, 0, 0.3),
  slotsProven: fc.constantFrom(2, 1_000),
  isFitted: fc.boolean(),
  waitNanoPerMsEach: fc.constantFrom(0, 0.7, 100, 500),
  promptsDoneAt: fc.constantFrom(0, 0, 700, 9_000),
  elsewhere: fc.constantFrom(0, 3),
  powerWatts: fc.constantFrom(undefined, undefined, 4_000),
  replicas: fc.integer({ min: 1, max: 4 }),
  sequencesMax: fc.constantFrom(4, 256),
  kvTokensTotal: fc.constantFrom(20_000, 400_000),
  reportedAt: seldom(0, -6_000),
};

type Figures = {
  readonly [Name in keyof typeof anyFigures]: ReturnType<
    (typeof anyFigures)[Name]["generate"]
  >["value"];
};

/** Pools that differ in all that a decision depends on, in any region of the map. */
export function anyPool(geography: Geography): fc.Arbitrary<Pool> {
  const anyRegion = fc.constantFrom(...geography.regions.values());
  return fc
    .tuple(fc.nat(1_000), anyRegion, fc.record(anyFigures))
    .map(([number, region, figures]): Pool => ({
      ...toPool(`pool-${number}`, figures),
      region,
      vendor: number % 2 === 0 ? northgrid : ("southgrid" as VendorId),
    }));
}

function toPool(id: string, figures: Figures): Pool {
  const roundTrip = figures.roundTripMs === undefined ? [] : [figure(figures.roundTripMs)];
  return poolServing(id, servedBy(figures), {
    status: figures.status as Pool["status"],
    share: figures.share,
    reportedAt: figures.reportedAt,
    greenShare: figures.greenShare === undefined ? undefined : figure(figures.greenShare),
    powerWatts: figures.powerWatts === undefined ? undefined : figure(figures.powerWatts),
    ...(figures.powerWatts === undefined ? {} : { powerModel: undefined }),
    roundTripMsFrom: new Map(
      [shanghai, "beijing" as OriginId].flatMap((origin) =>
        roundTrip.map((each) => [origin, each] as const),
      ),
    ),
  });
}

function servedBy(figures: Figures) {
  const { engine, replicas, sequencesMax, kvTokensTotal } = figures;
  const base = poolServing("base", {}).served.values().next().value?.engineProfile;
  const times = engine === "reported" ? { ttftMsP50: figure(300), itlMsMean: figure(30) } : {};
  const engineProfile =
    base && engine === "declared" ? { ...base, sequencesMax, kvTokensTotal } : undefined;
  return {
    replicas,
    engineProfile,
    report: modelReport({
      runningRequests: figure(figures.running),
      waitingRequests: figure(Math.max(0, figures.waiting - 4)),
      kvUsedRatio: figures.kvUsedRatio === undefined ? undefined : figure(figures.kvUsedRatio),
      ...times,
    }),
    promptTokensPerSecond: figures.promptTokensPerSecond,
    slotsLeased: figures.leased,
    slotsLeasedElsewhere: figures.elsewhere,
    waitNanoPerMsLeased: figures.leased * figures.waitNanoPerMsEach,
    promptsDoneAt: figures.promptsDoneAt,
    grantedSinceReport: figures.granted,
    endedSinceReport: figures.ended,
    observed: observed({
      attempts: 8,
      errorRatio: figures.errorRatio,
      ttftOffsetMs: figures.offsetMs,
      tpotRatio: figures.tpotRatio,
      fit: figures.isFitted && engineProfile !== undefined ? fittedTo(engineProfile) : undefined,
      delivery: {
        slotsProven: figures.slotsProven,
        shortRatio: figures.errorRatio,
        cachedTokensForetold: 0,
        cachedTokensFound: 0,
      },
    }),
    price: price({ outputPicoPerToken: figures.pico, brackets: bracketsOf(figures) }),
  };
}

/** A fit that foretells better than the profile it began from. */
function fittedTo(prior: EngineProfile): EngineFit {
  const profile = { ...prior, stepBaseMs: 1.7 * prior.stepBaseMs, prefillMsPerToken: 0.03 };
  const known = { observations: 20, errorOfFit: 0.05, errorOfPlain: 0.3 };
  return { ...fitFrom(prior), ...known, profile, schedulingMs: 12 };
}

function bracketsOf({ isBracketed, pico }: Figures) {
  if (!isBracketed) return [];
  const whole = { ...price(), outputTokensFrom: 0, outputTokensTo: Number.MAX_SAFE_INTEGER };
  return [
    { ...whole, inputTokensFrom: 0, inputTokensTo: 8_000, outputPicoPerToken: pico },
    {
      ...whole,
      inputTokensFrom: 8_001,
      inputTokensTo: Number.MAX_SAFE_INTEGER,
      outputPicoPerToken: 2 * pico,
    },
  ];
}

import fc from "fast-check";
import type { Pool } from "../../../services/core/pool.ts";
import type { Geography } from "../../../services/core/region.ts";
import type { OriginId, VendorId } from "../../../services/core/units.ts";
import { figure, modelReport, northgrid, poolServing, price, shanghai } from "../fixtures.ts";

const anyFigures = {
  status: fc.constantFrom("ready", "ready", "ready", "cordoned"),
  share: fc.constantFrom(0, 0.3, 1),
  leased: fc.integer({ min: 0, max: 8 }),
  running: fc.integer({ min: 0, max: 300 }),
  waiting: fc.integer({ min: 0, max: 9 }),
  granted: fc.integer({ min: 0, max: 9 }),
  ended: fc.integer({ min: 0, max: 9 }),
  kvUsedRatio: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
  promptTokensPerSecond: fc.integer({ min: 0, max: 30_000 }),
  roundTripMs: fc.option(fc.double({ min: 0, max: 50, noNaN: true }), { nil: undefined }),
  pico: fc.integer({ min: 1, max: 30_000_000 }),
  isBracketed: fc.boolean(),
  greenShare: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
  engine: fc.constantFrom("declared", "reported", "assumed"),
  offsetMs: fc.double({ min: -200, max: 500, noNaN: true }),
  tpotRatio: fc.double({ min: 0.5, max: 3, noNaN: true }),
  powerWatts: fc.option(fc.integer({ min: 100, max: 9_000 }), { nil: undefined }),
  replicas: fc.integer({ min: 1, max: 4 }),
  sequencesMax: fc.constantFrom(4, 256),
  kvTokensTotal: fc.constantFrom(20_000, 400_000),
  reportedAt: fc.integer({ min: -11_000, max: 0 }),
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
  return {
    replicas,
    engineProfile:
      base && engine === "declared" ? { ...base, sequencesMax, kvTokensTotal } : undefined,
    report: modelReport({
      runningRequests: figure(figures.running),
      waitingRequests: figure(Math.max(0, figures.waiting - 4)),
      kvUsedRatio: figures.kvUsedRatio === undefined ? undefined : figure(figures.kvUsedRatio),
      ...times,
    }),
    promptTokensPerSecond: figures.promptTokensPerSecond,
    slotsLeased: figures.leased,
    grantedSinceReport: figures.granted,
    endedSinceReport: figures.ended,
    observed: {
      attempts: 8,
      ttftMs: undefined,
      itlMs: undefined,
      errorRatio: 0,
      tokensPerSecond: undefined,
      ttftOffsetMs: figures.offsetMs,
      tpotRatio: figures.tpotRatio,
      failuresInRow: 0,
      observedAt: 0,
    },
    price: price({ outputPicoPerToken: figures.pico, brackets: bracketsOf(figures) }),
  };
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

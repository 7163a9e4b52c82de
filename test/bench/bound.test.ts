import fc from "fast-check";
import { expect, test } from "vitest";
import { boundOf } from "../../bench/bound/bound.ts";
import { problemOf } from "../../bench/bound/formulate.ts";
import { valued, type Duals } from "../../bench/bound/lagrangian.ts";
import type { Problem } from "../../bench/bound/problem.ts";
import type { Geography } from "../../services/core/region.ts";
import type { OriginId, RegionId } from "../../services/core/units.ts";
import type { Arrival } from "../../services/core/workload.ts";
import { objectives } from "../core/fixtures.ts";
import {
  boundIn,
  chat,
  leastCostNano,
  optionsOf,
  smallWorld,
  startAt,
  type SmallWorld,
} from "./bound-exact.ts";

const seed = Number(process.env.SEED ?? 1);

/** What a bound may lack for rounding. */
const ROUNDING = 1 + 1e-9;

/** Any prices of capacity, of the size that they have: a request takes about a second and costs about a million. */
function drawnDuals(problem: Problem, draws: readonly number[]): Duals {
  return problem.replicaMs.map((capacityMs, index) =>
    capacityMs === Infinity ? 0 : Math.max(0, draws[index % draws.length] ?? 0),
  );
}

const draws = fc.array(fc.double({ min: -2_000, max: 5_000, noNaN: true }), {
  minLength: 11,
  maxLength: 11,
});

test("boundOf() is below the cheapest of all ways to serve a few requests", async () => {
  await fc.assert(
    fc.asyncProperty(smallWorld, async (world) => {
      const { boundNano } = await boundIn(world, 10);
      expect(boundNano).toBeLessThanOrEqual(leastCostNano(world) * ROUNDING);
    }),
    { numRuns: 150, seed },
  );
});

test("valued() is below it at any prices of capacity", () => {
  fc.assert(
    fc.property(smallWorld, draws, (world, prices) => {
      const problem = problemOf(optionsOf(world));
      const { boundNano } = valued(problem, drawnDuals(problem, prices));
      expect(boundNano).toBeLessThanOrEqual(leastCostNano(world) * ROUNDING);
    }),
    { numRuns: 300, seed },
  );
});

test("valued() never rises when there is more of something, nor falls when something is dearer", () => {
  fc.assert(
    fc.property(
      smallWorld,
      draws,
      fc.double({ min: 1, max: 3, noNaN: true }),
      (world, all, factor) => {
        const problem = problemOf(optionsOf(world));
        const duals = drawnDuals(problem, all);
        const { boundNano } = valued(problem, duals);
        const times = (capacityMs: Float64Array): Float64Array =>
          capacityMs.map((each) => each * factor);
        const more = { ...problem, replicaMs: times(problem.replicaMs) };
        const { nanoPerJoule } = problem.energy;
        const dearer = {
          ...problem,
          energy: { ...problem.energy, nanoPerJoule: times(nanoPerJoule) },
          demands: problem.demands.map((demand) => ({
            ...demand,
            refusedNano: factor * demand.refusedNano,
            choices: demand.choices.map((choice) => ({
              ...choice,
              moneyNano: factor * choice.moneyNano,
            })),
          })),
        };
        expect(valued(more, duals).boundNano).toBeLessThanOrEqual(boundNano);
        expect(valued(dearer, duals).boundNano).toBeGreaterThanOrEqual(boundNano);
      },
    ),
    { numRuns: 100, seed },
  );
});

/** Two pools with nothing but a price; requests that are all alike and take a second each of a replica of one place. */
function plainWorld(changes: Partial<SmallWorld>): SmallWorld {
  const engine = {
    stepBaseMs: 50,
    stepMsPerSequence: 0,
    stepMsPerKvToken: 0,
    prefillMsPerToken: 0.000_001,
    prefillChunkTokens: 512,
    kvTokensTotal: 2_000,
    sequencesMax: 1,
  };
  return {
    profiles: [engine, engine],
    replicas: [1, 1],
    arrivals: [],
    waitNanoPerMs: 0,
    missNano: 0,
    carbonNanoPerGram: 0,
    mayWait: false,
    ...changes,
  };
}

function alike(count: number, everyMs: number): Arrival[] {
  return Array.from({ length: count }, (_, index) => ({
    index,
    atMs: index * everyMs,
    inputTokens: 100,
    outputTokens: 21,
    blocks: [],
    origin: "shanghai" as OriginId,
    class: "llm-interactive",
    model: chat,
  }));
}

/** Where power is free and every place is near. */
function freePower({ regions, origins, roundTripMsPrior, ...rest }: Geography): Geography {
  const free = Array<number>(24).fill(0);
  const near = (trips: ReadonlyMap<RegionId, number>): ReadonlyMap<RegionId, number> =>
    new Map([...trips].map(([region]) => [region, 0]));
  return {
    ...rest,
    origins,
    regions: new Map(
      [...regions].map(([id, region]) => [id, { ...region, powerNanoPerKwhByHour: free }]),
    ),
    roundTripMsPrior: new Map([...roundTripMsPrior].map(([id, trips]) => [id, near(trips)])),
  };
}

/** What one of them costs at each pool, cheaper first. */
function pricesNano({ demands: [demand] }: Problem): number[] {
  return demand?.choices.map(({ moneyNano }) => moneyNano).toSorted((a, b) => a - b) ?? [];
}

test("boundOf() of prices alone is the lower one, and exact", async () => {
  const options = optionsOf(plainWorld({ arrivals: alike(3, 10_000) }));
  const bound = await boundOf({ ...options, geography: freePower(options.geography) });
  const [cheap = 0, dear = 0] = pricesNano(bound.problem);
  expect(dear).toBeGreaterThan(1.1 * cheap);
  expect(bound.boundNano).toBeCloseTo(3 * cheap, 3);
});

test("boundOf() of two pools with a place each fills the cheaper one, and is exact", async () => {
  // One every half second, each for one second: every other one has to go to the dearer pool.
  const arrivals = alike(39, 500);
  const options = optionsOf(plainWorld({ arrivals, waitNanoPerMs: 100_000, missNano: 1e12 }));
  const bound = await boundOf({
    ...options,
    geography: freePower(options.geography),
    policy: { ...options.policy, ...objectives({ waitNanoPerMs: 100_000, missNano: 1e12 }) },
    startAt: startAt + 3_600_000,
    binMs: 10_000,
  });
  const [cheap = 0, dear = 0] = pricesNano(bound.problem);
  const optimumNano = 20 * cheap + 19 * dear + 39 * 100_000 * 1_000;
  expect(dear).toBeGreaterThan(1.1 * cheap);
  expect(bound.boundNano / optimumNano).toBeCloseTo(1, 5);
  expect(bound.boundNano).toBeLessThanOrEqual(optimumNano * (1 + 1e-6));
});

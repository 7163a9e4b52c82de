import fc from "fast-check";
import { expect, test } from "vitest";
import { requestsPerMsMax } from "../../services/core/engine.ts";
import type { ModelId } from "../../services/core/units.ts";
import type { TraceRow } from "../../services/core/workload.ts";
import { fleetNames, scaled, testedFleet } from "../../services/sim/fleets.ts";
import { atRate, capacityOf, shapeOf } from "../../services/sim/load.ts";
import { mixedArrivals, operatorMix } from "../../services/sim/mix.ts";

const startAt = Date.parse("2026-11-20T10:00:00+08:00");
const qwen = "qwen3.6-plus" as ModelId;
const shape = { inputTokensMean: 1_155, outputTokensMean: 211 };

/** Ten requests in ten seconds, in two bursts. */
const rows: readonly TraceRow[] = [0, 10, 20, 30, 40, 5_000, 5_010, 5_020, 5_030, 9_000].map(
  (atMs, index) => ({
    atMs,
    inputTokens: 100 + index,
    outputTokens: 10,
    blocks: [index, 10 + index],
  }),
);

test("shapeOf() tells the mean request, and the rate with a mean pause behind the last", () => {
  expect(shapeOf(rows)).toEqual({
    requests: 10,
    requestsPerSecond: 1,
    inputTokensMean: 104.5,
    outputTokensMean: 10,
  });
});

test("atRate() makes the rate that is wanted, in order, as long as is wanted", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.5, max: 50, noNaN: true }),
      fc.integer(),
      (requestsPerSecond, seed) => {
        const durationMs = 60_000;
        const made = [...atRate(rows, { requestsPerSecond, durationMs, seed })];
        // A burst more or less at the end.
        expect(Math.abs(made.length - 60 * requestsPerSecond)).toBeLessThanOrEqual(10);
        expect(made[0]?.atMs).toBe(0);
        expect(made.at(-1)?.atMs).toBeLessThan(durationMs);
        for (const [at, row] of made.entries()) {
          expect(row.atMs).toBeGreaterThanOrEqual(made[at - 1]?.atMs ?? 0);
        }
      },
    ),
  );
});

test("atRate() keeps what is shared within a time round, and shares nothing with the next", () => {
  const options = { requestsPerSecond: 1, durationMs: 29_999, seed: 3 };
  const made = [...atRate(rows, options)];
  const rounds = [made.slice(0, 10), made.slice(10, 20), made.slice(20, 30)];
  const blocks = rounds.map((round) => new Set(round.flatMap((row) => row.blocks)));
  expect(blocks.map(({ size }) => size)).toEqual([20, 20, 20]);
  expect(new Set(blocks.flatMap((each) => [...each])).size).toBe(60);
  const lengths = (round: readonly TraceRow[]): number[] =>
    round.map(({ inputTokens }) => inputTokens);
  expect(lengths(rounds[1] ?? [])).toEqual(lengths(rounds[0] ?? []));
  expect([...atRate(rows, options)]).toEqual(made);
});

test("capacityOf() is what the replicas can do together, and the scarcest model of a mix sets it", () => {
  const { fleet } = testedFleet("homogeneous", { startAt });
  const [pool] = fleet.pools;
  const engine = pool?.engines.get(qwen);
  if (engine === undefined) throw new Error("expected the model in every pool");
  const alone = requestsPerMsMax(engine.profile, {
    uncachedTokens: 1_155,
    promptTokens: 1_155,
    outputTokens: 211,
    outputTokensMax: 211,
  });
  const all = capacityOf(fleet, shape, new Map([[qwen, 1]]));
  expect(all).toBeCloseTo(1_000 * alone * engine.replicas * fleet.pools.length, 6);
  expect(capacityOf(scaled(fleet, 3), shape, new Map([[qwen, 5]]))).toBeCloseTo(3 * all, 6);
  const mixed = capacityOf(fleet, shape, operatorMix.models);
  expect(mixed).toBeLessThanOrEqual(all / 0.65 + 1e-6);
  expect(capacityOf(fleet, shape, new Map([["nobody" as ModelId, 1]]))).toBe(0);
});

test("mixedArrivals() draws the parts of the mix, the same for the same seed, and part by part", () => {
  const many = Array.from({ length: 4_000 }, (_, index) => {
    return { atMs: index, inputTokens: 1, outputTokens: 1, blocks: [] };
  });
  const drawn = [...mixedArrivals(many, operatorMix, 1)];
  const part = (is: (each: (typeof drawn)[number]) => boolean): number =>
    drawn.filter(is).length / drawn.length;
  expect(part(({ model }) => model === qwen)).toBeCloseTo(0.65, 1);
  expect(part((each) => each.class === "batch-offline")).toBeCloseTo(0.1, 1);
  expect(part((each) => each.class === "llm-interactive" && each.model === qwen)).toBeCloseTo(
    0.65 * 0.75,
    1,
  );
  expect([...mixedArrivals(many.slice(0, 100), operatorMix, 1)]).toEqual(drawn.slice(0, 100));
  expect([...mixedArrivals(many, operatorMix, 2)]).not.toEqual(drawn);
});

test("mixedArrivals() keeps what begins alike together", () => {
  const many = Array.from({ length: 500 }, (_, index) => {
    return { atMs: index, inputTokens: 600, outputTokens: 1, blocks: [index % 20, index] };
  });
  const kinds = new Map<number, Set<string>>();
  for (const { blocks, model, tenant, class: each } of mixedArrivals(many, operatorMix, 1)) {
    const [first = -1] = blocks;
    kinds.set(first, (kinds.get(first) ?? new Set()).add(`${model} ${tenant} ${each}`));
  }
  expect([...kinds.values()].map(({ size }) => size)).toEqual(Array(20).fill(1));
  expect(new Set([...kinds.values()].flatMap((each) => [...each])).size).toBeGreaterThan(3);
});

for (const name of fleetNames) {
  test(`the fleet ${name} serves every model of the mix in known regions, at a price`, () => {
    const { fleet, geography } = testedFleet(name, { startAt, scale: 2 });
    expect(capacityOf(fleet, shape, operatorMix.models)).toBeGreaterThan(100);
    for (const { registration, engines } of fleet.pools) {
      expect(geography.regions.has(registration.region)).toBe(true);
      expect([...engines.keys()]).toEqual(registration.models.map(({ model }) => model));
      for (const { model, slotsTotal, replicas } of registration.models) {
        const engine = engines.get(model);
        expect(engine?.replicas).toBe(replicas);
        expect(slotsTotal).toBe(replicas * (engine?.profile.sequencesMax ?? 0));
        const books = fleet.priceBooks.filter(({ vendor }) => vendor === registration.vendor);
        expect(books.some(({ lines }) => lines.some((line) => line.model === model))).toBe(true);
      }
    }
  });
}

test("pools of the homogeneous fleet differ in their names alone", () => {
  const { fleet, geography } = testedFleet("homogeneous", { startAt });
  const [first, ...others] = fleet.pools.map(({ registration: { id: _id, ...rest }, engines }) => {
    return { rest, engines };
  });
  expect(others.length).toBeGreaterThan(5);
  for (const other of others) expect(other).toEqual(first);
  const paths = [...geography.roundTripMsPrior.values()].flatMap((row) => [...row.values()]);
  expect(new Set(paths).size).toBe(1);
});

test("faults of the fleet with faults are within the run, and of its own pools and vendors", () => {
  const { fleet, faults } = testedFleet("faults", { startAt });
  const found = faults(600_000);
  const pools = new Set(fleet.pools.map(({ registration }) => registration.id));
  const vendors = new Set(fleet.vendors.map(({ id }) => id));
  expect(found.map(({ kind }) => kind)).toEqual([
    "pool-dies",
    "pool-dies",
    "reports-lost",
    "prices-change",
  ]);
  for (const fault of found) {
    if (fault.kind === "pool-dies") expect(pools.has(fault.pool)).toBe(true);
    if (fault.kind === "prices-change") expect(vendors.has(fault.book.vendor)).toBe(true);
    if ("atMs" in fault) expect(fault.atMs).toBeLessThan(600_000);
  }
  expect(testedFleet("east-west", { startAt }).faults(600_000)).toEqual([]);
});

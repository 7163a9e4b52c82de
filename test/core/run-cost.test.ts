import fc from "fast-check";
import { expect, test } from "vitest";
import { gini, Oscillation } from "../../services/core/evenness.ts";
import { PredictionCheck } from "../../services/core/prediction-check.ts";
import {
  chargePico,
  costParts,
  RunCostBuilder,
  type CostedAnswer,
  type CostPart,
  type RunCost,
} from "../../services/core/run-cost.ts";
import { Spread } from "../../services/core/spread.ts";
import type { PoolId } from "../../services/core/units.ts";
import { objectives, policy, price } from "./fixtures.ts";

const rules = policy({
  ...objectives({ ttftMsMax: 1_000, tpotMsMax: 50, waitNanoPerMs: 100, missNano: 2_000 }),
  carbonNanoPerGram: 80_000,
});

const [a, b] = ["a" as PoolId, "b" as PoolId];

function answer(changes: Partial<CostedAnswer> = {}): CostedAnswer {
  return {
    class: "llm-interactive",
    isServed: true,
    ttftMs: 200,
    tpotMs: 20,
    finishMs: 0,
    dearestPico: 0,
    ...changes,
  };
}

function built(fill: (builder: RunCostBuilder) => void): RunCost {
  const builder = new RunCostBuilder(rules);
  fill(builder);
  const slotsByPool = new Map([
    [a, 2],
    [b, 2],
  ]);
  return builder.build({ durationMs: 10_000, elapsedMs: 20_000, slotsByPool });
}

const attempt = {
  class: "llm-interactive",
  pool: a,
  side: "west",
  dispatchedAt: Date.parse("2026-11-20T10:59:59+08:00"),
  slotMs: 4_000,
  pico: 4_000_600,
  tokens: 300,
} as const;

const energy = {
  class: "llm-interactive",
  joules: 10,
  nanoPerJoule: 100,
  locationGramsPerJoule: 0.001,
  marketGramsPerJoule: 0.0001,
} as const;

/** One thing that happened, and what it costs alone. */
const cases: Record<CostPart, [(builder: RunCostBuilder) => void, number]> = {
  money: [(builder) => builder.addAttempt(attempt), 4_001],
  energy: [(builder) => builder.addEnergy({ ...energy, locationGramsPerJoule: 0 }), 1_000],
  carbon: [(builder) => builder.addEnergy({ ...energy, nanoPerJoule: 0 }), 800],
  time: [(builder) => builder.addAnswer(answer({ finishMs: 12 })), 1_200],
  missed: [(builder) => builder.addAnswer(answer({ ttftMs: 1_001, tpotMs: 50.1 })), 4_000],
  refused: [
    (builder) => builder.addAnswer(answer({ isServed: false, dearestPico: 7_000_000 })),
    4_000 + 2 * 7_000,
  ],
};

for (const [part, [fill, nano]] of Object.entries(cases)) {
  test(`RunCostBuilder puts ${nano} nano of ${part} on the class, and nothing else`, () => {
    const { nanoByPart, nanoByClass, totalNano } = built(fill);
    const nothing = Object.fromEntries(costParts.map((each) => [each, 0]));
    expect(nanoByPart).toEqual({ ...nothing, [part]: nano });
    expect(nanoByClass["llm-interactive"]).toEqual(nanoByPart);
    expect(nanoByClass.archival).toEqual(nothing);
    expect(totalNano).toBe(nano);
  });
}

test("every part has a case above", () => {
  expect(Object.keys(cases)).toEqual([...costParts]);
});

test("an objective that is just met is met, and a time that there was not is not missed", () => {
  const { byClass, goodputPerSecond } = built((builder) => {
    builder.addAnswer(answer({ ttftMs: 1_000, tpotMs: 50 }));
    builder.addAnswer(answer({ tpotMs: undefined }));
    builder.addAnswer(answer({ tpotMs: 51 }));
    builder.addAnswer(answer({ isServed: false }));
  });
  const { requests, ok, refused, missedTtft, missedTpot, good, tpotMs } =
    byClass["llm-interactive"];
  expect([requests, ok, refused, missedTtft, missedTpot, good]).toEqual([4, 3, 1, 0, 1, 2]);
  expect(tpotMs?.count).toBe(2);
  expect(goodputPerSecond).toBe(0.2);
});

test("RunCostBuilder adds money up exactly, however much it is", () => {
  const pico = 2 ** 51 - 1;
  const { moneyPico } = built((builder) => {
    for (let count = 0; count < 9; count++) builder.addAttempt({ ...attempt, pico });
  });
  expect(moneyPico).toBe(9n * BigInt(pico));
});

test("RunCostBuilder tells slots held, by pool, and tokens by side and local hour", () => {
  const cost = built((builder) => {
    builder.addAttempt(attempt);
    builder.addAttempt({ ...attempt, side: "east", tokens: 50 });
    builder.addAttempt({ ...attempt, pool: b, dispatchedAt: attempt.dispatchedAt + 1_000 });
  });
  // 8 s and 4 s of two slots for 20 s each.
  expect(cost.utilisation).toBeCloseTo(12 / 80, 12);
  expect(cost.utilisationGini).toBeCloseTo(gini([0.2, 0.1]), 12);
  expect(cost.sidesByHour.map(({ localHour, tokensBySide }) => [localHour, tokensBySide])).toEqual([
    [10, { east: 50, west: 300 }],
    [11, { east: 0, west: 300 }],
  ]);
});

test("chargePico() takes the bracket that the lengths are in, and what the cache had at its own price", () => {
  const bracket = (inputTokensFrom: number, inputTokensTo: number, pico: number) => ({
    inputTokensFrom,
    inputTokensTo,
    outputTokensFrom: 0,
    outputTokensTo: Infinity,
    uncachedInputPicoPerToken: pico,
    cacheReadPicoPerToken: pico / 10,
    cacheWritePicoPerToken: pico,
    outputPicoPerToken: 4 * pico,
  });
  const tiered = price({ brackets: [bracket(0, 100, 1_000), bracket(101, Infinity, 2_000)] });
  const tokens = { inputTokens: 100, cachedTokens: 40, outputTokens: 5 };
  expect(chargePico(tiered, tokens)).toBe(60 * 1_000 + 40 * 100 + 5 * 4_000);
  expect(chargePico(tiered, { ...tokens, inputTokens: 101 })).toBe(61 * 2_000 + 40 * 200 + 40_000);
  expect(chargePico(price(), tokens)).toBe(60 * 2_000_000 + 40 * 200_000 + 5 * 8_000_000);
});

const ginis: readonly [readonly number[], number][] = [
  [[], 0],
  [[0, 0], 0],
  [[3, 3, 3], 0],
  [[0, 1], 0.5],
  [[0, 0, 0, 8], 0.75],
  [[2, 1], 1 / 6],
];

for (const [values, wanted] of ginis) {
  test(`gini() of ${values.join(", ") || "nothing"} is ${wanted}`, () => {
    expect(gini(values)).toBeCloseTo(wanted, 12);
  });
}

test("gini() is the mean difference over twice the mean, whatever the order and the unit", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 1_000 }), { minLength: 1 }), (values) => {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      let differences = 0;
      for (const one of values) for (const other of values) differences += Math.abs(one - other);
      const wanted = mean === 0 ? 0 : differences / values.length ** 2 / (2 * mean);
      expect(gini(values)).toBeCloseTo(wanted, 9);
      expect(gini(values.map((value) => 7 * value))).toBeCloseTo(wanted, 9);
    }),
  );
});

const swings: readonly [string, readonly number[], number][] = [
  ["a steady pool", [5, 5, 5, 5], 0],
  ["a pool that doubles and halves", [5, 10, 5, 10], 15 / 25],
  ["a pool that is full and empty in turn", [0, 8, 0, 8], 24 / 16],
  ["a pool that nobody uses", [0, 0, 0], 0],
];

for (const [what, samples, wanted] of swings) {
  test(`Oscillation of ${what} is ${wanted}`, () => {
    const oscillation = new Oscillation<string>();
    for (const sample of samples) {
      oscillation.sample("a", sample);
      oscillation.sample("unused", 0);
    }
    expect(oscillation.mean).toBeCloseTo(wanted, 12);
  });
}

test("PredictionCheck tells how far, and to which side", () => {
  const check = new PredictionCheck();
  check.add(
    { ttftMs: 150, tpotMs: 20, finishMs: 1_000 },
    { ttftMs: 100, tpotMs: undefined, finishMs: 2_000 },
  );
  check.add(
    { ttftMs: 50, tpotMs: 20, finishMs: 1_000 },
    { ttftMs: 100, tpotMs: undefined, finishMs: 2_000 },
  );
  expect(check.quality).toEqual({
    ttftMs: { count: 2, meanRelativeError: 0.5, bias: 0, meanErrorMs: 0 },
    tpotMs: undefined,
    finishMs: { count: 2, meanRelativeError: 0.5, bias: -0.5, meanErrorMs: -1_000 },
  });
});

test("Spread counts a series as it does its values one by one", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.01, max: 100, noNaN: true }),
      fc.oneof(fc.constant(0), fc.double({ min: 1e-7, max: 3, noNaN: true })),
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 5 }),
      (first, growth, values, times) => {
        const [series, single] = [new Spread(), new Spread()];
        series.addSeries(first, { growth, values, times });
        for (let at = 0; at < values; at++) single.add(first + at * growth, times);
        const [found, wanted] = [series.percentiles, single.percentiles];
        expect(found?.count).toBe(wanted?.count);
        // A value at the very edge of a bucket may be rounded into the next, which is one per cent away.
        for (const part of ["p50", "p90", "p95", "p99"] as const) {
          expect((found?.[part] ?? 0) / (wanted?.[part] ?? 1)).toBeCloseTo(1, 1);
        }
      },
    ),
  );
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  deviationsOf,
  fitFrom,
  fitted,
  foretoldTpotMs,
  foretoldTtftMs,
  type EngineFit,
  type EngineObservation,
} from "../../services/core/engine-fit.ts";
import { solvedNonNegative } from "../../services/core/least-squares.ts";
import type { EngineProfile } from "../../services/core/pool.ts";
import { randomFromSeed } from "../../services/core/random.ts";
import { observations, type Demand } from "./engine-observed.ts";

/** The row of the table that is fitted to both of NVIDIA's shapes. */
const truth: EngineProfile = {
  stepBaseMs: 18.5,
  stepMsPerSequence: 0.066,
  stepMsPerKvToken: 2.2e-5,
  prefillMsPerToken: 0.068,
  prefillChunkTokens: 2_048,
  kvTokensTotal: 475_000,
  sequencesMax: 256,
};

const learnt = 150;
const asked = 150;

/** Contexts of all lengths, or all alike: then B and K rise together, and h cannot be told from a. */
function demandOf(seed: number, shape: "mixed" | "alike"): Demand {
  const random = randomFromSeed(seed + 99);
  const drawn = (least: number) => () => Math.floor(least * Math.exp(3 * random()));
  return {
    seed,
    requests: learnt + asked,
    perSecond: 3 + (seed % 3),
    inputTokens: shape === "mixed" ? drawn(200) : () => 1_500,
    outputTokens: shape === "mixed" ? drawn(20) : () => 300,
  };
}

function declared([base, perSequence, perKvToken, prefill]: readonly number[]): EngineProfile {
  return {
    ...truth,
    stepBaseMs: truth.stepBaseMs * (base ?? 1),
    stepMsPerSequence: truth.stepMsPerSequence * (perSequence ?? 1),
    stepMsPerKvToken: truth.stepMsPerKvToken * (perKvToken ?? 1),
    prefillMsPerToken: truth.prefillMsPerToken * (prefill ?? 1),
  };
}

/** Mean |foretold − observed| / observed of those asked about after those learnt from. */
function errors(prior: EngineProfile, demand: Demand) {
  let fit = fitFrom(prior);
  const all = [...observations(truth, demand)];
  for (const seen of all.slice(0, learnt)) fit = fitted(fit, seen, 0);
  const rest = all.slice(learnt);
  const mean = (error: (seen: EngineObservation) => number | undefined): number => {
    const found = rest.map(error).filter((each) => each !== undefined);
    return found.reduce((sum, each) => sum + each, 0) / found.length;
  };
  const tpot = (profile: EngineProfile) =>
    mean(({ tpot: seen }) => seen && off(foretoldTpotMs(profile, seen.during), seen.ms));
  const ttft = (profile: EngineProfile, schedulingMs: number) =>
    mean(
      ({ ttft: seen }) =>
        seen &&
        off(foretoldTtftMs(profile, seen.uncachedTokens, seen.others) + schedulingMs, seen.ms),
    );
  return {
    fit,
    tpot: { declared: tpot(prior), fitted: tpot(fit.profile) },
    ttft: { declared: ttft(prior, 0), fitted: ttft(fit.profile, fit.schedulingMs) },
  };
}

const off = (foretoldMs: number, ms: number): number => Math.abs(foretoldMs / ms - 1);

describe("profiles that are declared wrong", () => {
  const wrongs: readonly (readonly number[])[] = [
    [0.5, 0.5, 0.5, 0.5],
    [2, 2, 2, 2],
    [0.5, 2, 0.5, 2],
    [2, 0.5, 2, 0.5],
    [0.05, 0, 0, 0.05],
  ];

  for (const wrong of wrongs) {
    for (const shape of ["mixed", "alike"] as const) {
      test(`after ${learnt} attempts at an engine declared as ${wrong.join(", ")} × itself, TPOT is within 13 % and TTFT as good as by the truth (${shape})`, () => {
        for (const seed of [1, 2, 3]) {
          const { tpot, ttft } = errors(declared(wrong), demandOf(seed, shape));
          const best = errors(truth, demandOf(seed, shape));
          expect(tpot.fitted).toBeLessThan(0.13);
          expect(tpot.declared).toBeGreaterThan(3 * tpot.fitted);
          // A first token waits for a step to end: a third of it nobody can foretell.
          expect(ttft.fitted).toBeLessThan(1.1 * best.ttft.declared + 0.02);
          expect(best.ttft.declared).toBeLessThan(0.4);
        }
      });
    }
  }

  test("a profile that is right is left as it is, within a tenth", () => {
    const { fit, tpot } = errors(truth, demandOf(1, "mixed"));
    expect(fit.profile.stepBaseMs).toBeCloseTo(truth.stepBaseMs, -1);
    expect(fit.profile.prefillMsPerToken / truth.prefillMsPerToken).toBeCloseTo(1, 1);
    expect(tpot.fitted).toBeLessThan(tpot.declared + 0.03);
  });
});

test("what cannot be told apart keeps its spread, and what can loses it", () => {
  const begin = deviationsOf(fitFrom(truth));
  const mixed = deviationsOf(errors(truth, demandOf(1, "mixed")).fit);
  const alike = deviationsOf(errors(truth, demandOf(1, "alike")).fit);
  expect(mixed.stepBaseMs).toBeLessThan(0.3 * begin.stepBaseMs);
  expect(mixed.prefillMsPerToken).toBeLessThan(0.3 * begin.prefillMsPerToken);
  expect(alike.stepMsPerKvToken).toBeGreaterThan(0.5 * begin.stepMsPerKvToken);
});

test("an engine that becomes twice as slow is found out", () => {
  const slow = declared([2, 2, 2, 2]);
  let fit = fitFrom(truth);
  for (const seen of observations(truth, demandOf(1, "mixed"))) fit = fitted(fit, seen, 0);
  const light = { ...demandOf(2, "mixed"), perSecond: 1.2, requests: 500 };
  const after = [...observations(slow, light)];
  for (const seen of after) fit = fitted(fit, seen, 0);
  expect(fit.profile.stepBaseMs / slow.stepBaseMs).toBeGreaterThan(0.8);
});

test("whatever is told, coefficients are finite, not below 0, and bounded by what was told", () => {
  const wild = fc.oneof(
    fc.double({ min: 0, max: 1e12, noNaN: true }),
    fc.constantFrom(0, 1e-9, 1, 30, 1e6, Infinity),
  );
  const conditions = fc.record({ batch: wild, kvTokens: wild, prefillTokensPerMs: wild });
  const seen = fc.record({
    tpot: fc.option(fc.record({ ms: wild, during: conditions }), { nil: undefined }),
    ttft: fc.option(fc.record({ ms: wild, uncachedTokens: wild, others: conditions }), {
      nil: undefined,
    }),
  });
  fc.assert(
    fc.property(fc.array(seen, { maxLength: 30 }), fc.boolean(), (all, isZero) => {
      const prior = isZero ? declared([0, 0, 0, 0]) : truth;
      const fit = all.reduce((before: EngineFit, each) => fitted(before, each, 0), fitFrom(prior));
      const { stepBaseMs, stepMsPerSequence, stepMsPerKvToken, prefillMsPerToken } = fit.profile;
      const found = [stepBaseMs, stepMsPerSequence, stepMsPerKvToken, prefillMsPerToken];
      for (const each of [...found, fit.schedulingMs, ...Object.values(deviationsOf(fit))]) {
        expect(Number.isFinite(each) && each >= 0).toBe(true);
      }
    }),
  );
});

test("one wild time among good ones moves a step by less than a fifth", () => {
  let fit = fitFrom(truth);
  for (const seen of observations(truth, { ...demandOf(1, "mixed"), requests: 40 })) {
    fit = fitted(fit, seen, 0);
  }
  const during = { batch: 8, kvTokens: 20_000, prefillTokensPerMs: 2 };
  const before = foretoldTpotMs(fit.profile, during);
  const after = fitted(fit, { tpot: { ms: 60_000, during }, ttft: undefined }, 0);
  expect(foretoldTpotMs(after.profile, during) / before).toBeLessThan(1.2);
});

test("solvedNonNegative() finds what no other point with x ≥ 0 beats", () => {
  const vector = fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 3, maxLength: 3 });
  const point = fc.array(fc.double({ min: 0, max: 20, noNaN: true }), {
    minLength: 3,
    maxLength: 3,
  });
  fc.assert(
    fc.property(fc.tuple(vector, vector, vector), vector, point, (rows, wanted, other) => {
      // RᵀR + I is positive definite.
      const matrix = [0, 1, 2].flatMap((a) =>
        [0, 1, 2].map((b) =>
          rows.reduce((sum, row) => sum + (row[a] ?? 0) * (row[b] ?? 0), Number(a === b)),
        ),
      );
      const cost = (x: readonly number[]): number =>
        [0, 1, 2].reduce(
          (sum, a) =>
            sum -
            2 * (wanted[a] ?? 0) * (x[a] ?? 0) +
            [0, 1, 2].reduce(
              (inner, b) => inner + (matrix[3 * a + b] ?? 0) * (x[a] ?? 0) * (x[b] ?? 0),
              0,
            ),
          0,
        );
      const found = solvedNonNegative(matrix, wanted);
      expect(found.every((each) => each >= 0)).toBe(true);
      expect(cost(found)).toBeLessThanOrEqual(cost(other) + 1e-6);
    }),
  );
});

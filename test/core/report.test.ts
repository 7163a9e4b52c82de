import * as fc from "fast-check";
import { expect, test } from "vitest";
import { serviceClasses } from "../../services/core/placement/request.ts";
import {
  notSent,
  ReportBuilder,
  tokensOf,
  type Answer,
  type LedgeredAttempt,
  type Site,
} from "../../services/core/report.ts";
import { noTokens } from "../../services/core/settlement/counting/usage.ts";
import { Spread } from "../../services/core/spread.ts";
import type { PoolId, VendorId } from "../../services/core/units.ts";

const objectives = Object.fromEntries(
  serviceClasses.map((each) => [each, { ttftMsMax: 1_000, tpotMsMax: 50 }]),
) as Record<(typeof serviceClasses)[number], { ttftMsMax: number; tpotMsMax: number }>;

function answer(changes: Partial<Answer> = {}): Answer {
  return { class: "llm-interactive", outcome: "ok", ttftMs: 200, tpotMs: 20, ...changes };
}

function attempt(pool: string, changes: Partial<LedgeredAttempt> = {}): LedgeredAttempt {
  const tokens = { ...noTokens, uncachedInput: 100n, response: 50n };
  return {
    pool: pool as PoolId,
    end: "complete",
    settled: { tokens, amountNano: 7n },
    joulesExpected: 10,
    ...changes,
  };
}

function site(pool: string, changes: Partial<Site> = {}): Site {
  return {
    pool: pool as PoolId,
    vendor: "northgrid" as VendorId,
    hub: "Ningxia",
    side: "west",
    locationGramsPerJoule: 0.2,
    marketGramsPerJoule: 0.05,
    joulesMetered: undefined,
    ...changes,
  };
}

function built(
  answers: readonly Answer[],
  attempts: readonly LedgeredAttempt[],
  sites: readonly Site[] = [site("a"), site("b", { hub: "Yangtze River Delta", side: "east" })],
) {
  const builder = new ReportBuilder(objectives);
  for (const each of answers) builder.addAnswer(each);
  for (const each of attempts) builder.addAttempt(each);
  return builder.build({
    run: { id: "r", mode: "virtual", trace: "t", speed: 1, seed: 1, class: "llm-interactive" },
    isEndedEarly: false,
    traceMs: 0,
    elapsedMs: 0,
    sites,
    statements: [],
  });
}

test("ReportBuilder counts what was due, sent, answered and failed, by outcome", () => {
  const outcomes = ["ok", "ok", "stream cut", "http-429", notSent];
  const { requests } = built(
    outcomes.map((outcome) => answer({ outcome })),
    [],
  );
  expect(requests).toEqual({
    due: 5,
    sent: 4,
    ok: 2,
    failed: 2,
    byOutcome: { "http-429": 1, "not-sent": 1, ok: 2, "stream cut": 1 },
  });
});

const misses: readonly [what: string, Partial<Answer>, missed: object][] = [
  ["nothing", {}, { ttft: 0, tpot: 0, failed: 0, any: 0 }],
  ["nothing at the limit", { ttftMs: 1_000, tpotMs: 50 }, { ttft: 0, tpot: 0, failed: 0, any: 0 }],
  ["the time to first token", { ttftMs: 1_001 }, { ttft: 1, tpot: 0, failed: 0, any: 1 }],
  ["the time per token", { tpotMs: 50.1 }, { ttft: 0, tpot: 1, failed: 0, any: 1 }],
  ["both, as one request", { ttftMs: 2_000, tpotMs: 60 }, { ttft: 1, tpot: 1, failed: 0, any: 1 }],
  [
    "all by failing",
    { outcome: "stream cut", ttftMs: 2_000 },
    { ttft: 0, tpot: 0, failed: 1, any: 1 },
  ],
  ["nothing with a single token", { tpotMs: undefined }, { ttft: 0, tpot: 0, failed: 0, any: 0 }],
];

for (const [what, changes, missed] of misses) {
  test(`ReportBuilder says that a request missed ${what}`, () => {
    expect(built([answer(changes)], []).missed).toEqual(missed);
  });
}

test("ReportBuilder shares attempts and tokens out by pool, hub and side, largest first", () => {
  const report = built([], [attempt("a"), attempt("b"), attempt("b")]);
  expect(report.byPool).toEqual([
    { name: "b", attempts: 2, tokens: 300n, tokenShare: 2 / 3 },
    { name: "a", attempts: 1, tokens: 150n, tokenShare: 1 / 3 },
  ]);
  expect(report.byHub.map(({ name }) => name)).toEqual(["Yangtze River Delta", "Ningxia"]);
  expect(report.bySide.map(({ name }) => name)).toEqual(["east", "west"]);
  expect(report.amountNano).toBe(21n);
  expect(tokensOf(report)).toBe(450n);
});

test("ReportBuilder keeps what is in quarantine out of tokens and money, and counts it", () => {
  const { attempts, amountNano, tokens } = built(
    [],
    [attempt("a"), attempt("a", { settled: undefined })],
  );
  expect(attempts).toEqual({ ledgered: 2, quarantined: 1, byEnd: { complete: 2 } });
  expect([amountNano, tokens.response]).toEqual([7n, 50n]);
});

test("ReportBuilder counts an attempt that was never placed, at no pool", () => {
  const report = built([], [attempt("a", { pool: undefined, end: "not-dispatched" })]);
  expect(report.attempts.byEnd).toEqual({ "not-dispatched": 1 });
  expect(report.byPool).toEqual([]);
});

test("ReportBuilder keeps the two carbon accounts and the two kinds of energy apart", () => {
  const sites = [site("a", { joulesMetered: 100 }), site("b", { marketGramsPerJoule: 0.1 })];
  const report = built([], [attempt("a"), attempt("b")], sites);
  expect(report.energyAttributed).toEqual({ joules: 20, gramsCo2Location: 4, gramsCo2Market: 1.5 });
  expect(report.energyMetered).toEqual({ joules: 100, gramsCo2Location: 20, gramsCo2Market: 5 });
  expect(report.poolsUnmetered).toBe(1);
  expect(built([], [attempt("a")]).energyMetered).toBeUndefined();
});

test("ReportBuilder takes no attempt at a pool that nobody knows", () => {
  expect(() => built([], [attempt("c")])).toThrow("every attempt is at a pool whose site is known");
});

test("Spread is within half a per cent of the nearest rank", () => {
  const values = fc.array(fc.double({ min: 0.01, max: 1e6, noNaN: true }), { minLength: 1 });
  fc.assert(
    fc.property(values, (all) => {
      const spread = new Spread();
      for (const value of all) spread.add(value);
      const sorted = all.toSorted((a, b) => a - b);
      const rank = (part: number): number => sorted[Math.ceil(part * all.length) - 1] ?? Number.NaN;
      const { p50 = 0, p99 = 0 } = spread.percentiles ?? {};
      expect(Math.abs(p50 / rank(0.5) - 1)).toBeLessThan(0.0051);
      expect(Math.abs(p99 / rank(0.99) - 1)).toBeLessThan(0.0051);
    }),
  );
});

test("Spread knows nothing of no values, and takes 0", () => {
  const spread = new Spread();
  expect(spread.percentiles).toBeUndefined();
  spread.add(0);
  expect(spread.percentiles).toEqual({ count: 1, p50: 0, p90: 0, p95: 0, p99: 0 });
});

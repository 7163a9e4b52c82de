import { expect, test } from "vitest";
import type { AttemptOutcome } from "../../services/core/lease.ts";
import { assert } from "../../services/core/assert.ts";
import { decide } from "../../services/core/placement/decide.ts";
import { hindsightObjectives, hindsightOf } from "../../services/core/placement/hindsight.ts";
import type { Pool } from "../../services/core/pool.ts";
import {
  figure,
  geography,
  modelReport,
  objectives,
  policy,
  poolServing,
  price,
  request,
  snapshot,
} from "./fixtures.ts";

const outcome: AttemptOutcome = {
  result: "ok",
  ttftMs: 100,
  itlMsMean: 20,
  headersMs: 40,
  inputTokens: 1_000,
  cachedTokens: 0,
  outputTokens: 200,
  durationMs: 5_000,
};

const rules = policy(objectives({ waitNanoPerMs: 1_000, missNano: 500_000 }));
const cheap = poolServing("cheap", {});
const dear = poolServing("dear", { price: price({ outputPicoPerToken: 16_000_000 }) });

function judged(
  after: readonly Pool[],
  changes: Partial<AttemptOutcome> = {},
  pools = [cheap, dear],
) {
  const decision = decide(request(), snapshot(pools), rules);
  assert(decision.kind === "placed", "one of the pools is chosen");
  const world = { after, policy: rules, geography: geography() };
  return { decision, found: hindsightOf(decision, { ...outcome, ...changes }, world) };
}

test("who is alone, or still the best by what is known now, is not regretted", () => {
  const alone = judged([cheap], {}, [cheap]).found;
  expect(alone?.best).toBe("cheap");
  for (const objective of hindsightObjectives) expect(alone?.regretNano[objective]).toBe(0);
  expect(judged([cheap, dear]).found?.regretNano.money).toBe(0);
});

test("the realised tokens are charged, not the expected ones", () => {
  const short = judged([cheap, dear], { outputTokens: 10 }).found;
  const long = judged([cheap, dear], { outputTokens: 1_000 }).found;
  // 1,000 uncached tokens at 2,000,000 pico and the answer at 8,000,000.
  expect(short?.costNano.money).toBe(2_000_000 + 80_000);
  expect(long?.costNano.money).toBe(2_000_000 + 8_000_000);
});

test("time is as it was, with each objective that was missed", () => {
  const { waitNanoPerMs, missNano, ttftMsMax } = rules.objectives[request().class];
  const found = judged([cheap], { ttftMs: ttftMsMax + 1 }).found;
  expect(found?.costNano.latency).toBe(Math.round(5_000 * waitNanoPerMs + missNano));
});

test("prices are those of the decision; what others would take is known from later reports", () => {
  const [a, b] = [poolServing("a", {}), poolServing("b", {})];
  const { decision } = judged([a, b], {}, [a, b]);
  const other = decision.pool === a.id ? b : a;
  const given = other.served.values().next().value;
  assert(given !== undefined, "it serves the model");
  const cheaper = poolServing(other.id, { price: price({ outputPicoPerToken: 1 }) });
  expect(judged([cheaper], {}, [a, b]).found?.regretNano.money).toBe(0);
  const full = poolServing(other.id, {
    report: modelReport({ runningRequests: figure(8), waitingRequests: figure(500) }),
  });
  const slow = { durationMs: 60_000 };
  const idle = judged([other], slow, [a, b]).found;
  const crowded = judged([full], slow, [a, b]).found;
  expect(idle?.regretNano.latency).toBeGreaterThan(crowded?.regretNano.latency ?? Infinity);
});

test("a pool that was no candidate, or is out by now, is no choice", () => {
  const drained = { ...cheap, status: "draining" as const };
  const { found } = judged([dear, drained, poolServing("new", {})], { durationMs: 600_000 }, [
    dear,
    { ...cheap, status: "cordoned" },
  ]);
  expect(found?.best).toBe("dear");
  expect(found?.regretNano.total).toBe(0);
});

test("an attempt that failed, or of which no time is known, is not judged", () => {
  expect(judged([cheap], { result: "timeout" }).found).toBeUndefined();
  expect(judged([cheap], { durationMs: undefined }).found).toBeUndefined();
});

test("regret is never below 0, and never more than what was given away", () => {
  for (const durationMs of [1, 100, 10_000, 1e6]) {
    const { found } = judged([cheap, dear], { durationMs });
    assert(found !== undefined, "it is judged");
    for (const objective of hindsightObjectives) {
      expect(found.regretNano[objective]).toBeGreaterThanOrEqual(0);
    }
    expect(found.costNano.latency - found.regretNano.latency).toBeGreaterThan(0);
  }
});

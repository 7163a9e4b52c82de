import { describe, expect, test } from "vitest";
import { Prospect, toAsk } from "../../../services/core/placement/prospect.ts";
import { standingOf } from "../../../services/core/placement/standing.ts";
import type { Policy } from "../../../services/core/placement/policy.ts";
import type { PlacementRequest } from "../../../services/core/placement/request.ts";
import type { Pool, Served } from "../../../services/core/pool.ts";
import type { PoolId } from "../../../services/core/units.ts";
import {
  chat,
  engineProfile,
  figure,
  geography,
  modelReport,
  objectives,
  observed as observedWith,
  policy,
  poolServing,
  powerModel,
  request,
  shanghai,
} from "../fixtures.ts";

interface World {
  readonly served?: Partial<Served>;
  readonly pool?: Partial<Pool>;
  readonly request?: Partial<PlacementRequest>;
  readonly policy?: Policy;
}

function expectedOf(world: World) {
  const pool = poolServing("a", world.served ?? {}, world.pool);
  const ask = toAsk(request(world.request), world.policy ?? policy(), {
    now: 0,
    geography: geography(),
  });
  const served = pool.served.get(chat) ?? expect.unreachable();
  return new Prospect(standingOf(pool, served, ask), ask).expected(ask);
}

const running = (count: number, waiting = 0) =>
  modelReport({ runningRequests: figure(count), waitingRequests: figure(waiting) });

describe("times", () => {
  test("an idle replica takes its base step, and the prompt its prefill", () => {
    const { prefillMs, tpotMs, ttftMs, finishMs, slotMs, waitMs } = expectedOf({});
    // 20 + 0.05 · 1 + 2e-5 · (1,000 + 100)
    expect(tpotMs).toBeCloseTo(20.072, 9);
    expect([prefillMs, waitMs, ttftMs]).toEqual([50, 0, 86]);
    expect(finishMs).toBeCloseTo(86 + 199 * 20.072, 6);
    expect(slotMs).toBeCloseTo(finishMs - 36, 9);
  });

  test("others in the batch lengthen the step, by number and by what they hold", () => {
    const report = modelReport({ runningRequests: figure(9), kvUsedRatio: figure(0.5) });
    // 20 + 0.05 · 10 + 2e-5 · (200,000 + 1,100)
    expect(expectedOf({ served: { report } }).tpotMs).toBeCloseTo(24.522, 9);
  });

  test("replicas share the load", () => {
    const report = modelReport({ runningRequests: figure(9), kvUsedRatio: figure(0.5) });
    // 20 + 0.05 · 5 + 2e-5 · (200,000 + 1,100): the ratio is of each.
    expect(expectedOf({ served: { report, replicas: 2 } }).tpotMs).toBeCloseTo(24.272, 9);
  });

  test("what was granted since the report is in the batch, with its KV like this request's", () => {
    const report = modelReport({ runningRequests: figure(8), kvUsedRatio: figure(0.5) });
    const served = { report, grantedSinceReport: 2, endedSinceReport: 1 };
    // 20 + 0.05 · 10 + 2e-5 · (200,000 + 2 · 1,100)
    expect(expectedOf({ served }).tpotMs).toBeCloseTo(24.544, 9);
  });

  test("without a figure of the KV cache the others are taken to be like this request", () => {
    const report = modelReport({ runningRequests: figure(3), kvUsedRatio: undefined });
    // 20 + 0.05 · 4 + 2e-5 · 4 · 1,100
    expect(expectedOf({ served: { report } }).tpotMs).toBeCloseTo(20.288, 9);
  });

  test("prompts that are computed all the time lengthen prefill and steps", () => {
    // 10,000 tokens/s · 0.05 ms = half of the time.
    const { tpotMs, prefillMs } = expectedOf({ served: { promptTokensPerSecond: 10_000 } });
    // What came while its own prompt took 50 ms is behind it: as long again, over 199 gaps.
    expect(tpotMs).toBeCloseTo(2 * 20.072 + 50 / 199, 9);
    expect(prefillMs).toBeCloseTo(50 * (1 + 0.5 / (2 * 0.5)), 9);
  });

  test("cached tokens of the prompt take no prefill, but are held", () => {
    const cachedTokensAt = new Map([["a" as PoolId, 600]]);
    const { cachedTokens, uncachedTokens, prefillMs, tpotMs } = expectedOf({
      request: { cachedTokensAt },
    });
    expect([cachedTokens, uncachedTokens, prefillMs]).toEqual([600, 400, 20]);
    expect(tpotMs).toBeCloseTo(20.072, 9);
  });

  test("who comes when all places are taken waits his turns", () => {
    const profile = { ...engineProfile, sequencesMax: 4 };
    const { waitMs, prefillMs, finishMs, ttftMs } = expectedOf({
      served: { engineProfile: profile, report: running(4) },
    });
    expect(waitMs).toBeCloseTo((prefillMs + (finishMs - ttftMs)) / 4, 6);
  });

  test("who comes when the KV cache is full of requests like his waits as well", () => {
    const profile = { ...engineProfile, kvTokensTotal: 2_400 };
    const { waitMs, prefillMs, finishMs, ttftMs } = expectedOf({
      served: { engineProfile: profile, report: running(2) },
    });
    expect(waitMs).toBeCloseTo((prefillMs + (finishMs - ttftMs)) / 2, 6);
  });

  test("an engine with a queue is full at what it runs", () => {
    const { waitMs, prefillMs, finishMs, ttftMs } = expectedOf({
      served: { report: running(5, 4) },
    });
    expect(waitMs).toBeCloseTo(prefillMs + (finishMs - ttftMs), 6);
  });

  test("an answer is expected to be no longer than it may be", () => {
    expect(expectedOf({ request: { outputTokensMax: 20 } }).outputTokens).toBe(20);
    expect(expectedOf({ request: { outputTokensExpected: undefined } }).outputTokens).toBe(256);
  });

  test("a path that nobody knows is longer than any on the map", () => {
    expect(expectedOf({ pool: { roundTripMsFrom: new Map() } }).roundTripMs).toBe(60);
  });
});

describe("where times come from", () => {
  const observed = observedWith({
    attempts: 8,
    ttftMs: 400,
    itlMs: 33,
    ttftOffsetMs: 100,
    tpotRatio: 1.5,
  });
  const reported = modelReport({ ttftMsP50: figure(250), itlMsMean: figure(40) });

  test("eight attempts are half believed against the declared profile", () => {
    const { engineBasis, prefillMs, tpotMs } = expectedOf({ served: { observed } });
    expect([engineBasis, prefillMs]).toEqual(["declared", 100]);
    expect(tpotMs).toBeCloseTo(1.25 * 20.072, 9);
  });

  test("without a profile what was observed comes first, then what the engine reports", () => {
    const none = { engineProfile: undefined, report: reported };
    expect(expectedOf({ served: { ...none, observed } })).toMatchObject({
      engineBasis: "observed",
      prefillMs: 400,
      tpotMs: 33,
    });
    expect(expectedOf({ served: none })).toMatchObject({
      engineBasis: "reported",
      prefillMs: 250,
      tpotMs: 40,
    });
  });

  test("when nothing is known the policy's assumption holds, and says so", () => {
    const slow = policy({ engineAssumed: { ...engineProfile, stepBaseMs: 100 } });
    const { engineBasis, tpotMs } = expectedOf({
      served: { engineProfile: undefined },
      policy: slow,
    });
    expect(engineBasis).toBe("assumed");
    expect(tpotMs).toBeCloseTo(100.072, 9);
  });
});

describe("energy", () => {
  const watts = (batch: number) =>
    2 * (300 + 300 / (1 + Math.exp(-(Math.log2(batch) - 4.2)))) + 700;

  test("a request pays for its prefill and for its part of each step, at the site", () => {
    const { joules, tpotMs } = expectedOf({ served: { report: running(7) } });
    const prefill = (1_000 * 0.05 * (2 * 600 + 700)) / 1_000;
    const decode = (200 * tpotMs * watts(8)) / 8 / 1_000;
    expect(joules).toBeCloseTo(1.2 * (prefill + decode), 6);
  });

  test("the fuller the batch, the less a token takes", () => {
    const joulesAt = (count: number) => expectedOf({ served: { report: running(count) } }).joules;
    expect([0, 7, 63].map(joulesAt).map(Math.round)).toEqual([6419, 996, 272]);
  });

  test("without a power model the measured power is shared by those in flight", () => {
    const world = {
      served: { report: running(4) },
      pool: { powerModel: undefined, powerWatts: figure(4_000) },
    };
    const { joules, slotMs } = expectedOf(world);
    expect(joules).toBeCloseTo((1.2 * slotMs * 1_000) / 1_000, 6);
  });

  test("when nothing is known of its power the policy's assumption holds", () => {
    const twice = policy({ powerAssumed: { ...powerModel, accelerators: 4, hostWatts: 1_400 } });
    const known = expectedOf({}).joules;
    const assumed = expectedOf({ pool: { powerModel: undefined }, policy: twice }).joules;
    expect(assumed).toBeCloseTo(2 * known, 6);
  });

  test("the two carbon accounts are apart: the grid's, and the residual of what was not bought", () => {
    const { joules, gramsCo2 } = expectedOf({});
    expect(gramsCo2).toBeCloseTo((joules * 618.7) / 3_600_000, 9);
    const market = policy({ carbonAccount: "market-based" });
    expect(expectedOf({ policy: market }).gramsCo2).toBeCloseTo(
      (joules * 609.6 * 0.2) / 3_600_000,
      9,
    );
    const unknown = { policy: market, pool: { greenShare: undefined } };
    expect(expectedOf(unknown).gramsCo2).toBeCloseTo((joules * 609.6) / 3_600_000, 9);
  });

  test("the hub's target stands in for a PUE that nobody told", () => {
    expect(expectedOf({ pool: { pue: undefined } }).joules).toBe(expectedOf({}).joules);
  });
});

describe("missed objectives", () => {
  const slack = (limitMs: number, meanMs: number, deviationMs: number) =>
    deviationMs ** 2 / (deviationMs ** 2 + (limitMs - meanMs) ** 2);

  test("Cantelli's bound, summed over the objectives", () => {
    const { missProbability, tpotMs } = expectedOf({
      policy: policy(objectives({ ttftMsMax: 200, tpotMsMax: 30 })),
    });
    expect(missProbability).toBeCloseTo(slack(200, 86, 25) + slack(30, tpotMs, 0.2 * tpotMs), 9);
  });

  test("what is expected to be late is late", () => {
    const late = policy(objectives({ ttftMsMax: 86 }));
    expect(expectedOf({ policy: late }).missProbability).toBe(1);
  });

  test("a deadline counts, with the length of the answer unsure", () => {
    const none = expectedOf({});
    const { missProbability, finishMs } = expectedOf({ request: { deadlineMs: 6_000 } });
    const decodeMs = finishMs - 86;
    const deviationMs = Math.sqrt(25 ** 2 + (0.5 * decodeMs) ** 2);
    expect(missProbability - none.missProbability).toBeCloseTo(
      slack(6_000, finishMs, deviationMs),
      9,
    );
    expect(expectedOf({ request: { deadlineMs: 1_000 } }).missProbability).toBe(1);
  });

  test("a KV token is held while its prompt is filled in and its answer made", () => {
    const { kvTokenMs, finishMs } = expectedOf({
      pool: { roundTripMsFrom: new Map([[shanghai, figure(36)]]) },
    });
    expect(kvTokenMs).toBeCloseTo((1_000 * 50) / 2 + 1_100 * (finishMs - 86), 6);
  });
});

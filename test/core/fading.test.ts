import fc from "fast-check";
import { expect, test } from "vitest";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import { fitFrom } from "../../services/core/engine-fit.ts";
import { faded } from "../../services/core/fading.ts";
import { observe } from "../../services/core/observe.ts";
import { Estimate } from "../../services/core/placement/expect.ts";
import type { Observed } from "../../services/core/pool.ts";
import type { AttemptOutcome } from "../../services/core/lease.ts";
import type { AttemptId, PoolId, ReplicaId } from "../../services/core/units.ts";
import {
  engineProfile,
  figure,
  geography,
  modelReport,
  northgrid,
  objectives,
  observed,
  policy,
  priceBook,
  registration,
  report,
  request,
  served,
} from "./fixtures.ts";

const a = "a" as PoolId;
const minds = policy(objectives({ waitNanoPerMs: 100 }));

const bad: Readonly<Record<string, Partial<AttemptOutcome>>> = {
  slow: { result: "ok", ttftMs: 4_000, itlMsMean: 300 },
  failing: { result: "upstream-5xx" },
};

for (const [what, outcome] of Object.entries(bad)) {
  test(`a pool that was ${what} and is sent nobody costs in time what it cost at first`, () => {
    const dispatcher = new Dispatcher("control-1" as ReplicaId, minds);
    let [at, sequence] = [1_000_000, 0];
    const tell = () => {
      sequence += 1;
      const running = modelReport({ runningRequests: figure(0, { observedAt: at }) });
      const told = report(a, { sequence, models: [running] });
      dispatcher.step({ kind: "pool-reported", vendor: northgrid, report: told, at });
    };
    const costNano = () => {
      const { candidates, rejections } = dispatcher.plan(request(), at);
      expect(rejections).toEqual([]);
      return candidates[0]?.costNano ?? expect.unreachable();
    };
    dispatcher.step({ kind: "geography-set", geography: geography(), at });
    dispatcher.step({ kind: "prices-published", book: priceBook(), at });
    dispatcher.step({ kind: "pool-registered", registration: registration(a), at });
    dispatcher.step({ kind: "share-set", pool: a, share: 1, at });
    tell();
    const atFirst = costNano();
    for (let each = 1; each <= 60; each++) {
      at += 61_000;
      tell();
      const attempt = `r${each}/1` as AttemptId;
      const effects = dispatcher.step({
        kind: "placement-requested",
        request: request({ attempt }),
        at,
      });
      const [answer] = effects;
      if (answer?.kind !== "answer" || answer.lease === undefined) continue;
      const { id, fence } = answer.lease;
      at += 4_000;
      const told = { ...nothingTold, ...outcome };
      dispatcher.step({ kind: "lease-released", lease: id, fence, outcome: told, at });
    }
    // Past what a pool that fails is out for.
    at += 301_000;
    tell();
    expect(costNano()).toBeGreaterThan(1.02 * atFirst);
    for (let minute = 0; minute < 120; minute++) {
      at += 60_000;
      tell();
    }
    expect(costNano() / atFirst).toBeCloseTo(1, 2);
  });
}

test("one attempt that took an hour does not put a good pool out", () => {
  const known = attempts(Array.from({ length: 40 }, () => 120));
  const shaken = attempts([...Array.from({ length: 40 }, () => 120), 3_500_000]);
  expect(shaken.ttftOffsetMs - known.ttftOffsetMs).toBeLessThan(3_100);
});

/** What a pool is known for after attempts with these times to the first token. */
function attempts(ttftsMs: readonly number[]): Observed {
  const engine = {
    basis: "declared",
    profile: engineProfile,
    ttftOffsetMs: 0,
    tpotRatio: 1,
  } as const;
  const expected = new Estimate(engine);
  expected.roundTripMs = 36;
  let known: Observed | undefined;
  for (const ttftMs of ttftsMs) {
    const others = { batch: 0, kvTokens: 0, prefillTokensPerMs: 0 };
    known = observe(
      known,
      { ...nothingTold, ttftMs },
      {
        now: 0,
        expected,
        served: served(),
        share: 1,
        others,
        during: undefined,
        cachedTokensForetold: 0,
        policy: minds,
        objectives: minds.objectives["llm-interactive"],
      },
    );
  }
  return known ?? expect.unreachable();
}

const nothingTold: AttemptOutcome = {
  result: "ok",
  ttftMs: undefined,
  itlMsMean: undefined,
  headersMs: undefined,
  inputTokens: undefined,
  cachedTokens: undefined,
  outputTokens: undefined,
  durationMs: undefined,
};

test("what is known fades the same however often reports come, and not while attempts come", () => {
  const known = observed({
    ttftMs: 900,
    errorRatio: 0.5,
    ttftOffsetMs: 200,
    tpotRatio: 3,
    tpotAgainstProfile: { observedMs: 90, declaredMs: 30 },
    fit: { ...fitFrom(engineProfile), profile: { ...engineProfile, stepBaseMs: 70 } },
  });
  expect(faded(known, 59_000, 60_000)).toBe(known);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 400_000 }), { minLength: 1 }), (steps) => {
      let [at, stepwise] = [0, known];
      for (const ms of steps) {
        stepwise = faded(stepwise, at, at + ms);
        at += ms;
      }
      const atOnce = faded(known, 0, at);
      expect(stepwise.errorRatio).toBeCloseTo(atOnce.errorRatio, 9);
      expect(stepwise.ttftOffsetMs).toBeCloseTo(atOnce.ttftOffsetMs, 9);
      expect(stepwise.tpotRatio).toBeCloseTo(atOnce.tpotRatio, 9);
      expect(stepwise.fit?.profile.stepBaseMs).toBeCloseTo(atOnce.fit?.profile.stepBaseMs ?? 0, 9);
      expect(stepwise.ttftMs).toBe(atOnce.ttftMs);
    }),
  );
});

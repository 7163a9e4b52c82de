import fc from "fast-check";
import { expect, test } from "vitest";
import { Chooser } from "../../../services/core/placement/chooser.ts";
import { candidateOf, decide, type Decision } from "../../../services/core/placement/decide.ts";
import { floorOf } from "../../../services/core/placement/floor.ts";
import { Prospect, toAsk } from "../../../services/core/placement/prospect.ts";
import { standingOf } from "../../../services/core/placement/standing.ts";
import type {
  PolicyOverride,
  PolicyRow,
  PoolCondition,
  RowReason,
} from "../../../services/core/placement/policy.ts";
import { budgetUnits, type BudgetView } from "../../../services/core/placement/budget.ts";
import type { ModelChoice, PlacementRequest } from "../../../services/core/placement/request.ts";
import { serviceClasses } from "../../../services/core/placement/request.ts";
import type { Pool } from "../../../services/core/pool.ts";
import type { AttemptId, OriginId, PoolId, RowId, TenantId } from "../../../services/core/units.ts";
import { parsePolicy, defaultPolicyYaml } from "../../../services/io/policy-file.ts";
import { loadGeography } from "../../../services/io/preset.ts";
import { anyPool } from "./any-pool.ts";
import {
  chat,
  engineProfile,
  figure,
  modelReport,
  objectives as objectivesWith,
  policy,
  pool,
  poolServing,
  price,
  request,
  served,
  shanghai,
  snapshot,
} from "../fixtures.ts";

const geography = loadGeography();
const parsed = parsePolicy(defaultPolicyYaml(), 1);
const shipped = "policy" in parsed ? parsed.policy : expect.unreachable();

/** Prices of budgets, and hard ones with much, little and no room. */
function anyBudgets(): fc.Arbitrary<BudgetView> {
  const prices = fc.record({
    nanoPerNano: fc.constantFrom(0, 0, 4),
    nanoPerJoule: fc.constantFrom(0, 0, 500),
    nanoPerGram: fc.constantFrom(0, 20_000_000),
  });
  const standings = fc.array(
    fc.record({
      id: fc.constant("day"),
      unit: fc.constantFrom(...budgetUnits),
      isHard: fc.boolean(),
      windowMs: fc.constant(86_400_000),
      limit: fc.constant(100_000_000),
      spent: fc.constantFrom(0, 90_000_000, 98_000_000, 99_900_000, 110_000_000),
      held: fc.constantFrom(0, 100_000),
      dualNano: fc.constant(0),
      returns: fc.constantFrom([], [{ inMs: 1_000, amount: 5_000_000 }]),
    }),
    { maxLength: 2 },
  );
  return fc.record({ prices, standings });
}

function anyChoice(): fc.Arbitrary<ModelChoice> {
  return fc.record({
    model: fc.constant(chat),
    version: fc.constantFrom(undefined, undefined, "1", "2"),
    inputNanoPerTokenMax: fc.constantFrom(undefined, undefined, 1_000, 2_000),
    outputNanoPerTokenMax: fc.constantFrom(undefined, 8_000, 8_500),
    isAllowed: fc.constant(true),
  });
}

const anyRequest = fc
  .record({
    attempt: fc.integer({ min: 0, max: 9 }),
    class: fc.constantFrom(...serviceClasses, "llm-interactive", "batch-offline"),
    origin: fc.constantFrom("shanghai", "beijing", "nowhere"),
    tenant: fc.constantFrom("acme", "other"),
    dataClass: fc.constantFrom("general", "general", "personal", "core"),
    inputTokens: fc.constantFrom(1, 500, 9_000, 30_000),
    outputTokensExpected: fc.option(fc.integer({ min: 1, max: 2_000 }), { nil: undefined }),
    outputTokensMax: fc.constantFrom(undefined, undefined, 20, 2_000),
    waitedMs: fc.constantFrom(undefined, undefined, 1_500, 90_000),
    deadlineMs: fc.option(fc.integer({ min: 1, max: 60_000 }), { nil: undefined }),
    priceNanoMax: fc.constantFrom(undefined, undefined, 20_000_000),
    cached: fc.constantFrom(undefined, undefined, 400, 20_000),
    excluded: fc.boolean(),
    budgets: fc.option(anyBudgets(), { nil: undefined }),
    choice: fc.option(anyChoice(), { nil: undefined }),
  })
  .map(({ attempt, origin, tenant, cached, excluded, ...rest }): PlacementRequest =>
    request({
      ...rest,
      dataClass: rest.dataClass as PlacementRequest["dataClass"],
      attempt: `r${attempt}/1` as AttemptId,
      origin: origin as OriginId,
      tenant: tenant as TenantId,
      cachedTokensAt: new Map(cached === undefined ? [] : [["pool-1" as PoolId, cached]]),
      excluded: new Set(excluded ? ["pool-2" as PoolId] : []),
    }),
  );

/** Not in all regions of the country: the more pools fit, the more there is to choose. */
const pools = fc.array(anyPool(geography), { minLength: 4, maxLength: 16 });

/** A run of one chooser: requests, and between them pools that become other values, and time. */
const run = fc.array(
  fc.record({
    request: anyRequest,
    place: fc.nat(9),
    becomes: anyPool(geography),
    passedMs: fc.integer({ min: 0, max: 4_000 }),
  }),
  { minLength: 1, maxLength: 12 },
);

test("Chooser makes the decisions of decide(), whatever it was asked before", () => {
  fc.assert(
    fc.property(pools, run, (start, steps) => {
      const chooser = new Chooser();
      let current: readonly Pool[] = start.map((pool, place) => named(pool, place));
      let now = 0;
      for (const step of steps) {
        now += step.passedMs;
        const place = step.place % current.length;
        current = current.with(place, named(step.becomes, place));
        const snapshot = { revision: 1, now, geography, pools: current };
        const quick = chooser.choose(step.request, snapshot, policyThatMinds);
        expect(plain(quick)).toEqual(plain(decide(step.request, snapshot, policyThatMinds)));
      }
    }),
    { numRuns: 300 },
  );
});

test("a floor is never above the cost, for any pool and request", () => {
  fc.assert(
    fc.property(anyPool(geography), anyRequest, (pool, asked) => {
      const served = pool.served.get(asked.model) ?? expect.unreachable();
      const ask = toAsk(asked, policyThatMinds, { now: 0, geography });
      const at = new Prospect(standingOf(pool, served, ask), ask);
      const floor = floorOf(at, ask);
      const { costNano } = candidateOf(at, ask);
      fc.pre(ask.inputTokens + ask.outputTokensMax <= floor.kvTokensEachMax);
      const perInput = asked.cachedTokensAt.size > 0 ? floor.perCachedToken : floor.perInputToken;
      const floorNano =
        floor.base + perInput * ask.inputTokens + floor.perOutputToken * ask.outputTokens;
      expect(floorNano).toBeLessThanOrEqual(costNano + 4);
    }),
    { numRuns: 2_000 },
  );
});

test("Chooser works out the cost of few pools: floors are close to costs", () => {
  const [one, ...others] = fc.sample(anyPool(geography), { numRuns: 200, seed: 7 });
  const gaps = [one, ...others].flatMap((pool) => {
    const asked = request({ class: "batch-offline" });
    const served = pool?.served.get(asked.model);
    if (pool === undefined || served === undefined || served.report?.waitingRequests?.value)
      return [];
    // Prompts ahead are in no floor: they pass by the ms.
    if (served.promptsDoneAt > 0) return [];
    const ask = toAsk(asked, shipped, { now: 0, geography });
    const at = new Prospect(standingOf(pool, served, ask), ask);
    const floor = floorOf(at, ask);
    const floorNano =
      floor.base + floor.perInputToken * ask.inputTokens + floor.perOutputToken * ask.outputTokens;
    return [candidateOf(at, ask).costNano - floorNano];
  });
  const middle = gaps.toSorted((a, b) => a - b)[Math.floor(gaps.length / 2)];
  expect(middle).toBeLessThan(100_000);
});

test("Chooser draws among equal costs as decide() does", () => {
  const pools = ["a", "b", "c", "d", "e"].map((id) => pool(id));
  const chooser = new Chooser();
  for (let index = 0; index < 40; index++) {
    const asked = request({ attempt: `r${index}/1` as AttemptId });
    const at = snapshot(index % 2 === 0 ? pools : pools.toReversed());
    expect(plain(chooser.choose(asked, at, policy()))).toEqual(plain(decide(asked, at, policy())));
  }
});

/** What a vendor may say of its pool, as far as the protocol can carry it. */
const beyondReason: Readonly<Record<string, Pool>> = {
  load: poolServing("odd", { report: modelReport({ runningRequests: figure(1e300) }) }),
  power: pool("odd", { powerModel: undefined, powerWatts: figure(1e300) }),
  PUE: pool("odd", { pue: figure(1e300) }),
  price: poolServing("odd", { price: price({ outputPicoPerToken: 9e18 }) }),
  steps: poolServing("odd", { engineProfile: { ...engineProfile, stepBaseMs: 1e308 } }),
  "steps and load": poolServing("odd", {
    engineProfile: { ...engineProfile, stepBaseMs: 1e308, stepMsPerKvToken: 1e308 },
    report: modelReport({ runningRequests: figure(1e300), kvTokensTotal: figure(1e300) }),
  }),
  path: pool("odd", { roundTripMsFrom: new Map([[shanghai, figure(1e300)]]) }),
};

for (const [what, odd] of Object.entries(beyondReason)) {
  test(`a ${what} beyond all reason makes a pool dear, and nothing else`, () => {
    const objectives = objectivesWith({ waitNanoPerMs: 100 });
    const minds = policy({ carbonNanoPerGram: 80_000, powerShare: 1, ...objectives });
    const others = [pool("a"), { ...odd, id: "odd-2" as PoolId }, odd];
    for (const pools of [[odd], [odd, pool("a")], others, others.slice(1)]) {
      const at = snapshot(pools);
      const quick = new Chooser().choose(request(), at, minds);
      expect(plain(quick)).toEqual(plain(decide(request(), at, minds)));
      expect(quick).toMatchObject({ kind: "placed" });
      if (pools.some(({ id }) => id === ("a" as PoolId)))
        expect(quick).toMatchObject({ pool: "a" });
      for (const { costNano } of quick.candidates) expect(costNano).toSatisfy(Number.isSafeInteger);
    }
  });
}

test("Chooser sees that a path has become too long, or a pool full, or its figures old", () => {
  const long = new Map([[shanghai, figure(46)]]);
  const dear = price({ outputPicoPerToken: 20_000_000 });
  const changes: Partial<Pool>[] = [
    { roundTripMsFrom: long },
    { status: "cordoned" },
    { served: new Map([[chat, served({ price: undefined })]]) },
    { served: new Map([[chat, served({ contextTokensMax: 10 })]]) },
    { reportedAt: -10_000 },
    { share: 0 },
    { pue: figure(1) },
    { mlpsLevel: 1 },
    { tags: new Set(["other"]) },
    { dataClasses: new Set() },
  ];
  const strict = {
    ...shipped,
    rows: [
      ...shipped.rows,
      requirement("latency-circle", { pueAbove: 1, tags: new Set(["good"]) }),
    ],
  };
  const asked = request({ mlpsLevelMin: 2, dataClass: "personal" });
  const chooser = new Chooser();
  const start = snapshot([]);
  for (const change of changes) {
    // Whichever changes is the cheaper one. All else of it stays the same value.
    const tags = new Set(["good"]);
    const cheap = pool("a", { tags });
    const fit = [cheap, poolServing("b", { price: dear }, { tags })];
    const changed = fit.with(0, { ...cheap, ...change });
    expect(decide(asked, snapshot(fit), strict)).toMatchObject({ pool: "a" });
    expect(decide(asked, snapshot(changed), strict)).toMatchObject({ pool: "b" });
    for (const pools of [fit, changed, fit]) {
      const at = { ...start, pools };
      expect(plain(chooser.choose(asked, at, strict))).toEqual(plain(decide(asked, at, strict)));
    }
  }
});

test("Chooser looks at a pool whose KV cache is too small for its floor to hold", () => {
  const heavy = { ...engineProfile, stepBaseMs: 1, stepMsPerSequence: 10, kvTokensTotal: 4_000 };
  const report = modelReport({ runningRequests: figure(100) });
  const full = poolServing(
    "full",
    { engineProfile: heavy, report, slotsTotal: 400 },
    { powerModel: undefined, powerWatts: figure(1e6) },
  );
  const minds = policy({ carbonNanoPerGram: 80_000 });
  const asked = request({ inputTokens: 1_800, outputTokensMax: 200 });
  const ask = toAsk(asked, minds, { now: 0, geography });
  const at = new Prospect(standingOf(full, at0(full), ask), ask);
  const floor = floorOf(at, ask);
  const floorNano =
    floor.base + floor.perInputToken * ask.inputTokens + floor.perOutputToken * ask.outputTokens;
  const { costNano } = candidateOf(at, ask);
  expect(floorNano).toBeGreaterThan(costNano + 1_000);
  const between = Math.round((floorNano + costNano) / 2);
  const plainly = decide(asked, snapshot([pool("other")]), minds);
  const outputPico = 8_000_000 + ((between - costOf(plainly)) * 1_000) / 200;
  const other = poolServing("other", { price: price({ outputPicoPerToken: outputPico }) });
  const both = snapshot([other, full]);
  expect(decide(asked, both, minds)).toMatchObject({ pool: "full" });
  expect(new Chooser().choose(asked, both, minds)).toMatchObject({ pool: "full" });
});

test("Chooser keeps the bills of a decision when the pools have become others", () => {
  fc.assert(
    fc.property(pools, anyRequest, (start, asked) => {
      const chooser = new Chooser();
      const before = { revision: 1, now: 0, geography, pools: start.map(named) };
      const quick = chooser.choose(asked, before, shipped);
      const after = { ...before, revision: 2, now: 9_000, pools: start.toReversed().map(named) };
      chooser.choose(asked, after, shipped);
      expect(plain(quick)).toEqual(plain(decide(asked, before, shipped)));
    }),
  );
});

test("Chooser forgets what it kept when the policy changes", () => {
  const chooser = new Chooser();
  const start = [
    named(fc.sample(anyPool(geography), { numRuns: 1, seed: 1 })[0] ?? expect.unreachable(), 0),
  ];
  const snapshot = { revision: 1, now: 0, geography, pools: start };
  for (const waitNanoPerMs of [0, 1_000]) {
    const all = { ...shipped.objectives["batch-offline"], waitNanoPerMs };
    const policy = { ...shipped, objectives: { ...shipped.objectives, "batch-offline": all } };
    const asked = request({ class: "batch-offline" });
    expect(plain(chooser.choose(asked, snapshot, policy))).toEqual(
      plain(decide(asked, snapshot, policy)),
    );
  }
});

/** For one tenant and two classes, all that an override may set but who may serve. */
const overrides: readonly PolicyOverride[] = [
  {
    id: "O1" as RowId,
    textEn: "",
    textZh: "",
    basis: "house default",
    sources: [],
    when: { tenants: new Set(["other" as TenantId]) },
    objectives: { slotsUsedRatioMax: 0.5, waitNanoPerMs: 0.7, gramsCo2Max: 4 },
    carbonAccount: "market-based",
    carbonNanoPerGram: 500_000,
    powerShare: 1,
  },
  {
    id: "O2" as RowId,
    textEn: "",
    textZh: "",
    basis: "house default",
    sources: [],
    when: { classes: new Set(["batch-offline", "archival"]) },
    priceNanoMax: 30_000_000,
    outputNanoPerTokenMax: 8_500,
    objectives: { slotsUsedRatioMax: 0.3 },
  },
];

/** All terms at once. */
const policyThatMinds = { ...shipped, powerShare: 0.5, overrides };

function costOf(decision: Decision): number {
  return decision.kind === "placed" ? decision.costNano : expect.unreachable();
}

function at0(each: Pool) {
  return each.served.get(chat) ?? expect.unreachable();
}

function requirement(reason: RowReason, condition: PoolCondition): PolicyRow {
  return {
    kind: "require",
    id: "X1" as RowId,
    textEn: "",
    textZh: "",
    basis: "house default",
    sources: [],
    when: {},
    reason,
    pool: condition,
  };
}

function named(pool: Pool, place: number): Pool {
  return { ...pool, id: `pool-${place}` as PoolId };
}

/** All that a decision says, whether it says it at once or when it is read. */
function plain(decision: Decision): unknown {
  const {
    tally,
    evaluated,
    candidates,
    rejections,
    attempt,
    seed,
    policyRow,
    policyRevision,
    decidedAt,
  } = decision;
  const outcome =
    decision.kind === "placed"
      ? [decision.pool, decision.costNano, decision.chosen]
      : [decision.reason, decision.soonest];
  const counts = [evaluated, tally.candidates, tally.poolsByReason];
  return [
    outcome,
    counts,
    candidates,
    rejections,
    attempt,
    seed,
    policyRow,
    policyRevision,
    decidedAt,
  ];
}

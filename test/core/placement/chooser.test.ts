import fc from "fast-check";
import { expect, test } from "vitest";
import { Chooser } from "../../../services/core/placement/chooser.ts";
import { decide, type Decision } from "../../../services/core/placement/decide.ts";
import type { PlacementRequest } from "../../../services/core/placement/request.ts";
import { serviceClasses } from "../../../services/core/placement/request.ts";
import type { Pool } from "../../../services/core/pool.ts";
import type { AttemptId, OriginId, PoolId, TenantId } from "../../../services/core/units.ts";
import { parsePolicy, defaultPolicyYaml } from "../../../services/io/policy-file.ts";
import { loadGeography } from "../../../services/io/preset.ts";
import { anyPool } from "./any-pool.ts";
import { request } from "../fixtures.ts";

const geography = loadGeography();
const parsed = parsePolicy(defaultPolicyYaml(), 1);
const shipped = "policy" in parsed ? parsed.policy : expect.unreachable();

const anyRequest = fc
  .record({
    attempt: fc.integer({ min: 0, max: 9 }),
    class: fc.constantFrom(...serviceClasses),
    origin: fc.constantFrom("shanghai", "beijing", "urumqi", "nowhere"),
    tenant: fc.constantFrom("acme", "other"),
    dataClass: fc.constantFrom("general", "personal", "core"),
    inputTokens: fc.integer({ min: 1, max: 40_000 }),
    outputTokensExpected: fc.option(fc.integer({ min: 1, max: 2_000 }), { nil: undefined }),
    outputTokensMax: fc.option(fc.integer({ min: 1, max: 4_000 }), { nil: undefined }),
    deadlineMs: fc.option(fc.integer({ min: 1, max: 60_000 }), { nil: undefined }),
    priceNanoMax: fc.option(fc.integer({ min: 0, max: 50_000_000 }), { nil: undefined }),
    cached: fc.option(fc.integer({ min: 0, max: 40_000 }), { nil: undefined }),
    excluded: fc.boolean(),
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

const pools = fc.array(anyPool(geography), { minLength: 1, maxLength: 10 });

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
        const quick = chooser.choose(step.request, snapshot, shipped);
        expect(plain(quick)).toEqual(plain(decide(step.request, snapshot, shipped)));
      }
    }),
    { numRuns: 300 },
  );
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

function named(pool: Pool, place: number): Pool {
  return { ...pool, id: `pool-${place}` as PoolId };
}

/** All that a decision says, whether it says it at once or when it is read. */
function plain(decision: Decision): unknown {
  const { candidates, rejections, attempt, seed, policyRow, policyRevision, decidedAt } = decision;
  const outcome =
    decision.kind === "placed"
      ? [decision.pool, decision.costNano, decision.chosen]
      : [decision.reason];
  return [outcome, candidates, rejections, attempt, seed, policyRow, policyRevision, decidedAt];
}

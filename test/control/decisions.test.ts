import { describe, expect, test } from "vitest";
import { Decisions, outcomeOf } from "../../services/control/decisions.ts";
import { Chooser } from "../../services/core/placement/chooser.ts";
import { decide, type Decision } from "../../services/core/placement/decide.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import type { AttemptId, PoolId, RequestId } from "../../services/core/units.ts";
import {
  objectives,
  policy,
  pool,
  poolServing,
  price,
  request,
  snapshot,
} from "../core/fixtures.ts";

function decision(
  number: number,
  changes: { readonly request?: string; readonly at?: number } = {},
) {
  const { request: id = `r${number}`, at = 0 } = changes;
  const wanted = request({ request: id as RequestId, attempt: `${number}` as AttemptId });
  return decide(wanted, snapshot([pool("a"), pool("b")], { now: at }), policy());
}

function noted(limits: ConstructorParameters<typeof Decisions>[0], count: number) {
  const decisions = new Decisions({ perSecondMax: 1e6, ...limits });
  for (let number = 0; number < count; number++) decisions.note(decision(number));
  return decisions;
}

test("the newest decisions are kept, and each is found by its request and attempt", () => {
  const decisions = noted({ decisionsMax: 300 }, 1_024);
  expect(decisions.count).toBe(1_024);
  expect(decisions.last?.attempt).toBe("1023");
  expect(decisions.ofRequest("r1023")).toHaveLength(1);
  expect(decisions.ofAttempt("1000")).toHaveLength(1);
  expect(decisions.ofRequest("r0")).toEqual([]);
  // The bounds are looked at every 256th time.
  expect(decisions.from(0, 10_000).length).toBeLessThan(300 + 256);
});

test("decisions with many pools take the place of more", () => {
  // One for the decision and one for each of its two pools.
  expect(noted({ poolsMax: 300 }, 1_024).from(0, 10_000).length).toBeLessThan(100 + 256);
});

test("decisions are forgotten by age", () => {
  const decisions = new Decisions({ ageMsMax: 1_000, perSecondMax: 1e6 });
  for (let number = 0; number < 255; number++) decisions.note(decision(number));
  decisions.note(decision(255, { at: 5_000 }));
  expect(decisions.from(0, 10_000).map(({ attempt }) => attempt)).toEqual(["255"]);
});

test("from() begins at the number asked for, or later if that is forgotten or too many", () => {
  const decisions = noted({ decisionsMax: 300 }, 1_024);
  expect(decisions.from(1_020, 10).map(({ attempt }) => attempt)).toEqual([
    ...["1020", "1021", "1022", "1023"],
  ]);
  expect(decisions.from(1_020, 2).map(({ attempt }) => attempt)).toEqual(["1022", "1023"]);
  expect(decisions.from(1_024, 10)).toEqual([]);
});

test("a request id that is used for everything keeps its newest alone", () => {
  const decisions = new Decisions({ perRequestMax: 3, perSecondMax: 1e6 });
  for (let number = 0; number < 1_000; number++) {
    decisions.note(decision(number, { request: "same" }));
  }
  expect(decisions.ofRequest("same").map(({ attempt }) => attempt)).toEqual(["997", "998", "999"]);
});

test("above so many per second a part of each tenth is left out, and counted", () => {
  const decisions = new Decisions({ perSecondMax: 20 });
  for (let number = 0; number < 30; number++) {
    decisions.note(decision(number, { at: number < 15 ? 0 : 100 }));
  }
  expect(decisions.count).toBe(30);
  expect(decisions.from(0, 100).map(({ attempt }) => attempt)).toEqual(["0", "1", "15", "16"]);
  expect(decisions.from(15, 100).map(({ attempt }) => attempt)).toEqual(["15", "16"]);
});

describe("an answer that refuses is made without the words of each rejection:", () => {
  const full = poolServing("a", { slotsLeased: 64, slotsTotal: 64 });
  const rows: Readonly<Record<string, [Partial<PlacementRequest>, string]>> = {
    "no slot is free": [{}, "no-eligible-pool"],
    "it was tried there": [{ excluded: new Set(["a" as PoolId]) }, "no-eligible-pool"],
    "who asks is late": [{ waitedMs: 1e9 }, "no-eligible-pool"],
    "the price is capped": [{ priceNanoMax: 0 }, "no-eligible-pool"],
    "no pool may have such data": [{ dataClass: "core" }, "unsatisfiable"],
    "no pool has such a context": [{ inputTokens: 1e9 }, "context-too-long"],
  };

  test.each(Object.entries(rows))("%s", (_name, [changes, reason]) => {
    const rules = policy(objectives({ slotsUsedRatioMax: 0.9 }));
    const decided = new Chooser().choose(request(changes), snapshot([full]), rules);
    expect(decided.tallyAtHand).toBeDefined();
    expect(outcomeOf(unread(decided), undefined, 0)).toMatchObject({ kind: "unplaceable", reason });
  });
});

test("the same for a budget: when it has room comes from the pool at which it has first", () => {
  const returns = [
    { inMs: 5_000, amount: 1_000 },
    { inMs: 60_000, amount: 1e12 },
  ];
  const spent = 1e12;
  const standing = { unit: "cny", isHard: true, windowMs: 60_000, limit: spent, spent } as const;
  const standings = [{ id: "daily", ...standing, held: 0, dualNano: 0, returns }];
  const prices = { nanoPerNano: 0, nanoPerJoule: 0, nanoPerGram: 0 };
  const dear = poolServing("a", {});
  const cheap = poolServing("b", {
    price: price({ uncachedInputPicoPerToken: 1, outputPicoPerToken: 1 }),
  });
  const asked = request({ budgets: { standings, prices } });
  const decided = new Chooser().choose(asked, snapshot([dear, cheap]), policy());
  expect(decided).toMatchObject({ reason: "budget-exhausted", soonest: { pool: "b" } });
  expect(outcomeOf(unread(decided), undefined, 0)).toMatchObject({
    retryAfterMs: 5_000,
    detail: expect.stringContaining("of budget daily"),
    poolsByFilter: new Map([["budget", 2]]),
  });
});

/** The same, but nobody may read what would have to be made first. */
function unread(decision: Decision): Decision {
  return new Proxy(decision, {
    get: (target, name): unknown => {
      if (name === "rejections" || name === "candidates") throw new Error(`${name} was read`);
      return Reflect.get(target, name, target);
    },
  });
}

import { expect, test } from "vitest";
import { assert } from "../../services/core/assert.ts";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import type { Event } from "../../services/core/events.ts";
import type { AttemptOutcome } from "../../services/core/lease.ts";
import { MovedLoad } from "../../services/core/moved-load.ts";
import { Comparison, totalNano } from "../../services/core/placement/compare.ts";
import { TimeQueue } from "../../services/core/time-queue.ts";
import type { AttemptId, BookId, PoolId, ReplicaId, VendorId } from "../../services/core/units.ts";
import { WhatIf, type Change, type Pair } from "../../services/core/what-if.ts";
import {
  chat,
  figure,
  geography,
  modelReport,
  policy,
  priceBook,
  registration,
  report,
  request,
} from "./fixtures.ts";
import { RandomEvents } from "./random-events.ts";

/** Steps a run of random events, and beside it the other world from an image in the middle of it. */
function beside(seed: number, change: Change, count = 2_000) {
  const source = new RandomEvents(seed);
  const dispatcher = new Dispatcher("control-1" as ReplicaId, policy());
  const pairs: Pair[] = [];
  let other: WhatIf | undefined;
  const step = (event: Event): void => {
    const effects = dispatcher.step(event);
    for (const effect of effects) {
      if (effect.kind === "answer" && effect.lease !== undefined) source.granted(effect.lease);
    }
    const pair = other?.step(event, effects);
    if (pair !== undefined) pairs.push(pair);
  };
  for (const event of source.first()) step(event);
  for (let index = 0; index < count; index++) {
    if (index === 300) other = new WhatIf(dispatcher.image(), change);
    step(source.next());
  }
  assert(other !== undefined, "there is another world");
  return { pairs, dispatcher, other };
}

function compared(pairs: readonly Pair[]): Comparison {
  const comparison = new Comparison();
  for (const { recorded, other } of pairs) comparison.add(recorded, other, 600);
  return comparison;
}

test("with nothing changed the other world is the same: every decision, and all leases at the end", () => {
  for (const seed of [1, 2, 3, 4]) {
    for (const change of [{}, { isDrained: () => false }]) {
      const { pairs, dispatcher, other } = beside(seed, change);
      expect(pairs.length).toBeGreaterThan(400);
      const { recorded, other: totals, changed } = compared(pairs);
      expect(changed).toBe(0);
      expect(totals).toEqual(recorded);
      expect(other.dispatcher.leases).toEqual(dispatcher.leases);
    }
  }
});

test("a drained pool is never chosen, and keeps what it had", () => {
  const isDrained = ({ id }: { readonly id: PoolId }) => id === "a";
  const { pairs, other } = beside(6, { isDrained });
  const took = pairs.filter(({ recorded }) => recorded.kind === "placed" && recorded.pool === "a");
  expect(took.length).toBeGreaterThan(10);
  for (const pair of pairs) expect(pair.other).not.toMatchObject({ kind: "placed", pool: "a" });
  expect(other.dispatcher.pools.find(({ id }) => id === "a")?.status).toBe("cordoned");
});

test("in the other world leases end too: none is held for ever, and counts never go below 0", () => {
  const { other } = beside(8, { isDrained: ({ id }) => id === "a" || id === "b" }, 4_000);
  for (const pool of other.dispatcher.pools) {
    for (const { slotsLeased } of pool.served.values())
      expect(slotsLeased).toBeGreaterThanOrEqual(0);
  }
  const { leases } = other.dispatcher;
  const oldest = Math.min(...leases.map(({ grantedAt }) => grantedAt));
  const newest = Math.max(...leases.map(({ expiresAt }) => expiresAt));
  expect(newest - oldest).toBeLessThan(600_000);
});

const a = "a" as PoolId;
const d = "d" as PoolId;
const books = ["northgrid", "southgrid"].map((vendor) =>
  priceBook({ id: `${vendor}-2026` as BookId, vendor: vendor as VendorId }),
);

/** Two idle pools of two vendors at the same price, and requests far apart. */
function quiet(change: Change, outputTokens?: number): readonly Pair[] {
  const dispatcher = new Dispatcher("control-1" as ReplicaId, policy());
  const other = new WhatIf(dispatcher.image(), change);
  const pairs: Pair[] = [];
  const step = (event: Event) => {
    const effects = dispatcher.step(event);
    const pair = other.step(event, effects);
    if (pair !== undefined) pairs.push(pair);
    return effects;
  };
  const vendorOf = (pool: PoolId) => (pool === a ? "northgrid" : "southgrid") as VendorId;
  step({ kind: "geography-set", at: 0, geography: geography() });
  for (const book of books) step({ kind: "prices-published", at: 0, book });
  for (const pool of [a, d]) {
    const vendor = vendorOf(pool);
    step({ kind: "pool-registered", at: 0, registration: registration(pool, { vendor }) });
    step({ kind: "share-set", at: 0, pool, share: 1 });
  }
  for (let number = 0; number < 40; number++) {
    const at = 1_000 + number * 10_000;
    for (const pool of [a, d]) {
      const models = [modelReport({ runningRequests: figure(0, { observedAt: at }) })];
      const said = report(pool, { sequence: number + 1, models });
      step({ kind: "pool-reported", at, vendor: vendorOf(pool), report: said });
    }
    const attempt = `r${number}/1` as AttemptId;
    const asked = request({ attempt, outputTokensExpected: undefined });
    const effects = step({ kind: "placement-requested", at, request: asked });
    const lease = effects.find((effect) => effect.kind === "answer")?.lease;
    assert(lease !== undefined, "an idle pool takes it");
    const { id, fence } = lease;
    const outcome = outputTokens === undefined ? undefined : outcomeOf(outputTokens);
    step({ kind: "lease-released", at: at + 5_000, lease: id, fence, outcome });
  }
  return pairs;
}

function outcomeOf(outputTokens: number): AttemptOutcome {
  return {
    result: "ok",
    ttftMs: undefined,
    itlMsMean: undefined,
    headersMs: undefined,
    inputTokens: undefined,
    cachedTokens: undefined,
    outputTokens,
    durationMs: undefined,
  };
}

function poolsOf(pairs: readonly Pair[], side: keyof Pair): readonly string[] {
  return pairs.map((pair) => {
    const decision = pair[side];
    return decision.kind === "placed" ? decision.pool : "none";
  });
}

test("the policy that was in force changes nothing, whatever its revision", () => {
  const { changed, recorded, other } = compared(quiet({ policy: policy({ revision: 77 }) }));
  expect(changed).toBe(0);
  expect(other).toEqual(recorded);
});

test("draining a pool moves exactly its decisions", () => {
  const pairs = quiet({ isDrained: ({ vendor }) => vendor === "southgrid" });
  const recorded = poolsOf(pairs, "recorded");
  expect(new Set(recorded)).toEqual(new Set(["a", "d"]));
  expect(poolsOf(pairs, "other")).toEqual(recorded.map(() => "a"));
  const { flows, changed } = compared(pairs);
  const moved = recorded.filter((pool) => pool === "d").length;
  expect([flows, changed]).toEqual([[{ from: "d", to: "a", decisions: moved }], moved]);
});

test("a doubled price of one vendor sends the work to the other", () => {
  const [book] = books;
  assert(book !== undefined, "there is a book");
  const doubled = {
    ...book,
    lines: book.lines.map((line) => ({
      ...line,
      tiers: line.tiers.map((tier) => ({
        ...tier,
        pricePicoPerToken: 2n * tier.pricePicoPerToken,
      })),
    })),
  };
  const pairs = quiet({ book: doubled });
  expect(poolsOf(pairs, "recorded")).toContain("a");
  expect(new Set(poolsOf(pairs, "other"))).toEqual(new Set(["d"]));
  expect(compared(quiet({ book })).changed).toBe(0);
});

test("answers are as long in the other world, also where all of them moved", () => {
  for (const changes of [{ isDrained: ({ id }: { id: PoolId }) => id === "a" }, {}]) {
    const pairs = quiet(changes, 77);
    const expected = (side: keyof Pair) =>
      pairs.map((pair) => pair[side].request.outputTokensExpected);
    expect(expected("other")).toEqual(expected("recorded"));
    expect(expected("recorded").at(-1)).toBeCloseTo(77);
  }
});

test("nobody left: the requests are refused, and the comparison says so", () => {
  const comparison = compared(quiet({ isDrained: () => true }));
  expect(comparison.other).toMatchObject({ placed: 0, unplaceable: 40, kwh: 0 });
  expect(totalNano(comparison.other)).toBe(0);
  expect(comparison.flows.map(({ to }) => to)).toEqual(["none", "none"]);
});

test("a report is corrected by what moved up to the instant at which the engine was asked", () => {
  const load = new MovedLoad();
  const place = { pool: a, model: chat };
  const said = (running: number, observedAt: number) =>
    report("a", {
      models: [
        modelReport({
          runningRequests: figure(running, { observedAt }),
          waitingRequests: figure(0, { observedAt }),
          kvUsedRatio: figure(0.25, { observedAt }),
          slotsTotal: figure(6, { observedAt }),
        }),
      ],
    });
  const seen = (running: number, observedAt: number) => {
    const [model] = load.corrected(said(running, observedAt), observedAt).models;
    return [model?.runningRequests, model?.waitingRequests, model?.kvUsedRatio].map(
      (each) => each?.value,
    );
  };
  const untouched = said(4, 0);
  expect(load.corrected(untouched, 0)).toBe(untouched);
  load.move(place, 10, +1);
  load.move(place, 20, +2);
  load.move(place, 30, -3);
  expect(seen(4, 5)).toEqual([4, 0, 0.25]);
  expect(seen(4, 10)).toEqual([5, 0, 0.3125]);
  expect(seen(4, 25)).toEqual([6, 1, 0.375]);
  expect(seen(4, 30)).toEqual([4, 0, 0.25]);
  load.move(place, 40, -9);
  expect(seen(4, 40)).toEqual([0, 0, 0]);
});

test("a queue of times gives what is due, the earliest first", () => {
  const queue = new TimeQueue<number>();
  const times = [5, 1, 9, 3, 3, 7, 2, 8, 6, 4];
  for (const at of times) queue.add(at, at);
  const taken: number[] = [];
  for (const now of [0, 4, 100]) {
    for (let due = queue.takeUntil(now); due !== undefined; due = queue.takeUntil(now)) {
      expect(due.at).toBeLessThanOrEqual(now);
      taken.push(due.item);
    }
  }
  expect(taken).toEqual(times.toSorted((x, y) => x - y));
});

test("buckets stay few however long the time, and lose nothing", () => {
  const { pairs } = beside(9, {}, 6_000);
  const comparison = compared(pairs);
  expect(comparison.buckets.length).toBeLessThanOrEqual(60);
  const decisions = comparison.buckets.reduce((sum, { recorded }) => sum + recorded.decisions, 0);
  expect(decisions).toBe(pairs.length);
});

/** The pieces of the policies that are worth a look of their own, computed by hand. */

import { expect, test } from "vitest";
import { randomFromSeed } from "../../services/core/random.ts";
import type { LeaseId, PoolId } from "../../services/core/units.ts";
import { passes, type Outlook } from "../../bench/baselines/packing.ts";
import {
  BlockLru,
  BlocksForAWhile,
  LastTouch,
  Prefilling,
  tokensEach,
} from "../../bench/baselines/prefixes.ts";
import {
  Answers,
  answersMaxOf,
  hotAbove,
  usesOf,
  type Answer,
} from "../../bench/baselines/prequal.ts";
import { homeOf } from "../../bench/baselines/regional.ts";
import { drawnByWeight, sampled } from "../../bench/baselines/rival.ts";
import { toAsk } from "../../services/core/placement/prospect.ts";
import { objectives, policy, region, request, snapshot } from "../core/fixtures.ts";
import { makePool, map, wuhu, yinchuan } from "./rival-lab.ts";

test("Prequal keeps half as many answers as there are pools, from 2 to 16", () => {
  expect([1, 3, 4, 5, 25, 32, 100, 1_000].map(answersMaxOf)).toEqual([2, 2, 2, 2, 12, 16, 16, 16]);
});

test("Prequal uses an answer 2 / ((1 − m/n)·3 − 1) times, from 1 to 4", () => {
  expect(usesOf(16, 100)).toBeCloseTo(2 / 1.52, 12);
  expect(usesOf(2, 5)).toBeCloseTo(2.5, 12);
  expect(usesOf(16, 1_000_000)).toBeCloseTo(1, 4);
  expect(usesOf(12, 25)).toBeCloseTo(2 / 0.56, 12);
  expect(usesOf(3, 5)).toBe(4);
  expect(usesOf(2, 2)).toBe(4);
});

const rifs: readonly (readonly [number, readonly number[]])[] = [
  [5, [5, 0]],
  [6, [6, 5, 4, 3, 2, 1]],
  [6, [7, 6, 5, 4, 3, 2, 1]],
  [14, Array.from({ length: 16 }, (_, index) => 16 - index)],
];

for (const [threshold, answers] of rifs) {
  test(`Prequal: of ${answers.length} answers those above ${threshold} are hot`, () => {
    expect(hotAbove(answers)).toBe(threshold);
  });
}

function answer(pool: string, changes: Partial<Answer> = {}): Answer {
  const plain = { rif: 1, rifOfOne: 1, latencyMs: 100, receivedAt: 0, usesLeft: 4 };
  return { pool: pool as PoolId, ...plain, ...changes };
}

/** Seven answers, of which the fastest are a, then b. */
function seven(changes: Partial<Answer> = {}): Answers {
  const answers = new Answers();
  const others = ["c", "d", "e", "f", "g"].map((pool) => answer(pool, { latencyMs: 300 }));
  answers.keep(
    [answer("a", { latencyMs: 50, ...changes }), answer("b", { latencyMs: 60 }), ...others],
    { now: 0, max: 16 },
  );
  return answers;
}

function pools(answers: Answers): string {
  return answers.all.map(({ pool }) => pool).join("");
}

test("Prequal raises what is in flight on use, so that the fastest becomes hot", () => {
  const answers = seven();
  const taken = [1, 2, 3].map(() => {
    const best = answers.best(() => true, randomFromSeed(1));
    if (best !== undefined) answers.use(best);
    return best?.pool;
  });
  // After a: six have 1, a has 2 and is hot. After b: of seven the sixth has 2, and none is hot.
  expect(taken).toEqual(["a", "b", "a"]);
});

test("Prequal uses an answer so often, and then no more", () => {
  const answers = seven({ usesLeft: 1 });
  const best = answers.best(() => true, randomFromSeed(1));
  if (best !== undefined) answers.use(best);
  expect(pools(answers)).toBe("bcdefg");
});

test("Prequal removes the oldest and the worst by turns: the hottest, or the slowest where none is hot", () => {
  const cold = new Answers();
  const all = [100, 900, 200, 300].map((latencyMs, index) =>
    answer("abcd"[index] ?? "", { latencyMs }),
  );
  cold.keep(all, { now: 0, max: 16 });
  const left = [1, 2, 3].map(() => {
    cold.removeOne();
    return pools(cold);
  });
  expect(left).toEqual(["bcd", "cd", "d"]);
  const warm = seven();
  warm.keep([answer("h", { rif: 9, latencyMs: 1 }), answer("i")], { now: 0, max: 16 });
  warm.removeOne();
  warm.removeOne();
  expect(pools(warm)).toBe("bcdefgi");
});

test("Prequal keeps the newest answers of the last second", () => {
  const answers = new Answers();
  answers.keep([answer("a"), answer("b", { receivedAt: 1 })], { now: 999, max: 16 });
  expect(pools(answers)).toBe("ab");
  answers.keep([answer("c", { receivedAt: 1_000 })], { now: 1_000, max: 16 });
  expect(pools(answers)).toBe("bc");
  answers.keep([answer("d", { receivedAt: 1_000 })], { now: 1_000, max: 2 });
  expect(pools(answers)).toBe("cd");
});

test("Prequal: one answer of a pool that will do says nothing", () => {
  const best = (...fit: string[]) => seven().best((pool) => fit.includes(pool), randomFromSeed(1));
  expect([best("b")?.pool, best("b", "c")?.pool]).toEqual([undefined, "b"]);
});

const outlook: Outlook = { ttftMs: 900, ttftMsUnqueued: 200, stepMs: 40, stepMsMax: 45 };
const tests: readonly (readonly [boolean, string, Partial<Outlook>, number])[] = [
  [true, "all are met", {}, 0],
  [true, "just met", { ttftMs: 1_000, stepMs: 50, stepMsMax: 50 }, 0],
  [false, "the first token is late", { ttftMs: 1_001 }, 0],
  [true, "what it waited counts", {}, 100],
  [false, "what it waited counts", {}, 101],
  [false, "the next step is late with the first token", { ttftMs: 1_000, stepMs: 51 }, 0],
  [true, "a slow step is made up for by an early token", { ttftMs: 100, stepMs: 51 }, 0],
  [false, "steps become too slow", { stepMsMax: 50.1 }, 0],
];

for (const [answer, what, changes, waitedMs] of tests) {
  test(`PolyServe's test: ${what} (waited ${waitedMs} ms): ${answer}`, () => {
    const all = objectives({ ttftMsMax: 1_000, tpotMsMax: 50 }).objectives["llm-interactive"];
    expect(passes({ ...outlook, ...changes }, { objectives: all }, waitedMs)).toBe(answer);
  });
}

test("homeOf() is the hub of the request's demand area, or else of the nearest region with pools", () => {
  const far = region("far", { hub: "Far", demandAreas: new Set(["Nowhere"]) });
  const ask = (origin = request().origin) =>
    toAsk(request({ origin }), policy(), snapshot([], { geography: map }));
  const at = (...ids: readonly string[]) => {
    const regions = { wuhu, far, zhongwei: region() };
    return snapshot(
      ids.map((id) => makePool(id, { region: regions[id as keyof typeof regions] })),
      { geography: map },
    );
  };
  expect(homeOf(ask(), at("zhongwei", "wuhu"))).toBe("Yangtze River Delta");
  expect(homeOf(ask(yinchuan), at("wuhu", "zhongwei"))).toBe("Ningxia");
  // 36 ms are known of Zhongwei, nothing of the other.
  expect(homeOf(ask(), at("far", "zhongwei"))).toBe("Ningxia");
});

test("BlockLru keeps the blocks used last, the beginning of a prompt before its end", () => {
  const lru = new BlockLru(48);
  lru.add([1, 2, 3], 16);
  lru.add([9], 16);
  expect([lru.matched([1, 2, 3]), lru.matched([9]), lru.matched([2])]).toEqual([2, 1, 1]);
});

test("BlockLru: looking is no use", () => {
  const lru = new BlockLru(128);
  lru.add([1], 64);
  lru.add([2], 64);
  lru.matched([1]);
  lru.add([3], 64);
  expect([lru.matched([1]), lru.matched([2])]).toEqual([0, 1]);
});

test("BlocksForAWhile forgets what was not written for as long", () => {
  const blocks = new BlocksForAWhile(100);
  blocks.add([1, 2], 0);
  blocks.add([1], 50);
  expect([99, 100, 149, 150].map((now) => blocks.matched([1, 2], now))).toEqual([2, 1, 1, 0]);
});

test("LastTouch names who touched the end of the longest known prefix last", () => {
  const tree = new LastTouch(256);
  tree.add("a" as PoolId, [1, 2, 3], 64);
  tree.add("b" as PoolId, [1], 64);
  expect(tree.matched([1, 2, 9])).toEqual({ count: 2, pool: "a" });
  expect(tree.matched([1, 9])).toEqual({ count: 1, pool: "b" });
  tree.add("c" as PoolId, [7, 8], 64);
  expect(tree.matched([1, 2, 3])).toEqual({ count: 2, pool: "a" });
});

test("Prefilling counts prompts until their first token is due or they end", () => {
  const prompts = new Prefilling();
  prompts.add("x" as LeaseId, { tokens: 10, until: 5 });
  prompts.add("y" as LeaseId, { tokens: 7, until: 9 });
  expect([4, 5].map((now) => prompts.tokens(now))).toEqual([17, 7]);
  prompts.end("y" as LeaseId);
  expect(prompts.tokens(5)).toBe(0);
});

test("tokensEach() of a block are 64, or fewer where the text of a prompt is short", () => {
  const prefixBlocks = [1, 2, 3, 4];
  expect(tokensEach(request({ inputTokens: 300, prefixBlocks }))).toBe(64);
  expect(tokensEach(request({ inputTokens: 100, prefixBlocks }))).toBe(25);
});

test("sampled() draws different ones, each equally often", () => {
  const counts = new Map<string, number>();
  const random = randomFromSeed(7);
  for (let draw = 0; draw < 4_000; draw++) {
    const sample = sampled(["a", "b", "c", "d"], 3, random);
    expect(new Set(sample).size).toBe(3);
    for (const each of sample) counts.set(each, (counts.get(each) ?? 0) + 1);
  }
  // 3,000 each; five standard deviations are 137.
  for (const count of counts.values()) expect(Math.abs(count - 3_000)).toBeLessThan(137);
});

test("drawnByWeight() draws in proportion, and never what weighs nothing", () => {
  const random = randomFromSeed(7);
  const counts = { a: 0, b: 0, c: 0 };
  for (let draw = 0; draw < 4_000; draw++) {
    counts[
      drawnByWeight(["a", "b", "c"] as const, (each) => ({ a: 3, b: 1, c: 0 })[each], random)
    ] += 1;
  }
  expect(counts.c).toBe(0);
  // 3,000; five standard deviations are 137.
  expect(Math.abs(counts.a - 3_000)).toBeLessThan(137);
});

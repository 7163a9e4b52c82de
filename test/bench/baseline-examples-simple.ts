import type { MakeRival } from "../../bench/baselines/rival.ts";
import type { Served } from "../../services/core/pool.ts";
import type { PoolId } from "../../services/core/units.ts";
import { price } from "../core/fixtures.ts";
import type { Examples } from "./baseline-examples.ts";
import { everTaken, Lab, shares, type PoolFacts } from "./rival-lab.ts";

const ok = { durationMs: 5_000, ttftMs: 1_000, outputTokens: 100 };
const slower = { durationMs: 6_000, ttftMs: 2_000, outputTokens: 100 };

function two(make: MakeRival, seed = 1): Lab {
  return new Lab(make, { a: {}, b: {} }, { seed });
}

/** Ten good samples of a, then a bad one, then two good ones; b is in between throughout. */
function afterOneBad(make: MakeRival): string {
  const lab = two(make);
  lab.learn("b", { durationMs: 8_000, ttftMs: 3_000, outputTokens: 100 });
  lab.learn("a", ok, 10);
  const before = lab.try();
  lab.learn("a", { durationMs: 100_000, ttftMs: 90_000, outputTokens: 100 });
  const bad = lab.try();
  lab.learn("a", ok, 2);
  return [before, bad, lab.try()].join(" ");
}

const learning: Examples[string] = [
  [
    "lower is better, and a pool without samples is tried first",
    (make) => {
      const lab = two(make);
      lab.learn("b", slower);
      const untried = lab.try();
      lab.learn("a", ok);
      return [untried, lab.try()].join(" ");
    },
    "a a",
  ],
  [
    "per token: 2 s for 200 tokens are less than 1.5 s for 100",
    (make) => {
      const lab = two(make);
      lab.learn("a", { durationMs: 2_000, ttftMs: 2_000, outputTokens: 200 });
      lab.learn("b", { durationMs: 1_500, ttftMs: 1_500, outputTokens: 100 });
      return lab.try();
    },
    "a",
  ],
  [
    "only ties are drawn",
    (make) =>
      everTaken((seed) => {
        const lab = two(make, seed);
        lab.learn("a", ok, 2);
        lab.learn("b", ok);
        return lab.try();
      }),
    "a b",
  ],
  [
    "a failure puts a pool aside for 5 s",
    (make) => {
      const lab = two(make);
      lab.learn("b", slower);
      lab.learn("a", ok);
      lab.learn("a", { result: "upstream-5xx" });
      const aside = [0, 4_999, 5_000].map((now) => {
        lab.now = now;
        return lab.try();
      });
      return aside.join(" ");
    },
    "b b a",
  ],
  [
    "samples live an hour after the last was written",
    (make) =>
      [3_599_999, 3_600_000]
        .map((now) =>
          everTaken((seed) => {
            const lab = two(make, seed);
            lab.learn("a", ok);
            lab.learn("b", slower);
            lab.now = now;
            return lab.try();
          }),
        )
        .join(" | "),
    "a | a b",
  ],
];

/** One answer and one time-out of a; b is a little slower than a's answer, or much. */
function afterTimeout(make: MakeRival): string {
  const lab = two(make);
  lab.learn("b", { durationMs: 4_000, ttftMs: 800, outputTokens: 100 });
  lab.learn("a", ok);
  const before = lab.try();
  lab.learn("a", { result: "timeout" });
  lab.now = 5_000;
  return [before, lab.try()].join(" ");
}

/** All a's prices are those of b times a factor. */
function priced(factor: number): Partial<Served> {
  return {
    price: price({
      uncachedInputPicoPerToken: 2_000_000 * factor,
      cacheReadPicoPerToken: 0,
      outputPicoPerToken: 8_000_000 * factor,
    }),
  };
}

function countOfA(make: MakeRival, pools: Readonly<Record<string, PoolFacts>>): number {
  return shares(400, (seed) => new Lab(make, pools, { seed }).try()).a ?? 0;
}

/** Five standard deviations of a draw are at most 50. */
function about(expected: number, count: number): string {
  return Math.abs(count - expected) <= 50 ? "about so many" : String(count);
}

function takenAfter(make: MakeRival, failures: number, successes: number, now = 0): string {
  return everTaken((seed) => {
    const lab = two(make, seed);
    lab.learn("a", { result: "connect-error" }, failures);
    lab.learn("a", ok, successes);
    lab.now = now;
    return lab.try();
  });
}

const full: PoolFacts = { slots: 8, running: 8 };
const cachedAtA = { cachedTokensAt: new Map([["a" as PoolId, 1_000]]) };

export const simpleExamples: Examples = {
  "litellm-latency/as published": [
    ...learning,
    // The bad one takes the tenth place, and the next good one takes it over.
    ["the newest overwrites the last of ten", afterOneBad, "a b a"],
    ["a time-out adds to what is divided by: 0.01 / 2 < 0.008", afterTimeout, "b a"],
    [
      "goes by times to first token",
      (make) => {
        const lab = two(make);
        lab.learn("a", { durationMs: 9_000, ttftMs: 1_000, outputTokens: 100 });
        lab.learn("b", { durationMs: 5_000, ttftMs: 2_000, outputTokens: 100 });
        return lab.try();
      },
      "a",
    ],
  ],
  "litellm-latency/as published, unstreamed": [
    ...learning,
    ["the newest overwrites the last of ten", afterOneBad, "a b a"],
    ["a time-out counts as 1,000 s", afterTimeout, "b b"],
    [
      "goes by whole times",
      (make) => {
        const lab = two(make);
        lab.learn("a", { durationMs: 9_000, ttftMs: 1_000, outputTokens: 100 });
        lab.learn("b", { durationMs: 5_000, ttftMs: 2_000, outputTokens: 100 });
        return lab.try();
      },
      "b",
    ],
  ],
  "litellm-latency/true ring": [...learning, ["a bad one stays for ten", afterOneBad, "a b b"]],
  "litellm-latency/true ring, unstreamed": [
    ...learning,
    ["a bad one stays for ten", afterOneBad, "a b b"],
  ],
  "openrouter/as published": [
    [
      "half the price is taken four times as often",
      (make) => about(320, countOfA(make, { a: {}, b: { served: priced(2) } })),
      "about so many",
    ],
    [
      "prices as listed: what is cached does not count, nor do slots",
      (make) => {
        const pools = { a: { slots: 6 }, b: { slots: 2 } };
        const drawn = (seed: number) => new Lab(make, pools, { seed }).try(cachedAtA);
        return about(200, shares(400, drawn).a ?? 0);
      },
      "about so many",
    ],
    [
      "free is always taken",
      (make) => String(countOfA(make, { a: { served: priced(0) }, b: {} })),
      "400",
    ],
    ["one failure is no outage", (make) => takenAfter(make, 1, 0), "a b"],
    ["two of twenty are", (make) => takenAfter(make, 2, 18), "b"],
    ["two of twenty-one are not", (make) => takenAfter(make, 2, 19), "a b"],
    ["for 30 s", (make) => takenAfter(make, 2, 0, 29_999), "b"],
    ["no longer", (make) => takenAfter(make, 2, 0, 30_000), "a b"],
  ],
  "openrouter/capacity-weighted": [
    [
      "6 slots / 1² against 2 slots / (1/2)²: 6 to 8",
      (make) =>
        about(171, countOfA(make, { a: { slots: 6 }, b: { slots: 2, served: priced(0.5) } })),
      "about so many",
    ],
  ],
  "nearest-first/as published": [
    ["lower round trip", (make) => new Lab(make, { a: {}, b: { roundTripMs: 35 } }).try(), "b"],
    [
      "next when no slot is free",
      (make) => new Lab(make, { a: {}, b: { roundTripMs: 35, ...full } }).try(),
      "a",
    ],
    [
      "the nearest when none has one",
      (make) => new Lab(make, { a: full, b: { roundTripMs: 35, ...full } }).try(),
      "b",
    ],
  ],
  "cheapest-first/as published": [
    ["lower price", (make) => new Lab(make, { a: { served: priced(1.01) }, b: {} }).try(), "b"],
    [
      "as listed: what is cached does not count",
      (make) => new Lab(make, { a: { served: priced(1.01) }, b: {} }).try(cachedAtA),
      "b",
    ],
    [
      "next when no slot is free",
      (make) => new Lab(make, { a: { served: priced(1.01) }, b: full }).try(),
      "a",
    ],
  ],
  "litellm-lowest-cost/as published": [
    [
      "lower price, full or not",
      (make) => new Lab(make, { a: { served: priced(1.01) }, b: full }).try(),
      "b",
    ],
  ],
};

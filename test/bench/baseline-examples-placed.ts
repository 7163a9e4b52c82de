import type { MakeRival } from "../../bench/baselines/rival.ts";
import type { Served } from "../../services/core/pool.ts";
import type { PoolId, RequestId } from "../../services/core/units.ts";
import { price } from "../core/fixtures.ts";
import type { Example, Examples } from "./baseline-examples.ts";
import { everTaken, Lab, wuhu, yinchuan, type PoolFacts } from "./rival-lab.ts";

type Pools = Readonly<Record<string, PoolFacts>>;

/** Blocks of 64 tokens, of which the first are shared. */
function prompt(shared: number, total: number) {
  const prefixBlocks = Array.from({ length: total }, (_, index) =>
    index < shared ? index + 1 : 1_000 + index,
  );
  return { inputTokens: 64 * total, prefixBlocks };
}

const excludingA = { excluded: new Set(["a" as PoolId]) };
const here: PoolFacts = { region: wuhu };
const busyHere: PoolFacts = { region: wuhu, waiting: 1 };

/** So many in flight of two local pools, and what is taken. */
function loaded(make: MakeRival, pools: Pools, inFlight: Readonly<Record<string, number>>): string {
  const lab = new Lab(make, pools);
  for (const [id, count] of Object.entries(inFlight)) lab.send(id, count);
  return lab.try();
}

/** Of Yinchuan's requests so many wait when its pool has room again and Shanghai's has none. */
function handedOver(make: MakeRival, waiting: number, afterMs = 0): string {
  const lab = new Lab(make, { a: busyHere, b: { waiting: 1 } });
  for (let count = 0; count < waiting; count++) lab.place({ origin: yinchuan });
  lab.report("b", { waiting: 0 });
  lab.now = afterMs;
  return lab.try();
}

const pushing: readonly Example[] = [
  ["a local pool where nobody waits", (make) => new Lab(make, { a: here, b: {} }).try(), "a"],
  ["whoever is loaded less there", (make) => loaded(make, { a: here, b: {} }, { a: 9 }), "a"],
  ["else another region", (make) => new Lab(make, { a: busyHere, b: {} }).try(), "b"],
  ["else wait", (make) => new Lab(make, { a: busyHere, b: { waiting: 1 } }).try(), "wait"],
  [
    "the longest prefix that was sent there, half of the prompt at least",
    (make) =>
      [5, 4]
        .map((shared) => {
          const lab = new Lab(make, { a: here, b: here });
          lab.try({ ...prompt(10, 10), ...excludingA });
          lab.send("b", 3);
          return lab.try(prompt(shared, 10));
        })
        .join(" "),
    "b a",
  ],
  [
    "the walk goes on among the pools that are available",
    (make) => {
      const lab = new Lab(make, { a: here, b: here, c: here });
      lab.try({ ...prompt(6, 6), excluded: new Set(["a", "c"] as PoolId[]) });
      lab.try({ ...prompt(10, 10), excluded: new Set(["a", "b"] as PoolId[]) });
      lab.send("b", 3);
      lab.report("c", { waiting: 1 });
      return lab.try(prompt(10, 10));
    },
    "b",
  ],
];

export const placedExamples: Examples = {
  "skywalker/as published": [
    ...pushing,
    [
      "at most 4 may wait where it is handed over to",
      (make) => [handedOver(make, 4), handedOver(make, 5)].join(" "),
      "b wait",
    ],
    [
      "who was placed waits no more",
      (make) => {
        const lab = new Lab(make, { a: busyHere, b: { waiting: 1 } });
        const requests = ["q1", "q2", "q3", "q4", "q5"] as RequestId[];
        const all = () =>
          requests.map((request) => lab.try({ request, origin: yinchuan })).join(" ");
        const before = all();
        lab.report("b", { waiting: 0 });
        return [before, all(), lab.try()].join(" | ");
      },
      "wait wait wait wait wait | b b b b b | b",
    ],
    ["who does not ask again has gone", (make) => handedOver(make, 5, 5_000), "b"],
    [
      "2 in one against 4 in four",
      (make) => loaded(make, { a: here, b: { ...here, replicas: 4 } }, { a: 2, b: 4 }),
      "a",
    ],
  ],
  "skywalker/capacity-weighted": [
    [
      "2 in one replica against 4 in four",
      (make) => loaded(make, { a: here, b: { ...here, replicas: 4 } }, { a: 2, b: 4 }),
      "b",
    ],
  ],
  "skywalker/as published, buffer of 1": [
    ["at most 1", (make) => [handedOver(make, 1), handedOver(make, 2)].join(" "), "b wait"],
  ],
  "skywalker/as published, buffer of 16": [
    ["at most 16", (make) => [handedOver(make, 16), handedOver(make, 17)].join(" "), "b wait"],
  ],
  "region-local/as published": [
    ["never another region", (make) => new Lab(make, { a: busyHere, b: {} }).try(), "a"],
    ["waits for its own", (make) => new Lab(make, { a: here, b: {} }).try(excludingA), "wait"],
    [
      "each origin has its own",
      (make) => new Lab(make, { a: here, b: {} }).try({ origin: yinchuan }),
      "b",
    ],
    [
      "2 in one against 4 in four",
      (make) => loaded(make, { a: here, b: { ...here, replicas: 4 } }, { a: 2, b: 4 }),
      "a",
    ],
  ],
  "region-local/capacity-weighted": [
    [
      "2 in one replica against 4 in four",
      (make) => loaded(make, { a: here, b: { ...here, replicas: 4 } }, { a: 2, b: 4 }),
      "b",
    ],
  ],
  "gorgo/as published": [
    ["the round trip", (make) => new Lab(make, near).try(), "a"],
    // L = 1,024: a 10 + 96.05; b 60 + 0.0938·(1,024 − 64·n): n = 8 saves 48.0, n = 9 saves 54.0.
    [
      "0.0938 ms for each token that is not cached",
      (make) =>
        [8, 9]
          .map((shared) => {
            const lab = new Lab(make, near);
            lab.send("b", 1, prompt(shared, shared));
            lab.end();
            return lab.try(prompt(shared, 16));
          })
          .join(" "),
      "a b",
    ],
    // 50 ms are 533 tokens.
    ["and for each that waits", (make) => waitingAtA(make, near), "533: a, 534: b"],
    ["until its first token", (make) => waitingAtA(make, near, 10_000), "533: a, 534: a"],
  ],
  "gorgo/capacity-weighted": [
    [
      "a quarter of them in each of four replicas",
      (make) => waitingAtA(make, { ...near, a: { roundTripMs: 10, replicas: 4 } }),
      "533: a, 534: a",
    ],
  ],
  "gorgo/as published, speed by engine": [
    // The fixture declares 0.05 ms: 1,000 tokens.
    ["and for each that waits", (make) => waitingAtA(make, near), "533: a, 534: a"],
    ["1,000 are equal, more are not", (make) => taken(make, [999, 1_001]), "a b"],
  ],
  "gorgo/capacity-weighted, speed by engine": [
    ["four times as many in four replicas", (make) => taken(make, [3_999, 4_001], 4), "a b"],
  ],
  "polyserve/as published": [
    ["the fuller one", (make) => new Lab(make, halfFull).try(), "b"],
    ["that still meets the objective", (make) => new Lab(make, overFull).try(), "a"],
    ["none does: wait", (make) => new Lab(make, { b: overFull.b ?? {} }).try(), "wait"],
    [
      // 36 ms there and 50 ms of prefill at least, of the 1,000 ms that are promised.
      "until waiting helps no more, then the least loaded",
      (make) =>
        askedAgain(make, { b: overFull.b ?? {}, c: { running: 64, waiting: 50 } }, [0, 500, 1_000]),
      "wait wait b",
    ],
    [
      "what is cached makes no pool less full",
      (make) => new Lab(make, halfFull).try({ cachedTokensAt: new Map([["b" as PoolId, 999]]) }),
      "b",
    ],
  ],
  "polyserve/as published, never waits": [
    ["the fuller one", (make) => new Lab(make, halfFull).try(), "b"],
    ["none does: the least loaded", (make) => new Lab(make, tooFull).try(), "b"],
  ],
  "cheapest-meeting/as published": [
    ["lower price", (make) => new Lab(make, { a: dear, b: {} }).try(), "b"],
    [
      "that still meets the objective",
      (make) => new Lab(make, { a: dear, b: overFull.b ?? {} }).try(),
      "a",
    ],
    ["none does: wait", (make) => new Lab(make, tooFull).try(), "wait"],
    [
      // Of a 1,000 tokens are cached at a tenth of the price: it is cheaper for this one.
      "as it is expected to cost",
      (make) =>
        new Lab(make, { a: dear, b: {} }).try({
          cachedTokensAt: new Map([["a" as PoolId, 1_000]]),
        }),
      "a",
    ],
    [
      "equal prices are drawn",
      (make) => everTaken((seed) => new Lab(make, { a: {}, b: {} }, { seed }).try()),
      "a b",
    ],
  ],
  "cheapest-meeting/as published, never waits": [
    ["lower price", (make) => new Lab(make, { a: dear, b: {} }).try(), "b"],
    ["none does: the least loaded", (make) => new Lab(make, tooFull).try(), "b"],
  ],
};

const near: Pools = { a: { roundTripMs: 10 }, b: { roundTripMs: 60 } };

/** One request with so many tokens waits for its first token at a. */
function afterWaiting(make: MakeRival, pools: Pools, tokens: number, now = 0): string {
  const lab = new Lab(make, pools);
  lab.send("a", 1, { inputTokens: tokens });
  lab.now = now;
  return lab.try();
}

function waitingAtA(make: MakeRival, pools: Pools, now = 0): string {
  return [533, 534].map((each) => `${each}: ${afterWaiting(make, pools, each, now)}`).join(", ");
}

function taken(make: MakeRival, tokens: readonly number[], replicas = 1): string {
  const pools = { ...near, a: { roundTripMs: 10, replicas } };
  return tokens.map((each) => afterWaiting(make, pools, each)).join(" ");
}

/** Steps of 20 ms and somewhat more, where 50 ms are promised. */
/** Within what counts of a pool that has shown nothing yet. */
const halfFull: Pools = { a: {}, b: { running: 3 } };
/** At b 20 must leave of 64 who take seconds. */
const overFull: Pools = { a: {}, b: { running: 64, waiting: 20 } };
const tooFull: Pools = { a: { running: 64, waiting: 50 }, b: { running: 64, waiting: 20 } };

const dear: { readonly served: Partial<Served> } = {
  served: { price: price({ outputPicoPerToken: 8_100_000 }) },
};

/** One request that asks at each of these instants, while it waits. */
function askedAgain(make: MakeRival, pools: Pools, instants: readonly number[]): string {
  const lab = new Lab(make, pools);
  return instants
    .map((now) => {
      lab.now = now;
      return lab.try({ request: "patient" as RequestId });
    })
    .join(" ");
}

import type { MakeRival } from "../../bench/baselines/rival.ts";
import type { Examples } from "./baseline-examples.ts";
import { everTaken, Lab, shares, type PoolFacts } from "./rival-lab.ts";

/** A prompt of whole blocks of 64 tokens. */
function prompt(...prefixBlocks: number[]) {
  return { inputTokens: 64 * prefixBlocks.length, prefixBlocks };
}

function upTo(last: number, more = 0): ReturnType<typeof prompt> {
  const shared = Array.from({ length: last }, (_, index) => index + 1);
  return prompt(...shared, ...Array.from({ length: more }, (_, index) => 1_001 + index));
}

/** Q: a 0, b 1, c 0.5. K: a 0.9, b 0.4, c 0.8. Without prefixes a 1.8, b 2.8, c 2.6. */
const queues: Readonly<Record<string, PoolFacts>> = {
  a: { waiting: 4, kv: 0.1 },
  b: { waiting: 0, kv: 0.6 },
  c: { waiting: 2, kv: 0.2 },
};
/** Waiting per replica: a 1, b 2. */
const replicas: Readonly<Record<string, PoolFacts>> = {
  a: { waiting: 4, kv: 0.5, replicas: 4 },
  b: { waiting: 2, kv: 0.4 },
};

/** At `a` the blocks up to 40 were sent first. */
function afterA(make: MakeRival, pools: Readonly<Record<string, PoolFacts>>, seed = 1): Lab {
  const lab = new Lab(make, { a: {} }, { seed });
  lab.try(upTo(40));
  for (const [id, facts] of Object.entries(pools)) lab.add(id, facts);
  return lab;
}

const llmD: Examples[string] = [
  ["2·Q + 2·K", (make) => new Lab(make, queues).try(), "b"],
  ["the KV cache alone", (make) => new Lab(make, { a: { kv: 0.3 }, b: { kv: 0.2 } }).try(), "b"],
  [
    // a 1.8 + 3·P against 2.8 of b: P is 1/3 where they are equal.
    "3·P: 34 blocks of 100 make up for the queue, 33 do not",
    (make) =>
      [33, 34]
        .map((known) => {
          const lab = afterA(make, {});
          lab.report("a", { waiting: 4, kv: 0.1 });
          lab.add("b", queues.b ?? {});
          lab.add("c", queues.c ?? {});
          return lab.try(upTo(known, 100 - known));
        })
        .join(" "),
    "b a",
  ],
  [
    "what was sent counts at once, answered or not",
    (make) =>
      everTaken((seed) => {
        const lab = new Lab(make, { a: {}, b: {} }, { seed });
        return lab.place(upTo(4)) === lab.place(upTo(4)) ? "same" : "other";
      }),
    "same",
  ],
  [
    "no correction for what is in flight",
    (make) => {
      const lab = new Lab(make, { a: { kv: 0.3 }, b: { kv: 0.2 } });
      lab.send("b", 50);
      return lab.try();
    },
    "b",
  ],
];

/** Full with 32,768 prompt tokens without a first token: 16 batches of the 2,048 that the fixture declares. */
function prefilling(make: MakeRival, inputTokens: number, facts: PoolFacts = {}): Lab {
  const lab = new Lab(make, { a: facts });
  lab.send("a", 1, { inputTokens });
  return lab;
}

/** At `a` and `b` so many requests of 320 tokens, 20 blocks each, whose first token has come. */
function decoding(make: MakeRival, a: number, b: number): Lab {
  const lab = new Lab(make, { a: { replicas: 4 }, b: {} });
  lab.send("a", a, { inputTokens: 320 });
  lab.send("b", b, { inputTokens: 320 });
  lab.now = 10_000;
  return lab;
}

const dynamo: Examples[string] = [
  [
    // L = 160: a (320 + 160)/16 + 20 + 10 = 60; b 160/16 + D + 10 = 60 with D = 40.
    "prompts without a first token count twice: 39 blocks elsewhere are less, 41 more",
    (make) =>
      [39, 41]
        .map((blocks) => {
          const lab = new Lab(make, { a: {}, b: {} });
          lab.send("b", 1, { inputTokens: 16 * blocks });
          lab.now = 10_000;
          lab.send("a", 1, { inputTokens: 320 });
          return lab.try({ inputTokens: 160 });
        })
        .join(" "),
    "b a",
  ],
  [
    // L = 320, all cached and running: a 0 + (20 + D) + 0; b 20 + 0 + 20.
    "what is shared with a running request is not new",
    (make) =>
      [19, 21]
        .map((blocks) => {
          const lab = new Lab(make, { a: {}, b: {} });
          lab.send("a", 1, upTo(5));
          lab.send("a", 1, { inputTokens: 16 * blocks });
          lab.now = 10_000;
          return lab.try(upTo(5));
        })
        .join(" "),
    "a b",
  ],
  [
    "a prompt is cached for 120 s after it was sent",
    (make) =>
      [119_999, 120_000]
        .map((at) =>
          everTaken((seed) => {
            const lab = new Lab(make, { a: {}, b: {} }, { seed });
            lab.send("a", 1, upTo(5));
            lab.end();
            lab.now = at;
            return lab.try(upTo(5));
          }),
        )
        .join(" | "),
    "a | a b",
  ],
  [
    "blocks are free when the request ends",
    (make) =>
      everTaken((seed) => {
        const lab = new Lab(make, { a: {}, b: {} }, { seed });
        lab.send("a", 1, upTo(5, 50));
        lab.send("a", 1, upTo(5));
        lab.endAll();
        lab.now = 120_000;
        return lab.try(upTo(5));
      }),
    "a b",
  ],
];

export const scoredExamples: Examples = {
  "llm-d/as published": [
    ...llmD,
    ["queues of pools", (make) => new Lab(make, replicas).try(), "b"],
    [
      "ties are drawn",
      (make) => everTaken((seed) => new Lab(make, { a: {}, b: {}, c: {} }, { seed }).try()),
      "a b c",
    ],
    [
      // 20 blocks and 15 prompts of 2,048 are 30,740; one more, and the first 1,538 leave.
      "31,250 blocks of a pool: those not used for longest leave",
      (make) =>
        [15, 16]
          .map((prompts) => {
            const lab = new Lab(make, { a: { kv: 0.5, served: { contextTokensMax: 1e6 } } });
            lab.try(upTo(20));
            for (let number = 1; number <= prompts; number++) {
              const blocks = Array.from({ length: 2_048 }, (_, index) => number * 10_000 + index);
              lab.try(prompt(...blocks));
            }
            lab.add("b", {});
            return lab.try(upTo(20));
          })
          .join(" "),
      "a b",
    ],
  ],
  "llm-d/capacity-weighted": [
    [
      "queues of replicas: a 2·1 + 2·0.5, b 2·0 + 2·0.6",
      (make) => new Lab(make, replicas).try(),
      "a",
    ],
  ],
  "llm-d-no-hit-lru/as published": [
    ...llmD.slice(3, 4),
    [
      "cold requests go to the pool that had none for longest",
      (make) => {
        const lab = new Lab(make, { a: {}, b: {}, c: {} });
        return [1, 2, 3, 4].map((block) => lab.try(prompt(block))).join(" ");
      },
      "a b c a",
    ],
    [
      // Hit at a: all have 0.5·2, a 3 more. The next cold one goes on where it was.
      "one with a hit leaves the order as it is",
      (make) => {
        const lab = new Lab(make, { a: {}, b: {}, c: {} });
        return [1, 2, 1, 3, 4].map((block) => lab.try(prompt(block))).join(" ");
      },
      "a b a c a",
    ],
    // a 2·0 + 2·0.5 + 2·1, b 2·1 + 2·0.6 + 0.
    ["queues of pools", (make) => new Lab(make, replicas).try(), "b"],
  ],
  "llm-d-no-hit-lru/capacity-weighted": [
    // a 2·1 + 2·0.5 + 2·1, b 0 + 2·0.6 + 0.
    ["queues of replicas", (make) => new Lab(make, replicas).try(), "a"],
  ],
  "dynamo/as published": [
    ...dynamo,
    // L = 1,000: 62.5 + D + 63.
    ["40 blocks against 20", (make) => decoding(make, 2, 1).try(), "b"],
    [
      "waits while all pools have more than 16 batches to fill in",
      (make) => [prefilling(make, 32_768).try(), prefilling(make, 32_769).try()].join(" "),
      "a wait",
    ],
    [
      "not when one of them has room, nor when first tokens have come",
      (make) => {
        const lab = prefilling(make, 32_769);
        lab.add("b", {});
        const first = lab.try();
        const alone = prefilling(make, 32_769);
        alone.now = 10_000;
        return [first, alone.try()].join(" ");
      },
      "b a",
    ],
  ],
  "dynamo/capacity-weighted": [
    ["40 blocks in 4 replicas against 20 in one", (make) => decoding(make, 2, 1).try(), "a"],
    [
      // L = 160: a (320/4 + 160)/16 + 20/4 + 10 = 30; b 10 + D + 10.
      "a prompt counts a quarter in each of four replicas",
      (make) =>
        [9, 11]
          .map((blocks) => {
            const lab = new Lab(make, { a: { replicas: 4 }, b: {} });
            lab.send("b", 1, { inputTokens: 16 * blocks });
            lab.now = 10_000;
            lab.send("a", 1, { inputTokens: 320 });
            return lab.try({ inputTokens: 160 });
          })
          .join(" "),
      "b a",
    ],
    [
      "has room for four times as much in four replicas",
      (make) => prefilling(make, 32_769, { replicas: 4 }).try(),
      "a",
    ],
  ],
  "prequal/as published": [
    [
      "no answer is back before a round trip: drawn; then the faster of two, whatever is in flight",
      (make) =>
        [19, 20]
          .map((at) =>
            everTaken((seed) => {
              const lab = probed(make, seed);
              lab.send("a", 9);
              lab.now = at;
              return lab.try();
            }),
          )
          .join(" | "),
      "a b | a",
    ],
    [
      "answers are good for a second",
      (make) =>
        [1_019, 1_020]
          .map((at) => everTaken((seed) => when(probed(make, seed), at).try()))
          .join(" | "),
      "a | a b",
    ],
    [
      "each request removes an answer: the second one of an instant has too few",
      (make) =>
        everTaken((seed) => {
          const lab = when(probed(make, seed), 20);
          lab.try();
          return lab.try();
        }),
      "a b",
    ],
    [
      "a failed answer counts as 10 s",
      (make) =>
        everTaken((seed) => {
          const lab = new Lab(make, twoNear, { seed });
          lab.learn("a", { result: "connect-error", durationMs: 1 });
          lab.learn("b", { durationMs: 9_000 });
          lab.try();
          return when(lab, 20).try();
        }),
      "b",
    ],
    [
      // 100 ms alone, 2,000 ms with 20 others; b takes 500.
      "the time told is that of requests that met about as many",
      (make) =>
        [0, 20]
          .map((others) =>
            everTaken((seed) => {
              const lab = new Lab(make, twoNear, { seed });
              lab.learn("a", { durationMs: 120 });
              lab.learn("b", { durationMs: 520 });
              lab.send("a", 20);
              lab.learn("a", { durationMs: 2_020 });
              if (others === 0) lab.endAll();
              lab.try();
              return when(lab, 20).try();
            }),
          )
          .join(" | "),
      "a | b",
    ],
    [
      // a takes 120 ms at 200 ms away, b 140 ms at 20 ms.
      "the time told is the pool's own, without the way there",
      (make) =>
        everTaken((seed) => {
          const lab = new Lab(make, { a: { roundTripMs: 200 }, b: { roundTripMs: 20 } }, { seed });
          lab.learn("a", { durationMs: 320 });
          lab.learn("b", { durationMs: 160 });
          lab.try();
          return when(lab, 200).try();
        }),
      "a",
    ],
    ["the fastest is hot with 50 in flight", (make) => fastButFull(make), "seldom"],
  ],
  "prequal/capacity-weighted": [
    ["the fastest is cold with 50 in flight in 50 replicas", (make) => fastButFull(make), "often"],
  ],
};

const twoNear = { a: { roundTripMs: 20 }, b: { roundTripMs: 20 } };

function when(lab: Lab, now: number): Lab {
  lab.now = now;
  return lab;
}

/** Both were probed at 0; a takes 100 ms, b 500. */
function probed(make: MakeRival, seed: number): Lab {
  const lab = new Lab(make, twoNear, { seed });
  lab.learn("a", { durationMs: 120 }, 3);
  lab.learn("b", { durationMs: 520 }, 3);
  lab.try();
  return lab;
}

/** Of fourteen pools seven answers are kept, of which one may be hot. */
function fastButFull(make: MakeRival): string {
  const slow = Array.from({ length: 13 }, (_, index) => `p${index}`);
  const pools = Object.fromEntries(slow.map((id) => [id, { roundTripMs: 20 }]));
  const taken = shares(200, (seed) => {
    const lab = new Lab(make, { ...pools, fast: { roundTripMs: 20, replicas: 50 } }, { seed });
    for (const id of slow) {
      lab.learn(id, { durationMs: 520 });
      lab.send(id, 2);
    }
    lab.learn("fast", { durationMs: 21 });
    lab.send("fast", 50);
    lab.tries(3);
    return when(lab, 20).try();
  });
  return (taken.fast ?? 0) > 60 ? "often" : "seldom";
}

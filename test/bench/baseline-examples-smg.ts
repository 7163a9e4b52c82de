import type { MakeRival } from "../../bench/baselines/rival.ts";
import type { PoolId } from "../../services/core/units.ts";
import type { Examples } from "./baseline-examples.ts";
import { everTaken, Lab, type PoolFacts } from "./rival-lab.ts";

/** A prompt of so many blocks of 64 tokens, the first of them shared. */
function prompt(shared: number, total = shared) {
  const prefixBlocks = Array.from({ length: total }, (_, index) =>
    index < shared ? index + 1 : 1_000 + index,
  );
  return { inputTokens: 64 * total, prefixBlocks };
}

type Pools = Readonly<Record<string, PoolFacts>>;

/** Shown at 0, at 1 s, at 9 s and at 10 s, of which the first and the last are looked at. */
function polled(make: MakeRival, pools: Pools, seen: (lab: Lab) => string): string {
  const lab = new Lab(make, pools);
  const answers = [0, 1_000, 9_000, 10_000].map((now) => {
    lab.now = now;
    for (const [id, facts] of Object.entries(pools)) lab.report(id, facts);
    return seen(lab);
  });
  return answers.join(" ");
}

/** At `a` prompt of 10 blocks, and so many in flight. */
function warm(make: MakeRival, inFlight: number, facts: PoolFacts = {}): Lab {
  const lab = new Lab(make, { a: facts });
  lab.try(prompt(10));
  lab.add("b", {});
  lab.send("a", inFlight);
  return lab;
}

function matching(make: MakeRival, shared: number): string {
  return warm(make, 1).try(prompt(shared, 20));
}

const cacheAware: Examples[string] = [
  [
    "no match: the least loaded, then the one that served fewest, then by id",
    (make) => new Lab(make, { b: {}, a: {} }).tries(3),
    "a b a",
  ],
  [
    "the pool that touched the prefix last",
    (make) => {
      const lab = warm(make, 0);
      lab.try({ ...prompt(10), excluded: new Set(["a" as PoolId]) });
      return lab.try(prompt(10));
    },
    "a",
  ],
];

export const smgExamples: Examples = {
  "smg-least-load/as published": [
    [
      // a 2·1,024/2,000 + 0.15 = 1.174; b 0.15·9 = 1.35, then 0.15·0.87/0.13 = 1.004.
      "queue in seconds + 0.15·k/(1−k)",
      (make) =>
        [0.9, 0.87]
          .map((kv) => new Lab(make, { a: { waiting: 2, kv: 0.5 }, b: { kv } }).try())
          .join(" "),
      "a b",
    ],
    [
      // a 0.15·0.999/0.001 = 149.85; b 1,024·n/2,000. Our filter has seen since that the cache is not full.
      "a full cache counts as 0.999",
      (make) =>
        [292, 293]
          .map((waiting) => {
            const lab = new Lab(make, { a: {}, b: { waiting, served: roomy } });
            lab.report("a", { kv: 1 });
            lab.now = 1_000;
            lab.report("a", { kv: 0.5 });
            return lab.try();
          })
          .join(" "),
      "b a",
    ],
    [
      // b 0.45. F makes a 0.5 and b 0.95, then a 1; at 10 s both are 0.
      "tokens that were sent since the last poll count, until the next",
      (make) => polled(make, { a: {}, b: { kv: 0.75 } }, (lab) => lab.try()),
      "a b a a",
    ],
    [
      "the first on ties",
      (make) => everTaken((seed) => new Lab(make, { b: {}, a: {} }, { seed }).try()),
      "b",
    ],
    [
      // Of a 40,000 tokens in 10 s: 4·1,024/4,000 = 1.024 against 3·1,024/2,000 = 1.536; before 2.048.
      "what was made per second between two polls",
      (make) => {
        const lab = new Lab(make, { a: { waiting: 4 }, b: { waiting: 3 } });
        const before = lab.try();
        lab.report("a", { waiting: 4, outputTokensTotal: 0 });
        lab.now = 10_000;
        lab.report("a", { waiting: 4, outputTokensTotal: 40_000 });
        lab.report("b", { waiting: 3 });
        return [before, lab.try()].join(" ");
      },
      "b a",
    ],
    [
      // r·1,024/2,000 against 0.15·4 = 0.6.
      "one without a report among reporters: 1,024 tokens for each in flight",
      (make) =>
        [1, 2]
          .map((inFlight) => {
            const lab = new Lab(make, { a: { served: { report: undefined } }, b: { kv: 0.8 } });
            lab.send("a", inFlight);
            return lab.try();
          })
          .join(" "),
      "a b",
    ],
    [
      "nobody reports: the fewest in flight",
      (make) => {
        const silent = { served: { report: undefined } };
        const lab = new Lab(make, { a: silent, b: silent });
        lab.send("a");
        return lab.try();
      },
      "b",
    ],
    // a 4·1,024/2,000 = 2.048; b 1,024/2,000 + 0.15/9 = 0.529.
    ["queues of pools", (make) => new Lab(make, queues).try(), "b"],
  ],
  "smg-least-load/capacity-weighted": [
    // a 1,024/2,000 = 0.512; b 0.529.
    ["queues of replicas", (make) => new Lab(make, queues).try(), "a"],
    [
      // a (4·1,024/4) / (4,000/4) = 1.024; b 0.512 + 0.1.
      "what each of four replicas made per second",
      (make) => {
        const lab = new Lab(make, { a: { replicas: 4 }, b: {} });
        lab.report("a", { outputTokensTotal: 0 });
        lab.now = 10_000;
        lab.report("a", { waiting: 4, outputTokensTotal: 40_000 });
        lab.report("b", { waiting: 1, kv: 0.4 });
        return lab.try();
      },
      "b",
    ],
  ],
  "smg-cache-aware/as published": [
    ...cacheAware,
    [
      "more than 0.3 of the prompt: 6 blocks of 20 are not, 7 are",
      (make) => [matching(make, 6), matching(make, 7)].join(" "),
      "b a",
    ],
    [
      "more than 64 apart",
      (make) => [warm(make, 64).try(prompt(10)), warm(make, 65).try(prompt(10))].join(" "),
      "a b",
    ],
    [
      "and more than 1.5 times: 195 against 130 is not, 196 is",
      (make) =>
        [195, 196]
          .map((inFlight) => {
            const lab = warm(make, inFlight);
            lab.send("b", 130);
            return lab.try(prompt(10));
          })
          .join(" "),
      "a b",
    ],
    [
      "a match that is not fit: the first that is, and nothing is written down",
      (make) => {
        const lab = warm(make, 0);
        const elsewhere = lab.try({ ...prompt(10), excluded: new Set(["a" as PoolId]) });
        return [elsewhere, lab.try(prompt(10))].join(" ");
      },
      "b a",
    ],
    ["130 apart", (make) => warm(make, 130, { replicas: 4 }).try(prompt(10)), "b"],
  ],
  "smg-cache-aware/capacity-weighted": [
    ["130 in 4 replicas are 32.5", (make) => warm(make, 130, { replicas: 4 }).try(prompt(10)), "a"],
  ],
  "smg-cache-aware/as published, library defaults": [
    ...cacheAware,
    [
      "more than 0.5 of the prompt: 10 blocks of 20 are not, all 10 of 19 are",
      (make) => [matching(make, 10), warm(make, 1).try(prompt(10, 19))].join(" "),
      "b a",
    ],
    [
      "more than 32 apart",
      (make) => [warm(make, 32).try(prompt(10)), warm(make, 33).try(prompt(10))].join(" "),
      "a b",
    ],
    ["130 apart", (make) => warm(make, 130, { replicas: 4 }).try(prompt(10)), "b"],
  ],
  "smg-cache-aware/capacity-weighted, library defaults": [
    [
      "128 in 4 replicas are 32, 132 are 33",
      (make) =>
        [128, 132]
          .map((inFlight) => warm(make, inFlight, { replicas: 4 }).try(prompt(10)))
          .join(" "),
      "a b",
    ],
  ],
};

/** Many may wait there. */
const roomy = { slotsTotal: 10_000 };

const queues: Pools = { a: { waiting: 4, replicas: 4 }, b: { waiting: 1, kv: 0.1 } };

import type { MakeRival } from "../../bench/baselines/rival.ts";
import type { PoolId } from "../../services/core/units.ts";
import type { Examples } from "./baseline-examples.ts";
import { everTaken, Lab, shares, type PoolFacts } from "./rival-lab.ts";

type Pools = Readonly<Record<string, PoolFacts>>;

/** Whether `a` was taken about so often of 400. Five standard deviations of a draw are 50. */
function about(expected: number, make: MakeRival, pools: Pools): string {
  const count = shares(400, (seed) => new Lab(make, pools, { seed }).try()).a ?? 0;
  return Math.abs(count - expected) <= 50 ? "about so many" : `a ${count} of 400`;
}

/** With so many in flight at each. */
function loaded(pools: Pools, inFlight: Readonly<Record<string, number>>) {
  return (make: MakeRival, seed = 1): Lab => {
    const lab = new Lab(make, pools, { seed });
    for (const [pool, count] of Object.entries(inFlight)) lab.send(pool, count);
    return lab;
  };
}

const sixAndTwo: Pools = { a: { slots: 6 }, b: { slots: 2 } };
/** Two in flight in one replica, or four in four. */
const oneAndFour = loaded({ a: {}, b: { replicas: 4 } }, { a: 2, b: 4 });
const three = loaded({ a: {}, b: {}, c: {} }, { a: 5, c: 9 });

export const plainExamples: Examples = {
  "random/as published": [
    ["slots do not count", (make) => about(200, make, sixAndTwo), "about so many"],
  ],
  "random/capacity-weighted": [
    ["six slots of eight: three in four", (make) => about(300, make, sixAndTwo), "about so many"],
  ],
  "litellm-simple-shuffle/as published": [
    ["without weights", (make) => about(200, make, sixAndTwo), "about so many"],
  ],
  "litellm-simple-shuffle/capacity-weighted": [
    ["weights 6 and 2", (make) => about(300, make, sixAndTwo), "about so many"],
  ],
  "round-robin/as published": [
    [
      "in the order of ids",
      (make) => new Lab(make, { c: {}, a: {}, b: {} }).tries(7),
      "a b c a b c a",
    ],
  ],
  "round-robin/capacity-weighted": [
    [
      "weights 5, 1, 1, as nginx shows it",
      (make) => new Lab(make, { a: { slots: 5 }, b: { slots: 1 }, c: { slots: 1 } }).tries(7),
      "a a b a c a a",
    ],
  ],
  "least-request/as published": [
    [
      "2, 1 and 3 in flight",
      (make) => loaded({ a: {}, b: {}, c: {} }, { a: 2, b: 1, c: 3 })(make).try(),
      "b",
    ],
    ["ties go round", (make) => new Lab(make, { a: {}, b: {}, c: {} }).tries(4), "a b c a"],
    [
      "an ended lease is not in flight",
      (make) => {
        const lab = loaded({ a: {}, b: {} }, { a: 1, b: 1 })(make);
        lab.end();
        return lab.try();
      },
      "b",
    ],
  ],
  "least-request/capacity-weighted": [
    [
      "3 of 8 is less than 1 of 2",
      (make) => loaded({ a: { slots: 8 }, b: { slots: 2 } }, { a: 3, b: 1 })(make).try(),
      "a",
    ],
    [
      "4 of 8 ties with 1 of 2, and the tie goes round by weight",
      (make) => loaded({ a: { slots: 8 }, b: { slots: 2 } }, { a: 4, b: 1 })(make).tries(5),
      "a a b a a",
    ],
    [
      "ties go round by weight",
      (make) => new Lab(make, { a: { slots: 2 }, b: { slots: 1 } }).tries(6),
      "a b a a b a",
    ],
  ],
  "least-request-envoy/as published": [
    [
      "the fullest of three loses to whomever it meets",
      (make) => everTaken((seed) => three(make, seed).try()),
      "a b",
    ],
    [
      "of two always the emptier",
      (make) => everTaken((seed) => loaded({ a: {}, b: {} }, { a: 3, b: 1 })(make, seed).try()),
      "b",
    ],
  ],
  "least-request-envoy/capacity-weighted": [
    // Turns: a 0.5, b 1 → a; a 1, b 1 → a; b 1 → b; a 1.5 → a; a 2, b 2 → a.
    [
      "idle, weights 2 and 1",
      (make) => new Lab(make, { a: { slots: 2 }, b: { slots: 1 } }).tries(5),
      "a a b a a",
    ],
    // Weight of a: 2/(3+1), a turn each 2; b each 1. Turns: b 1; a 2, b 2 → a; b 2; b 3; a 4, b 4 → a; b 4.
    [
      "three in flight at the one of weight 2",
      (make) => loaded({ a: { slots: 2 }, b: { slots: 1 } }, { a: 3 })(make).tries(6),
      "b a b b a b",
    ],
    [
      // a has its turn at 1; b has those at 1, 2, 3 and 4, and 5 is next; a goes on at 4, not at 2.
      "who was away does not catch up",
      (make) => {
        const lab = new Lab(make, { a: { slots: 1 }, b: { slots: 1 } });
        lab.try();
        lab.tries(4, { excluded: new Set(["a" as PoolId]) });
        return lab.tries(4);
      },
      "a a b a",
    ],
  ],
  "power-of-two/as published": [
    ["the fuller of two never", (make) => everTaken((seed) => oneAndFour(make, seed).try()), "a"],
    ["the fullest of three never", (make) => everTaken((seed) => three(make, seed).try()), "a b"],
    ["one pool is that one", (make) => new Lab(make, { a: {} }).try(), "a"],
  ],
  "power-of-two/capacity-weighted": [
    [
      "4 in 4 replicas are fewer than 2 in 1",
      (make) => everTaken((seed) => oneAndFour(make, seed).try()),
      "b",
    ],
  ],
  "power-of-two-smg/as published": [
    [
      "the lower KV use, whatever is in flight",
      (make) =>
        everTaken((seed) => loaded({ a: { kv: 0.5 }, b: { kv: 0.4 } }, { b: 9 })(make, seed).try()),
      "b",
    ],
    [
      "one that does not say: both by what is in flight",
      (make) =>
        everTaken((seed) =>
          loaded({ a: { kv: null }, b: { kv: 0.4 } }, { b: 9 })(make, seed).try(),
        ),
      "a",
    ],
    [
      "looks every 10 s",
      (make) => {
        const lab = new Lab(make, { a: { kv: 0.5 }, b: { kv: 0.4 } });
        const seen = [0, 1_000, 9_000, 10_000, 11_000].map((at) => {
          lab.now = at;
          lab.report("a", { kv: at === 0 ? 0.5 : 0.1 });
          lab.report("b", { kv: 0.4 });
          return lab.try();
        });
        return seen.join(" ");
      },
      "b b b a a",
    ],
  ],
  "power-of-two-smg/capacity-weighted": [
    [
      "without KV use, 4 in 4 replicas are fewer than 2 in 1",
      (make) =>
        everTaken((seed) =>
          loaded({ a: { kv: null }, b: { kv: null, replicas: 4 } }, { a: 2, b: 4 })(
            make,
            seed,
          ).try(),
        ),
      "b",
    ],
  ],
  "litellm-least-busy/as published": [
    ["2 are fewer than 4", (make) => oneAndFour(make).try(), "a"],
  ],
  "litellm-least-busy/capacity-weighted": [
    ["4 in 4 replicas are fewer than 2 in 1", (make) => oneAndFour(make).try(), "b"],
  ],
};

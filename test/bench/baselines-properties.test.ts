import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { eligible } from "../../services/core/placement/chooser.ts";
import { picker } from "../../bench/baselines/speed.ts";
import { geography, policy, request, snapshot } from "../core/fixtures.ts";
import { anyPool } from "../core/placement/any-pool.ts";
import { allVariants, makerOf } from "./baseline-examples.ts";
import { Lab, shares } from "./rival-lab.ts";
import { walk } from "./rival-walk.ts";

for (const [key, make] of allVariants()) {
  describe(key, () => {
    test("chooses what is eligible and counts as the dispatcher does, whatever happens (SEED=3)", () => {
      const { granted } = walk(make, 3, 300);
      expect(granted).toBeGreaterThan(30);
    });

    test("the same seed gives the same choices", () => {
      expect(walk(make, 4, 100)).toEqual(walk(make, 4, 100));
    });

    test("chooses among the eligible or waits, of pools of all kinds", () => {
      fc.assert(
        fc.property(
          fc.uniqueArray(anyPool(geography()), { selector: ({ id }) => id, maxLength: 6 }),
          (pools) => {
            const [asked, at] = [request({ prefixBlocks: [1, 2, 3] }), snapshot(pools)];
            const fit = eligible(asked, at, policy()).prospects.map(
              ({ pool }) => pool.id as string,
            );
            const { choose } = make({ seed: 1, replica: "control-0" });
            const decision = choose(asked, at, policy());
            const chosen = decision.kind === "placed" ? decision.pool : decision.reason;
            expect([...fit, "no-eligible-pool", "model-not-found"]).toContain(chosen);
          },
        ),
        { numRuns: 15, seed: 5 },
      );
    });

    test("picks in the bench of its speed", () => {
      const pick = picker(5, { policy: policy(), make });
      for (let count = 0; count < 20; count++) pick();
    });
  });
}

/** Of three pools that are all alike; the rest says who comes first. */
const firstOnTies: Readonly<Record<string, string>> = {
  "round-robin/as published": "a",
  "round-robin/capacity-weighted": "a",
  "least-request/as published": "a",
  "least-request/capacity-weighted": "a",
  "least-request-envoy/capacity-weighted": "a",
  "llm-d-no-hit-lru/as published": "c",
  "llm-d-no-hit-lru/capacity-weighted": "c",
  "smg-least-load/as published": "c",
  "smg-least-load/capacity-weighted": "c",
  "smg-cache-aware/as published": "a",
  "smg-cache-aware/capacity-weighted": "a",
  "smg-cache-aware/as published, library defaults": "a",
  "smg-cache-aware/capacity-weighted, library defaults": "a",
};

const draws = 300;

for (const [key, make] of allVariants()) {
  test(`${key}: pools that are alike are ${key in firstOnTies ? "taken in order" : "drawn evenly"}`, () => {
    const counts = shares(draws, (seed) => new Lab(make, { c: {}, a: {}, b: {} }, { seed }).try());
    const first = firstOnTies[key];
    if (first !== undefined) {
      expect(counts).toEqual({ [first]: draws });
      return;
    }
    // 100 each; five standard deviations are 41.
    for (const pool of ["a", "b", "c"]) {
      expect(Math.abs((counts[pool] ?? 0) - draws / 3)).toBeLessThan(41);
    }
  });
}

test("smooth weighted round robin: shares are exactly proportional after each round", () => {
  const make = makerOf("round-robin/capacity-weighted");
  const anyWeights = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(anyWeights, fc.integer({ min: 1, max: 3 }), (weights, rounds) => {
      const slots = weights.map(
        (slotsTotal, index) => [`p${index}`, { slots: slotsTotal }] as const,
      );
      const lab = new Lab(make, Object.fromEntries(slots));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const taken = lab.tries(total * rounds).split(" ");
      const counts = weights.map((_, index) => taken.filter((pool) => pool === `p${index}`).length);
      expect(counts).toEqual(weights.map((weight) => weight * rounds));
    }),
    { seed: 6 },
  );
});

test("plain round robin: nobody is ahead by more than one", () => {
  const lab = new Lab(makerOf("round-robin/as published"), { a: {}, b: {}, c: {} });
  const taken = lab.tries(100).split(" ");
  const counts = ["a", "b", "c"].map((pool) => taken.filter((each) => each === pool).length);
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
});

test("the same request of another dispatcher is another draw", () => {
  const make = makerOf("random/as published");
  const placed = (replica: string): string => {
    const lab = new Lab((options) => make({ ...options, replica }), { a: {}, b: {}, c: {} });
    return lab.tries(20);
  };
  expect(placed("control-1")).not.toBe(placed("control-2"));
});

import { expect, test } from "vitest";
import { baselines } from "../../bench/baselines/baselines.ts";
import { entries } from "../../services/core/table.ts";
import { allVariants, makerOf, type Examples } from "./baseline-examples.ts";
import { plainExamples } from "./baseline-examples-plain.ts";
import { placedExamples } from "./baseline-examples-placed.ts";
import { scoredExamples } from "./baseline-examples-scored.ts";
import { simpleExamples } from "./baseline-examples-simple.ts";
import { smgExamples } from "./baseline-examples-smg.ts";

const examples: Examples = {
  ...plainExamples,
  ...scoredExamples,
  ...smgExamples,
  ...simpleExamples,
  ...placedExamples,
};

for (const [key, each] of Object.entries(examples)) {
  for (const [what, seen, expected] of each) {
    test(`${key}: ${what}`, () => {
      expect(seen(makerOf(key))).toBe(expected);
    });
  }
}

test("every variant of every baseline has examples above, and nothing else has", () => {
  expect(Object.keys(examples).toSorted()).toEqual([...allVariants().keys()].toSorted());
});

test("every baseline is said where it is from, and runs as published", () => {
  for (const [key, { name, source, variants }] of entries(baselines)) {
    expect([key, name.length > 3, /^§2\.\d+$/.test(source)]).toEqual([key, true, true]);
    expect(Object.keys(variants)[0]).toBe("as published");
  }
});

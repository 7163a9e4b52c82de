import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { appendResult, readResults, toText } from "../../bench/report.ts";
import { interleave, median, medians, quantile } from "../../bench/rounds.ts";

const folder = mkdtempSync(join(tmpdir(), "tokengrid-bench-"));
afterAll(() => rmSync(folder, { recursive: true }));

const middles: readonly (readonly [readonly number[], number])[] = [
  [[7], 7],
  [[3, 1, 2], 2],
  [[4, 1, 3, 2], 2.5],
];

for (const [values, middle] of middles) {
  test(`median() of ${values.join(", ")} is ${middle}`, () => {
    expect(median(values)).toBe(middle);
  });
}

test("median() of nothing is refused, not 0", () => {
  expect(() => median([])).toThrow("expected at least one value, found none");
});

test("quantile() grows with q and stays between the least and the most", () => {
  const numbers = fc.array(fc.integer({ min: -1_000, max: 1_000 }), { minLength: 1 });
  fc.assert(
    fc.property(numbers, fc.nat(100), fc.nat(100), (values, one, other) => {
      const [low, high] = [Math.min(one, other) / 100, Math.max(one, other) / 100];
      expect(quantile(values, low)).toBeLessThanOrEqual(quantile(values, high));
      expect(quantile(values, 0)).toBe(Math.min(...values));
      expect(quantile(values, 1)).toBe(Math.max(...values));
    }),
  );
});

test("interleave() gives everyone a turn in each round and drops the warm-up", async () => {
  const turns: string[] = [];
  const contestant = (name: string) => () => turns.push(name);
  const values = await interleave(
    { a: contestant("a"), b: contestant("b"), c: contestant("c") },
    { rounds: 2, warmups: 1 },
  );
  expect(turns.join("")).toBe("abcbcacab");
  expect(values).toEqual({ a: [6, 8], b: [4, 9], c: [5, 7] });
});

test("medians() gives one number for each contestant", async () => {
  let call = 0;
  expect(await medians({ a: () => ++call, b: () => 10 }, { rounds: 3, warmups: 0 })).toEqual({
    a: 2,
    b: 10,
  });
});

test("appendResult() writes a line that readResults() gives back, with the conditions", () => {
  const path = join(folder, "results.jsonl");
  expect(readResults(path)).toEqual([]);
  const written = appendResult(
    { name: "bench/case", unit: "us", value: 1.5, conditions: { rounds: 5 } },
    path,
  );
  expect(readResults(path)).toEqual([written]);
  expect(written).toMatchObject({ name: "bench/case", value: 1.5, conditions: { rounds: 5 } });
  expect(written.node).toBe(process.versions.node);
});

test("appendResult() refuses a number that is none", () => {
  const nothing = { name: "x", unit: "us", value: Number.NaN, conditions: {} };
  expect(() => appendResult(nothing, join(folder, "bad.jsonl"))).toThrow("x: expected a finite");
  expect(readResults(join(folder, "bad.jsonl"))).toEqual([]);
});

test("toText() keeps four digits", () => {
  expect([28_140.4, 3.14159, 0.0123456].map(toText)).toEqual(["28,140", "3.142", "0.01235"]);
});

import { expect, test } from "vitest";
import { GrowingTotal, HistogramReader, quantile } from "../../services/agent/counters.ts";
import type { Sample } from "../../services/agent/prometheus-text.ts";

function sample(name: string, value: number, labels: Record<string, string> = {}): Sample {
  return { name, value, labels: new Map(Object.entries(labels)), atMs: undefined };
}

test("a total grows by what its counters grow", () => {
  const total = new GrowingTotal();
  expect([5, 8, 8, 12].map((value) => total.add([sample("a", value)]))).toEqual([5, 8, 8, 12]);
});

test("a counter that starts again adds what it has since, and never takes away", () => {
  const total = new GrowingTotal();
  expect([100, 150, 3, 10].map((value) => total.add([sample("a", value)]))).toEqual([
    100, 150, 153, 160,
  ]);
});

test("when one of two engines starts again, the other's count stands", () => {
  const total = new GrowingTotal();
  const engines = (a: number, b: number): number =>
    total.add([sample("a", a, { engine: "0" }), sample("a", b, { engine: "1" })]);
  expect([engines(100, 100), engines(110, 5), engines(120, 10)]).toEqual([200, 215, 230]);
});

function scrape(below: readonly number[], sum: number): Sample[] {
  const bounds = ["0.1", "0.5", "+Inf"];
  return [
    ...below.map((value, index) => sample("h_bucket", value, { le: bounds[index] ?? "" })),
    sample("h_sum", sum),
    sample("h_count", below.at(-1) ?? 0),
  ];
}

test("the first scrape of a histogram says nothing, and neither does one without news", () => {
  const reader = new HistogramReader("h");
  expect(reader.read(scrape([10, 20, 20], 4))).toBeUndefined();
  expect(reader.read(scrape([10, 20, 20], 4))).toBeUndefined();
});

test("a histogram is what came between two scrapes", () => {
  const reader = new HistogramReader("h");
  reader.read(scrape([10, 20, 20], 4));
  expect(reader.read(scrape([12, 30, 31], 9))).toEqual({
    bounds: [0.1, 0.5, Infinity],
    counts: [2, 8, 1],
    count: 11,
    sum: 5,
  });
});

test("a histogram that starts again counts from its new start", () => {
  const reader = new HistogramReader("h");
  reader.read(scrape([10, 20, 20], 4));
  expect(reader.read(scrape([1, 3, 3], 0.5))).toMatchObject({ counts: [1, 2, 0], count: 3 });
});

const interval = { bounds: [0.1, 0.5, Infinity], counts: [5, 4, 1], count: 10, sum: 2 };

/** Part → value; a straight line within the bucket, and no number beyond the last bound. */
const parts: readonly (readonly [number, number | undefined])[] = [
  [0.25, 0.05],
  [0.5, 0.1],
  [0.7, 0.3],
  [0.9, 0.5],
  [0.95, undefined],
];

for (const [part, expected] of parts) {
  test(`quantile() ${part} is ${expected === undefined ? "more than the last bound" : expected}`, () => {
    const value = quantile(interval, part);
    expect(value === undefined ? value : Math.round(value * 1e9) / 1e9).toBe(expected);
  });
}

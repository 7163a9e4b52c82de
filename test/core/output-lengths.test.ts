import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { OutputLengths } from "../../services/core/output-lengths.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import type { ModelId, TenantId } from "../../services/core/units.ts";
import { request } from "./fixtures.ts";

function asking(changes: Partial<PlacementRequest> = {}): PlacementRequest {
  return request({ outputTokensExpected: undefined, ...changes });
}

function expectedOf(lengths: OutputLengths, changes: Partial<PlacementRequest> = {}) {
  return lengths.filledIn(asking(changes)).outputTokensExpected;
}

function learned(all: readonly (readonly [Partial<PlacementRequest>, number])[]): OutputLengths {
  const lengths = new OutputLengths();
  for (const [changes, tokens] of all) lengths.learn(asking(changes), tokens);
  return lengths;
}

const zenith = { tenant: "zenith" as TenantId };

test("what is known of nobody is left unknown", () => {
  expect(expectedOf(new OutputLengths())).toBeUndefined();
  expect(expectedOf(learned([[{}, 100]]), { model: "other" as ModelId })).toBeUndefined();
  expect(expectedOf(learned([[{}, 100]]), { outputTokensExpected: 7 })).toBe(7);
});

test("a new tenant is taken to be like the others of its class, a new class like the others of its model", () => {
  const lengths = learned([
    ...Array.from({ length: 50 }, () => [{}, 100] as const),
    ...Array.from({ length: 50 }, () => [{ class: "batch-offline" }, 900] as const),
  ]);
  expect(expectedOf(lengths, zenith)).toBeCloseTo(100, -2);
  expect(expectedOf(lengths, { ...zenith, class: "batch-offline" })).toBeGreaterThan(800);
  const between = expectedOf(lengths, { class: "archival" }) ?? 0;
  expect(between).toBeGreaterThan(200);
  expect(between).toBeLessThan(900);
});

test("the more attempts of its own, the less a kind leans on wider ones", () => {
  const others = Array.from({ length: 100 }, () => [{}, 100] as const);
  const own = [1, 4, 16, 64].map((count) => {
    const its = Array.from({ length: count }, () => [zenith, 1_000] as const);
    return expectedOf(learned([...others, ...its]), zenith) ?? 0;
  });
  expect(own).toEqual(own.toSorted((one, other) => one - other));
  expect(own.at(0)).toBeLessThan(600);
  expect(own.at(-1)).toBeGreaterThan(950);
});

test("how far lengths scatter is told with them", () => {
  const even = learned(Array.from({ length: 40 }, () => [{}, 300] as const));
  expect(even.filledIn(asking()).outputTokensDeviation).toBe(0);
  const drawn = Array.from({ length: 400 }, (_, at) => [{}, at % 2 === 0 ? 100 : 500] as const);
  const { outputTokensExpected = 0, outputTokensDeviation = 0 } = learned(drawn).filledIn(asking());
  expect(outputTokensExpected).toBeCloseTo(300, -2);
  expect(Math.abs(outputTokensDeviation / 200 - 1)).toBeLessThan(0.1);
});

test("kinds are bounded: the one that was not asked for the longest goes first", () => {
  const lengths = new OutputLengths();
  for (let index = 0; index < 12_000; index++) {
    lengths.learn(asking({ tenant: `tenant-${index}` as TenantId }), 10);
  }
  expect(lengths.image().length).toBeLessThanOrEqual(10_000);
});

test("on a recorded workload, lengths by the length of the prompt are nearer than lengths alone", () => {
  const rows = readFileSync("bench/traces/azure-llm-2023/AzureLLMInferenceTrace_conv.csv", "utf8")
    .trim()
    .split("\n")
    .slice(1, 8_000)
    .map((line) => line.split(",").slice(1).map(Number));
  const meanError = (inputTokensOf: (inputTokens: number) => number): number => {
    const lengths = new OutputLengths();
    let sum = 0;
    for (const [inputTokens = 0, outputTokens = 0] of rows) {
      const asked = { inputTokens: inputTokensOf(inputTokens) };
      sum += Math.abs((expectedOf(lengths, asked) ?? 256) - outputTokens);
      lengths.learn(asking(asked), outputTokens);
    }
    return sum / rows.length;
  };
  expect(meanError((tokens) => tokens)).toBeLessThan(0.75 * meanError(() => 1_000));
});

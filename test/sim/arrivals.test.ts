import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { loadGeography } from "../../services/io/preset.ts";
import type { Arrival } from "../../services/core/workload.ts";
import { arrivalsOf, formatOf, type TraceOptions } from "../../services/sim/arrivals.ts";
import { cityOf, demandByCity } from "../../services/sim/demand.ts";
import { drawGamma, drawQuantile } from "../../services/sim/draw.ts";
import { randomFromSeed } from "../../services/core/random.ts";

const azure = "bench/traces/azure-llm-2023/AzureLLMInferenceTrace_conv.csv";
const mooncake = "bench/traces/mooncake-fast25/synthetic_trace.jsonl";
const servegen = "bench/traces/servegen/deepseek-r1_windows.csv";
const servegenRate = "bench/traces/servegen/deepseek-r1_total_rate.csv";

const folder = mkdtempSync(join(tmpdir(), "tokengrid-arrivals-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function read(path: string, changes: Partial<TraceOptions> = {}): Promise<Arrival[]> {
  const all: TraceOptions = {
    path,
    seed: 1,
    class: "llm-interactive",
    limit: Infinity,
    durationMs: Infinity,
  };
  const arrivals: Arrival[] = [];
  for await (const arrival of arrivalsOf({ ...all, ...changes })) arrivals.push(arrival);
  return arrivals;
}

function written(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** Count, tokens and span as the workloads' README states them. */
const whole: readonly [path: string, requests: number, input: number, output: number, s: number][] =
  [
    [azure, 19_366, 22_361_870, 4_088_665, 3_502],
    [mooncake, 3_993, 61_194_628, 595_432, 1_022],
  ];

for (const [path, requests, input, output, seconds] of whole) {
  test(`arrivalsOf() reads all of ${path}, sorted`, async () => {
    const arrivals = await read(path);
    const sum = (each: (arrival: Arrival) => number): number =>
      arrivals.reduce((total, arrival) => total + each(arrival), 0);
    expect(arrivals.length).toBe(requests);
    expect(sum(({ inputTokens }) => inputTokens)).toBe(input);
    expect(sum(({ outputTokens }) => outputTokens)).toBe(output);
    expect(Math.round((arrivals.at(-1)?.atMs ?? 0) / 1_000)).toBe(seconds);
    expect(arrivals).toEqual(arrivals.toSorted((a, b) => a.atMs - b.atMs));
    expect(arrivals.map(({ index }) => index)).toEqual([...arrivals.keys()]);
  });
}

test("arrivalsOf() gives the first lines of the conversation trace to the 100 ns", async () => {
  const rows = await read(azure, { limit: 4 });
  expect(
    rows.map(({ atMs, inputTokens, outputTokens, blocks }) => [
      atMs,
      inputTokens,
      outputTokens,
      blocks,
    ]),
  ).toEqual([
    [0, 374, 44, []],
    [4_314.579, 396, 109, []],
    [4_541.877, 879, 55, []],
    [4_710.427, 91, 16, []],
  ]);
});

test("arrivalsOf() gives the first lines of the trace with shared prefixes", async () => {
  const [first, second] = await read(mooncake, { limit: 2 });
  expect(first).toMatchObject({ atMs: 0, inputTokens: 40_160, outputTokens: 6 });
  expect(first?.blocks).toEqual(Array.from({ length: 79 }, (_, id) => id));
  expect(second?.blocks).toEqual(Array.from({ length: 72 }, (_, id) => 79 + id));
});

test("arrivalsOf() draws the reasoning workload at the published rate", async () => {
  const durationMs = 1_200_000;
  const arrivals = await read(servegen, { durationMs });
  const expected = 600 * (14.8633 + 18.4033);
  expect(arrivals.length).toBeGreaterThan(0.9 * expected);
  expect(arrivals.length).toBeLessThan(1.1 * expected);
  expect(arrivals).toEqual(arrivals.toSorted((a, b) => a.atMs - b.atMs));
  expect(
    arrivals.every(({ inputTokens, outputTokens }) => inputTokens >= 1 && outputTokens >= 1),
  ).toBe(true);
});

test("arrivalsOf() takes either file of the reasoning workload for the same requests", async () => {
  const limit = 500;
  expect(await read(servegenRate, { limit })).toEqual(await read(servegen, { limit }));
});

test("arrivalsOf() draws others with another seed, and the same with the same", async () => {
  const limit = 500;
  expect(await read(servegen, { limit, seed: 2 })).toEqual(
    await read(servegen, { limit, seed: 2 }),
  );
  expect(await read(servegen, { limit, seed: 2 })).not.toEqual(
    await read(servegen, { limit, seed: 3 }),
  );
});

test("arrivalsOf() ends at the limit, at the duration, and gives a prefix of the whole", async () => {
  const arrivals = await read(azure, { durationMs: 60_000 });
  expect(arrivals.every(({ atMs }) => atMs < 60_000)).toBe(true);
  expect(await read(azure, { limit: 10 })).toEqual(arrivals.slice(0, 10));
  expect(await read(azure, { durationMs: 60_000, limit: arrivals.length + 1 })).toEqual(arrivals);
});

test("arrivalsOf() gives every request the class that was asked for", async () => {
  const arrivals = await read(azure, { limit: 3, class: "batch-offline" });
  expect(arrivals.map((arrival) => arrival.class)).toEqual(Array(3).fill("batch-offline"));
});

const azureHeader = "TIMESTAMP,ContextTokens,GeneratedTokens";
const goodAzure = "2023-11-16 18:15:46.6805900,374,44";
const goodMooncake = '{"timestamp":0,"input_length":513,"output_length":2,"hash_ids":[0,1]}';

const malformed: readonly [name: string, text: string, line: number, message: string][] = [
  ["empty", "", 1, `found an empty file`],
  ["other.csv", "a,b\r\n1,2", 1, `expected the header ${azureHeader}, a JSON object per line`],
  ["none.csv", `${azureHeader}\r\n`, 2, "expected a request, found the end"],
  [
    "fields.csv",
    `${azureHeader}\r\n${goodAzure},7`,
    2,
    `expected 3 fields (${azureHeader}), found 4`,
  ],
  [
    "blank.csv",
    `${azureHeader}\r\n\r\n${goodAzure}`,
    2,
    `expected 3 fields (${azureHeader}), found 1`,
  ],
  [
    "day.csv",
    `${azureHeader}\r\n2023-02-30 18:15:46.6805900,374,44`,
    2,
    'TIMESTAMP: expected YYYY-MM-DD hh:mm:ss.fffffff, found "2023-02-30 18:15:46.6805900"',
  ],
  [
    "digits.csv",
    `${azureHeader}\r\n2023-11-16 18:15:46.680,374,44`,
    2,
    'TIMESTAMP: expected YYYY-MM-DD hh:mm:ss.fffffff, found "2023-11-16 18:15:46.680"',
  ],
  [
    "back.csv",
    `${azureHeader}\r\n${goodAzure}\r\n2023-11-16 18:15:46.6805899,1,1`,
    3,
    'TIMESTAMP: expected none before the line above, found "2023-11-16 18:15:46.6805899"',
  ],
  [
    "float.csv",
    `${azureHeader}\r\n2023-11-16 18:15:46.6805900,3.5,44`,
    2,
    'ContextTokens: expected a whole number from 1 to 10000000, found "3.5"',
  ],
  [
    "minus.csv",
    `${azureHeader}\r\n2023-11-16 18:15:46.6805900,374,-1`,
    2,
    'GeneratedTokens: expected a whole number from 1 to 10000000, found "-1"',
  ],
  [
    "huge.csv",
    `${azureHeader}\r\n2023-11-16 18:15:46.6805900,374,10000001`,
    2,
    'GeneratedTokens: expected a whole number from 1 to 10000000, found "10000001"',
  ],
  [
    "cut.jsonl",
    `${goodMooncake}\n{"timestamp":`,
    2,
    'expected a JSON object, found "{\\"timestamp\\":"',
  ],
  ["array.jsonl", `${goodMooncake}\n[1]`, 2, 'expected a JSON object, found "[1]"'],
  [
    "time.jsonl",
    goodMooncake.replace(":0,", ':"0",'),
    1,
    'timestamp: expected ms since the start, at least 0, found "0"',
  ],
  [
    "length.jsonl",
    goodMooncake.replace("513", "null"),
    1,
    "input_length: expected a whole number from 1 to 10000000, found null",
  ],
  [
    "missing.jsonl",
    goodMooncake.replace("output_length", "output"),
    1,
    "output_length: expected a whole number from 1 to 10000000, found nothing",
  ],
  [
    "ids.jsonl",
    goodMooncake.replace("[0,1]", "[0]"),
    1,
    "hash_ids: expected 2 block ids for 513 tokens, found 1",
  ],
  [
    "id.jsonl",
    goodMooncake.replace("[0,1]", "[0,-1]"),
    1,
    "hash_ids: expected 2 block ids for 513 tokens, found 1 of 2",
  ],
  [
    "noids.jsonl",
    goodMooncake.replace("[0,1]", "7"),
    1,
    "hash_ids: expected 2 block ids for 513 tokens, found 7",
  ],
  [
    "alone_total_rate.csv",
    "t_s,rate_rps\n0,1\n",
    1,
    "alone_windows.csv beside it, found no such file",
  ],
];

for (const [name, text, line, message] of malformed) {
  test(`arrivalsOf() says what is wrong in ${name}, and where`, async () => {
    const path = written(name, text);
    const reading = read(path);
    await expect(reading).rejects.toThrow(`${path}:${line}: `);
    await expect(reading).rejects.toThrow(message);
  });
}

const windowsHeader =
  "client,t_s,rate_rps,cv,pattern,in_p5,in_p10,in_p25,in_p50,in_p75,in_p90,in_p95,in_p99,in_mean," +
  "out_p5,out_p10,out_p25,out_p50,out_p75,out_p90,out_p95,out_p99,out_mean";
const goodWindow = "0,0,1,1,Gamma,1,2,3,4,5,6,7,8,4,1,2,3,4,5,6,7,8,4";

const malformedServegen: readonly [what: string, rate: string, windows: string, message: string][] =
  [
    [
      "a missing step",
      "0,1\n1200,1",
      goodWindow,
      '_total_rate.csv:3: t_s: expected 600, found "1200"',
    ],
    [
      "a rate below 0",
      "0,-1",
      goodWindow,
      '_total_rate.csv:2: rate_rps: expected a number of at least 0, found "-1"',
    ],
    ["no step", "", goodWindow, "_total_rate.csv:2: expected a row, found the end"],
    [
      "falling quantiles",
      "0,1",
      goodWindow.replace("1,2,3,4,5", "1,2,1,4,5"),
      "_windows.csv:2: in_p25: expected at least 2, found 1",
    ],
    [
      "no variation",
      "0,1",
      goodWindow.replace("0,0,1,1", "0,0,1,0"),
      '_windows.csv:2: cv: expected a number of at least 0.001, found "0"',
    ],
    ["a field too few", "0,1", goodWindow.slice(0, -2), "_windows.csv:2: expected 23 fields"],
  ];

for (const [what, rate, windows, message] of malformedServegen) {
  test(`arrivalsOf() says where a reasoning workload has ${what}`, async () => {
    const path = written("bad_total_rate.csv", `t_s,rate_rps\n${rate}`);
    written("bad_windows.csv", `${windowsHeader}\n${windows}`);
    await expect(read(path)).rejects.toThrow(message);
  });
}

test("arrivalsOf() reads lines that end in LF as well, with or without a last end", async () => {
  const lines = [azureHeader, goodAzure, goodAzure];
  const expected = await read(written("crlf.csv", lines.join("\r\n")));
  expect(await read(written("lf.csv", `${lines.join("\n")}\n`))).toEqual(expected);
  expect(expected.length).toBe(2);
});

test("formatOf() knows nothing it was not told of", () => {
  expect(formatOf("timestamp,prompt")).toBeUndefined();
});

test("every city of the preset has demand, and no other", () => {
  expect(Object.keys(demandByCity).sort()).toEqual([...loadGeography().origins.keys()].sort());
});

test("cityOf() spreads demand by weight: four fifths of it are eastern", () => {
  const { origins } = loadGeography();
  const cities = Array.from({ length: 20_000 }, (_, index) => cityOf(7, index));
  const eastern = cities.filter((city) => origins.get(city)?.side === "east").length;
  expect(eastern / cities.length).toBeCloseTo(0.8, 1);
  const shanghai = cities.filter((city) => city === "shanghai").length;
  expect(shanghai / cities.length).toBeCloseTo(472 / 4_912, 2);
});

test("drawGamma() has mean 1 and the variation that was asked for", () => {
  for (const cv of [0.5, 1, 2]) {
    const random = randomFromSeed(11);
    const gaps = Array.from({ length: 40_000 }, () => drawGamma(random, cv));
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    expect(mean).toBeCloseTo(1, 1);
    expect(Math.sqrt(variance) / mean / cv).toBeCloseTo(1, 1);
  }
});

test("drawQuantile() stays within the quantiles and grows with chance", () => {
  const quantiles = { at: [0.05, 0.5, 0.99], values: [10, 20, 100] };
  const at = (u: number): number => drawQuantile(() => u, quantiles);
  expect([0, 0.05, 0.275, 0.5, 0.99, 0.999].map(at)).toEqual([10, 10, 15, 20, 100, 100]);
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (a, b) => {
        expect(at(Math.min(a, b))).toBeLessThanOrEqual(at(Math.max(a, b)));
      },
    ),
  );
});

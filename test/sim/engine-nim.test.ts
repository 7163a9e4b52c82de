import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  closedLoop as closedForm,
  rooflineProfile,
  type RequestShape,
} from "../../services/core/engine.ts";
import { loadEngineProfiles } from "../../services/io/preset.ts";
import { closedLoop } from "./closed-loop.ts";

/** Published errors in %, by concurrency: time to first token, between tokens, output tokens per second. */
type Errors = readonly [ttft: number, itl: number, tokens: number];

interface Curve {
  readonly name: string;
  readonly fixture: string;
  readonly engine: string;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Digits that the published errors were rounded to. */
  readonly roundedTo: number;
  readonly errors: Readonly<Record<number, Errors>>;
}

const llama = "llama-3.3-70b-fp8/2xH100-80G/TP2";

const curves: readonly Curve[] = [
  {
    name: "5000 in, 500 out, fitted to this shape alone",
    fixture: "nim-llama-3.3-70b-fp8-2xh100.csv",
    engine: `${llama}#5000-500`,
    promptTokens: 5_000,
    outputTokens: 500,
    roundedTo: 0.1,
    errors: {
      1: [4.5, -3.0, 2.7],
      5: [0.4, -1.9, 1.8],
      25: [-17.8, 0.8, -0.1],
      50: [-29.3, 2.3, -1.3],
      100: [-3.3, 0.9, -0.5],
      150: [0.6, 1.0, 0.6],
      200: [0.9, 0.8, -0.8],
      250: [0.8, 0.6, 0.1],
    },
  },
  {
    name: "5000 in, 500 out",
    fixture: "nim-llama-3.3-70b-fp8-2xh100.csv",
    engine: llama,
    promptTokens: 5_000,
    outputTokens: 500,
    roundedTo: 1,
    errors: {
      1: [-16, 1, 0],
      5: [-17, 1, 0],
      25: [-31, 1, 0],
      50: [-39, 2, 0],
      100: [2, -1, 1],
      150: [1, -1, 3],
      200: [1, -1, 0],
      250: [0, -2, 0],
    },
  },
  {
    name: "500 in, 2000 out",
    fixture: "nim-llama-3.3-70b-fp8-2xh100-500x2000.csv",
    engine: llama,
    promptTokens: 500,
    outputTokens: 2_000,
    roundedTo: 1,
    errors: {
      1: [-29, -2, 2],
      5: [7, 0, 0],
      25: [3, -2, 2],
      50: [-14, 1, -1],
      100: [-29, 0, 0],
      150: [-43, -5, 6],
      200: [-13, -1, 6],
    },
  },
];

interface Measured {
  readonly clients: number;
  readonly ttftMs: number;
  readonly itlMs: number;
  readonly tokensPerSecond: number;
}

function measured(fixture: string): Measured[] {
  const text = readFileSync(new URL(`../fixtures/${fixture}`, import.meta.url), "utf8");
  const rows = text.trim().split("\n").slice(1);
  return rows.map((row) => {
    const [clients = 0, ttftMs = 0, itlMs = 0, tokensPerSecond = 0] = row.split(",").map(Number);
    return { clients, ttftMs, itlMs, tokensPerSecond };
  });
}

function profileOf(engine: string) {
  const row = loadEngineProfiles().get(engine);
  if (row === undefined) throw new Error(`no such engine: ${engine}`);
  return row.profile;
}

function errorsOf(curve: Curve, row: Measured): Errors {
  const { engine, promptTokens, outputTokens } = curve;
  const profile = profileOf(engine);
  const simulated = closedLoop({ profile, clients: row.clients, promptTokens, outputTokens });
  return [
    (simulated.ttftMs / row.ttftMs - 1) * 100,
    (simulated.itlMs / row.itlMs - 1) * 100,
    (simulated.tokensPerSecond / row.tokensPerSecond - 1) * 100,
  ];
}

for (const curve of curves) {
  for (const row of measured(curve.fixture)) {
    test(`EngineReplica is as far from the measured curve as published: ${curve.name}, ${row.clients} clients`, () => {
      const published = curve.errors[row.clients] ?? [0, 0, 0];
      const errors = errorsOf(curve, row);
      errors.forEach((error, index) => {
        const bound = Math.abs(published[index] ?? 0) + curve.roundedTo / 2;
        expect(Math.abs(error)).toBeLessThanOrEqual(bound);
      });
    });
  }

  test(`every load of the fixture has its published error: ${curve.name}`, () => {
    const clients = measured(curve.fixture).map((row) => row.clients);
    expect(clients.length).toBeGreaterThan(0);
    expect(Object.keys(curve.errors).map(Number)).toEqual(clients);
  });
}

test("EngineReplica: the error at each load, as a table", async () => {
  const percent = (value: number): string =>
    `${value < 0 ? "" : "+"}${value.toFixed(1)} %`.padStart(9);
  const lines = curves.flatMap((curve) => [
    `${curve.name} (${curve.engine})`,
    "clients     TTFT      ITL    tok/s",
    ...measured(curve.fixture).map(
      (row) => `${String(row.clients).padStart(7)}${errorsOf(curve, row).map(percent).join("")}`,
    ),
    "",
  ]);
  await expect(lines.join("\n")).toMatchFileSnapshot("../golden/nim-errors.txt");
});

/** Published errors of the closed form in %, at 5, 25 and 50 clients. */
const closedFormTtft: readonly (readonly [clients: number, error: number])[] = [
  [5, -13],
  [25, -4],
  [50, 6],
];

const shape: RequestShape = {
  uncachedTokens: 5_000,
  promptTokens: 5_000,
  outputTokens: 500,
  outputTokensMax: 500,
};

for (const [clients, published] of closedFormTtft) {
  test(`the closed form is as near the measured first token as published at ${clients} clients`, () => {
    const row = measured("nim-llama-3.3-70b-fp8-2xh100.csv").find(
      (each) => each.clients === clients,
    );
    const { ttftMs } = closedForm(profileOf(`${llama}#5000-500`), shape, clients);
    const error = (ttftMs / (row?.ttftMs ?? 0) - 1) * 100;
    expect(Math.abs(error)).toBeLessThanOrEqual(Math.abs(published) + 0.5);
    expect(Math.sign(error)).toBe(Math.sign(published));
  });
}

for (const row of measured("nim-llama-3.3-70b-fp8-2xh100.csv")) {
  test(`the closed form is within 1.5 % in throughput and 3.1 % between tokens at ${row.clients} clients`, () => {
    const { tpotMs, tokensPerSecond } = closedForm(
      profileOf(`${llama}#5000-500`),
      shape,
      row.clients,
    );
    expect(Math.abs(tokensPerSecond / row.tokensPerSecond - 1)).toBeLessThanOrEqual(0.0155);
    expect(Math.abs(tpotMs / row.itlMs - 1)).toBeLessThanOrEqual(0.0315);
  });
}

test("rooflineProfile() gives what sizes alone say of the fitted replica", () => {
  const sizes = {
    accelerators: 2,
    memoryGb: 80,
    bandwidthTbPerSecond: 3.35,
    teraflops: 1_979,
    weightGb: 70.6,
    activeParametersBillion: 70.6,
    bytesPerParameter: 1,
    layers: 80,
    kvBytesPerToken: 163_840,
  };
  const profile = rooflineProfile(sizes, { prefillChunkTokens: 2_048, sequencesMax: 256 });
  expect(profile.stepBaseMs).toBeCloseTo(15.6, 1);
  expect(profile.stepMsPerKvToken).toBeCloseTo(3.1e-5, 6);
  expect(profile.prefillMsPerToken).toBeCloseTo(0.071, 3);
  expect(Math.round(profile.kvTokensTotal / 1_000)).toBe(411);
});

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { PowerMeter, type PowerSource } from "../../services/agent/power.ts";
import { openExporter, type Exporter } from "./exporter.ts";

let exporter: Exporter;
let now = 0;

beforeAll(async () => {
  exporter = await openExporter();
});
beforeEach(() => {
  now = 1_000_000;
});
afterAll(() => exporter.close());

const never = new AbortController().signal;

function meter(kind: "dcgm" | "npu", hostWatts = 0): PowerMeter {
  const source: PowerSource = { kind, url: `${exporter.url}/metrics`, hostWatts };
  return new PowerMeter({ source, validMs: 3_000, now: () => now });
}

function dcgm(watts: readonly number[], milliJoules: readonly number[]): void {
  const lines = [
    ...watts.map(
      (value, gpu) => `DCGM_FI_DEV_POWER_USAGE{gpu="${gpu}",UUID="GPU-${gpu}"} ${value}`,
    ),
    ...milliJoules.map(
      (value, gpu) =>
        `DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="${gpu}",UUID="GPU-${gpu}"} ${value}`,
    ),
  ];
  exporter.set({ "/metrics": `${lines.join("\n")}\n` });
}

function npu(watts: readonly number[], atMs?: number): void {
  const lines = watts.map((value, id) => `npu_chip_info_power{id="${id}"} ${value} ${atMs ?? ""}`);
  exporter.set({ "/metrics": `${lines.join("\n")}\n` });
}

test("DCGM: watts add up, and energy counts from the first reading on, in joules", async () => {
  const reader = meter("dcgm");
  dcgm([300, 400], [5_000_000, 7_000_000]);
  const first = await reader.read(never);
  expect(first.powerWatts).toEqual({
    value: 700,
    source: "measured",
    observedAt: 1_000_000,
    validMs: 3_000,
  });
  expect(first.energyJoulesTotal?.value).toBe(0);
  now += 1_000;
  dcgm([300, 400], [5_300_000, 7_400_000]);
  expect((await reader.read(never)).energyJoulesTotal).toMatchObject({
    value: 700,
    source: "measured",
  });
});

test("DCGM: a node that restarts counts from 0 and loses nothing", async () => {
  const reader = meter("dcgm");
  dcgm([300], [5_000_000]);
  await reader.read(never);
  dcgm([300], [6_000_000]);
  await reader.read(never);
  dcgm([300], [200_000]);
  expect((await reader.read(never)).energyJoulesTotal?.value).toBe(1_200);
});

test("DCGM: parts of one accelerator are counted once", async () => {
  exporter.set({
    "/metrics": [
      'DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-0",GPU_I_ID="1"} 300',
      'DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-0",GPU_I_ID="2"} 300',
    ].join("\n"),
  });
  expect((await meter("dcgm").read(never)).powerWatts?.value).toBe(300);
});

test("DCGM: what the exporter does not see is declared, and makes it an estimate", async () => {
  const reader = meter("dcgm", 1_000);
  dcgm([300], [0]);
  await reader.read(never);
  now += 10_000;
  dcgm([300], [3_000_000]);
  const second = await reader.read(never);
  expect(second.powerWatts).toMatchObject({ value: 1_300, source: "estimated" });
  expect(second.energyJoulesTotal).toMatchObject({ value: 13_000, source: "estimated" });
});

test("npu: without an energy counter power is integrated, a straight line between readings", async () => {
  const reader = meter("npu");
  npu([100, 100]);
  await reader.read(never);
  now += 10_000;
  npu([200, 100]);
  const second = await reader.read(never);
  expect(second.powerWatts).toMatchObject({ value: 300, source: "measured" });
  expect(second.energyJoulesTotal).toMatchObject({ value: 2_500, source: "estimated" });
});

test("npu: a reading is as old as the exporter says", async () => {
  npu([100], 999_000);
  expect((await meter("npu").read(never)).powerWatts?.observedAt).toBe(999_000);
});

test("npu: nobody knows what was drawn in a long silence", async () => {
  const reader = meter("npu");
  npu([100]);
  await reader.read(never);
  now += 61_000;
  expect((await reader.read(never)).energyJoulesTotal?.value).toBe(0);
});

test("an exporter without power is an error that says so", async () => {
  exporter.set({ "/metrics": "other 1\n" });
  await expect(meter("dcgm").read(never)).rejects.toThrow("no DCGM_FI_DEV_POWER_USAGE found");
});

test("without a source power is unknown, not 0", async () => {
  const none = new PowerMeter({ source: { kind: "none" }, validMs: 1, now: () => now });
  expect(await none.read(never)).toEqual({ powerWatts: undefined, energyJoulesTotal: undefined });
});

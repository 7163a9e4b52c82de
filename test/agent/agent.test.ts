import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import {
  configSchema,
  openAgent,
  start,
  type Agent,
  type AgentOptions,
} from "../../services/agent/main.ts";
import type { Figure } from "../../services/core/figure.ts";
import { openLog } from "../../services/io/log.ts";
import { EngineKind, FigureSource } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { model, runPool, until, type RunningPool } from "../sim/running-fleet.ts";
import { nextBackoffMs, SupersededError } from "../../services/agent/report-stream.ts";
import { openExporter } from "./exporter.ts";
import { openRecorder, type Recorder, type RecorderOptions } from "./pool-recorder.ts";

let pool: RunningPool;
const opened: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  pool = await runPool();
});
afterEach(async () => {
  for (const each of opened.splice(0).toReversed()) await each.close();
});
afterAll(() => pool.close());

async function recorder(options: RecorderOptions = {}): Promise<Recorder> {
  const each = await openRecorder(options);
  opened.push(each);
  return each;
}

async function agent(rpcUrl: string, changes: Partial<AgentOptions> = {}): Promise<Agent> {
  const each = await openAgent({
    registration: pool.registration,
    metricsUrl: pool.metricsUrl,
    dialect: "vllm",
    power: pool.power,
    rpcUrl,
    credential: "vk-tg-secret",
    intervalMs: 20,
    log: openLog({ role: "test", level: "silent" }),
    signal: new AbortController().signal,
    ...changes,
  });
  opened.push(each);
  return each;
}

test("an agent registers with the vendor's credential, then reports in order", async () => {
  const seen = await recorder();
  await agent(seen.url);
  await until(() => seen.reports.length >= 5);
  expect(seen.authorizations).toEqual(["Bearer vk-tg-secret"]);
  expect(seen.registrations[0]).toMatchObject({
    poolId: "west-ningxia-1",
    vendorId: "qilian",
    regionId: "zhongwei",
    engine: EngineKind.VLLM,
    endpoint: pool.registration.endpoint,
  });
  const generation = seen.registrations[0]?.generation ?? 0n;
  expect(generation).toBeGreaterThan(0n);
  seen.reports.slice(0, 5).forEach((report, index) => {
    expect(report).toMatchObject({
      poolId: "west-ningxia-1",
      generation,
      sequence: BigInt(index + 1),
    });
  });
});

test("a report has what the engine and the accelerators say, with source, age and validity", async () => {
  const seen = await recorder();
  await (
    await pool.chat({ model, messages: [{ role: "user", content: "a b" }], max_tokens: 3 })
  ).text();
  await agent(seen.url);
  await until(() => seen.reports.length >= 2);
  const report = seen.reports[1];
  expect(report?.models.map(({ modelId }) => modelId)).toEqual(["qwen3.6-plus", "glm-4.6"]);
  expect(report?.models[0]?.runningRequests).toMatchObject({
    value: 0,
    source: FigureSource.MEASURED,
    validMs: 60,
  });
  expect(report?.models[0]?.outputTokensTotal?.value).toBeGreaterThan(0);
  expect(report?.models[0]?.kvTokensTotal?.value).toBe(900_000);
  // 24 accelerators at rest, and three nodes of 2.8 kW.
  expect(report?.powerWatts?.value).toBe(24 * 95 + 3 * 2_800);
  expect(report?.energyJoulesTotal?.value).toBeGreaterThan(0);
  expect(report?.powerUsageEffectiveness).toMatchObject({
    value: 1.17,
    source: FigureSource.DECLARED,
  });
});

test("what is declared does not grow old while its agent runs", async () => {
  const seen = await recorder();
  const yearMs = 365 * 86_400_000;
  const aged = (figure: Figure | undefined) =>
    figure && { ...figure, observedAt: figure.observedAt - yearMs };
  const { pue, greenShare } = pool.registration;
  await agent(seen.url, {
    registration: { ...pool.registration, pue: aged(pue), greenShare: aged(greenShare) },
  });
  await until(() => seen.reports.length >= 1);
  const [registration, report] = [seen.registrations[0], seen.reports[0]];
  expect(registration?.powerUsageEffectiveness?.ageMs).toBe(0);
  expect(registration?.greenShare?.ageMs).toBe(0);
  expect(report?.powerUsageEffectiveness?.ageMs).toBeLessThan(60_000);
  expect(report?.greenShare?.ageMs).toBeLessThan(60_000);
});

test("a stream that is cut is opened again, and the numbers go on", async () => {
  const seen = await recorder({ answer: (count) => (count === 3 ? "cut" : "accepted") });
  await agent(seen.url);
  await until(() => seen.registrations.length === 2 && seen.reports.length >= 6);
  const sequences = seen.reports.map(({ sequence }) => sequence);
  expect(new Set(sequences).size).toBe(sequences.length);
  expect(new Set(seen.reports.map(({ generation }) => generation)).size).toBe(1);
});

test("an agent that a newer one has replaced says no more", async () => {
  const seen = await recorder({ answer: (count) => (count < 3 ? "accepted" : "stale-generation") });
  const replaced = await agent(seen.url);
  await expect(replaced.ended).rejects.toThrow(SupersededError);
  const { length } = seen.reports;
  expect(seen.registrations.length).toBe(1);
  expect(seen.reports.length).toBe(length);
});

test("the process of an agent that a newer one has replaced ends, and says why", async () => {
  const seen = await recorder({ answer: () => "stale-generation" });
  const { id, vendor, region, endpoint, engine } = pool.registration;
  const config = configSchema.parse({
    pool: {
      ...{ id, vendor, region, endpoint, engine },
      models: [{ model: "qwen3.6-plus", contextTokensMax: 1_000, slotsTotal: 4 }],
    },
    metricsUrl: pool.metricsUrl,
    dialect: "vllm",
    rpcUrl: seen.url,
    intervalMs: 100,
    metrics: { port: 0 },
    logLevel: "silent",
  });
  await expect(start(config, new AbortController().signal)).rejects.toThrow(
    `pool ${id}: expected to be its only agent, found a newer one that reports for it`,
  );
});

test("a report out of order makes the agent begin a new generation", async () => {
  const seen = await recorder({ answer: (count) => (count === 2 ? "out-of-order" : "accepted") });
  await agent(seen.url);
  await until(() => seen.registrations.length === 2 && seen.reports.length >= 4);
  const [first, second] = seen.registrations.map(({ generation }) => generation);
  expect(second).toBeGreaterThan(first ?? 0n);
  expect(seen.reports.at(-1)?.generation).toBe(second);
});

test("a report that is not valid is left behind, and the next one is sent", async () => {
  const seen = await recorder({
    answer: (count) => (count === 1 ? "rejected-schema" : "accepted"),
  });
  await agent(seen.url);
  await until(() => seen.reports.length >= 3);
  expect(seen.registrations.length).toBe(1);
});

test("an agent that waits after a refusal can be closed at once", async () => {
  const seen = await recorder({ refusals: 1 });
  const refused = await agent(seen.url);
  await until(() => seen.registrations.length === 1);
  await refused.close();
  expect([seen.registrations.length, seen.reports.length]).toEqual([1, 0]);
});

/** What went wrong, the wait before → the wait now. */
const waits: readonly (readonly [Parameters<typeof nextBackoffMs>[0], number, number])[] = [
  ["lost", 0, 500],
  ["lost", 500, 1_000],
  ["lost", 4_000, 5_000],
  ["lost", 30_000, 5_000],
  ["renumber", 0, 500],
  ["refused", 0, 30_000],
];

for (const [trouble, beforeMs, expected] of waits) {
  test(`nextBackoffMs() after ${beforeMs} ms is ${expected} ms when ${trouble}`, () => {
    expect(nextBackoffMs(trouble, beforeMs)).toBe(expected);
  });
}

test("an agent waits for a control plane that is not there yet", async () => {
  const gone = await openRecorder();
  const port = Number(new URL(gone.url).port);
  await gone.close();
  await agent(gone.url);
  const seen = await recorder({ port });
  await until(() => seen.reports.length >= 2);
  expect(seen.registrations.length).toBe(1);
});

test("reports that nobody answers end the stream, and it is opened again", async () => {
  const seen = await recorder({ answer: (count) => (count <= 10 ? "silence" : "accepted") });
  await agent(seen.url);
  await until(() => seen.registrations.length === 2 && seen.reports.length >= 12);
  expect(seen.reports.filter(({ sequence }) => sequence <= 10n).length).toBe(10);
});

test("an engine that does not answer is not reported, so that its pool fades", async () => {
  const [seen, engine] = [await recorder(), await openExporter()];
  opened.push(engine);
  await agent(seen.url, { metricsUrl: `${engine.url}/metrics` });
  await until(() => engine.asked >= 3);
  expect(seen.reports.length).toBe(0);
  engine.set({ "/metrics": 'vllm:num_requests_running{model_name="qwen3.6-plus"} 3\n' });
  await until(() => seen.reports.length >= 1);
  expect(seen.reports[0]?.sequence).toBe(1n);
  expect(seen.reports[0]?.models[0]?.runningRequests?.value).toBe(3);
  expect(seen.reports[0]?.models[0]?.waitingRequests).toBeUndefined();
});

test("close() ends the stream", async () => {
  const seen = await recorder();
  const closing = await agent(seen.url);
  await until(() => seen.reports.length >= 1);
  await until(() => closing.isReady());
  expect(seen.streamsOpen).toBe(1);
  await closing.close();
  expect(closing.isReady()).toBe(false);
  await until(() => seen.streamsOpen === 0);
});

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dialects, namesOf, type DialectName } from "../../services/agent/dialects.ts";
import { Scraper } from "../../services/agent/scrape.ts";
import type { ModelReport, ServedModel } from "../../services/core/pool.ts";
import type { ModelId } from "../../services/core/units.ts";
import { model, runPool, until } from "../sim/running-fleet.ts";
import { openExporter, type Exporter } from "./exporter.ts";

let exporter: Exporter;

beforeAll(async () => {
  exporter = await openExporter();
});
afterAll(() => exporter.close());

const never = new AbortController().signal;

function served(name: string): ServedModel {
  return {
    model: name as ModelId,
    engineModelName: name,
    version: "",
    contextTokensMax: 2_048,
    slotsTotal: 4,
    replicas: 1,
    engineProfile: undefined,
    capabilities: new Set(),
  };
}

function scraper(dialect: DialectName, models: readonly string[], metricsUrl?: string): Scraper {
  return new Scraper({
    metricsUrl: metricsUrl ?? `${exporter.url}/metrics`,
    dialect,
    models: models.map(served),
    validMs: 3_000,
    now: () => 1_000,
  });
}

/** The values alone; absent where unknown. */
function valuesOf(report: ModelReport | undefined): Record<string, number> {
  const { model: _, ...figures } = report ?? { model: "" };
  return Object.fromEntries(
    Object.entries(figures).flatMap(([name, figure]) =>
      figure === undefined ? [] : [[name, Math.round(figure.value * 1e6) / 1e6]],
    ),
  );
}

const recorded = (name: string): string =>
  readFileSync(new URL(`../fixtures/llama-server-answers/${name}`, import.meta.url), "utf8");

test("llamacpp: the recorded answers of a busy server", async () => {
  exporter.set({ "/metrics": recorded("metrics-busy.txt"), "/slots": recorded("slots-busy.json") });
  const [report] = await scraper("llamacpp", ["tiny"]).scrape(never);
  expect(report?.model).toBe("tiny");
  expect(valuesOf(report)).toEqual({
    runningRequests: 4,
    waitingRequests: 4,
    kvUsedRatio: 0.089478,
    kvTokensTotal: 8_192,
    slotsTotal: 4,
    promptTokensTotal: 210,
    cachedPromptTokensTotal: 33,
    outputTokensTotal: 7_600,
  });
  expect(report?.runningRequests).toEqual({
    value: 4,
    source: "measured",
    observedAt: 1_000,
    validMs: 3_000,
  });
});

test("llamacpp: the counts that idle slots keep are not KV in use", async () => {
  exporter.set({ "/metrics": recorded("metrics.txt"), "/slots": recorded("slots-idle.json") });
  const [report] = await scraper("llamacpp", ["tiny"]).scrape(never);
  expect(report?.kvUsedRatio?.value).toBe(0);
});

test("llamacpp: time per token is the quotient of what two scrapes differ by", async () => {
  const reader = scraper("llamacpp", ["tiny"]);
  const counters = (tokens: number, seconds: number): string =>
    `llamacpp:tokens_predicted_total ${tokens}\nllamacpp:tokens_predicted_seconds_total ${seconds}\n`;
  exporter.set({ "/metrics": counters(1_000, 4) });
  expect((await reader.scrape(never))[0]?.itlMsMean).toBeUndefined();
  exporter.set({ "/metrics": counters(1_100, 5) });
  expect((await reader.scrape(never))[0]?.itlMsMean?.value).toBeCloseTo(10, 9);
  expect((await reader.scrape(never))[0]?.itlMsMean?.value).toBeCloseTo(10, 9);
});

test("llamacpp: a server that keeps its slots to itself leaves the KV unknown", async () => {
  exporter.set({
    "/metrics": recorded("metrics.txt"),
    "/slots": { status: 501, text: recorded("err-501.txt") },
  });
  const [report] = await scraper("llamacpp", ["tiny"]).scrape(never);
  expect(report?.kvUsedRatio).toBeUndefined();
  expect(report?.slotsTotal).toBeUndefined();
  expect(report?.runningRequests?.value).toBe(0);
});

const vllm = (lines: readonly string[]): string =>
  lines.map((line) => line.replace("{", '{model_name="m",')).join("\n");

test("vllm: sums over its engines, but averages the KV ratio", async () => {
  exporter.set({
    "/metrics": vllm([
      'vllm:num_requests_running{engine="0"} 3',
      'vllm:num_requests_running{engine="1"} 5',
      'vllm:num_requests_waiting{engine="0"} 1',
      'vllm:num_requests_waiting{engine="1"} 0',
      'vllm:kv_cache_usage_perc{engine="0"} 0.2',
      'vllm:kv_cache_usage_perc{engine="1"} 0.4',
      'vllm:cache_config_info{engine="0",block_size="16",num_gpu_blocks="100"} 1',
      'vllm:cache_config_info{engine="1",block_size="16",num_gpu_blocks="100"} 1',
    ]),
  });
  const [report] = await scraper("vllm", ["m"]).scrape(never);
  expect(valuesOf(report)).toEqual({
    runningRequests: 8,
    waitingRequests: 1,
    kvUsedRatio: 0.3,
    kvTokensTotal: 3_200,
  });
});

test("sglang: sums over its replicas, and reads each of their parts once", async () => {
  const parts = (name: string, value: number): string[] =>
    ["0", "1"].flatMap((dp) =>
      ["0", "1"].map(
        (tp) =>
          `${name}{model_name="m",engine_type="unified",dp_rank="${dp}",pp_rank="0",tp_rank="${tp}"} ${value}`,
      ),
    );
  exporter.set({
    "/metrics": [
      ...parts("sglang:num_running_reqs", 3),
      ...parts("sglang:num_queue_reqs", 1),
      ...parts("sglang:token_usage", 0.25),
      ...parts("sglang:max_total_num_tokens", 1_000),
      ...parts("sglang:prompt_tokens_total", 70),
      ...parts("sglang:cached_tokens_total", 30),
      ...parts("sglang:generation_tokens_total", 20),
    ].join("\n"),
  });
  const [report] = await scraper("sglang", ["m"]).scrape(never);
  expect(valuesOf(report)).toEqual({
    runningRequests: 6,
    waitingRequests: 2,
    kvUsedRatio: 0.25,
    kvTokensTotal: 2_000,
    promptTokensTotal: 140,
    cachedPromptTokensTotal: 60,
    outputTokensTotal: 40,
  });
});

test("trtllm: what it has at /prometheus/metrics", async () => {
  const labels = '{engine_type="trtllm",model_name="m"}';
  exporter.set({
    "/prometheus/metrics": [
      `trtllm_num_requests_running${labels} 2`,
      `trtllm_num_requests_waiting${labels} 0`,
      `trtllm_kv_cache_utilization${labels} 0.5`,
      `trtllm_prompt_tokens_total${labels} 500`,
      `trtllm_prompt_cached_tokens_total${labels} 320`,
      `trtllm_generation_tokens_total${labels} 90`,
    ].join("\n"),
  });
  const [report] = await scraper("trtllm", ["m"], `${exporter.url}/prometheus/metrics`).scrape(
    never,
  );
  expect(valuesOf(report)).toEqual({
    runningRequests: 2,
    waitingRequests: 0,
    kvUsedRatio: 0.5,
    promptTokensTotal: 500,
    cachedPromptTokensTotal: 320,
    outputTokensTotal: 90,
  });
});

test("vllm: old names are taken where there are no new ones, and not twice where there are", async () => {
  const old = [
    'vllm:gpu_cache_usage_perc{engine="0"} 0.5',
    'vllm:gpu_prefix_cache_hits_total{engine="0"} 70',
  ];
  exporter.set({ "/metrics": vllm(old) });
  const [before] = await scraper("vllm", ["m"]).scrape(never);
  expect(valuesOf(before)).toEqual({ kvUsedRatio: 0.5, cachedPromptTokensTotal: 70 });
  const both = [
    ...old,
    'vllm:kv_cache_usage_perc{engine="0"} 0.5',
    'vllm:prefix_cache_hits_total{engine="0"} 70',
  ];
  exporter.set({ "/metrics": vllm(both) });
  const [after] = await scraper("vllm", ["m"]).scrape(never);
  expect(valuesOf(after)).toEqual({ kvUsedRatio: 0.5, cachedPromptTokensTotal: 70 });
});

test("vllm: times are of the interval, and keep their age while none is newer", async () => {
  let now = 0;
  const reader = new Scraper({
    metricsUrl: `${exporter.url}/metrics`,
    dialect: "vllm",
    models: [served("m")],
    validMs: 3_000,
    now: () => now,
  });
  const histogram = (name: string, low: number, high: number, sum: number): string[] => [
    `vllm:${name}_bucket{le="0.01"} ${low}`,
    `vllm:${name}_bucket{le="0.05"} ${high}`,
    `vllm:${name}_bucket{le="+Inf"} ${high}`,
    `vllm:${name}_count{x="y"} ${high}`,
    `vllm:${name}_sum{x="y"} ${sum}`,
  ];
  const say = (low: number, high: number, sum: number): void =>
    exporter.set({
      "/metrics": vllm([
        ...histogram("time_to_first_token_seconds", low, high, sum),
        ...histogram("time_per_output_token_seconds", low, high, sum),
      ]),
    });
  say(100, 100, 1);
  expect((await reader.scrape(never))[0]?.ttftMsP50).toBeUndefined();
  say(100, 110, 1.3);
  now = 1_000;
  const [first] = await reader.scrape(never);
  expect(valuesOf(first)).toEqual({ ttftMsP50: 30, ttftMsP95: 48, itlMsMean: 30 });
  now = 2_000;
  const [second] = await reader.scrape(never);
  expect(second?.ttftMsP50).toEqual({ ...first?.ttftMsP50, observedAt: 1_000 });
});

test("vllm: a model that the engine does not know is all unknown", async () => {
  exporter.set({ "/metrics": vllm(['vllm:num_requests_running{engine="0"} 3']) });
  const [known, unknown] = await scraper("vllm", ["m", "other"]).scrape(never);
  expect(valuesOf(known)).toEqual({ runningRequests: 3 });
  expect(valuesOf(unknown)).toEqual({});
});

test("vllm: negative and infinite values are unknown", async () => {
  exporter.set({
    "/metrics": vllm([
      'vllm:num_requests_running{e="0"} -1',
      'vllm:num_requests_waiting{e="0"} +Inf',
    ]),
  });
  expect(valuesOf((await scraper("vllm", ["m"]).scrape(never))[0])).toEqual({});
});

test("vllm: the live simulator's metrics, while it works and after", async () => {
  const pool = await runPool();
  const reader = scraper("vllm", [model, "glm-4.6"], pool.metricsUrl);
  await reader.scrape(never);
  const leave = new AbortController();
  const body = {
    model,
    messages: [{ role: "user", content: "a b c d" }],
    max_tokens: 10_000,
    ignore_eos: true,
    stream: true,
  };
  const served = pool.registration.models.find((each) => each.model === model);
  const sequences = (served?.engineProfile?.sequencesMax ?? 0) * (served?.replicas ?? 0);
  const calls = Array.from({ length: sequences + 2 }, () =>
    fetch(`${pool.baseUrl}/v1/chat/completions`, {
      method: "POST",
      body: JSON.stringify(body),
      signal: leave.signal,
    }),
  );
  await Promise.all(calls);
  await until(async () => (await pool.metric("vllm:generation_tokens_total")) > 200);
  const [busy, idle] = await reader.scrape(never);
  const values = valuesOf(busy);
  expect([values["runningRequests"], values["waitingRequests"]]).toEqual([sequences, 2]);
  expect(values["promptTokensTotal"]).toBe(sequences * 4);
  expect(values["outputTokensTotal"]).toBeGreaterThan(200);
  expect(values["kvTokensTotal"]).toBe(2 * 450_000);
  expect(values["kvUsedRatio"]).toBeGreaterThan(0);
  expect(values["ttftMsP95"]).toBeGreaterThan(0);
  expect(values["itlMsMean"]).toBeGreaterThan(1);
  expect(valuesOf(idle)).toMatchObject({ runningRequests: 0, outputTokensTotal: 0 });
  leave.abort();
  await until(async () => (await pool.metric("vllm:num_requests_running")) === 0);
  await pool.close();
});

const unreadable: readonly (readonly [string, Parameters<Exporter["set"]>[0], string])[] = [
  ["is not there", {}, "expected 200, found 404"],
  ["says something else", { "/metrics": "node_load1 2\n" }, "expected metrics of vllm"],
  ["writes nonsense", { "/metrics": "vllm:num_requests_running{ 1\n" }, "expected name"],
  ["never ends", { "/metrics": "#".repeat(9 * 1024 * 1024) }, "expected at most 8388608 bytes"],
];

for (const [name, answers, message] of unreadable) {
  test(`an exporter that ${name} is an error that says so`, async () => {
    exporter.set(answers);
    await expect(scraper("vllm", ["m"]).scrape(never)).rejects.toThrow(message);
  });
}

test("an exporter that refuses the connection is an error that names it", async () => {
  const gone = await openExporter();
  await gone.close();
  await expect(scraper("vllm", ["m"], `${gone.url}/metrics`).scrape(never)).rejects.toThrow(
    gone.url,
  );
});

test("every dialect reads something, and has a test above", () => {
  expect(Object.keys(dialects)).toEqual(["vllm", "sglang", "trtllm", "llamacpp"]);
  for (const dialect of Object.values(dialects)) expect(namesOf(dialect).size).toBeGreaterThan(3);
});

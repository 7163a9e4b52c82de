import { describe, expect, test } from "vitest";
import type { EngineCapability, EngineKind } from "../../services/core/pool.ts";
import { settleCounts } from "../../services/core/settlement/counting/count-rule.ts";
import {
  endpoints,
  noTokens,
  type Endpoint,
  type EngineCounts,
  type Tokens,
  type TokenVariant,
  type UsageFlag,
} from "../../services/core/settlement/counting/usage.ts";
import type { JsonObject } from "../../services/gateway/json-value.ts";
import { isMalformedUsage } from "../../services/gateway/usage-shape.ts";
import { UsageTail, type UsagePlace } from "../../services/gateway/usage-tail.ts";
import { contract, evidence, usageRecord } from "../core/settlement/fixtures.ts";

interface Shape {
  readonly engine: EngineKind;
  readonly endpoint?: Endpoint;
  readonly capabilities?: readonly EngineCapability[];
  /** As the engine writes them, in their order; the last one is final. */
  readonly said: readonly JsonObject[];
  readonly counts: Partial<EngineCounts>;
  /** What becomes of them. */
  readonly tokens: Partial<Tokens>;
  readonly variants?: readonly TokenVariant[];
  readonly flags?: readonly UsageFlag[];
}

const both: readonly EngineCapability[] = ["cache-report", "reasoning-count"];

/** Bodies as each engine's source or documentation has them: reference/settlement.md 4, engines.md 2. */
const shapes: Readonly<Record<string, Shape>> = {
  // OpenAI API reference, chat completion object, with a reasoning model and a cached prompt.
  "OpenAI chat": {
    engine: "openai",
    said: [
      {
        prompt_tokens: 2006,
        completion_tokens: 300,
        total_tokens: 2306,
        prompt_tokens_details: { cached_tokens: 1920, audio_tokens: 0 },
        completion_tokens_details: {
          reasoning_tokens: 128,
          audio_tokens: 0,
          accepted_prediction_tokens: 0,
          rejected_prediction_tokens: 0,
        },
      },
    ],
    counts: { input: 2006n, cacheRead: 1920n, output: 300n, reasoning: 128n },
    tokens: { uncachedInput: 86n, cacheRead: 1920n, response: 172n, reasoning: 128n },
    variants: [{ tokenClass: "cacheRead", variant: "implicit", tokens: 1920n }],
  },
  "OpenAI chat with sound": {
    engine: "openai",
    said: [
      {
        prompt_tokens: 100,
        completion_tokens: 60,
        total_tokens: 160,
        prompt_tokens_details: { cached_tokens: 0, audio_tokens: 70 },
        completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 40 },
      },
    ],
    counts: { input: 100n, cacheRead: 0n, output: 60n },
    tokens: { uncachedInput: 100n, response: 60n },
    variants: [
      { tokenClass: "uncachedInput", variant: "audio", tokens: 70n },
      { tokenClass: "response", variant: "audio", tokens: 40n },
    ],
  },
  // OpenAI API reference, response object.
  "OpenAI Responses": {
    engine: "openai",
    endpoint: "responses",
    said: [
      {
        input_tokens: 328,
        input_tokens_details: { cached_tokens: 256 },
        output_tokens: 52,
        output_tokens_details: { reasoning_tokens: 12 },
        total_tokens: 380,
      },
    ],
    counts: { input: 328n, cacheRead: 256n, output: 52n, reasoning: 12n },
    tokens: { uncachedInput: 72n, cacheRead: 256n, response: 40n, reasoning: 12n },
  },
  // vllm/entrypoints/openai: the details are left out when the count is 0 or the option is off.
  "vLLM with --enable-prompt-tokens-details and nothing cached": {
    engine: "vllm",
    capabilities: both,
    said: [
      { prompt_tokens: 20, total_tokens: 70, completion_tokens: 50, prompt_tokens_details: null },
    ],
    counts: { input: 20n, cacheRead: undefined, output: 50n, reasoning: undefined },
    tokens: { uncachedInput: 20n, response: 50n },
  },
  "vLLM that declares nothing": {
    engine: "vllm",
    said: [{ prompt_tokens: 20, total_tokens: 70, completion_tokens: 50 }],
    counts: { cacheRead: undefined, reasoning: undefined },
    tokens: { uncachedInput: 20n, response: 50n },
    flags: ["cache-unknown", "reasoning-unknown"],
  },
  "vLLM with a running count": {
    engine: "vllm",
    capabilities: both,
    said: [
      { prompt_tokens: 20, total_tokens: 21, completion_tokens: 1 },
      { prompt_tokens: 20, total_tokens: 22, completion_tokens: 2 },
      {
        prompt_tokens: 20,
        total_tokens: 70,
        completion_tokens: 50,
        prompt_tokens_details: { cached_tokens: 16 },
        completion_tokens_details: { reasoning_tokens: 5 },
      },
    ],
    counts: { input: 20n, cacheRead: 16n, output: 50n, reasoning: 5n },
    tokens: { uncachedInput: 4n, cacheRead: 16n, response: 45n, reasoning: 5n },
  },
  // sglang/srt/entrypoints/openai/usage_processor.py: details are null unless something was cached.
  "SGLang with speculative decoding": {
    engine: "sglang",
    capabilities: both,
    said: [
      {
        prompt_tokens: 30,
        total_tokens: 80,
        completion_tokens: 50,
        prompt_tokens_details: null,
        reasoning_tokens: 20,
        completion_tokens_details: { reasoning_tokens: 99, accepted_prediction_tokens: 31 },
      },
    ],
    counts: { input: 30n, cacheRead: undefined, output: 50n, reasoning: 20n },
    tokens: { uncachedInput: 30n, response: 30n, reasoning: 20n },
  },
  "SGLang with --enable-cache-report": {
    engine: "sglang",
    capabilities: both,
    said: [
      {
        prompt_tokens: 30,
        total_tokens: 80,
        completion_tokens: 50,
        prompt_tokens_details: { cached_tokens: 24 },
        reasoning_tokens: 0,
      },
    ],
    counts: { cacheRead: 24n, reasoning: 0n },
    tokens: { uncachedInput: 6n, cacheRead: 24n, response: 50n },
  },
  // tensorrt_llm/serve/openai_protocol.py, UsageInfo.
  "TensorRT-LLM": {
    engine: "trtllm",
    capabilities: ["cache-report"],
    said: [
      {
        prompt_tokens: 40,
        total_tokens: 48,
        completion_tokens: 8,
        prompt_tokens_details: { cached_tokens: 32 },
      },
    ],
    counts: { input: 40n, cacheRead: 32n, output: 8n, reasoning: undefined },
    tokens: { uncachedInput: 8n, cacheRead: 32n, response: 8n },
    flags: ["reasoning-unknown"],
  },
  // Measured: llama.cpp 0.7, b11669.
  "llama.cpp": {
    engine: "llamacpp",
    capabilities: ["cache-report"],
    said: [
      {
        completion_tokens: 4,
        prompt_tokens: 27,
        total_tokens: 31,
        prompt_tokens_details: { cached_tokens: 26 },
      },
    ],
    counts: { input: 27n, cacheRead: 26n, output: 4n },
    tokens: { uncachedInput: 1n, cacheRead: 26n, response: 4n },
    flags: ["reasoning-unknown"],
  },
  // api-docs.deepseek.com, chat completion object.
  DeepSeek: {
    engine: "other",
    said: [
      {
        prompt_tokens: 1000,
        completion_tokens: 200,
        total_tokens: 1200,
        prompt_cache_hit_tokens: 768,
        prompt_cache_miss_tokens: 232,
        completion_tokens_details: { reasoning_tokens: 90 },
      },
    ],
    counts: { input: 1000n, cacheRead: 768n, output: 200n, reasoning: 90n },
    tokens: { uncachedInput: 232n, cacheRead: 768n, response: 110n, reasoning: 90n },
    variants: [{ tokenClass: "cacheRead", variant: "implicit", tokens: 768n }],
  },
  "DeepSeek whose parts are not its whole": {
    engine: "other",
    said: [
      {
        prompt_tokens: 1000,
        completion_tokens: 200,
        prompt_cache_hit_tokens: 768,
        prompt_cache_miss_tokens: 999,
      },
    ],
    counts: { input: 1000n, cacheRead: 768n },
    tokens: { uncachedInput: 232n, cacheRead: 768n, response: 200n },
    variants: [{ tokenClass: "cacheRead", variant: "implicit", tokens: 768n }],
    flags: ["reasoning-unknown", "total-mismatch"],
  },
  // help.aliyun.com/zh/model-studio/context-cache: found by itself, 20 % of the price.
  "Bailian, implicit cache": {
    engine: "other",
    said: [
      {
        prompt_tokens: 3019,
        completion_tokens: 104,
        total_tokens: 3123,
        prompt_tokens_details: { cached_tokens: 2048 },
      },
    ],
    counts: { input: 3019n, cacheRead: 2048n, output: 104n },
    tokens: { uncachedInput: 971n, cacheRead: 2048n, response: 104n },
    variants: [{ tokenClass: "cacheRead", variant: "implicit", tokens: 2048n }],
    flags: ["reasoning-unknown"],
  },
  // The same page: marked by the caller; creation 125 %, hit 10 % of the price (form of the body: general knowledge).
  "Bailian, explicit cache": {
    engine: "other",
    said: [
      {
        prompt_tokens: 3019,
        completion_tokens: 104,
        total_tokens: 3123,
        prompt_tokens_details: {
          cached_tokens: 1024,
          cache_creation_input_tokens: 1494,
          cache_creation: { ephemeral_5m_input_tokens: 1494 },
          cache_type: "ephemeral",
        },
      },
    ],
    counts: { input: 3019n, cacheRead: 1024n, cacheWrite: 1494n, output: 104n },
    tokens: { uncachedInput: 501n, cacheRead: 1024n, cacheWrite: 1494n, response: 104n },
    variants: [
      { tokenClass: "cacheRead", variant: "explicit", tokens: 1024n },
      { tokenClass: "cacheWrite", variant: "explicit", tokens: 1494n },
    ],
    flags: ["reasoning-unknown"],
  },
  // docs.anthropic.com: message_start has the input, each message_delta the output so far.
  "Anthropic Messages": {
    engine: "anthropic",
    endpoint: "messages",
    said: [
      {
        input_tokens: 21,
        cache_creation_input_tokens: 248,
        cache_read_input_tokens: 1800,
        cache_creation: { ephemeral_5m_input_tokens: 148, ephemeral_1h_input_tokens: 100 },
        output_tokens: 1,
        service_tier: "standard",
      },
      { output_tokens: 503 },
    ],
    counts: { input: 21n, cacheRead: 1800n, cacheWrite: 248n, output: 503n },
    tokens: { uncachedInput: 21n, cacheRead: 1800n, cacheWrite: 248n, response: 503n },
    variants: [
      { tokenClass: "cacheWrite", variant: "write_1h", tokens: 100n },
      { tokenClass: "cacheWrite", variant: "write_5m", tokens: 148n },
    ],
    flags: ["reasoning-unknown"],
  },
  // llama.cpp PR #19361: the same shape at its own /v1/messages.
  "llama.cpp, Anthropic's shape": {
    engine: "llamacpp",
    endpoint: "messages",
    capabilities: ["cache-report"],
    said: [{ input_tokens: 1, cache_read_input_tokens: 51, output_tokens: 8 }],
    counts: { input: 1n, cacheRead: 51n, cacheWrite: undefined, output: 8n },
    tokens: { uncachedInput: 1n, cacheRead: 51n, response: 8n },
    flags: ["reasoning-unknown"],
  },
};

function tailOf({ engine, endpoint = "chat", capabilities = [], said }: Shape): UsageTail {
  const tail = new UsageTail(engine, new Set(capabilities), endpoint);
  said.forEach((usage, index) => {
    const places: readonly UsagePlace[] = ["own-chunk", "running"];
    tail.observe(usage, places[Math.min(1, said.length - 1 - index)] ?? "running");
  });
  return tail;
}

for (const [name, shape] of Object.entries(shapes)) {
  describe(`the counts of ${name}`, () => {
    test("are read as they are", () => {
      const tail = tailOf(shape);
      expect(tail.counts).toMatchObject({ source: "final", ...shape.counts });
      expect(tail.variants).toEqual(shape.variants ?? []);
      expect(tail.flags).toEqual(shape.flags ?? []);
      expect(shape.said.some(isMalformedUsage)).toBe(false);
    });

    test("become classes that are disjoint and add up", () => {
      const tail = tailOf(shape);
      const { input = 0n, cacheRead = 0n, cacheWrite = 0n, output = 0n } = tail.counts;
      const record = usageRecord({
        engine: shape.engine,
        endpoint: shape.endpoint ?? "chat",
        capabilities: new Set(shape.capabilities),
        engineCounts: tail.counts,
        variants: tail.variants,
        flags: tail.flags,
        promptBytes: undefined,
        evidence: evidence({ outBytes: 10_000n, chunks: 1n }),
      });
      const usage = settleCounts(record, contract());
      expect(usage).toMatchObject({ kind: "settled", tokens: { ...noTokens, ...shape.tokens } });
      const tokens = { ...noTokens, ...shape.tokens };
      const whole = shape.endpoint === "messages" ? input + cacheRead + cacheWrite : input;
      expect(tokens.uncachedInput + tokens.cacheRead + tokens.cacheWrite).toBe(whole);
      expect(tokens.response + tokens.reasoning).toBe(output);
    });
  });
}

test("a class below 0 is doubted, never taken for 0", () => {
  const tail = tailOf({
    engine: "openai",
    said: [
      { prompt_tokens: 10, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 11 } },
    ],
    counts: {},
    tokens: {},
  });
  const record = usageRecord({ engineCounts: tail.counts, evidence: evidence({ chunks: 1n }) });
  expect(settleCounts(record, contract())).toMatchObject({ reason: "cached-over-prompt" });
});

// Measured, of the same answer.
const timings = {
  cache_n: 26,
  prompt_n: 1,
  prompt_ms: 0.404,
  prompt_per_second: 2475.247524752475,
  predicted_n: 4,
  predicted_ms: 0.392,
};

describe("the times of llama.cpp", () => {
  test("tell its counts where usage does not", () => {
    const tail = new UsageTail("llamacpp", new Set(both));
    tail.observeTimings(timings, "with-finish");
    expect(tail.counts).toMatchObject({
      source: "final",
      input: 27n,
      cacheRead: 26n,
      output: 4n,
      reasoning: undefined,
    });
  });

  test("do not replace what it says as usage, and are none of another engine's", () => {
    const tail = new UsageTail("llamacpp", new Set(both));
    tail.observe({ prompt_tokens: 60, completion_tokens: 9 }, "own-chunk");
    tail.observeTimings(timings, "with-finish");
    expect(tail.counts).toMatchObject({ input: 60n, output: 9n });
    const other = new UsageTail("vllm", new Set(both));
    other.observeTimings(timings, "with-finish");
    expect(other.counts.source).toBe("none");
  });

  test("without the cached part leave the prompt unknown", () => {
    const tail = new UsageTail("llamacpp", new Set(both));
    tail.observeTimings({ prompt_n: 1, predicted_n: 8 }, "with-finish");
    expect(tail.counts).toMatchObject({ input: undefined, output: 8n });
  });
});

test("counts that are none are seen however deep they lie", () => {
  const deep = { prompt_tokens_details: { cache_creation: { ephemeral_5m_input_tokens: -1 } } };
  expect(isMalformedUsage(deep)).toBe(true);
  expect(isMalformedUsage({ a: { b: { c: { d: { e: {} } } } } })).toBe(true);
});

test("every endpoint with a form of its own has a case above", () => {
  const covered = new Set(Object.values(shapes).map(({ endpoint = "chat" }) => endpoint));
  const alike = new Set<Endpoint>(["completions", "embeddings", "rerank"]);
  expect(endpoints.filter((each) => !covered.has(each) && !alike.has(each))).toEqual([]);
});

import { request as openRequest, type IncomingMessage } from "node:http";
import { once } from "node:events";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { faultHeader, faultKinds, type FaultKind } from "../../services/sim/faults.ts";
import { eventsOf, model, runPool, until, type RunningPool } from "./running-fleet.ts";

let pool: RunningPool;

beforeAll(async () => {
  pool = await runPool();
});
afterAll(() => pool.close());

const messages = [{ role: "user" as const, content: "one two three" }];
const exact = { model, messages, max_tokens: 5, ignore_eos: true };

interface Chunk {
  readonly choices: readonly {
    readonly delta: { readonly role?: string; readonly content?: string };
    readonly finish_reason: string | null;
  }[];
  readonly usage?: unknown;
}

async function chunksOf(response: Response): Promise<Chunk[]> {
  const events = eventsOf(await response.text());
  expect(events.pop()).toBe("[DONE]");
  return events.map((event) => JSON.parse(event) as Chunk);
}

const usage = {
  prompt_tokens: 3,
  completion_tokens: 5,
  total_tokens: 8,
  prompt_tokens_details: { cached_tokens: 0 },
};

test("a plain answer has exactly max_tokens words and counts one token per word", async () => {
  const response = await pool.chat(exact);
  expect(response.status).toBe(200);
  const body = (await response.json()) as {
    readonly choices: readonly [{ message: { content: string }; finish_reason: string }];
    readonly usage: unknown;
  };
  expect(body.choices[0].message.content.split(" ").length).toBe(5);
  expect(body.choices[0].finish_reason).toBe("length");
  expect(body.usage).toEqual(usage);
});

test("a stream begins with the role, ends with the reason, and has no usage unasked", async () => {
  const chunks = await chunksOf(await pool.chat({ ...exact, stream: true }));
  expect(chunks[0]?.choices[0]?.delta).toEqual({ role: "assistant", content: "" });
  expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("length");
  expect(chunks.slice(0, -1).every((each) => each.choices[0]?.finish_reason === null)).toBe(true);
  expect(chunks.some((each) => "usage" in each)).toBe(false);
  const text = chunks.map((each) => each.choices[0]?.delta.content ?? "").join("");
  expect(text.split(" ").length).toBe(5);
});

test("include_usage adds one chunk without choices", async () => {
  const stream_options = { include_usage: true };
  const chunks = await chunksOf(await pool.chat({ ...exact, stream: true, stream_options }));
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage });
  expect(chunks.filter((each) => "usage" in each).length).toBe(1);
});

test("continuous_usage_stats counts in every chunk", async () => {
  const stream_options = { include_usage: true, continuous_usage_stats: true };
  const chunks = await chunksOf(await pool.chat({ ...exact, stream: true, stream_options }));
  const counts = chunks.map((each) => (each.usage as typeof usage).completion_tokens);
  expect(counts[0]).toBe(0);
  expect(counts.toSorted((a, b) => a - b)).toEqual(counts);
  expect(counts.at(-1)).toBe(5);
});

test("the same long prompt again comes from the prefix cache", async () => {
  const content = Array.from({ length: 64 }, (_, index) => `warm${index}`).join(" ");
  const body = { ...exact, messages: [{ role: "user", content }] };
  await (await pool.chat(body)).json();
  const again = (await (await pool.chat(body)).json()) as { readonly usage: unknown };
  // The replica with the fewest requests is the first one while nothing runs.
  expect(again.usage).toMatchObject({
    prompt_tokens: 64,
    prompt_tokens_details: { cached_tokens: 63 },
  });
});

test("an answer without ignore_eos ends by itself, always alike", async () => {
  const ask = async (): Promise<number> => {
    const response = await pool.chat({ model, messages });
    const body = (await response.json()) as {
      readonly usage: typeof usage;
      readonly choices: readonly [{ finish_reason: string }];
    };
    expect(body.choices[0].finish_reason).toBe("stop");
    return body.usage.completion_tokens;
  };
  expect(await ask()).toBe(await ask());
});

const refused: readonly (readonly [name: string, body: unknown, status: number, error: object])[] =
  [
    ["text that is no JSON", "{", 400, { type: "BadRequestError", code: 400 }],
    ["no messages", { model }, 400, { type: "BadRequestError", param: "messages" }],
    ["an unknown model", { model: "x", messages }, 404, { type: "NotFoundError", code: 404 }],
    ["two answers at once", { ...exact, n: 2 }, 400, { param: "n" }],
    ["0 tokens", { ...exact, max_tokens: 0 }, 400, { param: "max_tokens" }],
    ["more than the context", { ...exact, max_tokens: 300_000 }, 400, { type: "BadRequestError" }],
    [
      "stream options without a stream",
      { ...exact, stream_options: { include_usage: true } },
      400,
      { param: "stream_options" },
    ],
  ];

for (const [name, body, status, error] of refused) {
  test(`a request with ${name} is refused as vLLM refuses it`, async () => {
    const response = await pool.chat(body);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error });
  });
}

test("a body beyond the limit is refused before it is read to the end", async () => {
  const response = await pool.chat("x".repeat(9 * 1024 * 1024));
  expect(response.status).toBe(413);
});

test("/v1/models, /health and unknown paths answer as vLLM does", async () => {
  const models = (await (await fetch(`${pool.baseUrl}/v1/models`)).json()) as {
    readonly data: readonly { readonly id: string; readonly owned_by: string }[];
  };
  expect(models.data.map(({ id }) => id)).toEqual(["qwen3.6-plus", "glm-4.6"]);
  expect(models.data[0]?.owned_by).toBe("vllm");
  const health = await fetch(`${pool.baseUrl}/health`);
  expect([health.status, await health.text()]).toEqual([200, ""]);
  expect((await fetch(`${pool.baseUrl}/nothing`)).status).toBe(404);
  expect((await fetch(pool.baseUrl.replace("west-ningxia-1", "nowhere/x"))).status).toBe(404);
});

test("the openai SDK streams from a simulated pool", async () => {
  const client = new OpenAI({ baseURL: `${pool.baseUrl}/v1`, apiKey: "none", maxRetries: 0 });
  const stream = await client.chat.completions.create({
    model,
    messages,
    max_tokens: 6,
    stream: true,
    stream_options: { include_usage: true },
  });
  const [reasons, tokens]: [(string | null)[], number[]] = [[], []];
  for await (const { choices, usage: counted } of stream) {
    reasons.push(...choices.map((choice) => choice.finish_reason));
    tokens.push(...(counted === null || counted === undefined ? [] : [counted.completion_tokens]));
  }
  expect(["stop", "length"]).toContain(reasons.at(-1));
  expect(tokens.length).toBe(1);
});

test("the openai SDK understands a simulated error", async () => {
  const client = new OpenAI({ baseURL: `${pool.baseUrl}/v1`, apiKey: "none", maxRetries: 0 });
  const wrong = client.chat.completions.create({ model: "nothing", messages });
  await expect(wrong).rejects.toBeInstanceOf(OpenAI.NotFoundError);
});

test("a client who leaves frees its place at once", async () => {
  const leave = new AbortController();
  const before = await pool.metric("vllm:request_success_total");
  const response = await fetch(`${pool.baseUrl}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify({ ...exact, max_tokens: 100_000, stream: true }),
    signal: leave.signal,
  });
  expect(response.status).toBe(200);
  await until(async () => (await pool.metric("vllm:num_requests_running")) === 1);
  leave.abort();
  await until(async () => (await pool.metric("vllm:num_requests_running")) === 0);
  expect(await pool.metric("vllm:request_success_total")).toBe(before + 1);
  expect(await pool.metric("vllm:kv_cache_usage_perc")).toBe(0);
});

test("beyond its sequences an engine queues, in the order of arrival", async () => {
  const slots = pool.registration.models.find((each) => each.model === model)?.slotsTotal ?? 0;
  const leave = new AbortController();
  const body = JSON.stringify({ ...exact, max_tokens: 20_000, stream: true });
  const calls = Array.from({ length: slots + 3 }, () =>
    fetch(`${pool.baseUrl}/v1/chat/completions`, { method: "POST", body, signal: leave.signal }),
  );
  await Promise.all(calls);
  await until(async () => (await pool.metric("vllm:num_requests_waiting")) === 3);
  expect(await pool.metric("vllm:num_requests_running")).toBe(slots);
  leave.abort();
  await until(async () => (await pool.metric("vllm:num_requests_running")) === 0);
});

test("a client who reads slowly gets several tokens in a chunk, and all of them", async () => {
  const tokens = 40_000;
  const fast = await runPool(0.02);
  const slow = openRequest(`${fast.baseUrl}/v1/chat/completions`, { method: "POST" });
  slow.end(JSON.stringify({ ...exact, max_tokens: tokens, stream: true }));
  const [response] = (await once(slow, "response")) as [IncomingMessage];
  await until(async () => (await fast.metric("vllm:generation_tokens_total")) === tokens);
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += String(chunk);
  await fast.close();
  const words = eventsOf(text)
    .slice(0, -1)
    .map((event) => (JSON.parse(event) as Chunk).choices[0]?.delta.content ?? "");
  expect(words.join("").split(" ").length).toBe(tokens);
  expect(words.length).toBeLessThan(tokens);
});

test("a caller far away waits a round trip, for its answer and for health", async () => {
  const origin = { "x-tokengrid-origin": "harbin" };
  const startedAt = performance.now();
  await (await fetch(`${pool.baseUrl}/health`, { headers: origin })).text();
  // The model says 28.6 ms between Harbin and Zhongwei; a timer may be a little early.
  expect(performance.now() - startedAt).toBeGreaterThan(25);
});

const broken: Record<FaultKind, (response: Promise<Response>) => Promise<void>> = {
  drop: async (response) => {
    await expect(response).rejects.toThrow("fetch failed");
  },
  cut: async (response) => {
    const reading = (await response).text();
    await expect(reading).rejects.toThrow("terminated");
  },
  "clean-end": async (response) => {
    const text = await (await response).text();
    expect(text).toContain("content");
    expect(text).not.toContain("[DONE]");
  },
  stall: async (response) => {
    const { body } = await response;
    const reader = body?.getReader();
    await reader?.read();
    const silence = new Promise((resolve) => setTimeout(() => resolve("silence"), 100));
    expect(await Promise.race([readToEnd(reader), silence])).toBe("silence");
    await reader?.cancel();
  },
  "error-500": async (response) => {
    expect((await response).status).toBe(500);
  },
  "error-503": async (response) => {
    expect((await response).status).toBe(503);
  },
  "error-event": async (response) => {
    const [event, done] = eventsOf(await (await response).text()).slice(-2);
    expect(JSON.parse(event ?? "")).toMatchObject({ error: { code: 500 } });
    expect(done).toBe("[DONE]");
  },
  "no-usage": async (response) => {
    const text = await (await response).text();
    expect(text).toContain("[DONE]");
    expect(text).not.toContain("usage");
  },
};

async function readToEnd(
  reader: ReadableStreamDefaultReader<Uint8Array> | undefined,
): Promise<string> {
  for (let chunk = await reader?.read(); chunk?.done === false; chunk = await reader?.read());
  return "the end";
}

const streamed = { ...exact, stream: true, stream_options: { include_usage: true } };

for (const kind of faultKinds) {
  test(`the fault ${kind} happens to the request whose header asks for it`, async () => {
    await broken[kind](pool.chat(streamed, { [faultHeader]: `${kind};after=2` }));
  });

  test(`the fault ${kind} can be ordered of the next request`, async () => {
    const order = { kind, afterTokens: 2, requests: 1 };
    const put = await fetch(`${pool.baseUrl}/sim/fault`, {
      method: "PUT",
      body: JSON.stringify(order),
    });
    expect(await put.json()).toEqual({ fault: order });
    await broken[kind](pool.chat(streamed));
    expect((await pool.chat(exact)).status).toBe(200);
  });
}

test("an order for a fault that nobody knows is refused", async () => {
  const put = await fetch(`${pool.baseUrl}/sim/fault`, { method: "PUT", body: '{"kind":"x"}' });
  expect(put.status).toBe(400);
  expect(await (await fetch(`${pool.baseUrl}/sim/fault`)).json()).toEqual({ fault: null });
});

test("the DCGM names tell watts at rest, and energy that only grows", async () => {
  const read = async (name: string): Promise<number> => {
    const text = await (await fetch(pool.power.url)).text();
    const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`));
    expect(lines.length).toBe(24);
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  };
  await until(async () => (await read("DCGM_FI_DEV_POWER_USAGE")) === 24 * 95);
  const before = await read("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION");
  await (await pool.chat(exact)).text();
  expect(await read("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION")).toBeGreaterThan(before);
});

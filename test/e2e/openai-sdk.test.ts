import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openBackground, type Background } from "../../bench/gateway-background.ts";
import type { GatewayId, OriginId } from "../../services/core/units.ts";
import { openGateway, type Gateway } from "../../services/gateway/main.ts";
import { systemClock } from "../../services/io/clock.ts";
import { openLog } from "../../services/io/log.ts";
import { Registry as Metrics } from "../../services/io/metrics.ts";
import { AttemptEnd, RecordStatus } from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { until } from "../gateway/gateway-fixture.ts";
import { answerOf, chunk, openRawPool, type PoolCall, type RawPool } from "../gateway/raw-pool.ts";

/** The unmodified SDK, a real gateway, real control and a real ledger; only the engine is scripted. */
let folder: string;
let pools: RawPool[];
let background: Background;
let gateway: Gateway;
let client: OpenAI;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sdk-"));
  pools = [await openRawPool(serve), await openRawPool(serve)];
  background = await openBackground({ folder, endpoints: pools.map(({ endpoint }) => endpoint) });
  gateway = await openGateway({
    host: "127.0.0.1",
    port: 0,
    gatewayId: "gateway-1" as GatewayId,
    origin: "shanghai" as OriginId,
    rpcUrl: background.rpcUrl,
    settlementUrl: background.rpcUrl,
    registry: background.registry,
    spoolFolder: join(folder, "spool"),
    log: openLog({ role: "test", level: "silent" }),
    metrics: new Metrics(),
    clock: systemClock,
    signal: new AbortController().signal,
    drainMs: 0,
  });
  await until(() => gateway.isReady());
  const baseURL = `http://127.0.0.1:${gateway.port}/v1`;
  client = new OpenAI({ baseURL, apiKey: background.key, maxRetries: 0 });
});

afterAll(async () => {
  await gateway.close();
  await background.close();
  await Promise.all(pools.map((pool) => pool.close()));
  await rm(folder, { recursive: true });
});

/** What the engine does is said by the prompt. */
const behaviours: Readonly<Record<string, (call: PoolCall) => void>> = {
  answer: (call) => {
    call.head();
    call.events(...answerOf("Hello", " from", " the", " grid"));
    call.end();
  },
  "call a tool": (call) => {
    const name = {
      index: 0,
      id: "t1",
      type: "function",
      function: { name: "weather", arguments: "" },
    };
    call.head();
    call.events(
      chunk({ role: "assistant", content: null, tool_calls: [name] }),
      chunk({ tool_calls: [{ index: 0, function: { arguments: '{"city":' } }] }),
      chunk({ tool_calls: [{ index: 0, function: { arguments: '"Xi’an"}' } }] }),
      chunk({}, "tool_calls"),
      "[DONE]",
    );
    call.end();
  },
  "be lost in the middle": (call) => {
    call.head();
    call.events(chunk({ role: "assistant", content: "Hel" }));
    setTimeout(() => call.cut(), 20);
  },
  "refuse it": (call) => {
    call.head(400, { "content-type": "application/json" });
    call.send(JSON.stringify({ error: { message: "no", param: "logit_bias" } }));
    call.end();
  },
  "go on for ever": (call) => {
    call.head();
    const timer = setInterval(() => call.events(chunk({ content: "a" })), 5);
    call.closed.then(() => clearInterval(timer)).catch(() => undefined);
  },
};

function serve(call: PoolCall): void {
  const { messages } = JSON.parse(call.body) as { messages: { content: string }[] };
  behaviours[messages.at(-1)?.content ?? "answer"]?.(call);
}

function ask(content: string) {
  return { model: background.alias, messages: [{ role: "user" as const, content }] };
}

async function thrownBy(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return "nothing";
  } catch (error) {
    return error;
  }
}

test("a chat completion is answered, under the alias, with its usage", async () => {
  const completion = await client.chat.completions.create(ask("answer"));
  expect(completion.choices[0]?.message.content).toBe("Hello from the grid");
  expect([completion.model, completion.usage?.completion_tokens]).toEqual([background.alias, 4]);
});

test("a streamed chat completion gives its pieces, and its usage if asked", async () => {
  const stream = await client.chat.completions.create({
    ...ask("answer"),
    stream: true,
    stream_options: { include_usage: true },
  });
  const texts: string[] = [];
  let usage: OpenAI.CompletionUsage | null | undefined;
  for await (const each of stream) {
    texts.push(each.choices[0]?.delta.content ?? "");
    usage ??= each.usage;
  }
  expect(texts.filter(Boolean)).toEqual(["Hello", " from", " the", " grid"]);
  expect(usage?.total_tokens).toBe(11);
});

for (const stream of [true, false]) {
  test(`a call of a tool arrives whole (stream: ${stream})`, async () => {
    const completion = stream
      ? await client.chat.completions.stream(ask("call a tool")).finalChatCompletion()
      : await client.chat.completions.create(ask("call a tool"));
    expect(completion.choices[0]?.finish_reason).toBe("tool_calls");
    expect(completion.choices[0]?.message.tool_calls).toMatchObject([
      { id: "t1", type: "function", function: { name: "weather", arguments: '{"city":"Xi’an"}' } },
    ]);
  });
}

test("models are listed and found", async () => {
  const names: string[] = [];
  for await (const { id } of client.models.list()) names.push(id);
  expect(names).toContain(background.alias);
  expect((await client.models.retrieve(background.alias)).id).toBe(background.alias);
});

/** What the SDK throws for each kind of refusal. */
const refusals: Readonly<
  Record<string, [() => Promise<unknown>, abstract new (...args: never[]) => Error, object]>
> = {
  "an unknown key": [
    () => new OpenAI({ baseURL: client.baseURL, apiKey: "sk-no", maxRetries: 0 }).models.list(),
    OpenAI.AuthenticationError,
    { status: 401, code: "invalid_api_key" },
  ],
  "an unknown model": [
    () => client.chat.completions.create({ ...ask("answer"), model: "gpt-9" }),
    OpenAI.NotFoundError,
    { status: 404, code: "model_not_found", param: "model" },
  ],
  "a bad field": [
    () => client.chat.completions.create({ ...ask("answer"), max_tokens: -1 }),
    OpenAI.BadRequestError,
    { status: 400, code: "invalid_value", param: "max_tokens" },
  ],
  "a pool that refuses": [
    () => client.chat.completions.create(ask("refuse it")),
    OpenAI.BadRequestError,
    { status: 400, code: "upstream_rejected", param: "logit_bias" },
  ],
  "a region where no pool is": [
    () =>
      client.chat.completions.create(ask("answer"), { headers: { "x-tokengrid-region": "mars" } }),
    OpenAI.BadRequestError,
    { status: 400, param: "x-tokengrid-region" },
  ],
  "an endpoint that is not offered": [
    () => client.embeddings.create({ model: background.alias, input: "a" }),
    OpenAI.InternalServerError,
    { status: 501, code: "unsupported_endpoint" },
  ],
};

for (const [name, [work, kind, facts]] of Object.entries(refusals)) {
  test(`${name} is a typed exception with a request id`, async () => {
    const error = await thrownBy(work());
    expect(error).toBeInstanceOf(kind);
    expect(error).toMatchObject(facts);
    expect(error).toHaveProperty("requestID", expect.stringMatching(/^[0-9a-f-]{36}$/));
  });
}

test("a pool that is lost in the middle of a stream is an APIError, never a silent end", async () => {
  const stream = await client.chat.completions.create({
    ...ask("be lost in the middle"),
    stream: true,
  });
  const read = async (): Promise<void> => {
    for await (const each of stream) expect(each.choices.length).toBe(1);
  };
  const error = await thrownBy(read());
  expect(error).toBeInstanceOf(OpenAI.APIError);
  expect(error).toMatchObject({ code: "upstream_disconnected" });
});

test("leaving a stream closes the pool's, and its usage is in the ledger once", async () => {
  const before = new Set((await background.usages()).usages.map(({ record }) => record?.recordId));
  const stream = await client.chat.completions.create({ ...ask("go on for ever"), stream: true });
  for await (const each of stream) if (each.choices[0]?.delta.content === "a") break;
  const news = async () =>
    (await background.usages()).usages.filter(({ record }) => !before.has(record?.recordId));
  await until(async () =>
    (await news()).some(({ record }) => record?.outcome === AttemptEnd.CLIENT_CANCEL),
  );
  const cancelled = (await news()).filter(
    ({ record }) => record?.outcome === AttemptEnd.CLIENT_CANCEL,
  );
  expect(cancelled.map(({ record }) => record?.tenantId)).toEqual(["bench"]);
});

test("what was complete is posted, with tokens in classes and an amount", async () => {
  const completion = await client.chat.completions.create(ask("answer"), {
    headers: { "idempotency-key": "sdk-posted" },
  });
  expect(completion._request_id).toBe("sdk-posted");
  const posted = async () =>
    (await background.usages()).usages.filter(({ record }) => record?.requestId === "sdk-posted");
  await until(async () => (await posted()).length === 1);
  const [usage] = await posted();
  expect(usage?.status).toBe(RecordStatus.POSTED);
  expect(usage?.amountNano).toBeGreaterThan(0n);
});

import { Code, ConnectError } from "@connectrpc/connect";
import { createHash } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { EngineCapability } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import {
  AttemptEnd,
  EngineCountSource,
  type UsageRecord,
} from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { openTestGateway, until, type TestGateway } from "./gateway-fixture.ts";
import { answering, answerOf, chunk, usageChunk } from "./raw-pool.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

const text = [
  chunk({ role: "assistant", content: "" }),
  chunk({ content: "ab" }),
  chunk({ content: "c" }),
];
const finish = chunk({}, "stop");

function running(tokens: number, content: string): object {
  const usage = { prompt_tokens: 7, completion_tokens: tokens, total_tokens: 7 + tokens };
  return { ...chunk({ content }), usage };
}

/** A count that is absent on the wire is unknown. */
const unknown = {
  engInput: undefined,
  engOutput: undefined,
  engCacheWrite: undefined,
};

/** What engines say of their counts, true or not, and what the record keeps of it. */
const said: Readonly<Record<string, [unknown[], Partial<UsageRecord>]>> = {
  "as it should": [
    [...text, finish, usageChunk(7, 3), "[DONE]"],
    {
      engSource: EngineCountSource.FINAL,
      engInput: 7n,
      engOutput: 3n,
      flags: ["cache_unknown", "reasoning_unknown"],
    },
  ],
  "not at all": [
    [...text, finish, "[DONE]"],
    {
      engSource: EngineCountSource.NONE,
      engInput: undefined,
      engOutput: undefined,
      gwOutput: 2n,
      flags: [],
    },
  ],
  "as zero": [
    [...text, finish, usageChunk(0, 0), "[DONE]"],
    { engSource: EngineCountSource.FINAL, engInput: 0n, engOutput: 0n, gwOutput: 2n },
  ],
  "as null": [
    [...text, finish, { ...usageChunk(7, 3), usage: null }, "[DONE]"],
    { engSource: EngineCountSource.NONE, engOutput: undefined },
  ],
  "as no numbers": [
    [
      ...text,
      finish,
      { ...usageChunk(7, 3), usage: { prompt_tokens: -1, completion_tokens: 1.5 } },
      "[DONE]",
    ],
    {
      engSource: EngineCountSource.FINAL,
      engInput: undefined,
      engOutput: undefined,
      flags: ["cache_unknown", "reasoning_unknown", "usage_malformed"],
    },
  ],
  shrinking: [
    [running(5, "ab"), running(2, "c"), finish, "[DONE]"],
    {
      engSource: EngineCountSource.CONTINUOUS,
      engOutput: 2n,
      flags: ["cache_unknown", "reasoning_unknown", "usage_decreased"],
    },
  ],
  "smaller in the end": [
    [running(5, "abc"), finish, usageChunk(7, 3), "[DONE]"],
    {
      engSource: EngineCountSource.FINAL,
      engOutput: 3n,
      flags: ["cache_unknown", "reasoning_unknown", "usage_decreased"],
    },
  ],
  twice: [
    [...text, finish, usageChunk(7, 3), usageChunk(7, 4), "[DONE]"],
    {
      engSource: EngineCountSource.FINAL,
      engOutput: 4n,
      flags: ["cache_unknown", "double_final", "reasoning_unknown"],
    },
  ],
  "after the end": [
    [...text, finish, "[DONE]", usageChunk(7, 3)],
    { engSource: EngineCountSource.FINAL, engOutput: 3n },
  ],
  "with another total": [
    [
      ...text,
      finish,
      { ...usageChunk(7, 3), usage: { prompt_tokens: 7, completion_tokens: 3, total_tokens: 99 } },
      "[DONE]",
    ],
    { engOutput: 3n, flags: ["cache_unknown", "reasoning_unknown", "total_mismatch"] },
  ],
  "with classes": [
    [
      ...text,
      finish,
      {
        ...usageChunk(7, 3),
        usage: {
          prompt_tokens: 7,
          completion_tokens: 3,
          total_tokens: 10,
          prompt_tokens_details: { cached_tokens: 4 },
          completion_tokens_details: { reasoning_tokens: 1 },
        },
      },
      "[DONE]",
    ],
    { engCacheRead: 4n, engCacheWrite: undefined, engReasoning: 1n, flags: [] },
  ],
};

for (const [name, [payloads, expected]] of Object.entries(said)) {
  test(`an engine that says its counts ${name} gets exactly one record, which keeps what it said`, async () => {
    gateway = await openTestGateway([
      (call) => {
        call.head();
        call.events(...payloads);
        call.end();
      },
    ]);
    const answer = await (await gateway.chat({ stream: true })).text();
    expect(answer.endsWith("data: [DONE]\n\n")).toBe(true);
    const [record, ...others] = [...(await gateway.records(1)).values()];
    expect(others).toEqual([]);
    expect({ ...unknown, ...record }).toMatchObject({
      outcome: AttemptEnd.COMPLETE,
      outBytes: 3n,
      outDigest: createHash("sha256").update("abc").digest("hex"),
      deliveredBytes: BigInt(Buffer.byteLength(answer)),
      finishReason: "stop",
      ...expected,
    });
  });
}

const { id: _id, ...anyChunk } = usageChunk(7, 3) as Readonly<Record<string, unknown>>;

/** Counts that no client shall be handed. */
const nonsense: Readonly<Record<string, unknown>> = {
  negative: { prompt_tokens: -7, completion_tokens: 3, total_tokens: -4 },
  fractional: { prompt_tokens: 7, completion_tokens: 3.5, total_tokens: 10.5 },
  absurd: { prompt_tokens: 7, completion_tokens: 9e15, total_tokens: 9e15 },
  "a word": { prompt_tokens: "seven", completion_tokens: 3, total_tokens: 10 },
  "negative inside": {
    prompt_tokens: 7,
    completion_tokens: 3,
    total_tokens: 10,
    prompt_tokens_details: { cached_tokens: -1 },
  },
  "no object": "seven",
};

for (const [name, usage] of Object.entries(nonsense)) {
  const asked: Readonly<Record<string, object>> = {
    whole: {},
    streamed: { stream: true, stream_options: { include_usage: true } },
    "streamed with running counts": {
      stream: true,
      stream_options: { include_usage: true, continuous_usage_stats: true },
    },
  };
  for (const [form, body] of Object.entries(asked)) {
    for (const place of ["in a chunk of its own", "beside text"] as const) {
      test(`counts that are ${name} and come ${place} are kept from a client of a ${form} answer, and flagged`, async () => {
        const last = chunk({ content: "c" });
        const said =
          place === "beside text"
            ? [{ ...last, usage }, finish]
            : [last, finish, { ...anyChunk, usage }];
        gateway = await openTestGateway([
          (call) => {
            call.head();
            call.events(chunk({ content: "ab" }), ...said, "[DONE]");
            call.end();
          },
        ]);
        const answer = await (await gateway.chat(body)).text();
        expect(answer).not.toContain("_tokens");
        expect(answer).not.toContain("seven");
        expect(answer).toContain("c");
        const [record] = [...(await gateway.records(1)).values()];
        expect(record?.flags).toContain("usage_malformed");
      });
    }
  }
}

test("running counts are asked for where the pool declares them, and stand when the stream is cut", async () => {
  gateway = await openTestGateway(
    [
      (call) => {
        call.head();
        call.events(running(1, "a"), running(2, "b"));
        setTimeout(() => call.cut(), 20);
      },
    ],
    { capabilities: [EngineCapability.CONTINUOUS_USAGE, EngineCapability.CACHE_REPORT] },
  );
  await (await gateway.chat({ stream: true })).text();
  expect(JSON.parse(gateway.pools[0]?.requests[0]?.body ?? "")).toMatchObject({
    stream_options: { include_usage: true, continuous_usage_stats: true },
  });
  const [record] = [...(await gateway.records(1)).values()];
  expect(record).toMatchObject({
    engSource: EngineCountSource.CONTINUOUS,
    engOutput: 2n,
    flags: ["reasoning_unknown"],
  });
});

test("records are numbered without a hole, whatever became of the attempts", async () => {
  let number = 0;
  gateway = await openTestGateway([
    (call) => {
      number += 1;
      if (number % 3 === 0) return call.cut();
      call.head();
      call.events(...answerOf("a"));
      call.end();
    },
  ]);
  for (let count = 0; count < 9; count++) await (await gateway.chat()).text();
  const records = [...(await gateway.records(9)).values()];
  const numbers = records.map(({ producerSeq }) => Number(producerSeq));
  expect(numbers.toSorted((one, other) => one - other)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(new Set(records.map(({ epoch }) => epoch)).size).toBe(1);
});

test("records wait in the spool while settlement is away, and go when it is back", async () => {
  gateway = await openTestGateway([answering("a")]);
  gateway.control.refuseRecords = new ConnectError("away", Code.Unavailable);
  for (let count = 0; count < 3; count++) await (await gateway.chat()).text();
  await until(async () => (await unacked()) === 3);
  gateway.control.refuseRecords = undefined;
  expect((await gateway.records(3)).size).toBe(3);
  await until(async () => (await unacked()) === 0);
});

async function unacked(): Promise<number> {
  const name = "tokengrid_metering_spool_unacked_records";
  const metric = await gateway?.metrics.getSingleMetric(name)?.get();
  return metric?.values[0]?.value ?? NaN;
}

test("a request is refused before it is sent when its usage could not be recorded", async () => {
  gateway = await openTestGateway([answering("never")], {
    spoolLimits: { bytesMax: 0, segmentBytesMax: 1_000_000 },
    drainMs: 0,
  });
  const response = await gateway.chat();
  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({ error: { code: "metering_unavailable" } });
  expect(gateway.pools[0]?.requests).toEqual([]);
  await until(() => gateway?.control.releases.length === 1);
  expect(gateway.control.releases[0]?.outcome).toBeUndefined();
});

test("the record says how many bytes the pool was sent, also of an attempt that failed", async () => {
  gateway = await openTestGateway([answering("a")]);
  const tools = [{ type: "function", function: { name: "f", parameters: { type: "object" } } }];
  await (await gateway.chat({ tools, max_tokens: 5 })).text();
  const [record] = [...(await gateway.records(1)).values()];
  const sent = gateway.pools[0]?.requests[0]?.body ?? "";
  expect(sent).toContain('"tools"');
  expect(record?.promptBytes).toBe(BigInt(Buffer.byteLength(sent)));
});

test("the record says nothing of bytes that bound no tokens", async () => {
  gateway = await openTestGateway([answering("a")]);
  const picture = { type: "image_url", image_url: { url: "https://pictures.example/1.png" } };
  await (await gateway.chat({ messages: [{ role: "user", content: [picture] }] })).text();
  const [record] = [...(await gateway.records(1)).values()];
  expect(record?.promptBytes).toBeUndefined();
});

test("the gateway's own estimate of the prompt goes to placement and stays beside the engine's count", async () => {
  gateway = await openTestGateway([answering("a")]);
  const words = Array.from({ length: 500 }, () => "w").join(" ");
  await (await gateway.chat({ messages: [{ role: "user", content: words }] })).text();
  expect(gateway.control.places[0]?.inputTokens).toBe(500);
  const [record] = [...(await gateway.records(1)).values()];
  expect(record).toMatchObject({ gwInput: 500n, engInput: 7n });
});

/** What an engine says of the end of its answer, and what the books keep of it. */
const reasons: Readonly<Record<string, [string, string]>> = {
  "a word": ["stop", "stop"],
  "a word of its own": ["tool_calls-2", "tool_calls-2"],
  "a part of the answer": ["and then she said", "other"],
  "more than a word": ["x".repeat(100_000), "other"],
};

for (const [name, [reason, kept]] of Object.entries(reasons)) {
  test(`a finish reason that is ${name} is kept as ${kept}`, async () => {
    gateway = await openTestGateway([
      (call) => {
        call.head();
        call.events(...text, chunk({}, reason), usageChunk(7, 2), "[DONE]");
        call.end();
      },
    ]);
    expect(await (await gateway.chat()).text()).toContain(reason);
    const [record] = (await gateway.records(1)).values();
    expect(record?.finishReason).toBe(kept);
  });
}

test("an empty finish reason ends nothing: a stream that breaks behind it is lost", async () => {
  gateway = await openTestGateway([
    (call) => {
      call.head();
      call.events(chunk({ content: "a" }, ""), chunk({ content: "b" }, ""));
      call.end();
    },
  ]);
  const response = await gateway.chat({ stream: true });
  expect(await response.text()).toContain("upstream_disconnected");
  const [record] = (await gateway.records(1)).values();
  expect(record?.outcome).toBe(AttemptEnd.UPSTREAM_CUT);
});

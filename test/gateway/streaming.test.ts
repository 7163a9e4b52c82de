import { afterEach, expect, test } from "vitest";
import { openTestGateway, until, type TestGateway } from "./gateway-fixture.ts";
import { answering, answerOf, chunk, event, usageChunk, type PoolCall } from "./raw-pool.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

/** All of an answer in one write, so that its packets are the same each time. */
function saying(...payloads: readonly unknown[]): (call: PoolCall) => void {
  return (call) => {
    call.head();
    call.send(payloads.map(event).join(""));
    call.end();
  };
}

const hello = [chunk({ role: "assistant", content: "" }), chunk({ content: "Hi" })];

/** What a client reads at each end that a stream can have. */
const ends: Readonly<Record<string, [(call: PoolCall) => void, object?]>> = {
  complete: [saying(...answerOf("Hello", " world"))],
  "complete-with-usage": [
    saying(...answerOf("Hello", " world")),
    { stream_options: { include_usage: true } },
  ],
  "usage-beside-the-finish": [
    saying(
      ...hello,
      { ...chunk({}, "stop"), usage: { prompt_tokens: 7, completion_tokens: 1 } },
      "[DONE]",
    ),
    { stream_options: { include_usage: true } },
  ],
  "finish-without-done": [saying(...hello, chunk({}, "length"))],
  "eof-without-finish": [saying(...hello)],
  "done-without-finish": [saying(...hello, "[DONE]")],
  "error-event": [saying(...hello, { error: { message: "CUDA error at 10.0.0.1", code: 500 } })],
  "not-json": [saying(...hello, "{oops")],
  reset: [
    (call) => {
      call.head();
      call.send(hello.map(event).join(""));
      setTimeout(() => call.cut(), 20);
    },
  ],
};

for (const [name, [script, body]] of Object.entries(ends)) {
  test(`a stream that ends ${name} is these bytes for the client`, async () => {
    gateway = await openTestGateway([script]);
    const client = await gateway.raw({ stream: true, ...body });
    const [head = "", ...rest] = (await client.read()).split("\r\n\r\n");
    const headers = head
      .replace(/date: .*/i, "Date: <date>")
      .replace(/x-request-id: .*/, "x-request-id: <id>");
    const bytes = `${headers}\n\n${dechunked(rest.join("\r\n\r\n"))}`.replaceAll("\r\n", "\n");
    await expect(bytes).toMatchFileSnapshot(`golden/stream-${name}.txt`);
  });
}

/** The body without its chunk sizes. A body that was cut short fails here. */
function dechunked(body: string): string {
  let [rest, text] = [Buffer.from(body), ""];
  for (;;) {
    const lineEnd = rest.indexOf("\r\n");
    const size = Number.parseInt(rest.toString("latin1", 0, lineEnd), 16);
    expect(Number.isNaN(size)).toBe(false);
    if (size === 0) return text;
    text += rest.toString("utf8", lineEnd + 2, lineEnd + 2 + size);
    rest = rest.subarray(lineEnd + 2 + size + 2);
  }
}

test("each event leaves when it arrives: the pool waits for the client before it says the next", async () => {
  const texts = ["one", "two", "three"];
  const seen = new Set<string>();
  gateway = await openTestGateway([
    async (call) => {
      call.head();
      for (const content of texts) {
        call.events(chunk({ content }));
        // If the gateway held an event until the next one came, this would wait for ever.
        await until(() => seen.has(content));
      }
      call.events(chunk({}, "stop"), "[DONE]");
      call.end();
    },
  ]);
  const response = await gateway.chat({ stream: true });
  const decoder = new TextDecoder();
  let received = "";
  for await (const bytes of response.body ?? []) {
    received += decoder.decode(bytes, { stream: true });
    for (const text of texts) if (received.includes(`"${text}"`)) seen.add(text);
  }
  expect(received.endsWith("data: [DONE]\n\n")).toBe(true);
});

test("the headers wait for the first event, then comments keep the connection open", async () => {
  let mayGoOn: () => void = () => undefined;
  const released = new Promise<void>((resolve) => (mayGoOn = resolve));
  gateway = await openTestGateway(
    [
      async (call) => {
        call.head();
        await released;
        call.events(...answerOf("Hi"));
        call.end();
      },
    ],
    { limits: { answer: { keepAliveMs: 60, slowReaderMs: 30_000 } } },
  );
  const response = await gateway.chat({ stream: true });
  let received = "";
  for await (const bytes of response.body ?? []) {
    received += Buffer.from(bytes).toString();
    if (received.startsWith(": keep-alive\n\n: keep-alive\n\n")) mayGoOn();
  }
  expect(received.replaceAll(": keep-alive\n\n", "")).toMatch(/^data: \{.*data: \[DONE\]\n\n$/s);
});

test("a pool that is lost after keep-alive comments but before its first event is replaced", async () => {
  let commentSeen: () => void = () => undefined;
  const seen = new Promise<void>((resolve) => (commentSeen = resolve));
  gateway = await openTestGateway(
    [
      async (call) => {
        call.head();
        await seen;
        call.cut();
      },
      answering("from", " the", " second"),
    ],
    { limits: { answer: { keepAliveMs: 60, slowReaderMs: 30_000 } } },
  );
  const response = await gateway.chat({ stream: true });
  let received = "";
  for await (const bytes of response.body ?? []) {
    received += Buffer.from(bytes).toString();
    if (received.includes(": keep-alive")) commentSeen();
  }
  expect(received).toContain('"content":" second"');
  expect(received.endsWith("data: [DONE]\n\n")).toBe(true);
});

test("what the client did not name is forwarded byte for byte, what we add is there once", async () => {
  gateway = await openTestGateway([answering("Hi")]);
  const odd =
    '{"model":"chat", "temperature":1.0e0,"messages":[{"role":"user","content":"\\u00e9"}],"x":[ 1 ]}';
  const response = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": gateway.key },
    body: odd,
  });
  expect(response.status).toBe(200);
  expect(gateway.pools[0]?.requests[0]?.body).toBe(
    '{"model":"engine/model","temperature":1.0e0,"messages":[{"role":"user","content":"\\u00e9"}],' +
      '"x":[ 1 ],"stream":true,"stream_options":{"include_usage":true}}',
  );
});

test("a tenant's credentials and headers never go to a pool, what joins the records does", async () => {
  gateway = await openTestGateway([answering("Hi")]);
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const response = await gateway.chat(
    {},
    {
      cookie: "a=b",
      "openai-organization": "org",
      "x-forwarded-for": "10.1.1.1",
      "idempotency-key": "my-request-1",
      baggage: "k=v",
      traceparent,
    },
  );
  expect(response.headers.get("x-request-id")).toBe("my-request-1");
  const sent = gateway.pools[0]?.requests[0]?.headers ?? new Map<string, string>();
  expect([...sent.keys()].toSorted()).toEqual([
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "traceparent",
    "x-attempt-id",
    "x-tokengrid-deadline-ms",
    "x-tokengrid-lease",
    "x-tokengrid-origin",
  ]);
  const [record] = [...(await gateway.records(1)).values()];
  expect(record).toMatchObject({
    requestId: "my-request-1",
    attemptId: sent.get("x-attempt-id"),
    tenantId: "acme",
    poolId: "pool-1",
  });
  expect(sent.get("traceparent")).toBe(traceparent);
});

test("an idempotency key with another body is a conflict, with the same body one more attempt", async () => {
  gateway = await openTestGateway([answering("Hi")]);
  const headers = { "idempotency-key": "k1" };
  const statuses: number[] = [];
  for (const temperature of [0, 0, 1]) {
    statuses.push((await gateway.chat({ temperature }, headers)).status);
  }
  expect(statuses).toEqual([200, 200, 409]);
  const records = [...(await gateway.records(2)).values()];
  expect(new Set(records.map(({ requestId }) => requestId)).size).toBe(1);
  expect(new Set(records.map(({ attemptId }) => attemptId)).size).toBe(2);
});

test("keys for debugging are told the pool, and may say where demand arises", async () => {
  gateway = await openTestGateway([answering("Hi")], { isDebug: true });
  const response = await gateway.chat({}, { "x-tokengrid-origin": "chengdu" });
  expect([
    response.headers.get("x-tokengrid-pool"),
    response.headers.get("x-tokengrid-region"),
    response.headers.get("x-tokengrid-placement-id"),
    response.headers.get("x-tokengrid-policy-row"),
  ]).toEqual([
    "pool-1",
    "zhongwei",
    gateway.pools[0]?.requests[0]?.headers.get("x-attempt-id"),
    "W2",
  ]);
  expect(gateway.control.places[0]?.originId).toBe("chengdu");
});

test("other keys are told nothing of pools, and demand arises where the gateway stands", async () => {
  gateway = await openTestGateway([answering("Hi")]);
  const response = await gateway.chat({}, { "x-tokengrid-origin": "chengdu" });
  expect([...response.headers.keys()].filter((name) => name.startsWith("x-tokengrid"))).toEqual([]);
  expect(gateway.control.places[0]?.originId).toBe("shanghai");
});

test("back pressure: a client that does not read holds the pool up, and gets all in the end", async () => {
  const text = "x".repeat(1_000);
  const count = 20_000;
  let sent = 0;
  let unsent = (): number => 0;
  gateway = await openTestGateway([
    async (call) => {
      unsent = () => call.unsent();
      call.head();
      for (; sent < count; sent++) {
        call.events(chunk({ content: text }));
        if (sent % 100 === 0) await new Promise(setImmediate);
      }
      call.events(chunk({}, "stop"), usageChunk(1, count), "[DONE]");
      call.end();
    },
  ]);
  const client = await gateway.raw({ stream: true });
  client.socket.pause();
  await until(() => sent === count);
  expect(unsent()).toBeGreaterThan(0);
  const received = await client.read();
  expect(received.match(/"content":"x{1000}"/g)?.length).toBe(count);
  const [record] = [...(await gateway.records(1)).values()];
  expect(record).toMatchObject({ outBytes: BigInt(count * 1_000), outcome: 1 });
});

test("leases of long answers are renewed, and released when the pool's stream ends", async () => {
  let mayEnd: () => void = () => undefined;
  const released = new Promise<void>((resolve) => (mayEnd = resolve));
  gateway = await openTestGateway(
    [
      async (call) => {
        call.head();
        call.events(chunk({ content: "Hi" }));
        await released;
        call.events(chunk({}, "stop"), usageChunk(1, 1), "[DONE]");
        call.end();
      },
    ],
    { ttlMs: 200 },
  );
  const response = await gateway.chat({ stream: true });
  await until(() => (gateway?.control.renewals.length ?? 0) >= 3);
  expect(gateway.control.releases).toEqual([]);
  mayEnd();
  await response.text();
  await until(() => gateway?.control.releases.length === 1);
  expect(gateway.control.releases[0]?.outcome).toMatchObject({ result: 1, outputTokens: 1 });
});

import { connect } from "node:net";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createKey } from "../../services/io/keys.ts";
import { UnplaceableReason } from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import { openTestGateway, put, question, until, type TestGateway } from "./gateway-fixture.ts";
import { answering } from "./raw-pool.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await openTestGateway([answering("Hi")], {
    models: ["chat"],
    limits: { bodyBytesMax: 100_000 },
  });
  const { prefix } = revoked.record;
  await put(gateway.registry, "key", prefix, { ...revoked.record, isRevoked: true });
});
afterAll(() => gateway.close());

function post(
  body: string | Buffer,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return fetch(`${gateway.url}/v1/chat/completions`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      authorization: `Bearer ${gateway.key}`,
      ...headers,
    },
    body,
  });
}

function json(change: object): string {
  return JSON.stringify({ ...question, ...change });
}

/** Bad bodies: status, code, member at fault, and what the message says of it. */
const bodies: Readonly<Record<string, [string | Buffer, number, string, string | null, RegExp]>> = {
  "is no JSON": ["{oops", 400, "invalid_value", null, /expected a key at byte 1/],
  "holds NaN": [
    '{"model":"chat","temperature":NaN}',
    400,
    "invalid_value",
    null,
    /expected a value at byte/,
  ],
  "is no UTF-8": [Buffer.from([0x7b, 0xff, 0x7d]), 400, "invalid_value", null, /not valid UTF-8/],
  "has a key twice": [
    '{"model":"a","model":"b"}',
    400,
    "invalid_value",
    null,
    /"model" is there twice/,
  ],
  "is nested too deep": [
    `{"a":${"[".repeat(70)}${"]".repeat(70)}}`,
    400,
    "invalid_value",
    null,
    /deeper than 64/,
  ],
  "is too large": [
    json({ messages: [{ role: "user", content: "x".repeat(100_000) }] }),
    413,
    "request_too_large",
    null,
    /100000 bytes/,
  ],
  "has no model": [
    json({ model: undefined }),
    400,
    "invalid_value",
    "model",
    /expected the name of a model/,
  ],
  "has a model that is no text": [
    json({ model: 7 }),
    400,
    "invalid_value",
    "model",
    /expected a string, found a number/,
  ],
  "names a model that its key may not use": [
    json({ model: "model-1" }),
    403,
    "model_not_allowed",
    "model",
    /may not use/,
  ],
  "has no messages": [
    json({ messages: [] }),
    400,
    "invalid_value",
    "messages",
    /at least one message/,
  ],
  "has messages that are no list": [
    json({ messages: "hi" }),
    400,
    "invalid_value",
    "messages",
    /at least one message/,
  ],
  "has a negative max_tokens": [
    json({ max_tokens: -1 }),
    400,
    "invalid_value",
    "max_tokens",
    /whole number from 1 .*found -1/,
  ],
  "asks for more tokens than there are": [
    json({ max_tokens: 5_000_000_000 }),
    400,
    "invalid_value",
    "max_tokens",
    /to 10000000, found 5000000000/,
  ],
  "has a model with a long name": [
    json({ model: "m".repeat(129) }),
    400,
    "invalid_value",
    "model",
    /at most 128 characters, found 129/,
  ],
  "has half a max_completion_tokens": [
    json({ max_completion_tokens: 1.5 }),
    400,
    "invalid_value",
    "max_completion_tokens",
    /found 1.5/,
  ],
  "asks for no choice": [json({ n: 0 }), 400, "invalid_value", "n", /from 1 to 128, found 0/],
  "has a stream that is a text": [
    json({ stream: "yes" }),
    400,
    "invalid_value",
    "stream",
    /true or false, found a string/,
  ],
  "has stream_options that are a list": [
    json({ stream_options: [] }),
    400,
    "invalid_value",
    "stream_options",
    /expected an object, found an array/,
  ],
  "asks to store": [json({ store: true }), 400, "unsupported_value", "store", /expected false/],
  "has a deadline that is none": [
    json({ tokengrid: { deadline_ms: "soon" } }),
    400,
    "invalid_value",
    "tokengrid.deadline_ms",
    /whole number/,
  ],
  "asks for a region that is none": [
    json({ tokengrid: { region: "mars" } }),
    400,
    "invalid_value",
    "x-tokengrid-region",
    /east, west or the id/,
  ],
};

for (const [name, [body, status, code, param, message]] of Object.entries(bodies)) {
  test(`a body that ${name} is refused with ${status} ${code}`, async () => {
    const response = await post(body);
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({
      error: { message: expect.stringMatching(message), type: expect.any(String), param, code },
    });
    expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });
}

const { secret: unknownKey } = createKey({ kind: "tenant", subject: "acme", nowUs: 0n });
const revoked = createKey({ kind: "tenant", subject: "acme", nowUs: 0n });

/** What metrics count a refusal as; undefined where it is no matter of the door. */
const counted: Readonly<Record<string, [string, string | undefined, string | undefined]>> = {
  "is nested too deep": [`{"a":${"[".repeat(70)}${"]".repeat(70)}}`, undefined, "json_depth"],
  "has too many keys": [
    `{${Array.from({ length: 10_001 }, (_, key) => `"${key.toString(36)}":1`).join()}}`,
    undefined,
    "json_depth",
  ],
  "says twice what its keys are": ['{"keys":1,"keys":2}', undefined, undefined],
  "says nested deeper twice": ['{"nested deeper":1,"nested deeper":2}', undefined, undefined],
  "is too large": [json({ user: "x".repeat(100_000) }), undefined, "body_size"],
  "comes with an unknown key": [json({}), unknownKey, "auth"],
  "comes with a revoked key": [json({}), revoked.secret, "key_revoked"],
};

async function rejections(): Promise<Map<unknown, number>> {
  const metric = gateway.metrics.getSingleMetric("tokengrid_gateway_rejected_total");
  const { values = [] } = (await metric?.get()) ?? {};
  return new Map(values.map(({ labels, value }) => [labels["reason"], value]));
}

for (const [name, [body, key, reason]] of Object.entries(counted)) {
  test(`a body that ${name} is counted as ${reason ?? "no rejection at the door"}`, async () => {
    const before = await rejections();
    await post(body, key === undefined ? {} : { authorization: `Bearer ${key}` });
    const after = [...(await rejections())].filter(([each, count]) => before.get(each) !== count);
    expect(after.map(([each]) => each)).toEqual(reason === undefined ? [] : [reason]);
  });
}

/** Bad heads. */
const heads: Readonly<
  Record<string, [string, string, Readonly<Record<string, string>>, number, string]>
> = {
  "no key": ["POST", "/v1/chat/completions", { authorization: "" }, 401, "invalid_api_key"],
  "a key of another form": [
    "POST",
    "/v1/chat/completions",
    { authorization: "Bearer sk-123" },
    401,
    "invalid_api_key",
  ],
  "two keys that differ": [
    "POST",
    "/v1/chat/completions",
    { "x-api-key": "sk-other" },
    401,
    "invalid_api_key",
  ],
  "another content type": [
    "POST",
    "/v1/chat/completions",
    { "content-type": "text/plain" },
    415,
    "unsupported_media_type",
  ],
  "a compressed body": [
    "POST",
    "/v1/chat/completions",
    { "content-encoding": "gzip" },
    415,
    "unsupported_media_type",
  ],
  "a class that is none": [
    "POST",
    "/v1/chat/completions",
    { "x-tokengrid-class": "fast" },
    400,
    "invalid_value",
  ],
  "a deadline that is none": [
    "POST",
    "/v1/chat/completions",
    { "x-tokengrid-deadline-ms": "-5" },
    400,
    "invalid_value",
  ],
  "an idempotency key with spaces": [
    "POST",
    "/v1/chat/completions",
    { "idempotency-key": "a b" },
    400,
    "invalid_value",
  ],
  "an unknown address": ["GET", "/v1/nothing", {}, 404, "unknown_url"],
  "a wrong method": ["DELETE", "/v1/models", {}, 405, "method_not_allowed"],
  "an endpoint that is not offered": ["POST", "/v1/embeddings", {}, 501, "unsupported_endpoint"],
  "a model that is not there": ["GET", "/v1/models/gpt-9", {}, 404, "model_not_found"],
};

for (const [name, [method, path, headers, status, code]] of Object.entries(heads)) {
  test(`a request with ${name} is refused with ${status} ${code}`, async () => {
    const response = await fetch(gateway.url + path, {
      method,
      headers: {
        "content-type": "application/json",
        authorization: `Bearer ${gateway.key}`,
        ...headers,
      },
      ...(method === "POST" && { body: json({}) }),
    });
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { code } });
    expect(response.headers.get("www-authenticate")).toBe(status === 401 ? "Bearer" : null);
    expect(response.headers.get("x-should-retry")).toBe(status === 501 ? "false" : null);
  });
}

/** What control says when it places nothing. */
const unplaceable: Readonly<Record<string, [UnplaceableReason, number, string, boolean]>> = {
  "no pool now": [UnplaceableReason.NO_ELIGIBLE_POOL, 503, "no_eligible_pool", true],
  "no pool ever": [UnplaceableReason.UNSATISFIABLE, 400, "no_pool_satisfies_constraints", false],
  "an unknown model": [UnplaceableReason.MODEL_NOT_FOUND, 404, "model_not_found", false],
  "too long a context": [UnplaceableReason.CONTEXT_TOO_LONG, 400, "context_length_exceeded", false],
};

for (const [name, [reason, status, code, mayRetry]] of Object.entries(unplaceable)) {
  test(`placement that finds ${name} is told as ${status} ${code}`, async () => {
    gateway.control.unplaceable = reason;
    const response = await post(json({}));
    gateway.control.unplaceable = undefined;
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { code } });
    const afterMs = Number(response.headers.get("retry-after-ms"));
    expect(afterMs >= 800 && afterMs <= 1_200).toBe(mayRetry);
  });
}

/** What no client library would send, and the first line of the answer. */
const rawRequests: Readonly<Record<string, [string, string]>> = {
  "is no HTTP": ["hello\r\n\r\n", "HTTP/1.1 400 Bad Request"],
  "has two lengths": [
    "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{",
    "HTTP/1.1 400 Bad Request",
  ],
  "has a length and chunks": [
    "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 400 Bad Request",
  ],
  "has headers without end": [
    `GET /v1/models HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(17_000)}\r\n\r\n`,
    "HTTP/1.1 431 Request Header Fields Too Large",
  ],
  "has too many headers": [
    `GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${"x: y\r\n".repeat(100)}\r\n`,
    "HTTP/1.1 431 Request Header Fields Too Large",
  ],
};

for (const [name, [bytes, line]] of Object.entries(rawRequests)) {
  test(`a request that ${name} is answered with ${line}`, async () => {
    const socket = connect(gateway.port, "127.0.0.1");
    await once(socket, "connect");
    socket.write(bytes);
    let received = "";
    for await (const part of socket) received += String(part);
    expect(received.split("\r\n")[0]).toBe(line);
  });
}

test("a body that grows beyond the limit is cut off, whatever its length was said to be", async () => {
  const socket = connect(gateway.port, "127.0.0.1");
  socket.on("error", () => socket.destroy());
  await once(socket, "connect");
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${gateway.key}\r\n` +
      "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
  );
  const part = `1000\r\n${"x".repeat(0x1000)}\r\n`;
  let received = "";
  socket.on("data", (bytes) => (received += String(bytes)));
  await until(() => {
    if (!socket.destroyed && received === "") socket.write(part);
    return received !== "";
  });
  expect(received).toContain("413 Payload Too Large");
  await until(() => socket.destroyed);
});

test("only aliases and models that the key may use are listed", async () => {
  const response = await fetch(`${gateway.url}/v1/models`, {
    headers: { authorization: `Bearer ${gateway.key}` },
  });
  expect(await response.json()).toEqual({
    object: "list",
    data: [{ id: "chat", object: "model", created: expect.any(Number), owned_by: "tokengrid" }],
  });
});

test("a key that is revoked in the registry is refused here soon after, and so is one that is deleted", async () => {
  const { secret, record } = createKey({ kind: "tenant", subject: "other", nowUs: 0n });
  const status = async (): Promise<number> => {
    const headers = { authorization: `Bearer ${secret}` };
    return (await fetch(`${gateway.url}/v1/models`, { headers })).status;
  };
  expect(await status()).toBe(401);
  await put(gateway.registry, "key", record.prefix, record);
  await until(async () => (await status()) === 200);
  await put(gateway.registry, "key", record.prefix, { ...record, isRevoked: true });
  await until(async () => (await status()) === 401);
});

test("a vendor's key is no key of a tenant", async () => {
  const { secret, record } = createKey({ kind: "vendor", subject: "v", nowUs: 0n });
  await put(gateway.registry, "key", record.prefix, record);
  await until(async () => {
    const headers = { authorization: `Bearer ${secret}` };
    const response = await fetch(`${gateway.url}/v1/models`, { headers });
    return (await response.text()).includes("found a vendor's");
  });
});

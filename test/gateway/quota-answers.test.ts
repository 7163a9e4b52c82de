import { afterEach, describe, expect, test } from "vitest";
import { EngineCapability } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { AttemptEnd, CancelCause } from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { openTestGateway, type TestGateway } from "./gateway-fixture.ts";
import { answering, chunk, usageChunk, type PoolCall } from "./raw-pool.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

const capabilities = [EngineCapability.CONTINUOUS_USAGE];

async function opened(
  script: (call: PoolCall) => void | Promise<void>,
  quotaLeft: bigint | undefined,
): Promise<TestGateway> {
  gateway = await openTestGateway([script], { capabilities, isQuotaKept: true });
  gateway.control.quotaLeft = quotaLeft;
  return gateway;
}

/** Says words for as long as it is listened to. */
async function endless(call: PoolCall): Promise<void> {
  call.head();
  let words = 0;
  const more = setInterval(() => {
    words += 1;
    const usage = { prompt_tokens: 7, completion_tokens: words, total_tokens: 7 + words };
    call.events({ ...chunk({ content: "word " }), usage });
  }, 1);
  await call.closed;
  clearInterval(more);
}

test("a request that no package covers is refused before anything is placed", async () => {
  const open = await opened(answering("never"), 0n);
  const response = await open.chat();
  expect(response.status).toBe(429);
  expect(response.headers.get("x-should-retry")).toBe("false");
  expect(await response.json()).toMatchObject({
    error: { type: "insufficient_quota", code: "insufficient_quota" },
  });
  expect([open.control.places, open.pools[0]?.requests]).toEqual([[], []]);
});

test("who pays as it goes is not stopped, and nothing is reserved for it", async () => {
  const open = await opened(answering("a", "b"), undefined);
  expect((await open.chat()).status).toBe(200);
  const [record] = (await open.records(1)).values();
  expect(record?.reserved).toBeUndefined();
});

/** Tokens that the engine says, of 6,000 bytes, where 2,048 were reserved. */
const said: readonly [tokens: number, flags: boolean][] = [
  [2_000, false],
  [2_500, true],
  [5_000, false],
];

for (const [tokens, isOverage] of said) {
  test(`an answer of ${tokens} tokens that came at once is ${isOverage ? "" : "no "}overage of what was reserved`, async () => {
    const open = await opened((call) => {
      call.head();
      call.events(chunk({ content: "word" }), chunk({ content: "x".repeat(5_996) }));
      call.events(chunk({}, "stop"), usageChunk(7, tokens), "[DONE]");
      call.end();
    }, 100_000n);
    await (await open.chat()).text();
    const [record] = (await open.records(1)).values();
    expect(record?.reserved).toBe(1n + 2_048n);
    expect(record?.flags.includes("overage")).toBe(isOverage);
  });
}

test("what was used of a package is what the answer came to, and the rest is given back", async () => {
  const open = await opened(answering("a", "b", "c"), 100_000n);
  await (await open.chat()).text();
  await open.gateway.close();
  // 7 of the prompt, 3 of the answer.
  expect(open.control.slicesUsed).toEqual([10n]);
});

describe("an answer that outgrows its package", () => {
  for (const form of [{ stream: true, stream_options: { include_usage: true } }, {}]) {
    test(`ends with the finish reason quota, its counts and a clean end: ${JSON.stringify(form)}`, async () => {
      const open = await opened(endless, 300n);
      const response = await open.chat(form);
      const text = await response.text();
      expect(response.status).toBe(200);
      expect(text).toContain('"finish_reason":"quota"');
      expect(text).toContain('"usage":{"prompt_tokens":7');
      const [record] = (await open.records(1)).values();
      expect(record).toMatchObject({
        outcome: AttemptEnd.GATEWAY_CANCEL,
        cancelCause: CancelCause.QUOTA,
        finishReason: "quota",
        winner: true,
      });
      expect(record?.bytesAtCancel).toBe(record?.outBytes);
      // One token of the prompt, and of the output what could be had.
      expect(record?.reserved).toBe(1n + 256n);
      expect(record?.flags).not.toContain("overage");
      await open.gateway.close();
      const used = open.control.slicesUsed.reduce((sum, each) => sum + each, 0n);
      expect(used).toBe(7n + (record?.engOutput ?? 0n));
      expect(used).toBeLessThanOrEqual(300n);
    });
  }

  test("goes on while there is more to be had", async () => {
    const open = await opened(answering(...Array.from({ length: 3_000 }, () => "a")), 100_000n);
    const text = await (await open.chat({ stream: true })).text();
    expect(text).toContain('"finish_reason":"stop"');
  });
});

test("a ledger that does not answer stops who may be limited, and says to come again", async () => {
  const open = await opened(answering("never"), 100n);
  await open.control.close();
  const response = await open.chat();
  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({ error: { code: "metering_unavailable" } });
});

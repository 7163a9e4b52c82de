import { afterEach, expect, test } from "vitest";
import { defaultContract } from "../../services/core/settlement/terms/contract.ts";
import { settleCounts } from "../../services/core/settlement/counting/count-rule.ts";
import { EngineCapability } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { toUsageRecord } from "../../services/wire/usage.ts";
import { openTestGateway, type TestGateway } from "./gateway-fixture.ts";
import { chunk, usageChunk, type PoolCall } from "./raw-pool.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

const count = 60;
const words = Array.from({ length: count }, () => chunk({ content: "word " }));
const finish = chunk({}, "stop");
const said = usageChunk(7, count);

function running(tokens: number): object {
  const usage = { prompt_tokens: 7, completion_tokens: tokens, total_tokens: 7 + tokens };
  return { ...chunk({ content: "word " }), usage };
}

function saying(...payloads: readonly unknown[]): (call: PoolCall) => void {
  return (call) => {
    call.head();
    call.events(...payloads);
    call.end();
  };
}

/** Faults of §21 of the settlement reference, and what settlement makes of the one record that each leaves. */
const faults: Readonly<Record<string, [(call: PoolCall) => void, object]>> = {
  "says its counts": [
    saying(...words, finish, said, "[DONE]"),
    { basis: "engine-final", tokens: { uncachedInput: 7n, response: 60n } },
  ],
  "says nothing": [
    saying(...words, finish, "[DONE]"),
    { basis: "gateway-heuristic", tokens: { response: 60n } },
  ],
  "says zero": [
    saying(...words, finish, usageChunk(0, 0), "[DONE]"),
    { reason: "chunks-over-output" },
  ],
  "says ninety-nine times as much": [
    saying(...words, finish, usageChunk(7, 99 * count), "[DONE]"),
    { reason: "output-over-bytes" },
  ],
  "says ninety-nine times the prompt": [
    saying(...words, finish, usageChunk(99_000, count), "[DONE]"),
    { reason: "prompt-over-bytes" },
  ],
  "says less in the end": [
    saying(...words, running(61), finish, said, "[DONE]"),
    { reason: "usage-decreased" },
  ],
  "says them twice": [
    saying(...words, finish, said, said, "[DONE]"),
    { basis: "engine-final", tokens: { response: 60n } },
  ],
  "says them after the end": [
    saying(...words, finish, "[DONE]", said),
    { basis: "engine-final", tokens: { response: 60n } },
  ],
  "says a cache without a count": [
    saying(
      ...words,
      finish,
      { ...said, usage: { prompt_tokens: 7, completion_tokens: 60, prompt_tokens_details: null } },
      "[DONE]",
    ),
    { tokens: { uncachedInput: 7n, cacheRead: 0n }, flags: ["cache-unknown", "reasoning-unknown"] },
  ],
  "says nothing sensible": [
    saying(
      ...words,
      finish,
      { ...said, usage: { prompt_tokens: 7, completion_tokens: -60 } },
      "[DONE]",
    ),
    { reason: "usage-malformed" },
  ],
  "is cut in the middle": [
    (call) => {
      call.head();
      call.events(...Array.from({ length: 20 }, (_, index) => running(index + 1)));
      setTimeout(() => call.cut(), 20);
    },
    { basis: "engine-continuous", ending: "cut", tokens: { uncachedInput: 7n, response: 20n } },
  ],
  "answers 200 with an error": [
    (call) => {
      call.head(200, { "content-type": "application/json" });
      call.send(JSON.stringify({ error: { message: "out of memory", type: "server_error" } }));
      call.end();
    },
    { basis: "not-owed", ending: "refused", tokens: { uncachedInput: 0n, response: 0n } },
  ],
  "streams an error under 200": [
    saying({ error: { message: "out of memory", code: 500 } }),
    { basis: "not-owed", ending: "refused", tokens: { uncachedInput: 0n, response: 0n } },
  ],
  "streams an error after some words": [
    saying(running(1), running(2), { error: { message: "out of memory", code: 500 } }),
    { ending: "cut", tokens: { response: 2n } },
  ],
};

for (const [name, [script, expected]] of Object.entries(faults)) {
  test(`an engine that ${name}`, async () => {
    gateway = await openTestGateway([script], {
      capabilities: [EngineCapability.CONTINUOUS_USAGE],
    });
    await (await gateway.chat({ stream: true })).text();
    const [record, ...others] = [...(await gateway.records(1)).values()];
    expect(others).toEqual([]);
    const finding = record && settleCounts(toUsageRecord(record), defaultContract);
    expect(finding).toMatchObject(expected);
  });
}

import { createHash } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { EngineCapability } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import type { UsageRecord } from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { openTestGateway, type TestGateway } from "./gateway-fixture.ts";
import { chunk } from "./raw-pool.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

/** As vLLM sends them with `return_token_ids`. */
function withIds(content: string, ids: readonly number[] | undefined): object {
  const { choices, ...rest } = chunk({ content }) as { choices: readonly object[] };
  return { ...rest, choices: choices.map((choice) => ({ ...choice, token_ids: ids })) };
}

const first = { ...chunk({ role: "assistant", content: "" }), prompt_token_ids: [11, 12, 13] };
const whole = [first, withIds("ab", [21, 22]), withIds("c", [23]), chunk({}, "stop"), "[DONE]"];

async function answered(
  said: readonly unknown[],
  body: object = {},
  capabilities = [EngineCapability.TOKEN_IDS],
) {
  gateway = await openTestGateway(
    [
      (call) => {
        call.head();
        call.events(...said);
        call.end();
      },
    ],
    { capabilities },
  );
  const text = await (await gateway.chat(body)).text();
  const [record] = (await gateway.records(1)).values();
  const asked = gateway.pools[0]?.requests[0]?.body ?? "";
  return { text, asked, record: record as UsageRecord | undefined };
}

for (const form of [{ stream: true }, {}]) {
  test(`token ids are asked for where they are declared, counted, and kept from the client: ${JSON.stringify(form)}`, async () => {
    const { text, asked, record } = await answered(whole, form);
    expect(JSON.parse(asked)).toMatchObject({ return_token_ids: true });
    expect(record).toMatchObject({
      idsInput: 3n,
      idsOutput: 3n,
      idsDigest: createHash("sha256").update("21,22,23,").digest("hex"),
      outDigest: createHash("sha256").update("abc").digest("hex"),
    });
    expect(text).not.toContain("token_ids");
    expect(text).toMatch(form.stream === true ? /"ab"[^]*"c"/ : /"abc"/);
  });
}

test("a client that asks for token ids gets them", async () => {
  const { text } = await answered(whole, { stream: true, return_token_ids: true });
  expect(text).toContain('"token_ids":[21,22]');
  expect(text).toContain('"prompt_token_ids":[11,12,13]');
});

test("a pool that does not declare them is not asked: some engines refuse what they do not know", async () => {
  const { asked, record } = await answered(whole, {}, []);
  expect(Object.keys(JSON.parse(asked) as object).toSorted()).toEqual([
    "messages",
    "model",
    "stream",
    "stream_options",
  ]);
  expect(JSON.parse(asked)).toMatchObject({ stream_options: { include_usage: true } });
  expect(record?.idsOutput).toBeUndefined();
});

const incomplete: Readonly<Record<string, readonly unknown[]>> = {
  "come with a part of the text": [first, withIds("ab", [21, 22]), chunk({ content: "c" })],
  "never come": [first, chunk({ content: "ab" }), chunk({ content: "c" })],
  "are null": [first, withIds("ab", undefined)],
  "are no ids": [first, withIds("ab", [-1])],
};

for (const [name, said] of Object.entries(incomplete)) {
  test(`token ids that ${name} are no count`, async () => {
    const { record } = await answered([...said, chunk({}, "stop"), "[DONE]"]);
    expect(record?.idsOutput).toBeUndefined();
    expect(record?.idsDigest).toBeUndefined();
  });
}

test("the record says of which build the engine is, if that is all it says", async () => {
  const named = { ...first, system_fingerprint: "b11669-Debian" };
  const { record } = await answered([named, ...whole.slice(1)]);
  expect(record?.engineVersion).toBe("b11669-Debian");
  await gateway?.close();
  const talkative = { ...first, system_fingerprint: "a part of the answer" };
  const other = await answered([talkative, ...whole.slice(1)]);
  expect(other.record?.engineVersion).toBeUndefined();
});

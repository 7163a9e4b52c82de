import type { Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { owedBy, type CancelPolicy } from "../../services/core/settlement/terms/contract.ts";
import { settleCounts } from "../../services/core/settlement/counting/count-rule.ts";
import type { GatewayId } from "../../services/core/units.ts";
import type { CancelTerms } from "../../services/io/contract-terms.ts";
import { EngineCapability } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import {
  AttemptEnd,
  CancelCause,
  EngineCountSource,
  type UsageRecord,
} from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { toUsageRecord } from "../../services/wire/usage.ts";
import { contract } from "../core/settlement/fixtures.ts";
import { openTestGateway, put, putTerms, until, type TestGateway } from "./gateway-fixture.ts";
import { chunk, usageChunk, type PoolCall } from "./raw-pool.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

const words = 40;
const capabilities = [
  EngineCapability.CONTINUOUS_USAGE,
  EngineCapability.CACHE_REPORT,
  EngineCapability.REASONING_COUNT,
];

function terms(cancelPolicy: CancelPolicy, limit: Partial<CancelTerms["drainLimit"]> = {}) {
  const drainLimit = { seconds: 60, tokens: 100_000n, concurrent: 8, ...limit };
  return { cancelPolicy, drainLimit };
}

/** A pool that says `first` words, and the others once it is told. */
function talking(first: number) {
  const gate = Promise.withResolvers<void>();
  const closings: Promise<void>[] = [];
  const script = async (call: PoolCall): Promise<void> => {
    closings.push(call.closed);
    call.head();
    for (let word = 1; word <= first; word++) call.events(counted(word));
    await Promise.race([gate.promise, call.closed]);
    for (let word = first + 1; word <= words; word++) call.events(counted(word));
    call.events(chunk({}, "length"), usageChunk(7, words), "[DONE]");
    call.end();
  };
  return { script, goOn: () => gate.resolve(), closed: () => closings[0] };
}

function counted(word: number): object {
  const usage = { prompt_tokens: 7, completion_tokens: word, total_tokens: 7 + word };
  return { ...chunk({ content: "word" }), usage };
}

/** A client that is sent so many words, and then leaves. */
async function leaveAfter(count: number): Promise<void> {
  const { socket } = await gatewayOf().raw({ stream: true });
  await seen(socket, count);
  socket.destroy();
}

async function seen(socket: Socket, count: number): Promise<void> {
  let text = "";
  for await (const bytes of socket.iterator({ destroyOnReturn: false })) {
    text += String(bytes);
    if (text.split('"word"').length > count) return;
  }
}

function gatewayOf(): TestGateway {
  if (gateway === undefined) throw new Error("the gateway is open in every test");
  return gateway;
}

async function recordOf(): Promise<UsageRecord> {
  const [record] = (await gatewayOf().records(1)).values();
  if (record === undefined) throw new Error("expected a record, found none");
  return record;
}

/** What settlement makes of the record under a contract with this policy. */
function settled(record: UsageRecord, cancelPolicy: CancelPolicy) {
  const terms = contract({ cancelPolicy });
  const gatewayId = "gateway-1" as GatewayId;
  const usage = toUsageRecord({ ...record, gatewayId });
  return settleCounts(usage, { ...terms, owed: owedBy(terms) });
}

const moments: Readonly<Record<string, number>> = {
  "first word": 1,
  middle: 20,
  "last word": words,
};

for (const [moment, count] of Object.entries(moments)) {
  describe(`a client that leaves at the ${moment}`, () => {
    for (const policy of ["bill-generated", "no-bill"] as const) {
      test(`ends the pool's stream at once under ${policy}, and its last running count stands`, async () => {
        const pool = talking(count);
        gateway = await openTestGateway([pool.script], { capabilities, terms: terms(policy) });
        await leaveAfter(count);
        await pool.closed();
        const record = await recordOf();
        expect(record).toMatchObject({
          outcome: AttemptEnd.CLIENT_CANCEL,
          engSource: EngineCountSource.CONTINUOUS,
          engOutput: BigInt(count),
          outBytes: BigInt(count * 4),
          bytesAtCancel: BigInt(count * 4),
        });
        expect(record.cancelCause).toBeUndefined();
        const output = { "bill-generated": BigInt(count), "no-bill": 0n }[policy];
        expect(settled(record, policy)).toMatchObject({
          tokens: { response: output },
          sold: { response: output },
        });
        await until(() => gatewayOf().control.releases.length === 1);
      });
    }

    test("is drained under bill-full: the vendor gets all, the tenant pays until it left", async () => {
      const pool = talking(count);
      gateway = await openTestGateway([pool.script], { capabilities, terms: terms("bill-full") });
      await leaveAfter(count);
      await until(async () => (await drained()) === 1);
      expect(gatewayOf().control.releases).toEqual([]);
      pool.goOn();
      const record = await recordOf();
      expect(record).toMatchObject({
        outcome: AttemptEnd.CLIENT_CANCEL,
        engSource: EngineCountSource.FINAL,
        engOutput: BigInt(words),
        outBytes: BigInt(words * 4),
        bytesAtCancel: BigInt(count * 4),
        finishReason: "length",
      });
      expect(record.cancelCause).toBeUndefined();
      expect(settled(record, "bill-full")).toMatchObject({
        tokens: { response: BigInt(words) },
        sold: { uncachedInput: 7n, response: BigInt(count) },
      });
      await until(async () => (await drained()) === 0);
      await until(() => gatewayOf().control.releases.length === 1);
    });
  });
}

async function drained(): Promise<number> {
  const metric = gatewayOf().metrics.getSingleMetric("tokengrid_gateway_drained_streams");
  return (await metric?.get())?.values[0]?.value ?? NaN;
}

const limits: Readonly<Record<string, [Partial<CancelTerms["drainLimit"]>, goOn: boolean]>> = {
  "as many are drained as may be": [{ concurrent: 0 }, false],
  "the time is up": [{ seconds: 0 }, false],
  "the tokens are used up": [{ tokens: 10n }, true],
};

for (const [name, [limit, goOn]] of Object.entries(limits)) {
  test(`a drain ends where ${name}, and the record says so`, async () => {
    const pool = talking(5);
    gateway = await openTestGateway(
      [
        async (call) => {
          if (!goOn) return pool.script(call);
          // It goes on for ever.
          call.head();
          for (let word = 1; word <= 5; word++) call.events(counted(word));
          let word = 5;
          const more = setInterval(() => call.events(counted((word += 1))), 2);
          await call.closed;
          clearInterval(more);
        },
      ],
      { capabilities, terms: terms("bill-full", limit) },
    );
    await leaveAfter(5);
    const record = await recordOf();
    expect(record).toMatchObject({
      outcome: AttemptEnd.CLIENT_CANCEL,
      cancelCause: CancelCause.DRAIN_LIMIT,
      engSource: EngineCountSource.CONTINUOUS,
    });
    expect(settled(record, "bill-full")).toMatchObject({
      kind: "settled",
      sold: { uncachedInput: 7n },
    });
    expect(await drained()).toBe(0);
  });
}

test("a gateway that stops does not wait for what it drains, and records it", async () => {
  const pool = talking(5);
  gateway = await openTestGateway([pool.script], { capabilities, terms: terms("bill-full") });
  await leaveAfter(5);
  await until(async () => (await drained()) === 1);
  await gatewayOf().gateway.close();
  expect(await recordOf()).toMatchObject({
    outcome: AttemptEnd.CLIENT_CANCEL,
    cancelCause: CancelCause.DRAIN_LIMIT,
    engOutput: 5n,
  });
});

test("terms are followed as they change, and those that cannot be read change nothing", async () => {
  const pool = talking(5);
  gateway = await openTestGateway([pool.script, pool.script], { capabilities });
  await putTerms(gateway.registry, terms("bill-full"));
  await put(gateway.registry, "contract-terms", "vendor-1", "{}");
  await until(async () => {
    await leaveAfter(5);
    return (await drained()) > 0;
  });
  pool.goOn();
});

test("a client that leaves when all was said has a complete answer", async () => {
  const gate = Promise.withResolvers<void>();
  gateway = await openTestGateway(
    [
      async (call) => {
        call.head();
        call.events(counted(1), chunk({}, "stop"), usageChunk(7, 1), "[DONE]");
        await gate.promise;
        call.end();
      },
    ],
    { capabilities, terms: terms("bill-full") },
  );
  const { socket } = await gateway.raw({ stream: true });
  await seen(socket, 1);
  socket.destroy();
  gate.resolve();
  expect(await recordOf()).toMatchObject({ engSource: EngineCountSource.FINAL, engOutput: 1n });
  expect(settled(await recordOf(), "bill-full")).toMatchObject({ sold: { response: 1n } });
});

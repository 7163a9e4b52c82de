import { createRouterTransport } from "@connectrpc/connect";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { noTokens, type Tokens } from "../../services/core/settlement/counting/usage.ts";
import type { GatewayId, ModelId, RegionId, TenantId } from "../../services/core/units.ts";
import {
  QuotaKeeper,
  quotaLimits,
  type Refused,
  type Reservation,
  type SliceSource,
} from "../../services/gateway/quota.ts";
import { openSliceSource } from "../../services/gateway/slice-client.ts";
import { identityKey, localOperator } from "../../services/io/grpc-identity.ts";
import { openLog } from "../../services/io/log.ts";
import { serveQuota } from "../../services/settlement/packages/quota-rpc.ts";
import { Overage, PackageUnit } from "../../services/wire/gen/tokengrid/v1/package_pb.js";
import { openPackageServer } from "../settlement/package-server.ts";

const log = openLog({ role: "test", level: "silent" });
const model = "m" as ModelId;
const key = { tenant: "acme" as TenantId, department: "", project: "", scenario: "" };

/** Keepers over a real ledger, whose tenant has a package of so many tokens. */
async function opened(quantity: bigint, overage: Overage = Overage.STOP) {
  const server = await openPackageServer();
  onTestFinished(server.close);
  const { quota } = server;
  // Slices of the server last a ms; its clock and that of the keepers are set together.
  const clock = { now: () => Number(server.clock.nowUs) / 1_000 };
  const nowUs = () => server.clock.nowUs;
  const validityUs = 1_000_000_000n;
  const burn = { denominator: 1n, rates: [{ modelId: "*", numerator: 1n }] };
  const sold = { skuId: "s", version: 1n, unit: PackageUnit.TOKENS, quantity, priceNano: 7n };
  await server.clientOf().publishSku({ sku: { ...sold, validityUs, overage, burn } });
  await server.clientOf().purchase({ packageId: "p", tenantId: "acme", skuId: "s" });
  const transport = createRouterTransport((router) => serveQuota(router, { quota, nowUs }), {
    router: {
      requestGate: ({ values }) => {
        values.set(identityKey, localOperator);
      },
    },
  });
  const region = "r1" as RegionId;
  const keeperOf = (gateway: string): QuotaKeeper => {
    const source = openSliceSource({ transport, gateway: gateway as GatewayId, region });
    return new QuotaKeeper({ source, clock, log });
  };
  return { ...server, keeperOf };
}

function ask(promptTokens: bigint, outputTokensMax?: bigint) {
  return { model, promptTokens, outputTokensMax };
}

function used(tokens: bigint): Tokens {
  return { ...noTokens, response: tokens };
}

function reserved(answer: Reservation | Refused): Reservation {
  expect(answer).toMatchObject({ kind: "reserved" });
  return answer as Reservation;
}

test("a tenant that pays as it goes is not limited, and is asked about once in a while", async () => {
  const asked: string[] = [];
  const source: SliceSource = {
    acquire: async ({ key: of }) => {
      asked.push(of.tenant);
      return { kind: "unlimited" };
    },
    renew: async () => new Map(),
    giveBack: async () => undefined,
  };
  const clock = { time: 0, now: () => clock.time };
  const keeper = new QuotaKeeper({ source, clock, log });
  for (let index = 0; index < 5; index++) {
    reserved(await keeper.reserve(key, ask(1_000_000n))).settle(used(5n));
  }
  expect(asked.length).toBe(1);
  clock.time += quotaLimits.unlimitedMs;
  await keeper.reserve(key, ask(1n));
  expect(asked.length).toBe(2);
});

test("where nobody answers, who was unlimited goes on for a while, and who is unknown does not", async () => {
  let isUp = true;
  const source: SliceSource = {
    acquire: async () => {
      if (isUp) return { kind: "unlimited" };
      throw new Error("down");
    },
    renew: async () => new Map(),
    giveBack: async () => undefined,
  };
  const clock = { time: 0, now: () => clock.time };
  const keeper = new QuotaKeeper({ source, clock, log });
  await keeper.reserve(key, ask(1n));
  isUp = false;
  clock.time += quotaLimits.unlimitedMsMax - 1;
  expect(await keeper.reserve(key, ask(1n))).toMatchObject({ kind: "reserved" });
  const other = await keeper.reserve({ ...key, department: "new" }, ask(1n));
  expect(other).toMatchObject({ kind: "refused", cause: "unreachable" });
  clock.time += quotaLimits.refusedMs + 1;
  expect(await keeper.reserve(key, ask(1n))).toMatchObject({ cause: "unreachable" });
});

test("an answer is extended until the package is used up, and then ends", async () => {
  const { keeperOf, clientOf } = await opened(10_000n);
  const keeper = keeperOf("g1");
  const answer = reserved(await keeper.reserve(key, ask(100n)));
  expect([answer.needsMore(1n), answer.needsMore(1_900n)]).toEqual([false, true]);
  let output = 0n;
  let end: Refused | undefined;
  for (; end === undefined && output < 20_000n; output++) {
    if (answer.needsMore(output)) end = await answer.extend(output);
  }
  expect(end).toMatchObject({ kind: "refused", cause: "exhausted" });
  expect(output > 9_500n && output <= 9_900n).toBe(true);
  const [each] = (await clientOf().listPackages({})).packages;
  expect((each?.held ?? 0n) <= 10_000n).toBe(true);
  answer.settle(used(100n + output));
  answer.settle(used(100n + output));
});

test("the last of a package is enough for a short answer", async () => {
  const { keeperOf } = await opened(400n);
  const answer = reserved(await keeperOf("g1").reserve(key, ask(100n)));
  expect(answer.needsMore(200n)).toBe(false);
  expect(await answer.extend(250n)).toMatchObject({ kind: "refused" });
});

test("what is not used comes back to others, and a gateway that dies gives its slices back by itself", async () => {
  const { keeperOf, clientOf, clock, quota } = await opened(1_000n);
  const first = keeperOf("g1");
  reserved(await first.reserve(key, ask(100n, 500n))).settle(used(10n));
  const second = keeperOf("g2");
  expect(await second.reserve(key, ask(500n, 100n))).toMatchObject({ kind: "refused" });
  await first.close();
  clock.nowUs += BigInt(quotaLimits.refusedMs) * 1_000n;
  reserved(await second.reserve(key, ask(500n, 100n)));
  // The second one is gone without a word.
  clock.nowUs += 1_000n;
  await quota.sweep();
  const [each] = (await clientOf().listPackages({})).packages;
  expect(each).toMatchObject({ left: 1_000n, held: 0n });
});

interface Request {
  readonly gateway: number;
  readonly promptTokens: bigint;
  readonly outputTokens: bigint;
  readonly department: string;
  readonly end: "settle" | "crash" | "late";
}

const request: fc.Arbitrary<Request> = fc.record({
  gateway: fc.nat(2),
  promptTokens: fc.bigInt(0n, 400n),
  outputTokens: fc.bigInt(0n, 4_000n),
  department: fc.constantFrom("", "research"),
  end: fc.constantFrom("settle", "settle", "settle", "crash", "late"),
});

test("three gateways with deaths and late records: no more is used than was sold, and nothing stays held", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 40 }), async (requests) => {
      const server = await openPackageServer();
      const { keepers, sold, late } = await served(server, requests);
      for (const post of late) await post();
      for (const keeper of keepers) await keeper.close();
      const [each] = (await server.clientOf().listPackages({})).packages;
      const tokens = sold.reduce((sum, { amount }) => sum + amount, 0n);
      expect(each?.used).toBe(tokens);
      expect(sold.map(({ billedNano }) => billedNano)).toEqual(sold.map(() => 0n));
      server.clock.nowUs += 1_000_000n;
      await server.quota.sweep();
      const [after] = (await server.clientOf().listPackages({})).packages;
      expect(after).toMatchObject({ held: 0n, left: 20_000n - tokens });
      await server.close();
    }),
    { numRuns: 15 },
  );
}, 60_000);

type Server = Awaited<ReturnType<typeof openPackageServer>>;

/** Requests at once, as far as they are admitted; records come when they are settled, or at the end. */
async function served(server: Server, requests: readonly Request[]) {
  const { quota, sell } = server;
  const burn = { denominator: 1n, rates: [{ modelId: "*", numerator: 1n }] };
  const unit = { skuId: "s", version: 1n, unit: PackageUnit.TOKENS, quantity: 20_000n };
  const terms = { priceNano: 7n, validityUs: 10n ** 12n, overage: Overage.STOP, burn };
  await server.clientOf().publishSku({ sku: { ...unit, ...terms } });
  await server.clientOf().purchase({ packageId: "p", tenantId: "acme", skuId: "s" });
  const nowUs = () => server.clock.nowUs;
  const transport = createRouterTransport((router) => serveQuota(router, { quota, nowUs }), {
    router: { requestGate: ({ values }) => void values.set(identityKey, localOperator) },
  });
  const clock = { now: () => Number(server.clock.nowUs) / 1_000 };
  const keepers = ["g0", "g1", "g2"].map((gateway) => {
    const of = { transport, gateway: gateway as GatewayId, region: "r1" as RegionId };
    return new QuotaKeeper({ source: openSliceSource(of), clock, log });
  });
  const sold: { amount: bigint; billedNano: bigint }[] = [];
  const late: (() => Promise<void>)[] = [];
  await Promise.all(
    requests.map(async (each) => {
      const { promptTokens, outputTokens, department, end } = each;
      const keeper = keepers[each.gateway] ?? new QuotaKeeper({ source: noSource, clock, log });
      const answer = await keeper.reserve({ ...key, department }, ask(promptTokens));
      if (answer.kind === "refused") return;
      let output = 0n;
      for (; output < outputTokens; output += 16n) {
        if (answer.needsMore(output) && (await answer.extend(output)) !== undefined) break;
      }
      if (end === "crash") return;
      const tokens = promptTokens + output;
      answer.settle(used(tokens));
      const post = async (): Promise<void> => {
        const sale = await sell({ tokens, gateway: `g${each.gateway}`, department });
        const amount = sale.draws.reduce((sum, draw) => sum + draw.amount, 0n);
        sold.push({ amount, billedNano: sale.billedNano });
      };
      if (end === "late") late.push(post);
      else await post();
    }),
  );
  return { keepers, sold, late };
}

const noSource: SliceSource = {
  acquire: async () => ({ kind: "refused", reason: "none" }),
  renew: async () => new Map(),
  giveBack: async () => undefined,
};

import { expect, onTestFinished, test } from "vitest";
import {
  Admission,
  Overage,
  PackageUnit,
} from "../../../services/wire/gen/tokengrid/v1/package_pb.js";
import { openPackageServer } from "../package-server.ts";

async function opened(overage: Overage = Overage.STOP) {
  const server = await openPackageServer();
  onTestFinished(server.close);
  await server.clientOf().publishSku({
    sku: {
      ...{ skuId: "trial", version: 1n, unit: PackageUnit.TOKENS, quantity: 1_000n },
      ...{ priceNano: 1_000n, validityUs: 1_000_000n, overage, priority: 1 },
      burn: { denominator: 1n, rates: [{ modelId: "*", numerator: 1n }] },
    },
  });
  const bought = { packageId: "p1", tenantId: "acme", skuId: "trial" };
  await server.clientOf().purchase(bought);
  return { ...server, quota: server.quota, client: server.quotaOf() };
}

function ask(key: string, responseTokens: bigint, changes: { gatewayId?: string } = {}) {
  const who = { gatewayId: "g1", regionId: "r1", tenantId: "acme", modelId: "m" };
  return { ...who, key, responseTokens, ...changes };
}

async function left(server: Awaited<ReturnType<typeof opened>>) {
  const [each] = (await server.clientOf().listPackages({})).packages;
  return { left: each?.left, held: each?.held };
}

test("a slice is asked for twice and held once; what is beyond all that is free is refused", async () => {
  const server = await opened();
  const { client } = server;
  const first = await client.acquireSlice(ask("k1", 600n));
  expect(first).toMatchObject({ admission: Admission.GRANTED });
  expect(first.slices.map(({ units }) => units)).toEqual([600n]);
  expect(await client.acquireSlice(ask("k1", 600n))).toEqual(first);
  expect(await left(server)).toEqual({ left: 1_000n, held: 600n });
  const second = await client.acquireSlice(ask("k2", 401n, { gatewayId: "g2" }));
  expect(second).toMatchObject({
    admission: Admission.REFUSED,
    reason: "expected packages for 401 tokens of m, found none for 1 of them",
  });
});

test("a slice whose time is over is not granted again before it is swept", async () => {
  const server = await opened();
  const { client, clock } = server;
  const { slices } = await client.acquireSlice(ask("k1", 600n));
  clock.nowUs += 1_000n * (slices[0]?.ttlMs ?? 0n);
  expect(await client.acquireSlice(ask("k1", 600n))).toMatchObject({
    ...{ admission: Admission.REFUSED, slices: [] },
    reason: "expected a new key, found that of slices that have ended",
  });
});

test("what is better than the least is at most a quarter of what is free", async () => {
  const { client } = await opened();
  const granted = await client.acquireSlice({ ...ask("k1", 10n), times: 100 });
  expect(granted.slices[0]?.units).toBe(250n);
});

const unlimited = {
  "buys packages that go on as one goes": ["acme", Overage.PAYG],
  "never bought a package": ["nobody", Overage.STOP],
} as const;

for (const [name, [tenantId, overage]] of Object.entries(unlimited)) {
  test(`a tenant that ${name} is not limited`, async () => {
    const { client } = await opened(overage);
    const { admission } = await client.acquireSlice({ ...ask("k", 9_999n), tenantId });
    expect(admission).toBe(Admission.UNLIMITED);
  });
}

test("a tenant whose last package stops is stopped when it has ended, too", async () => {
  const { client, clock } = await opened();
  clock.nowUs += 2_000_000n;
  expect((await client.acquireSlice(ask("k", 1n))).admission).toBe(Admission.REFUSED);
});

test("a slice that is not renewed ends by the ledger's clock, and ends once", async () => {
  const server = await opened();
  const { client, clock, quota } = server;
  const { slices } = await client.acquireSlice(ask("k1", 600n));
  const sliceIds = slices.map(({ sliceId }) => sliceId);
  clock.nowUs += 900n;
  const renewed = await client.renewSlice({ gatewayId: "g1", sliceIds });
  expect(renewed.slices.map(({ ttlMs }) => ttlMs)).toEqual([1n]);
  expect((await client.renewSlice({ gatewayId: "g2", sliceIds })).slices).toEqual([]);
  clock.nowUs += 999n;
  expect(await quota.sweep()).toBe(0);
  clock.nowUs += 1n;
  expect([await quota.sweep(), await quota.sweep()]).toEqual([1, 0]);
  expect(await left(server)).toEqual({ left: 1_000n, held: 0n });
  expect((await client.renewSlice({ gatewayId: "g1", sliceIds })).slices).toEqual([]);
});

test("records draw on their gateway's slice; the rest comes back when it is returned, however often", async () => {
  const server = await opened();
  const { client, sell } = server;
  const { slices } = await client.acquireSlice(ask("k1", 600n));
  await client.acquireSlice(ask("k2", 400n, { gatewayId: "g2" }));
  const sale = await sell({ tokens: 250n });
  expect([sale.billedNano, sale.draws[0]?.held[0]?.amount]).toEqual([0n, 250n]);
  expect(await left(server)).toEqual({ left: 750n, held: 750n });
  const returned = slices.map(({ sliceId }) => ({ sliceId, used: 300n }));
  // Of 300 that were used the ledger has seen 250: 50 stay held for the records on their way.
  await client.returnSlice({ gatewayId: "g1", slices: returned });
  await client.returnSlice({ gatewayId: "g1", slices: returned });
  expect(await left(server)).toEqual({ left: 750n, held: 450n });
  await sell({ tokens: 50n });
  expect(await left(server)).toEqual({ left: 700n, held: 400n });
});

test("gateways together never hold more than there is, and records within their slices are never billed", async () => {
  const server = await opened();
  const { client, sell } = server;
  const asks = Array.from({ length: 40 }, (_, index) =>
    ask(`k${index}`, BigInt(20 + index), { gatewayId: `g${index % 3}` }),
  );
  const answers = await Promise.all(asks.map((each) => client.acquireSlice(each)));
  const granted = answers.flatMap(({ slices }, index) =>
    slices.map(({ units }) => ({ tokens: units, gateway: asks[index]?.gatewayId ?? "" })),
  );
  const units = granted.reduce((sum, { tokens }) => sum + tokens, 0n);
  expect(units <= 1_000n && units > 900n).toBe(true);
  const sales = await Promise.all(granted.map((each) => sell(each)));
  expect(sales.map(({ billedNano }) => billedNano)).toEqual(sales.map(() => 0n));
  expect(await left(server)).toEqual({ left: 1_000n - units, held: 0n });
});

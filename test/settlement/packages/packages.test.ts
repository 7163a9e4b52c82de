import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, onTestFinished, test } from "vitest";
import { reverseSaleEntries } from "../../../services/core/settlement/packages/sale-entries.ts";
import type { Identity } from "../../../services/io/grpc-identity.ts";
import {
  AllotmentMode,
  Overage,
  PackageUnit,
  type Sku,
  type TokenPackage,
} from "../../../services/wire/gen/tokengrid/v1/package_pb.js";
import { openPackageServer } from "../package-server.ts";

type SkuChanges = Partial<Pick<Sku, "version" | "priceNano">>;

async function opened(path?: string) {
  const server = await openPackageServer(path);
  onTestFinished(server.close);
  return server;
}

function sku(changes: SkuChanges = {}) {
  return {
    ...{ skuId: "pro", version: 1n, title: "professional", unit: PackageUnit.TOKENS },
    ...{ quantity: 1_000n, priceNano: 159_900_000_000n, validityUs: 100_000n },
    burn: { denominator: 1n, rates: [{ modelId: "*", numerator: 1n }] },
    ...{ overage: Overage.PAYG, priority: 1, refundPpm: 900_000 },
    ...changes,
  };
}

const bought = { packageId: "p1", tenantId: "acme", skuId: "pro" };

function sums({ quantity, used, refunded, expired, left, ...money }: TokenPackage): bigint[] {
  const { priceNano, releasedNano, refundedNano, breakageNano, prepaidNano } = money;
  return [
    quantity - used - refunded - expired - left,
    priceNano - releasedNano - refundedNano - breakageNano - prepaidNano,
  ];
}

async function codeOf(work: Promise<unknown>): Promise<Code | undefined> {
  const [end] = await Promise.allSettled([work]);
  return end.status === "rejected" ? ConnectError.from(end.reason).code : undefined;
}

test("a package is bought once, whoever asks how often", async () => {
  const { clientOf, store } = await opened();
  const client = clientOf();
  await client.publishSku({ sku: sku() });
  const both = await Promise.all([client.purchase(bought), client.purchase(bought)]);
  expect(both[0]).toEqual(both[1]);
  expect(both[0].package).toMatchObject({ quantity: 1_000n, left: 1_000n, skuVersion: 1n });
  expect((await store.entriesAfter(0n, 99)).length).toBe(2);
  const other = client.purchase({ ...bought, tenantId: "other" });
  await expect(other).rejects.toThrow("package_id: p1 is pro@1 of acme");
});

test("a sku's next version leaves what was sold as it was", async () => {
  const { clientOf } = await opened();
  const client = clientOf();
  await client.publishSku({ sku: sku() });
  await client.publishSku({ sku: sku() });
  await client.purchase(bought);
  await client.publishSku({ sku: sku({ version: 2n, priceNano: 1n }) });
  await client.purchase({ ...bought, packageId: "p2" });
  const { packages } = await client.listPackages({});
  expect(packages.map(({ priceNano }) => priceNano)).toEqual([159_900_000_000n, 1n]);
  expect((await client.listSkus({})).skus.map(({ version }) => version)).toEqual([2n]);
  const late = client.publishSku({ sku: sku({ version: 2n, priceNano: 2n }) });
  await expect(late).rejects.toThrow("version: expected 3, found 2");
});

test("used, refunded, expired and left add up, and a restart knows the same", async () => {
  const folder = mkdtempSync(join(tmpdir(), "packages-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "ledger.db");
  const first = await openPackageServer(path);
  const client = first.clientOf();
  await client.publishSku({ sku: sku() });
  await client.purchase(bought);
  await client.allocate({
    packageId: "p1",
    allocationId: "plan-1",
    allotments: [{ path: "research", mode: AllotmentMode.HARD, ppm: 333_333 }],
  });
  await first.sell({ tokens: 400n, department: "research" });
  const refund = await client.refund({ packageId: "p1", refundId: "r1", units: 100n });
  // A tenth of the value of 100 of 1,000 units is kept.
  expect(refund).toMatchObject({ refundNano: 14_391_000_000n, keptNano: 1_599_000_000n });
  expect(await client.refund({ packageId: "p1", refundId: "r1" })).toEqual(refund);
  first.clock.nowUs += 200_000n;
  expect(await first.packages.sweep()).toBe(1);
  expect(await first.packages.sweep()).toBe(0);
  const before = await client.listPackages({});
  const walletsBefore = await client.getWallets({});
  await first.close();
  const second = await opened(path);
  const [after] = (await second.clientOf().listPackages({})).packages;
  expect(await second.clientOf().listPackages({})).toEqual(before);
  expect(await second.clientOf().getWallets({})).toEqual(walletsBefore);
  expect(after && sums(after)).toEqual([0n, 0n]);
  expect(after).toMatchObject({ used: 333n, refunded: 100n, expired: 567n, prepaidNano: 0n });
  expect(walletsBefore.wallets.map(({ path: name, used }) => [name, used])).toEqual([
    ["", 0n],
    ["research", 333n],
  ]);
});

test("a refund of more than is free, and an allocation of it, are refused and change nothing", async () => {
  const { clientOf, sell } = await opened();
  const client = clientOf();
  await client.publishSku({ sku: sku() });
  await client.purchase(bought);
  await sell({ tokens: 950n });
  await expect(client.refund({ packageId: "p1", refundId: "r", units: 51n })).rejects.toThrow(
    "units: expected 1 to 50 that are free, found 51",
  );
  const allotments = [{ path: "a", mode: AllotmentMode.HARD, units: 51n }];
  const asked = { packageId: "p1", allocationId: "x", allotments };
  await expect(client.allocate(asked)).rejects.toThrow("at most 50 units that are free, found 51");
  expect((await client.listPackages({})).packages[0]).toMatchObject({ left: 50n, used: 950n });
});

test("a correction of an expired package's record expires what it gives back", async () => {
  const { clientOf, packages, sell, writer, clock, store } = await opened();
  await clientOf().publishSku({ sku: sku() });
  await clientOf().purchase(bought);
  const sale = await sell({ tokens: 10n });
  clock.nowUs += 200_000n;
  await packages.sweep();
  await writer.write(async () => {
    const entries = reverseSaleEntries(sale, "a1:1", clock.nowUs);
    return { change: { entries }, result: undefined };
  });
  expect(await packages.sweep()).toBe(1);
  const [each] = (await clientOf().listPackages({})).packages;
  expect(each).toMatchObject({ expired: 1_000n, left: 0n, prepaidNano: 0n, releasedNano: 0n });
  expect((await store.documents({ kind: "expiry" }, { afterSeq: 0n, limit: 9 })).length).toBe(2);
});

const callers: Readonly<Record<string, Identity>> = {
  tenant: { kind: "tenant", subject: "acme" },
  "another tenant": { kind: "tenant", subject: "other" },
  vendor: { kind: "vendor", subject: "acme" },
};

const rights: Readonly<Record<string, readonly (readonly [string, Code | undefined])[]>> = {
  tenant: [
    ["list", undefined],
    ["wallets", undefined],
    ["purchase", Code.PermissionDenied],
    ["acquire", Code.PermissionDenied],
  ],
  "another tenant": [
    ["list", Code.PermissionDenied],
    ["wallets", Code.PermissionDenied],
  ],
  vendor: [
    ["list", Code.PermissionDenied],
    ["skus", Code.PermissionDenied],
  ],
};

for (const [name, expected] of Object.entries(rights)) {
  test(`the key of a ${name} opens what it should`, async () => {
    const { clientOf, quotaOf } = await opened();
    await clientOf().publishSku({ sku: sku() });
    await clientOf().purchase(bought);
    const caller = callers[name];
    const [client, quota] = [clientOf(caller), quotaOf(caller)];
    const slice = { gatewayId: "g", regionId: "r", key: "k", tenantId: "acme", modelId: "m" };
    const calls: Readonly<Record<string, () => Promise<unknown>>> = {
      list: () => client.listPackages({ tenantId: "acme" }),
      wallets: () => client.getWallets({ tenantId: "acme" }),
      skus: () => client.listSkus({}),
      purchase: () => client.purchase({ ...bought, packageId: "p2" }),
      acquire: () => quota.acquireSlice(slice),
    };
    const found: [string, Code | undefined][] = [];
    for (const [call] of expected) {
      found.push([call, await codeOf(calls[call]?.() ?? Promise.resolve())]);
    }
    expect(found).toEqual(expected);
  });
}

test("a tenant that asks for all sees its own alone", async () => {
  const { clientOf } = await opened();
  await clientOf().publishSku({ sku: sku() });
  await clientOf().purchase(bought);
  await clientOf().purchase({ ...bought, packageId: "p2", tenantId: "other" });
  const own = clientOf(callers["another tenant"]);
  expect((await own.listPackages({})).packages.map(({ packageId }) => packageId)).toEqual(["p2"]);
  expect((await own.getWallets({})).wallets.map(({ packageId }) => packageId)).toEqual(["p2"]);
});

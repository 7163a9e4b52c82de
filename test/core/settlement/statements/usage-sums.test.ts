import { describe, expect, test } from "vitest";
import type {
  Consumption,
  ConsumptionKey,
} from "../../../../services/core/settlement/ledger/posting.ts";
import {
  marginNano,
  usageDimensions,
  UsageSums,
  type Places,
  type UsageDimension,
} from "../../../../services/core/settlement/statements/usage-sums.ts";
import { noTokens } from "../../../../services/core/settlement/counting/usage.ts";
import type {
  HubId,
  ModelId,
  PoolId,
  RegionId,
  TenantId,
  VendorId,
} from "../../../../services/core/units.ts";
import { friday } from "../fixtures.ts";

const vendors = new Map([
  ["p1" as PoolId, "northgrid" as VendorId],
  ["p2" as PoolId, "southgrid" as VendorId],
]);
const hubs = new Map([["zhongwei" as RegionId, "Ningxia" as HubId]]);
const places: Places = {
  vendorOf: (pool) => vendors.get(pool),
  hubOf: (region) => hubs.get(region),
};

function key(changes: Partial<Record<keyof ConsumptionKey, string | bigint>> = {}): ConsumptionKey {
  return {
    ...{ tenant: "acme" as TenantId, department: "research", project: "x", scenario: "chat" },
    ...{ hourUs: friday, model: "qwen" as ModelId, pool: "p1" as PoolId },
    region: "zhongwei" as RegionId,
    ...changes,
  } as ConsumptionKey;
}

const used: Consumption = {
  ...{ requests: 2n, tokens: { ...noTokens, response: 10n }, saleNano: 100n, coveredNano: 40n },
  ...{ billedNano: 60n, releasedNano: 30n, costNano: 70n },
};

const rows: readonly ConsumptionKey[] = [
  key(),
  key({ pool: "p2", region: "elsewhere" }),
  key({ department: "sales", hourUs: friday + 3_600_000_000n }),
  key({ tenant: "other", department: "", hourUs: friday + 86_400_000_000n }),
];

/** Keys of the rows that come out, with their requests. */
const expected: Record<UsageDimension, readonly (readonly [string, bigint])[]> = {
  tenant: [
    ["acme", 6n],
    ["other", 2n],
  ],
  department: [
    ["", 2n],
    ["research", 4n],
    ["sales", 2n],
  ],
  project: [["x", 8n]],
  scenario: [["chat", 8n]],
  model: [["qwen", 8n]],
  pool: [
    ["p1", 6n],
    ["p2", 2n],
  ],
  region: [
    ["elsewhere", 2n],
    ["zhongwei", 6n],
  ],
  hub: [
    ["", 2n],
    ["Ningxia", 6n],
  ],
  vendor: [
    ["northgrid", 6n],
    ["southgrid", 2n],
  ],
  hour: [
    ["2026-11-20T14", 4n],
    ["2026-11-20T15", 2n],
    ["2026-11-21T14", 2n],
  ],
  day: [
    ["2026-11-20", 6n],
    ["2026-11-21", 2n],
  ],
  month: [["2026-11", 8n]],
};

function summed(dimensions: readonly UsageDimension[]) {
  const sums = new UsageSums(dimensions, { places, timeZone: "Asia/Shanghai" });
  for (const row of rows) sums.add(row, used);
  return sums.rows;
}

describe("UsageSums", () => {
  for (const [dimension, found] of Object.entries(expected)) {
    test(`adds up by ${dimension}`, () => {
      const sums = summed([dimension as UsageDimension]);
      expect(sums.map(({ keys, requests }) => [keys[0], requests])).toEqual(found);
    });
  }

  test("every dimension has a case above", () => {
    expect(Object.keys(expected)).toEqual(Object.keys(usageDimensions));
  });

  test("adds up by several, and by none to one row with all of it", () => {
    expect(summed(["tenant", "pool"]).map(({ keys }) => keys.join(" "))).toEqual([
      "acme p1",
      "acme p2",
      "other p1",
    ]);
    const [all, ...more] = summed([]);
    expect(all).toMatchObject({
      ...{ keys: [], requests: 8n, saleNano: 400n, coveredNano: 160n, billedNano: 240n },
      ...{ releasedNano: 120n, costNano: 280n, tokens: { response: 40n } },
    });
    expect([more, all && marginNano(all)]).toEqual([[], 80n]);
  });
});

import { hash } from "node:crypto";
import { expect, test } from "vitest";
import { focusFile } from "../../services/cli/focus-file.ts";
import { type Account, closeStatement } from "../../services/core/settlement/statement.ts";
import type { ModelId, PoolId, RegionId, VendorId } from "../../services/core/units.ts";
import type { Statement } from "../../services/wire/gen/tokengrid/v1/settlement_pb.js";
import { fromStatement } from "../../services/wire/settlement.ts";

const sha256 = (text: string): string => hash("sha256", text, "hex");
const fromUs = BigInt(Date.UTC(2026, 10, 20, 16)) * 1_000n;

/** Of one vendor and day, with one line that costs 2 yuan per million tokens. */
function statement(vendor: string): Statement {
  const tokens = 8_400_000n;
  const account: Account = {
    vendor: vendor as VendorId,
    period: { fromUs, toUs: fromUs + 86_400_000_000n, timeZone: "Asia/Shanghai" },
    hours: [
      {
        key: {
          vendor: vendor as VendorId,
          hourUs: fromUs,
          line: `${vendor}:1:deepseek-v3/uncachedInput/any/1`,
          pool: "west-ningxia-1" as PoolId,
          region: "zhongwei" as RegionId,
        },
        total: {
          model: "deepseek-v3" as ModelId,
          tokenClass: "uncachedInput",
          slot: "any",
          tokens,
          pico: tokens * 2_000_000n + 1n,
          amountNano: tokens * 2_000n,
          attempts: 3n,
        },
      },
    ],
    attempts: 3n,
    quarantined: 0n,
    contractHash: sha256(""),
    hashByVersion: new Map([[`${vendor}@1`, sha256("")]]),
  };
  return fromStatement(closeStatement(account, undefined, sha256));
}

test("focusFile() has the rows of all statements under one header", () => {
  const [header = "", ...rows] = focusFile([statement("a"), statement("b")])
    .trimEnd()
    .split("\r\n");
  const names = header.split(",");
  const column = (name: string) => rows.map((row) => row.split(",")[names.indexOf(name)]);
  expect(column("HostProviderName")).toEqual(["a", "b"]);
  expect(column("ConsumedQuantity")).toEqual(["8400000.0", "8400000.0"]);
  expect(column("PricingQuantity")).toEqual(["8.4", "8.4"]);
  expect(column("BilledCost")).toEqual(["16.8", "16.8"]);
  expect(column("RegionId")).toEqual(["zhongwei", "zhongwei"]);
});

test("focusFile() of nothing is a header", () => {
  expect(focusFile([])).toMatch(/^BilledCost,.*\r\n$/);
});

test("focusFile() refuses a statement whose digest is not of its text", () => {
  expect(() => focusFile([{ ...statement("a"), digest: sha256("other") }])).toThrow("digest");
});

import { expect, test } from "vitest";
import { focusCsv } from "../../services/cli/focus.ts";
import { statement } from "./fixtures.ts";

const regions = new Map([["west-ningxia-1", "zhongwei"]]);

function rowsOf(csv: string): Record<string, string>[] {
  const [header = "", ...lines] = csv.trimEnd().split("\r\n");
  const names = header.split(",");
  return lines.map((line) => {
    const cells = line.split(",");
    return Object.fromEntries(names.map((name, index) => [name, cells[index] ?? ""]));
  });
}

test("focusCsv() reads as it did", async () => {
  await expect(focusCsv([statement()], regions)).toMatchFileSnapshot("../golden/cli/focus.csv");
});

test("focusCsv() has costs that add up to what is payable, exactly", () => {
  const costsNano = rowsOf(focusCsv([statement()], regions)).map(({ BilledCost = "" }) =>
    BigInt(BilledCost.replace(".", "")),
  );
  expect(costsNano.reduce((sum, nano) => sum + nano, 0n)).toBe(1_681n * 10_000_000n);
});

test("focusCsv() counts 8,400,000 tokens as 8.4 units of a million", () => {
  const [first] = rowsOf(focusCsv([statement()], regions));
  expect(first).toMatchObject({
    ConsumedQuantity: "8400000.0",
    ConsumedUnit: "Tokens",
    PricingQuantity: "8.400000",
    PricingUnit: "1000000 Tokens",
    ContractedUnitPrice: "2.000000",
    RegionId: "zhongwei",
    SkuMeter: "uncachedInput",
  });
});

test("focusCsv() gives no unit price where tiers make it none", () => {
  const [, second] = rowsOf(focusCsv([statement()], regions));
  expect(second).toMatchObject({ ContractedUnitPrice: "", BilledCost: "0.007208000" });
});

test("focusCsv() of a later revision is a correction", () => {
  const [row] = rowsOf(focusCsv([statement({ rev: 2 })], regions));
  expect(row).toMatchObject({ ChargeClass: "Correction" });
});

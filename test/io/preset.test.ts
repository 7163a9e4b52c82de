import { expect, test } from "vitest";
import { checkPrices } from "../../services/core/settlement/pricing/price-check.ts";
import { slotAt } from "../../services/core/settlement/pricing/calendar.ts";
import type { BookId, ModelId, OriginId, RegionId, VendorId } from "../../services/core/units.ts";
import { presetPriceBooks, toPico, type BookOrder } from "../../services/io/preset-prices.ts";
import { loadCalendar, loadEngineProfiles, loadGeography } from "../../services/io/preset.ts";

const geography = loadGeography();

test("the map has ten clusters, 31 cities and a round trip between every two", () => {
  expect(geography.regions.size).toBe(10);
  expect(geography.origins.size).toBe(31);
  for (const row of geography.roundTripMsPrior.values()) expect(row.size).toBe(10);
  expect(geography.roundTripMsPrior.size).toBe(31);
  const beijing = geography.roundTripMsPrior.get("beijing" as OriginId);
  expect(beijing?.get("zhangjiakou" as RegionId)).toBe(2.4);
});

test("every region is of a demand area, and four of them are supply hubs", () => {
  const regions = [...geography.regions.values()];
  expect(
    regions.filter(({ policyRole }) => policyRole === "supply-hub").map(({ id }) => id),
  ).toEqual(["guian", "horinger", "qingyang", "zhongwei"]);
  const areas = new Set([...geography.origins.values()].map(({ demandArea }) => demandArea));
  for (const { demandAreas } of regions) {
    expect(demandAreas.size).toBe(1);
    expect([...demandAreas].every((area) => areas.has(area))).toBe(true);
  }
});

test("Chengdu-Chongqing lies west and is a demand hub", () => {
  const tianfu = geography.regions.get("tianfu" as RegionId);
  expect([tianfu?.side, tianfu?.policyRole]).toEqual(["west", "demand-hub"]);
});

/** Region, local hour, price of power in nano-CNY per kWh. */
const power: readonly (readonly [string, number, number])[] = [
  ["shaoguan", 0, 198_000_000],
  ["shaoguan", 7, 198_000_000],
  ["shaoguan", 8, 521_000_000],
  ["shaoguan", 10, 886_000_000],
  ["zhongwei", 12, 180_000_000],
  ["zhongwei", 22, 540_000_000],
  ["zhongwei", 23, 360_000_000],
  ["horinger", 12, 380_000_000],
];

for (const [region, hour, expected] of power) {
  test(`power at ${region} from ${hour}:00 costs ${expected} nano per kWh`, () => {
    const { powerNanoPerKwhByHour = [] } = geography.regions.get(region as RegionId) ?? {};
    expect(powerNanoPerKwhByHour.length).toBe(24);
    expect(powerNanoPerKwhByHour[hour]).toBe(expected);
  });
}

test("an engine row with an unknown coefficient is left out, not taken as 0", () => {
  const rows = loadEngineProfiles();
  expect([...rows.keys()]).not.toContain("qwen3-235b-a22b-fp8/4xH100-80G/TP4");
  expect(rows.get("llama-3.3-70b-fp8/2xH100-80G/TP2")?.profile.stepBaseMs).toBe(18.5);
});

/** Decimal text of CNY per million tokens → pico-CNY per token. */
const prices: readonly (readonly [string, bigint | undefined])[] = [
  ["0.04", 40_000n],
  ["9", 9_000_000n],
  ["13.5", 13_500_000n],
  ["0.000001", 1n],
  ["0.0000001", undefined],
  ["1e-7", undefined],
  ["-1", undefined],
  ["", undefined],
];

for (const [text, pico] of prices) {
  test(`toPico() of "${text}" is ${pico}`, () => {
    expect(toPico(text)).toBe(pico);
  });
}

function order(changes: Partial<BookOrder> = {}): BookOrder {
  return {
    book: "b" as BookId,
    vendor: "v" as VendorId,
    timeOfUse: "deepseek",
    effectiveFromUs: 1n,
    offers: [deepseek()],
    ...changes,
  };
}

function deepseek(discountPpm = 0): BookOrder["offers"][number] {
  const list = { model: "deepseek-v4-pro (0813)", vendor: "DeepSeek" };
  return { model: "deepseek-v4-pro" as ModelId, list, discountPpm };
}

test("a discount is exact to the pico", () => {
  const [book] = presetPriceBooks([order({ offers: [deepseek(70_000)] })]);
  const line = book?.lines.find(({ id }) => id === "deepseek-v4-pro/cacheRead/off-peak/2");
  expect(line?.tiers).toEqual([{ fromTokens: 0n, pricePicoPerToken: 139_500n }]);
});

const wrong: readonly (readonly [name: string, changes: Partial<BookOrder>, message: string])[] = [
  [
    "an offer without a list price",
    { offers: [{ ...deepseek(), list: { model: "x", vendor: "y" } }] },
    "no list price of x of y",
  ],
  ["peak prices without peak hours", { timeOfUse: "none" }, "the book has no such hours"],
  ["a discount that leaves a part of a pico", { offers: [deepseek(1)] }, "is no whole pico-CNY"],
];

for (const [name, changes, message] of wrong) {
  test(`presetPriceBooks() refuses ${name}`, () => {
    expect(() => presetPriceBooks([order(changes)])).toThrow(message);
  });
}

/** Local time at Shanghai → slot of DeepSeek's book. */
const slots: readonly (readonly [when: string, slot: string])[] = [
  ["2026-11-20T08:59:59+08:00", "off-peak"],
  ["2026-11-20T09:00:00+08:00", "peak"],
  ["2026-11-20T12:00:00+08:00", "off-peak"],
  ["2026-11-20T17:59:59+08:00", "peak"],
  ["2026-11-20T18:00:00+08:00", "off-peak"],
  ["2026-11-21T10:00:00+08:00", "off-peak"],
  ["2026-10-01T10:00:00+08:00", "off-peak"],
  ["2026-10-08T10:00:00+08:00", "peak"],
  ["2026-10-10T10:00:00+08:00", "off-peak"],
];

for (const [when, slot] of slots) {
  test(`DeepSeek's price at ${when} is ${slot}`, () => {
    const [book] = presetPriceBooks([order()]);
    const us = BigInt(Date.parse(when)) * 1_000n;
    expect(book === undefined ? undefined : slotAt(book, us)).toBe(slot);
  });
}

test("the calendar of 2026 has 33 holidays and 6 make-up days, all of these on weekends", () => {
  const { kindByDate, coversToUs, offsetMinutes } = loadCalendar();
  const of = (kind: string): string[] =>
    [...kindByDate].filter(([, each]) => each === kind).map(([date]) => date);
  expect([of("holiday").length, of("makeup").length]).toEqual([33, 6]);
  expect(of("makeup").every((date) => [0, 6].includes(new Date(date).getUTCDay()))).toBe(true);
  expect(offsetMinutes).toBe(480);
  expect(coversToUs).toBe(BigInt(Date.parse("2027-01-01T00:00:00+08:00")) * 1_000n);
});

test("a book of every kind of list covers each length and hour exactly once", () => {
  const list = (model: string, vendor: string) => ({
    model: model as ModelId,
    list: { model, vendor },
    discountPpm: 0,
  });
  const books = presetPriceBooks([
    order(),
    order({
      timeOfUse: "bailian",
      offers: [list("deepseek-v4-pro-0813 (resold)", "Alibaba Bailian")],
    }),
    order({ offers: [list("glm-4.6", "Zhipu"), list("qwen3-max", "Alibaba Qwen")] }),
  ]);
  for (const book of books) expect(checkPrices(book)).toEqual([]);
});

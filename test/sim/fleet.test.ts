import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { batchMax, requestsPerMsMax } from "../../services/core/engine.ts";
import { checkPrices } from "../../services/core/settlement/pricing/price-check.ts";
import { loadGeography } from "../../services/io/preset.ts";
import { loadFleet, presetFleetPath } from "../../services/sim/fleet.ts";

const fleet = loadFleet();
const folder = mkdtempSync(join(tmpdir(), "tokengrid-fleet-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("the fleet has pools of at least four vendors on all ten clusters", () => {
  const regions = new Set(fleet.pools.map(({ registration }) => registration.region));
  expect(regions).toEqual(new Set(loadGeography().regions.keys()));
  const vendors = new Set(fleet.pools.map(({ registration }) => registration.vendor));
  expect(vendors.size).toBeGreaterThanOrEqual(4);
  expect(vendors).toEqual(new Set(fleet.vendors.map(({ id }) => id)));
});

test("pool ids are unique, and say where the pool stands", () => {
  const { regions } = loadGeography();
  const ids = fleet.pools.map(({ registration }) => registration.id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { registration } of fleet.pools) {
    const side = regions.get(registration.region)?.side ?? "";
    expect(registration.id.startsWith(`${side}-`)).toBe(true);
  }
});

test("at least four models have several vendors each, at unlike prices", () => {
  const vendorsByModel = new Map<string, Set<string>>();
  for (const { registration } of fleet.pools) {
    for (const { model } of registration.models) {
      const vendors = vendorsByModel.get(model) ?? new Set();
      vendorsByModel.set(model, vendors.add(registration.vendor));
    }
  }
  expect(vendorsByModel.size).toBeGreaterThanOrEqual(4);
  for (const [model, vendors] of vendorsByModel) {
    expect(vendors.size).toBeGreaterThanOrEqual(2);
    const first = [...vendors].map((vendor) =>
      fleet.priceBooks
        .find((book) => book.vendor === vendor)
        ?.lines.find((line) => line.model === model)
        ?.tiers[0]?.pricePicoPerToken.toString(),
    );
    expect(new Set(first).size).toBe(vendors.size);
  }
});

test("every price book covers every length and hour exactly once", () => {
  for (const book of fleet.priceBooks) expect(checkPrices(book)).toEqual([]);
});

test("the hardware is unlike, and every quality of coefficients is there", () => {
  const engines = fleet.pools.flatMap((pool) => [...pool.engines.values()]);
  expect(new Set(engines.map(({ quality }) => quality))).toEqual(
    new Set(["fit", "derived", "roofline"]),
  );
  expect(new Set(engines.map(({ profile }) => profile.stepBaseMs)).size).toBeGreaterThan(4);
  expect(engines.every(({ standsFor }) => standsFor.length > 0)).toBe(true);
});

test("the conversation trace at speed 4 takes 35 to 60 % of what sim-chat can do", () => {
  const chat = fleet.aliases.get("sim-chat");
  const shape = {
    uncachedTokens: 1_155,
    promptTokens: 1_155,
    outputTokens: 211,
    outputTokensMax: 211,
  };
  const perS = fleet.pools
    .flatMap((pool) => [...pool.engines].filter(([model]) => model === chat))
    .map(([, { profile, replicas }]) => {
      expect(batchMax(profile, shape)).toBe(profile.sequencesMax);
      return requestsPerMsMax(profile, shape) * replicas * 1_000;
    })
    .reduce((sum, each) => sum + each, 0);
  expect((4 * 5.53) / perS).toBeGreaterThan(0.35);
  expect((4 * 5.53) / perS).toBeLessThan(0.6);
});

/** A name in the file that nothing defines, and what is said of it. */
const mistakes: readonly (readonly [from: string, to: string, message: string])[] = [
  [
    "vendor: qilian\n    region",
    "vendor: nobody\n    region",
    "west-ningxia-1: unknown vendor nobody",
  ],
  ["engine: h100x2-dense", "engine: h100x3", "east-bth-1: unknown engine h100x3"],
  ["sim-chat: qwen3.6-plus", "sim-chat: qwen9", "aliases.sim-chat: unknown model qwen9"],
  ["row: qwen2.5-72b-bf16/4xA100-80G/TP4", "row: x", "engines.a100x4-dense: expected a whole row"],
  ["engine: h100x2-dense", "engine: h100x8-moe", "east-bth-1: expected one kind of node"],
  ["mlpsLevel: 4", "mlpsLevel: 6", "pools[10].mlpsLevel"],
  ["mlpsLevel: 4", "mlpsLevl: 4", "mlpsLevl"],
];

for (const [from, to, message] of mistakes) {
  test(`loadFleet() says what is wrong with "${to.replaceAll(/\s+/g, " ")}"`, () => {
    const text = readFileSync(presetFleetPath, "utf8");
    expect(text).toContain(from);
    const path = join(folder, "fleet.yaml");
    writeFileSync(path, text.replace(from, to));
    expect(() => loadFleet(path)).toThrow(message);
  });
}

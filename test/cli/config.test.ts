import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import { configSchema as agent } from "../../services/agent/main.ts";
import { configSchema as control } from "../../services/control/main.ts";
import { configSchema as gateway } from "../../services/gateway/main.ts";
import { checkPriceBook } from "../../services/core/settlement/pricing/price-check.ts";
import { readMessage, readText } from "../../services/cli/document.ts";
import { checked, ConfigError, readConfig } from "../../services/io/config.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { parseTerms } from "../../services/io/terms-file.ts";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { toPriceBook } from "../../services/wire/price.ts";
import { configSchema as settlement } from "../../services/settlement/main.ts";
import { configSchema as sim } from "../../services/sim/main.ts";

const folder = "deploy/config";
const priceBook = "price-book";

const schemas: Readonly<Record<string, z.ZodType>> = { agent, control, gateway, settlement, sim };

for (const [role, schema] of Object.entries(schemas)) {
  test(`${folder}/${role}.yaml is a valid example`, () => {
    expect(readConfig(`${folder}/${role}.yaml`, schema)).toBeTypeOf("object");
  });

  test(`a ${role} whose file says nothing of its log tells what is worth knowing`, () => {
    const file = `${folder}/${role}.yaml`;
    const { logLevel: _logLevel, ...others } = readConfig(file, z.looseObject({}));
    expect(checked(file, others, schema)).toMatchObject({ logLevel: "info" });
  });
}

test("the example of a price book can be published as it stands", () => {
  const message = readMessage(`${folder}/${priceBook}.yaml`, PriceBookSchema);
  const calendar = loadCalendar();
  const book = toPriceBook(message, (id) => (id === calendar.id ? calendar : undefined));
  expect(checkPriceBook(book)).toEqual([]);
});

/** Examples of what parties agree on, by what a file without a type is. */
const terms = {
  contract: "contract",
  "sell-book": "price_version",
  "split-rule": "split_rule",
} as const;

for (const [name, type] of Object.entries(terms)) {
  test(`${folder}/${name}.yaml is terms that can be proposed as they stand`, () => {
    const parsed = parseTerms(readText(`${folder}/${name}.yaml`), type);
    expect("mistakes" in parsed ? parsed.mistakes : []).toEqual([]);
  });
}

test("a gateway stands in a city that is on the map", () => {
  expect(() => checked("gateway.yaml", { origin: "atlantis" }, gateway)).toThrow(
    "origin: expected the id of a city, found atlantis",
  );
});

test("a file that is not there is the world's fault, one that cannot be read its writer's", () => {
  expect(() => readConfig("/nowhere.yaml", agent)).toThrow(/^ENOENT/);
  expect(() => readConfig("README.md", agent)).toThrow(ConfigError);
});

test("every role has an example, and every example a role", () => {
  expect(
    readdirSync(folder)
      .map((file) => basename(file, ".yaml"))
      .toSorted(),
  ).toEqual([...Object.keys(schemas), priceBook, ...Object.keys(terms)].toSorted());
});

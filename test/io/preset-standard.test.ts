import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { canonicalJson } from "../../services/core/settlement/canonical.ts";
import { standardTableShape } from "../../services/core/settlement/terms/other-shapes.ts";
import {
  checkStandardTable,
  exactStandard,
  standardBurn,
} from "../../services/core/settlement/pricing/standard-token.ts";
import { noTokens } from "../../services/core/settlement/counting/usage.ts";
import type { ModelId } from "../../services/core/units.ts";
import { presetStandardTable } from "../../services/io/preset-standard.ts";
import { parseTerms } from "../../services/io/terms-file.ts";

const table = presetStandardTable();

test("the shipped table is what its formula makes of the list prices", () => {
  const parsed = parseTerms(readFileSync("deploy/preset/standard-tokens.yaml", "utf8"), "contract");
  expect(parsed).toMatchObject({
    kind: "standard-tokens",
    text: canonicalJson(standardTableShape.write(table)),
  });
});

test("a standard token is what costs 1 CNY per million: peak DeepSeek V4 Pro at 9, 0.3 and 27", () => {
  const model = "deepseek-v4-pro" as ModelId;
  const tokens = { ...noTokens, uncachedInput: 10n, cacheRead: 10n, response: 10n };
  const exact = exactStandard(table, model, tokens);
  expect(checkStandardTable(table)).toEqual([]);
  expect(exact && exact.num * 1_000n === exact.den * 363_000n).toBe(true);
});

test("packages burn it with one denominator", () => {
  const { den, rates } = standardBurn(table);
  expect(rates.length).toBe(table.rows.length);
  expect(1_000_000n % den).toBe(0n);
});

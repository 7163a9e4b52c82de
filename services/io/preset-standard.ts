import { z } from "zod";
import type { StandardRow, StandardTable } from "../core/settlement/pricing/standard-token.ts";
import { tokenClasses, type TokenClass } from "../core/settlement/counting/usage.ts";
import type { ModelId } from "../core/units.ts";
import { ConfigError } from "./config.ts";
import { toPico } from "./preset-prices.ts";
import { presetPath, readPreset } from "./preset.ts";

const pricesFile = "token-prices.json";

const pricesSchema = z.array(
  z.object({
    model: z.string(),
    currency: z.string(),
    input: z.number().positive(),
    cached_input: z.number().positive().nullable(),
    cache_write: z.number().positive().optional(),
    output: z.number().positive(),
  }),
);

type ListPrice = z.output<typeof pricesSchema>[number];

const listPrices: Readonly<Record<TokenClass, (row: ListPrice) => number>> = {
  uncachedInput: ({ input }) => input,
  cacheRead: ({ cached_input, input }) => cached_input ?? input,
  cacheWrite: ({ cache_write, input }) => cache_write ?? input,
  response: ({ output }) => output,
  reasoning: ({ output }) => output,
};

/** What a standard token costs, in pico-CNY: 1 CNY per million. */
const picoPerStandardToken = 1_000_000n;

const formula =
  "Standard tokens of a token = its list price in CNY per million tokens, so that a standard token is what costs 1 CNY per " +
  "million; of a model with several list prices the dearest of each class. A cached input or cache write without a price " +
  "costs what other input costs, reasoning costs what a response costs. List prices of deploy/preset/token-prices.json; " +
  "the unit is a choice of the house.";

/** The table by relative list price that comes with the product: exact, one row for each class of each model with a price in CNY. */
export function presetStandardTable(): StandardTable {
  const prices = readPreset(pricesFile, pricesSchema).filter(({ currency }) => currency === "CNY");
  const rowsByModel = Map.groupBy(prices, ({ model }) => modelOf(model));
  const rows = [...rowsByModel]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([model, listed]) =>
      tokenClasses.map((tokenClass): StandardRow => {
        const pico = listed.map((row) => picoOf(row, tokenClass)).reduce((a, b) => (a > b ? a : b));
        return { model, tokenClass, ...reduced(pico, picoPerStandardToken) };
      }),
    );
  return {
    id: "standard",
    version: 1n,
    effectiveFromUs: 1_735_660_800_000_000n,
    effectiveToUs: undefined,
    basis: "relative-price",
    source: formula,
    rows,
  };
}

/** `deepseek-v4-pro (0813)` is a release of `deepseek-v4-pro`. */
function modelOf(listed: string): ModelId {
  return listed.replace(/ \(.*$/, "") as ModelId;
}

function picoOf(row: ListPrice, tokenClass: TokenClass): bigint {
  // The shortest text of a double is what the file says; no arithmetic is done on the double.
  const text = String(listPrices[tokenClass](row));
  const pico = toPico(text);
  if (pico !== undefined) return pico;
  throw new ConfigError(presetPath(pricesFile), [
    `${row.model}: ${text} is no whole number of pico-CNY`,
  ]);
}

function reduced(num: bigint, den: bigint): { readonly num: bigint; readonly den: bigint } {
  let [a, b] = [num, den];
  while (b !== 0n) [a, b] = [b, a % b];
  return { num: num / a, den: den / a };
}

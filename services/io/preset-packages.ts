import { z } from "zod";
import type { BurnBook, BurnRate, Sku } from "../core/settlement/packages/token-package.ts";
import { tokenClasses, type TokenClass } from "../core/settlement/counting/usage.ts";
import type { InstantUs, ModelId, Nano } from "../core/units.ts";
import { ConfigError } from "./config.ts";
import { toPico } from "./preset-prices.ts";
import { presetPath, readPreset } from "./preset.ts";

const packagesFile = "token-packages.json";
const pricesFile = "token-prices.json";

const packagesSchema = z.array(
  z.object({
    operator: z.string(),
    package: z.string(),
    audience: z.string(),
    cny: z.number().min(0),
    quantity: z.int().positive(),
    unit: z.enum(["tokens", "quota points"]),
    date: z.string(),
    source: z.string(),
    note: z.string().optional(),
  }),
);

type Listed = z.output<typeof packagesSchema>[number];

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

/** What the operators' announcements do not say: choices of the house, named in the source of each sku. */
const house = {
  validityDays: 30n,
  priority: 100,
  /** A package that was paid for can be given back whole, as far as it is unused. */
  refundPpm: 1_000_000n,
} as const;

const usPerDay = 86_400_000_000n;
const milliPerPoint = 1_000n;

/** Decimal places of a yuan in nano. */
const nanoDigits = 9;

/**
 * Packages as telecom operators sell them, each the first version of a sku. A token of a package of tokens burns one,
 * whatever its class and model. A token burns as many points as its list price buys where points are sold one by one
 * (1 yuan for 250,000): of a model with several list prices the dearest counts, so that a point never buys more than
 * it costs. Models without a list price in yuan are in no package of points.
 */
export function presetSkus(effectiveFromUs: InstantUs): Sku[] {
  const listed = readPreset(packagesFile, packagesSchema);
  const points = pointsBook(listed);
  return listed.map((each) => {
    const isPoints = each.unit === "quota points";
    const isFree = each.cny === 0;
    return {
      id: skuIdOf(each),
      version: 1n,
      title: `${each.operator} ${each.package} (${each.audience})`,
      operator: each.operator,
      kind: isPoints ? "points" : "tokens",
      quantity: BigInt(each.quantity) * (isPoints ? milliPerPoint : 1n),
      priceNano: nanoOf(each),
      validityUs: house.validityDays * usPerDay,
      burn: isPoints ? points : oneByOne,
      // Who pays nothing for it has agreed to pay nothing beyond it.
      overage: isFree ? "stop" : "payg",
      priority: house.priority,
      refundPpm: isFree ? 0n : house.refundPpm,
      effectiveFromUs,
      source: sourceOf(each),
    };
  });
}

/** `159.9` → 159900000000n. Undefined when it is no whole number of nano. */
export function toNanoCny(cny: string): Nano | undefined {
  const [, whole, part = ""] = /^(\d+)(?:\.(\d+))?$/.exec(cny) ?? [];
  if (whole === undefined || part.length > nanoDigits) return undefined;
  return BigInt(whole + part.padEnd(nanoDigits, "0"));
}

const oneByOne: BurnBook = { den: 1n, rates: [{ model: "*", tokenClass: "*", num: 1n }] };

/** `China Mobile (Shanghai)`, `add-on` → `china-mobile-shanghai-add-on`. */
function skuIdOf({ operator, package: name }: Listed): string {
  return `${operator} ${name}`
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-|-$/g, "");
}

/** The shortest decimal text of a double is what the file says: no arithmetic is done on the double. */
function nanoOf({ cny, package: name }: Listed): Nano {
  const nano = toNanoCny(String(cny));
  if (nano === undefined) throw mistake(packagesFile, `${name}: ${cny} is no whole number of nano`);
  return nano;
}

function sourceOf({ date, source, note, unit }: Listed): string {
  const days = `house default: valid ${house.validityDays} days`;
  const burn = unit === "tokens" ? "every token burns one" : `burn rates from ${pricesFile}`;
  return [`${source} (${date})`, note, `${days}; ${burn}`].filter(Boolean).join("; ");
}

/** Exact: pico-CNY of a token over pico-CNY of a thousandth of a point. */
function pointsBook(listed: readonly Listed[]): BurnBook {
  const single = listed.find((each) => each.unit === "quota points" && each.cny === 1);
  if (single === undefined) throw mistake(packagesFile, "no quota points for 1 yuan");
  const pico = nanoOf(single) * 1_000n;
  const milli = BigInt(single.quantity) * milliPerPoint;
  if (pico % milli !== 0n) {
    throw mistake(
      packagesFile,
      `${pico} pico-CNY over ${milli} thousandths of a point is not whole`,
    );
  }
  const prices = readPreset(pricesFile, pricesSchema).filter(({ currency }) => currency === "CNY");
  const byModel = Map.groupBy(prices, ({ model }) => modelOf(model));
  const rates = [...byModel].flatMap(([model, rows]) =>
    tokenClasses.map((tokenClass): BurnRate => {
      return { model, tokenClass, num: dearest(rows, tokenClass) };
    }),
  );
  return { den: pico / milli, rates };
}

/** `deepseek-v4-pro (0813)` → `deepseek-v4-pro`: what stands in brackets is the list's, not the model's name. */
function modelOf(listed: string): ModelId {
  return listed.replace(/ \(.*\)$/, "") as ModelId;
}

const listPrices: Readonly<Record<TokenClass, (row: ListPrice) => number>> = {
  uncachedInput: ({ input }) => input,
  cacheRead: ({ cached_input, input }) => cached_input ?? input,
  cacheWrite: ({ cache_write, input }) => cache_write ?? input,
  response: ({ output }) => output,
  reasoning: ({ output }) => output,
};

function dearest(rows: readonly ListPrice[], tokenClass: TokenClass): bigint {
  const picos = rows.map((row) => {
    const text = String(listPrices[tokenClass](row));
    const pico = toPico(text);
    if (pico === undefined) throw mistake(pricesFile, `${row.model}: ${text} is no whole pico-CNY`);
    return pico;
  });
  return picos.reduce((most, each) => (each > most ? each : most), 0n);
}

function mistake(file: string, text: string): ConfigError {
  return new ConfigError(presetPath(file), [text]);
}

import { z } from "zod";
import type {
  Bracket,
  Calendar,
  DayKind,
  PriceBook,
  PriceLine,
  TimeOfUseSlot,
} from "../core/settlement/pricing/price-book.ts";
import { tokenClasses, type TokenClass } from "../core/settlement/counting/usage.ts";
import type { BookId, InstantUs, ModelId, Pico, VendorId } from "../core/units.ts";
import { ConfigError } from "./config.ts";
import { loadCalendar, presetPath, readPreset } from "./preset.ts";

/** Which list a vendor sells from, and how far below it. */
export interface Offer {
  readonly model: ModelId;
  /** Model and vendor as `token-prices.json` names them. */
  readonly list: { readonly model: string; readonly vendor: string };
  /** Off the list price, in parts per million: a choice of the simulated vendor. */
  readonly discountPpm: number;
}

export const timeOfUseNames = ["none", "deepseek", "bailian"] as const;

export type TimeOfUse = (typeof timeOfUseNames)[number];

export interface BookOrder {
  readonly book: BookId;
  readonly vendor: VendorId;
  /** Whose peak hours the vendor sells by. */
  readonly timeOfUse: TimeOfUse;
  readonly effectiveFromUs: InstantUs;
  readonly offers: readonly Offer[];
}

const pricesFile = "token-prices.json";

const pricesSchema = z.array(
  z.object({
    model: z.string(),
    vendor: z.string(),
    currency: z.string(),
    input: z.number().positive(),
    cached_input: z.number().positive().nullable(),
    cache_write: z.number().positive().optional(),
    output: z.number().positive(),
    unit: z.literal("per 1M tokens"),
    date: z.string(),
    quality: z.string(),
    tier: z.string().optional(),
  }),
);

type ListPrice = z.output<typeof pricesSchema>[number];

/** Parts of a million: a discount is one of them. */
const PPM = 1_000_000n;

/** 1 CNY per million tokens is 10^6 pico-CNY per token. */
const PICO_DIGITS = 6;

/**
 * Price books out of list prices, one per vendor, exact to the pico. A cached input without a price of its
 * own costs what other input costs, and reasoning costs what a response costs. Throws a `ConfigError` that
 * names every offer that no list price, or more than one, answers.
 */
export function presetPriceBooks(orders: readonly BookOrder[]): PriceBook[] {
  const prices = readPreset(pricesFile, pricesSchema).filter(({ currency }) => currency === "CNY");
  const calendar = loadCalendar();
  return orders.map((order) => toBook(order, prices, calendar));
}

/** `0.04` CNY per million tokens → 40000n pico per token. Undefined when it is no whole number of pico. */
export function toPico(cnyPerMillion: string): Pico | undefined {
  const [, whole, part = ""] = /^(\d+)(?:\.(\d+))?$/.exec(cnyPerMillion) ?? [];
  if (whole === undefined || part.length > PICO_DIGITS) return undefined;
  return BigInt(whole + part.padEnd(PICO_DIGITS, "0"));
}

function toBook(order: BookOrder, prices: readonly ListPrice[], calendar: Calendar): PriceBook {
  const { book, vendor, timeOfUse, effectiveFromUs, offers } = order;
  const slots = slotsByTimeOfUse[timeOfUse];
  return {
    id: book,
    vendor,
    version: 1n,
    currency: "CNY",
    effectiveFromUs,
    effectiveToUs: undefined,
    slots,
    // Where nobody can say what day it is, the vendor gets the lower price until a calendar does.
    ...(slots.length > 0 ? { baseSlot: "off-peak" } : {}),
    calendar,
    lines: offers.flatMap((offer) => linesOf(offer, rowsOf(offer, prices), slots)),
    source: sourceOf(offers, prices),
  };
}

/** Half-open, and whole days by kind: no slot wraps midnight, so no day is split over two kinds. */
const always: ReadonlySet<DayKind> = new Set(["workday", "weekend", "holiday", "makeup"]);
const onWorkdays: ReadonlySet<DayKind> = new Set(["workday"]);
/** DeepSeek's peak is Monday to Friday: a weekend day that is worked is off-peak. */
const onOtherDays: ReadonlySet<DayKind> = new Set(["weekend", "holiday", "makeup"]);

function slot(
  name: string,
  dayKinds: ReadonlySet<DayKind>,
  hours: readonly [number, number],
): TimeOfUseSlot {
  return { slot: name, dayKinds, startMin: hours[0] * 60, endMin: hours[1] * 60 };
}

const slotsByTimeOfUse: Readonly<Record<TimeOfUse, readonly TimeOfUseSlot[]>> = {
  none: [],
  deepseek: [
    slot("off-peak", onWorkdays, [0, 9]),
    slot("peak", onWorkdays, [9, 12]),
    slot("off-peak", onWorkdays, [12, 14]),
    slot("peak", onWorkdays, [14, 18]),
    slot("off-peak", onWorkdays, [18, 24]),
    slot("off-peak", onOtherDays, [0, 24]),
  ],
  bailian: [
    slot("off-peak", always, [0, 8]),
    slot("peak", always, [8, 22]),
    slot("off-peak", always, [22, 24]),
  ],
};

interface Tier {
  readonly slot?: string;
  readonly input?: Bracket;
  readonly output?: Bracket;
}

const K = 1_024n;
const all: Bracket = { from: 0n, to: undefined };

/** What the words of a list mean. `32K` is read as 32 × 1,024; the last bracket of a list has no end. */
const tiers: Readonly<Record<string, Tier>> = {
  peak: { slot: "peak" },
  "off-peak": { slot: "off-peak" },
  "0-256K": {},
  "0-32K": { input: { from: 0n, to: 32n * K } },
  "32K-128K": { input: { from: 32n * K + 1n, to: 128n * K } },
  "128K-256K": { input: { from: 128n * K + 1n, to: undefined } },
  "input <=32K and output <=200 tokens": {
    input: { from: 0n, to: 32n * K },
    output: { from: 0n, to: 200n },
  },
  "input <=32K": { input: { from: 0n, to: 32n * K }, output: { from: 201n, to: undefined } },
  "input >32K": { input: { from: 32n * K + 1n, to: undefined } },
};

function rowsOf({ list }: Offer, prices: readonly ListPrice[]): readonly ListPrice[] {
  return prices.filter(({ model, vendor }) => model === list.model && vendor === list.vendor);
}

function linesOf(
  offer: Offer,
  rows: readonly ListPrice[],
  slots: readonly TimeOfUseSlot[],
): PriceLine[] {
  const listed = `${offer.list.model} of ${offer.list.vendor}`;
  if (rows.length === 0) throw mistake(`no list price of ${listed}`);
  const slotNames = new Set(slots.map(({ slot: name }) => name));
  return rows.flatMap((row, index) => {
    const tier = row.tier === undefined ? {} : tiers[row.tier];
    if (tier === undefined) throw mistake(`${listed}: tier "${row.tier}" is not understood`);
    const { slot: name = "any", input = all, output = all } = tier;
    if (name !== "any" && !slotNames.has(name)) {
      throw mistake(`${listed}: has a price for ${name}, and the book has no such hours`);
    }
    return tokenClasses.map((tokenClass) => ({
      id: `${offer.model}/${tokenClass}/${name}/${index + 1}`,
      model: offer.model,
      tokenClass,
      slot: name,
      input,
      output,
      tiers: [{ fromTokens: 0n, pricePicoPerToken: priceOf(row, tokenClass, offer) }],
    }));
  });
}

const listPrices: Readonly<Record<TokenClass, (row: ListPrice) => number>> = {
  uncachedInput: ({ input }) => input,
  cacheRead: ({ cached_input, input }) => cached_input ?? input,
  cacheWrite: ({ cache_write, input }) => cache_write ?? input,
  response: ({ output }) => output,
  reasoning: ({ output }) => output,
};

/**
 * The shortest decimal text of a double is what the file says, for all numbers of fewer than 16 digits: so
 * the price is read as text, and no arithmetic is done on the double.
 */
function priceOf(row: ListPrice, tokenClass: TokenClass, offer: Offer): Pico {
  const text = String(listPrices[tokenClass](row));
  const pico = toPico(text);
  if (pico === undefined) throw mistake(`${row.model}: ${text} is no whole number of pico-CNY`);
  const discounted = pico * (PPM - BigInt(offer.discountPpm));
  if (discounted % PPM !== 0n) {
    throw mistake(`${row.model}: ${offer.discountPpm} ppm off ${text} is no whole pico-CNY`);
  }
  return discounted / PPM;
}

function sourceOf(offers: readonly Offer[], prices: readonly ListPrice[]): string {
  const each = offers.map((offer) => {
    const [row] = rowsOf(offer, prices);
    const list = `${offer.list.model} of ${offer.list.vendor}, ${row?.date ?? ""} (${row?.quality ?? ""})`;
    return `${offer.model}: ${list} less ${offer.discountPpm} ppm`;
  });
  return `list prices of deploy/preset/${pricesFile}, discounts a house default; ${each.join("; ")}`;
}

function mistake(text: string): ConfigError {
  return new ConfigError(presetPath(pricesFile), [text]);
}

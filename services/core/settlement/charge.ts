import { assert } from "../assert.ts";
import type { BookId, InstantUs, Nano, PairId, PoolId, RegionId } from "../units.ts";
import { slotAt } from "./calendar.ts";
import type { Contract } from "./contract.ts";
import type { Usage } from "./count-rule.ts";
import { hourOf } from "./period.ts";
import { holds, type PriceBook, type PriceLine } from "./price-book.ts";
import { tokenClasses, type TokenClass, type UsageRecord } from "./usage.ts";

/** Tokens of one class with the line that prices them. */
export interface PricedLine {
  readonly book: BookId;
  readonly version: bigint;
  readonly line: PriceLine;
  readonly tokens: bigint;
}

export type PriceReason =
  | "price-book-unknown"
  | "vendor-mismatch"
  | "price-not-in-force"
  | "model-not-priced"
  | "amount-over-limit";

export type Pricing =
  | { readonly kind: "priced"; readonly slot: string; readonly lines: readonly PricedLine[] }
  | { readonly kind: "doubtful"; readonly reason: PriceReason; readonly detail: string };

/** What tokens cumulate on, and what a statement has a line for. */
export interface RatingKey {
  readonly pair: PairId;
  /** `2026-11-21` or `2026-11`, by the contract. */
  readonly period: string;
  /** `<book>:<version>:<line>`. */
  readonly line: string;
  /** Where tokens cumulate: a pool, or `*` over the whole contract. */
  readonly scope: string;
}

/** What was used of one line in one hour: the grain that statements of any period add up. */
export interface HourKey {
  readonly pair: PairId;
  /** Period into whose statement it goes; later than that of `hourUs` for what came late. */
  readonly booking: string;
  readonly hourUs: InstantUs;
  readonly line: string;
  readonly pool: PoolId;
  readonly region: RegionId;
}

/** Finds the line of each class by model, slot and the request's own lengths. The book has been checked. */
export function priceUsage(usage: Usage, book: PriceBook | undefined, contract: Contract): Pricing {
  const { record } = usage;
  const { priceBook, priceVersion, vendor, openedUs, model } = record;
  if (tokenClasses.every((each) => usage.tokens[each] === 0n)) {
    return { kind: "priced", slot: "any", lines: [] };
  }
  if (book === undefined) {
    return doubt("price-book-unknown", `price book ${priceBook}@${priceVersion} is not known`);
  }
  if (book.vendor !== vendor) {
    return doubt("vendor-mismatch", `expected a book of ${vendor}, found one of ${book.vendor}`);
  }
  const { effectiveFromUs: from, effectiveToUs: to } = book;
  if (openedUs < from || (to !== undefined && openedUs >= to)) {
    return doubt(
      "price-not-in-force",
      `expected ${from} <= opened_us < ${to ?? "no end"}, found ${openedUs}`,
    );
  }
  if (!book.lines.some((line) => line.model === model)) {
    return doubt("model-not-priced", `${priceBook}@${priceVersion} has no line for ${model}`);
  }
  const slot = cheapest(slotsInForce(record, book, contract), usage, book);
  const lines = linesIn(slot, usage, book);
  const most = nanoMost(lines);
  if (most > contract.attemptNanoMax) {
    return doubt(
      "amount-over-limit",
      `expected at most ${contract.attemptNanoMax} nano for an attempt, found up to ${most}`,
    );
  }
  return { kind: "priced", slot, lines };
}

/** What the lines can cost at most, whatever was used before: each at the dearest of its tiers. */
function nanoMost(lines: readonly PricedLine[]): Nano {
  const pico = lines.reduce((sum, { line, tokens }) => {
    const dearest = line.tiers.reduce((most, { pricePicoPerToken: each }) => {
      return each > most ? each : most;
    }, 0n);
    return sum + tokens * dearest;
  }, 0n);
  return pico / 1_000n;
}

export function hourKey(
  record: Pick<UsageRecord, "vendor" | "pool" | "region" | "openedUs">,
  line: string,
): HourKey {
  const { vendor, pool, region, openedUs } = record;
  return { vendor, hourUs: hourOf(openedUs), line, pool, region };
}

export function lineIdOf({ book, version, line }: PricedLine): string {
  return `${book}:${version}:${line.id}`;
}

/** The parts of `<book>:<version>:<line>`; a book's id has no colon. */
export function partsOfLineId(text: string): { book: BookId; version: bigint; line: string } {
  const [book = "", version = "", ...line] = text.split(":");
  assert(/^\d+$/.test(version) && line.length > 0, "a line id is <book>:<version>:<line>");
  return { book: book as BookId, version: BigInt(version), line: line.join(":") };
}

/** More than one where the instant is nearer to the end of a slot than clocks can be told apart. */
function slotsInForce(record: UsageRecord, book: PriceBook, contract: Contract): Set<string> {
  const { openedUs, firstByteUs, closedUs, clockErrUs } = record;
  const instants = { opened: openedUs, "first-token": firstByteUs ?? closedUs, closed: closedUs };
  const at = instants[contract.touBasis];
  const doubtUs = clockErrUs + contract.touGraceUs;
  return new Set([at - doubtUs, at, at + doubtUs].map((us) => slotAt(book, us)));
}

function cheapest(slots: ReadonlySet<string>, usage: Usage, book: PriceBook): string {
  const [first = "any", ...others] = slots;
  const cost = (slot: string): bigint =>
    linesIn(slot, usage, book).reduce(
      (pico, { line, tokens }) => pico + tokens * (line.tiers[0]?.pricePicoPerToken ?? 0n),
      0n,
    );
  return others.reduce((best, slot) => (cost(slot) < cost(best) ? slot : best), first);
}

function linesIn(slot: string, usage: Usage, book: PriceBook): PricedLine[] {
  const { tokens } = usage;
  const input = tokens.uncachedInput + tokens.cacheRead + tokens.cacheWrite;
  const output = tokens.response + tokens.reasoning;
  const isFit = (line: PriceLine, tokenClass: TokenClass): boolean =>
    line.tokenClass === tokenClass &&
    line.model === usage.record.model &&
    (line.slot === slot || line.slot === "any") &&
    holds(line.input, input) &&
    holds(line.output, output);
  const lines: PricedLine[] = [];
  for (const tokenClass of tokenClasses) {
    if (tokens[tokenClass] === 0n) continue;
    const line = book.lines.find((each) => isFit(each, tokenClass));
    assert(line !== undefined, "the lines of a checked book cover every length");
    lines.push({ book: book.id, version: book.version, line, tokens: tokens[tokenClass] });
  }
  return lines;
}

function doubt(reason: PriceReason, detail: string): Pricing {
  return { kind: "doubtful", reason, detail };
}

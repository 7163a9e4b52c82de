import { assert } from "../../assert.ts";
import type {
  BookId,
  InstantUs,
  ModelId,
  Nano,
  PairId,
  Pico,
  PoolId,
  RegionId,
} from "../../units.ts";
import { slotChoiceAt } from "./calendar.ts";
import type { Contract } from "../terms/contract.ts";
import type { Usage } from "../counting/count-rule.ts";
import { hourOf } from "../statements/period.ts";
import {
  everyTenant,
  holds,
  pairOf,
  scopeOf,
  sideOf,
  type BookSide,
  type PriceBook,
  type PriceLine,
  type Variant,
} from "./price-book.ts";
import {
  tokenClasses,
  type TokenClass,
  type Tokens,
  type TokenVariant,
  type UsageRecord,
} from "../counting/usage.ts";

/** A quantity with the line that prices it. */
export interface PricedLine {
  readonly book: BookId;
  readonly version: bigint;
  readonly line: PriceLine;
  /** Tokens; on a line `request` requests, and on one `request`/`minimum` the pico that a record falls short by. */
  readonly tokens: bigint;
}

export type PriceReason =
  | "price-book-unknown"
  /** It is of another side, or of another party. */
  | "vendor-mismatch"
  | "price-not-in-force"
  | "model-not-priced"
  | "amount-over-limit";

/** `calendar-uncovered`: nobody could say what day it was; a `reprice` may settle it later. */
export type PriceFlag = "calendar-uncovered";

export type Pricing =
  | {
      readonly kind: "priced";
      readonly slot: string;
      readonly lines: readonly PricedLine[];
      readonly flags: readonly PriceFlag[];
    }
  | { readonly kind: "doubtful"; readonly reason: PriceReason; readonly detail: string };

/** What a contract says of how a record is priced. */
export type RatingTerms = Pick<Contract, "touBasis" | "touGraceUs" | "attemptNanoMax"> & {
  /** Both parties have signed that the book is for this record, whenever it was opened. */
  readonly isRepriced?: true;
};

/** Tokens of a record to be priced by a book of one side, for one party. */
export interface Priceable {
  readonly record: UsageRecord;
  readonly tokens: Tokens;
  /** Parts of classes that have a price of their own. */
  readonly variants: readonly TokenVariant[];
  readonly side: BookSide;
  readonly pair: PairId;
}

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

/** What the vendor is owed, by its buy book: by the version that was in force, whichever the record names. */
export function priceUsage(
  usage: Usage,
  book: PriceBook | undefined,
  terms: RatingTerms,
  newest: PriceBook | undefined = book,
): Pricing {
  const { record, tokens, variants } = usage;
  const pair = `vendor:${record.vendor}` as PairId;
  const { priceBook, priceVersion } = record;
  if (book === undefined && !isNothing(tokens)) {
    return doubt(
      "price-book-unknown",
      `price book ${priceBook}@${priceVersion} is not known, or not signed by both`,
    );
  }
  const isOld = book !== undefined && newest !== undefined && newest.version > book.version;
  if (isOld && terms.isRepriced !== true && !isNothing(tokens)) {
    return doubt(
      "price-not-in-force",
      `expected ${newest.id}@${newest.version}, in force from ${newest.effectiveFromUs}, at ${record.openedUs}, found ${priceBook}@${priceVersion}`,
    );
  }
  return priceTokens({ record, tokens, variants, side: "buy", pair }, book, terms);
}

/**
 * Finds the line of each class by model, slot and the record's own lengths, adds the fee of the request and what it falls
 * short of its floor. For a book of any side, which has been checked. Looks at nothing that was rated before, so that
 * both parties find the same lines in any order.
 */
export function priceTokens(
  asked: Priceable,
  book: PriceBook | undefined,
  terms: RatingTerms,
): Pricing {
  if (isNothing(asked.tokens)) return { kind: "priced", slot: "any", lines: [], flags: [] };
  if (book === undefined) {
    return doubt("price-book-unknown", `there is no ${asked.side} book for ${asked.pair}`);
  }
  const objection = objectionTo(asked, book, terms);
  if (objection !== undefined) return objection;
  const { slots, isCovered } = slotsInForce(asked.record, book, terms);
  const slot = cheapest(slots, asked, book);
  const lines = linesIn(slot, asked, book);
  const most = grainMost(lines);
  if (most > terms.attemptNanoMax) {
    return doubt(
      "amount-over-limit",
      `expected at most ${terms.attemptNanoMax} nano for an attempt, found up to ${most}`,
    );
  }
  return { kind: "priced", slot, lines, flags: isCovered ? [] : ["calendar-uncovered"] };
}

function isNothing(tokens: Tokens): boolean {
  return tokenClasses.every((each) => tokens[each] === 0n);
}

function objectionTo(
  { record, side, pair }: Priceable,
  book: PriceBook,
  { isRepriced }: RatingTerms,
): Extract<Pricing, { kind: "doubtful" }> | undefined {
  const { openedUs, model, region } = record;
  if (sideOf(book) !== side) {
    return doubt("vendor-mismatch", `expected a ${side} book, found a ${sideOf(book)} book`);
  }
  const of = pairOf(book);
  if (of !== pair && !(of === everyTenant && pair.startsWith("tenant:"))) {
    return doubt(
      "vendor-mismatch",
      `expected a book of ${nameOf(pair)}, found one of ${nameOf(of)}`,
    );
  }
  const { effectiveFromUs: from, effectiveToUs: to } = book;
  const isOutside = openedUs < from || (to !== undefined && openedUs >= to);
  if (isOutside && isRepriced !== true) {
    return doubt(
      "price-not-in-force",
      `expected ${from} <= opened_us < ${to ?? "no end"}, found ${openedUs}`,
    );
  }
  if (linesFor(book, model, region).length > 0) return undefined;
  return doubt("model-not-priced", `${book.id}@${book.version} has no line for ${model}`);
}

/** A vendor is spoken of by its name alone. */
function nameOf(pair: PairId): string {
  return pair.startsWith("vendor:") ? pair.slice("vendor:".length) : pair;
}

/** What the lines can cost at most, whatever was used before: each at the dearest of its tiers. */
function grainMost(lines: readonly PricedLine[]): Nano {
  const pico = lines.reduce((sum, { line, tokens }) => {
    const tiers = [...line.tiers, ...(line.volumeTiers ?? [])];
    const dearest = tiers.reduce((most, { pricePicoPerToken: each }) => {
      return each > most ? each : most;
    }, 0n);
    return sum + tokens * dearest;
  }, 0n);
  return pico / 1_000n;
}

export function hourKey(
  { pool, region, openedUs }: Pick<UsageRecord, "pool" | "region" | "openedUs">,
  { pair, booking, line }: Pick<HourKey, "pair" | "booking" | "line">,
): HourKey {
  return { pair, booking, hourUs: hourOf(openedUs), line, pool, region };
}

/** The key on which a priced line cumulates. */
export function ratingKey(
  priced: PricedLine,
  { pair, period, pool }: { readonly pair: PairId; readonly period: string; readonly pool: PoolId },
): RatingKey {
  return { pair, period, line: lineIdOf(priced), scope: scopeOf(priced.line, pool) };
}

export function lineIdOf({ book, version, line }: PricedLine): string {
  const known = idByLine.get(line);
  if (known !== undefined && known.book === book && known.version === version) return known.id;
  const id = `${book}:${version}:${line.id}`;
  idByLine.set(line, { book, version, id });
  return id;
}

/** Of the book that asked last; versions may share their lines. */
const idByLine = new WeakMap<PriceLine, Pick<PricedLine, "book" | "version"> & { id: string }>();

/** The parts of `<book>:<version>:<line>`; a book's id has no colon. */
export function partsOfLineId(text: string): { book: BookId; version: bigint; line: string } {
  const [book = "", version = "", ...line] = text.split(":");
  assert(/^\d+$/.test(version) && line.length > 0, "a line id is <book>:<version>:<line>");
  return { book: book as BookId, version: BigInt(version), line: line.join(":") };
}

/**
 * Lines of a model in a region: for each class and variant those that name the region, or else those for every region.
 */
export function linesFor(
  book: PriceBook,
  model: ModelId,
  region: RegionId | undefined,
): readonly PriceLine[] {
  const ofModel = modelLines(book).get(model) ?? [];
  const named = region === undefined ? [] : ofModel.filter((line) => line.region === region);
  if (named.length === 0) return ofModel.filter((line) => line.region === undefined);
  const own = new Set(named.map(kindOf));
  return ofModel.filter(
    (line) => line.region === region || (line.region === undefined && !own.has(kindOf(line))),
  );
}

/** Books are immutable: what was looked up once stays true. */
const linesByBook = new WeakMap<PriceBook, ReadonlyMap<ModelId, readonly PriceLine[]>>();

function modelLines(book: PriceBook): ReadonlyMap<ModelId, readonly PriceLine[]> {
  const known = linesByBook.get(book);
  if (known !== undefined) return known;
  const made = Map.groupBy(book.lines, (line) => line.model);
  linesByBook.set(book, made);
  return made;
}

function kindOf({ tokenClass, variant }: PriceLine): string {
  return `${tokenClass}/${variant ?? ""}`;
}

/** More than one where the instant is nearer to the end of a slot than clocks can be told apart. */
function slotsInForce(
  record: UsageRecord,
  book: PriceBook,
  terms: RatingTerms,
): { readonly slots: Set<string>; readonly isCovered: boolean } {
  const { openedUs, firstByteUs, closedUs, clockErrUs } = record;
  const instants = { opened: openedUs, "first-token": firstByteUs ?? closedUs, closed: closedUs };
  const at = instants[terms.touBasis];
  const doubtUs = clockErrUs + terms.touGraceUs;
  const choices = [at - doubtUs, at, at + doubtUs].map((us) => slotChoiceAt(book, us));
  return {
    slots: new Set(choices.map(({ slot }) => slot)),
    isCovered: choices.every(({ isCovered }) => isCovered),
  };
}

function cheapest(slots: ReadonlySet<string>, asked: Priceable, book: PriceBook): string {
  const [first = "any", ...others] = slots;
  const cost = (slot: string): Pico => picoAtFirstTier(linesIn(slot, asked, book));
  return others.reduce((best, slot) => (cost(slot) < cost(best) ? slot : best), first);
}

/** What records are compared and held against their floor by: it depends on no other record. */
function picoAtFirstTier(lines: readonly PricedLine[]): Pico {
  return lines.reduce(
    (pico, { line, tokens }) => pico + tokens * (line.tiers[0]?.pricePicoPerToken ?? 0n),
    0n,
  );
}

function linesIn(
  slot: string,
  { record, tokens, variants }: Priceable,
  book: PriceBook,
): PricedLine[] {
  const input = tokens.uncachedInput + tokens.cacheRead + tokens.cacheWrite;
  const output = tokens.response + tokens.reasoning;
  const fit = linesFor(book, record.model, record.region).filter(
    (line) =>
      (line.slot === slot || line.slot === "any") &&
      holds(line.input, input) &&
      holds(line.output, output),
  );
  const lines: PricedLine[] = [];
  const add = (line: PriceLine | undefined, quantity: bigint): void => {
    if (line === undefined || quantity === 0n) return;
    lines.push({ book: book.id, version: book.version, line, tokens: quantity });
  };
  for (const tokenClass of tokenClasses) {
    if (tokens[tokenClass] === 0n) continue;
    const rest = variantsOf(variants, tokenClass).reduce((left, { variant, tokens: named }) => {
      const line = lineOf(fit, tokenClass, variant);
      const taken = line === undefined ? 0n : least(named, left);
      add(line, taken);
      return left - taken;
    }, tokens[tokenClass]);
    const plain = lineOf(fit, tokenClass, undefined);
    assert(plain !== undefined, "the lines of a checked book cover every length");
    add(plain, rest);
  }
  add(lineOf(fit, "request", undefined), 1n);
  const floor = lineOf(fit, "request", "minimum");
  add(floor, shortfall(floor?.minPicoPerRequest, picoAtFirstTier(lines)));
  return lines;
}

/** A part of a class can be no more than the class: of what was recounted or cut, the first ones are served first. */
function variantsOf(variants: readonly TokenVariant[], tokenClass: TokenClass): TokenVariant[] {
  return variants.filter((each) => each.tokenClass === tokenClass);
}

function lineOf(
  lines: readonly PriceLine[],
  tokenClass: PriceLine["tokenClass"],
  variant: Variant | undefined,
): PriceLine | undefined {
  return lines.find((line) => line.tokenClass === tokenClass && line.variant === variant);
}

function shortfall(floor: Pico | undefined, pico: Pico): Pico {
  return floor === undefined || pico >= floor ? 0n : floor - pico;
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function doubt(reason: PriceReason, detail: string): Extract<Pricing, { kind: "doubtful" }> {
  return { kind: "doubtful", reason, detail };
}

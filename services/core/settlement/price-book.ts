import type { BookId, InstantUs, ModelId, Pico, VendorId } from "../units.ts";
import { isWithin, minutesPerDay } from "./day.ts";
import { tokenClasses, type TokenClass } from "./usage.ts";

/** The price of one token within a tier that begins after `fromTokens` of the same line. */
export interface Tier {
  readonly fromTokens: bigint;
  readonly pricePicoPerToken: Pico;
}

export type DayKind = "workday" | "weekend" | "holiday" | "makeup";

/** Local minutes of the day; includes its start, excludes its end, wraps midnight if `end < start`. */
export interface TimeOfUseSlot {
  readonly slot: string;
  readonly dayKinds: ReadonlySet<DayKind>;
  readonly startMin: number;
  readonly endMin: number;
}

/** A range of request lengths in tokens, both ends included; undefined `to` has no end. */
export interface Bracket {
  readonly from: bigint;
  readonly to: bigint | undefined;
}

/** The price of one token class of one model in one slot and bracket: one line of the statement. */
export interface PriceLine {
  readonly id: string;
  readonly model: ModelId;
  readonly tokenClass: TokenClass;
  /** A slot of the book, or `any`. */
  readonly slot: string;
  readonly input: Bracket;
  readonly output: Bracket;
  /** Graduated over the tokens of the period. The first begins at 0, the others follow in order. */
  readonly tiers: readonly Tier[];
}

/** Which day is what, and the offset from UTC, so that rating needs no time-zone database. */
export interface Calendar {
  readonly id: string;
  readonly offsetMinutes: number;
  /** `2026-10-01` → kind. Days that are not named are workdays or weekends by the week. */
  readonly kindByDate: ReadonlyMap<string, DayKind>;
  /** Beyond this instant the kinds are not known: every day counts by the week. */
  readonly coversToUs: InstantUs;
}

/** One version of a vendor's prices. Never edited: a change is a new version with a later start. */
export interface PriceBook {
  readonly id: BookId;
  readonly vendor: VendorId;
  readonly version: bigint;
  readonly currency: "CNY";
  readonly effectiveFromUs: InstantUs;
  /** Undefined means until the next version. */
  readonly effectiveToUs: InstantUs | undefined;
  /** Empty: one slot, `any`. */
  readonly slots: readonly TimeOfUseSlot[];
  readonly calendar: Calendar;
  readonly lines: readonly PriceLine[];
  readonly source: string;
}

export const dayKinds = ["workday", "weekend", "holiday", "makeup"] as const;

/** One thing that is wrong with a book, and where. */
export interface PriceBookMistake {
  /** `lines[3].tiers[1]`; empty for the book as a whole. */
  readonly path: string;
  readonly message: string;
}

/**
 * All that is wrong with a new version of a book. It must follow the version before without gap, overlap or
 * reach into the past, its slots must cover each minute of each day kind once, and its lines each length of
 * each class of each model in each slot once. `publishedUs`: a later version may not start before it.
 */
export function checkPriceBook(
  book: PriceBook,
  previous?: PriceBook,
  publishedUs?: InstantUs,
): PriceBookMistake[] {
  return firstOf([...succession(book, previous, publishedUs), ...pricesMistakes(book)]);
}

/** All that is wrong with a version by itself. */
export function checkPrices(book: PriceBook): PriceBookMistake[] {
  return firstOf(pricesMistakes(book));
}

/** Mistakes that are told. A book with more is told how many more. */
export const mistakesMax = 20;

/** Lines that one class of one model may have in one slot: each is compared with each length of the others. */
export const bracketsMax = 64;

function firstOf(mistakes: PriceBookMistake[]): PriceBookMistake[] {
  if (mistakes.length <= mistakesMax) return mistakes;
  const rest = { path: "", message: `and ${mistakes.length - mistakesMax} more mistakes` };
  return [...mistakes.slice(0, mistakesMax), rest];
}

function pricesMistakes(book: PriceBook): PriceBookMistake[] {
  return [
    ...slotMistakes(book.slots),
    ...book.lines.flatMap((line, index) => lineMistakes(line, index, book)),
    ...coverageMistakes(book),
  ];
}

function succession(
  book: PriceBook,
  previous: PriceBook | undefined,
  publishedUs: InstantUs | undefined,
): PriceBookMistake[] {
  const found = new Mistakes();
  const { effectiveFromUs: from, effectiveToUs: to, version } = book;
  found.add("effectiveToUs", to !== undefined && to <= from, `expected after ${from}, found ${to}`);
  const next = (previous?.version ?? 0n) + 1n;
  found.add("version", version !== next, `expected ${next}, found ${version}`);
  if (previous === undefined) return found.all;
  const { effectiveFromUs: before, effectiveToUs: end } = previous;
  const earliest = publishedUs !== undefined && publishedUs > before ? publishedUs : before + 1n;
  found.add("id", book.id !== previous.id, `expected ${previous.id}, found ${book.id}`);
  found.add(
    "vendor",
    book.vendor !== previous.vendor,
    `expected ${previous.vendor}, found ${book.vendor}`,
  );
  found.add(
    "effectiveFromUs",
    from < earliest,
    `retroactive: expected ${earliest} or later, found ${from}`,
  );
  found.add(
    "effectiveFromUs",
    end !== undefined && from > end,
    `gap: version ${previous.version} ends at ${end}, this one starts at ${from}`,
  );
  found.add(
    "effectiveFromUs",
    end !== undefined && from < end,
    `overlap: version ${previous.version} ends at ${end}, this one starts at ${from}`,
  );
  return found.all;
}

function slotMistakes(slots: readonly TimeOfUseSlot[]): PriceBookMistake[] {
  if (slots.length === 0) return [];
  const found = new Mistakes();
  for (const [index, { slot, dayKinds: kinds, startMin, endMin }] of slots.entries()) {
    const place = `slots[${index}]`;
    const isRange = isMinute(startMin, 0, 1_439) && isMinute(endMin, 1, 1_440);
    found.add(place, !isRange, `expected minutes 0..1439 to 1..1440, found ${startMin}..${endMin}`);
    found.add(place, startMin === endMin, `start and end are both ${startMin}`);
    found.add(`${place}.slot`, slot === "any", "any stands for all slots and cannot be one");
    found.add(`${place}.dayKinds`, kinds.size === 0, "names no day kind");
  }
  for (const kind of dayKinds) found.all.push(...minuteMistakes(slots, kind));
  return found.all;
}

/** Runs of minutes of one day kind that no slot covers, or more than one. */
function minuteMistakes(slots: readonly TimeOfUseSlot[], kind: DayKind): PriceBookMistake[] {
  const mistakes: PriceBookMistake[] = [];
  const sameKind = slots.filter((slot) => slot.dayKinds.has(kind));
  let start = 0;
  for (let minute = 0; minute <= minutesPerDay; minute++) {
    const count = minute < minutesPerDay ? coverOf(sameKind, minute) : -1;
    if (count === coverOf(sameKind, start)) continue;
    const run = `${kind} ${clockTime(start)} to ${clockTime(minute)}`;
    const cover = coverOf(sameKind, start);
    if (cover === 0) mistakes.push({ path: "slots", message: `gap: ${run} is in no slot` });
    if (cover > 1) {
      mistakes.push({ path: "slots", message: `overlap: ${run} is in ${cover} slots` });
    }
    start = minute;
  }
  return mistakes;
}

function coverOf(slots: readonly TimeOfUseSlot[], minute: number): number {
  return slots.filter(({ startMin, endMin }) => isWithin(minute, startMin, endMin)).length;
}

function lineMistakes(line: PriceLine, index: number, book: PriceBook): PriceBookMistake[] {
  const found = new Mistakes();
  const place = `lines[${index}]`;
  const isKnown = line.slot === "any" || book.slots.some(({ slot }) => slot === line.slot);
  const first = book.lines.findIndex(({ id }) => id === line.id);
  found.add(`${place}.id`, first !== index, `${line.id} is also the id of lines[${first}]`);
  found.add(`${place}.slot`, !isKnown, `expected any or a slot of the book, found ${line.slot}`);
  for (const side of ["input", "output"] as const) {
    const { from, to } = line[side];
    const isBackwards = from < 0n || (to !== undefined && to < from);
    found.add(`${place}.${side}`, isBackwards, `expected 0 <= from <= to, found ${from}..${to}`);
  }
  found.add(`${place}.tiers`, line.tiers.length === 0, "has no tier");
  for (const [tier, { fromTokens, pricePicoPerToken }] of line.tiers.entries()) {
    const where = `${place}.tiers[${tier}]`;
    const before = line.tiers[tier - 1]?.fromTokens;
    const isInOrder = before === undefined ? fromTokens === 0n : fromTokens > before;
    const wanted = before === undefined ? "0" : `more than ${before}`;
    found.add(`${where}.fromTokens`, !isInOrder, `expected ${wanted}, found ${fromTokens}`);
    found.add(
      `${where}.pricePicoPerToken`,
      pricePicoPerToken < 0n,
      `expected 0 or more, found ${pricePicoPerToken}`,
    );
  }
  return found.all;
}

/** Each model needs a line for each class, slot and length: what a class costs is never guessed. */
function coverageMistakes(book: PriceBook): PriceBookMistake[] {
  const slots = book.slots.length === 0 ? ["any"] : unique(book.slots.map(({ slot }) => slot));
  const mistakes: PriceBookMistake[] = [];
  for (const model of unique(book.lines.map((line) => line.model))) {
    const sameModel = book.lines.filter((line) => line.model === model);
    for (const tokenClass of tokenClasses) {
      const sameClass = sameModel.filter((line) => line.tokenClass === tokenClass);
      for (const slot of slots) {
        const fit = sameClass.filter((line) => line.slot === slot || line.slot === "any");
        const what = `${model} ${tokenClass} in slot ${slot}`;
        mistakes.push(...tilingMistakes(fit, what));
      }
    }
  }
  return mistakes;
}

/** Every pair of input and output lengths must be in exactly one line's bracket. */
function tilingMistakes(lines: readonly PriceLine[], what: string): PriceBookMistake[] {
  if (lines.length === 0) return [{ path: "lines", message: `gap: ${what} has no line` }];
  if (lines.length > bracketsMax) {
    const message = `${what}: expected at most ${bracketsMax} lines, found ${lines.length}`;
    return [{ path: "lines", message }];
  }
  const inOrder = lines.toSorted((a, b) => Number(a.output.from - b.output.from));
  return cuts(lines.map((line) => line.input)).flatMap((input) => {
    const fit = inOrder.filter((line) => holds(line.input, input));
    return outputMistakes(fit, `${what} from ${input} input`);
  });
}

/** The same for the output lengths of one input length; the lines are in the order of their starts. */
function outputMistakes(lines: readonly PriceLine[], what: string): PriceBookMistake[] {
  const mistakes: PriceBookMistake[] = [];
  const add = (kind: string, output: bigint, has: string): void => {
    const message = `${kind}: ${what} and ${output} output tokens on has ${has}`;
    mistakes.push({ path: "lines", message });
  };
  /** The first length that no line before holds; undefined is none. */
  let next: bigint | undefined = 0n;
  let last: PriceLine | undefined;
  for (const line of lines) {
    const { from, to } = line.output;
    if (last !== undefined && (next === undefined || from < next)) {
      add("overlap", from, `${last.id} and ${line.id}`);
    } else if (next !== undefined && from > next) add("gap", next, "no line");
    const end = to === undefined ? undefined : to + 1n;
    const isFurther = next !== undefined && (end === undefined || end > next);
    if (isFurther || last === undefined) [next, last] = [end, line];
  }
  if (next !== undefined) add("gap", next, "no line");
  return mistakes;
}

/** Lengths at which something can change. Between two of them all lengths fare alike. */
function cuts(brackets: readonly Bracket[]): bigint[] {
  const ends = brackets.flatMap(({ from, to }) => (to === undefined ? [from] : [from, to + 1n]));
  return unique([0n, ...ends]);
}

/** Whether a length is within a bracket, both ends included. */
export function holds({ from, to }: Bracket, length: bigint): boolean {
  return length >= from && (to === undefined || length <= to);
}

class Mistakes {
  readonly all: PriceBookMistake[] = [];

  add(path: string, isWrong: boolean, message: string): void {
    if (isWrong) this.all.push({ path, message });
  }
}

function isMinute(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max;
}

function clockTime(minute: number): string {
  const [hours, rest] = [Math.floor(minute / 60), minute % 60];
  return `${String(hours).padStart(2, "0")}:${String(rest).padStart(2, "0")}`;
}

function unique<Value>(values: readonly Value[]): Value[] {
  return [...new Set(values)];
}

import type { InstantUs } from "../../units.ts";
import { isWithin, minutesPerDay } from "./day.ts";
import { firstOf, Mistakes, type Mistake } from "../terms/mistake.ts";
import {
  dayKinds,
  pairOf,
  sideOf,
  variants,
  type BookSide,
  type DayKind,
  type PriceBook,
  type PriceLine,
  type Tier,
  type TimeOfUseSlot,
} from "./price-book.ts";
import { coverageMistakes } from "./price-coverage.ts";

/**
 * All that is wrong with a new version of a book. It must follow the version before without gap, overlap or
 * reach into the past, its slots must cover each minute of each day kind once, and its lines each length of
 * each class of each model in each slot once. `publishedUs`: a later version may not start before it.
 */
export function checkPriceBook(
  book: PriceBook,
  previous?: PriceBook,
  publishedUs?: InstantUs,
): Mistake[] {
  return firstOf([...succession(book, previous, publishedUs), ...pricesMistakes(book)]);
}

/** All that is wrong with a version by itself. */
export function checkPrices(book: PriceBook): Mistake[] {
  return firstOf(pricesMistakes(book));
}

function pricesMistakes(book: PriceBook): Mistake[] {
  return [
    ...partyMistakes(book),
    ...slotMistakes(book.slots),
    ...book.lines.flatMap((line, index) => lineMistakes(line, index, book)),
    ...coverageMistakes(book),
  ];
}

function succession(
  book: PriceBook,
  previous: PriceBook | undefined,
  publishedUs: InstantUs | undefined,
): Mistake[] {
  const found = new Mistakes();
  const { effectiveFromUs: from, effectiveToUs: to, version, announcedUs } = book;
  const isLate = announcedUs !== undefined && announcedUs > from;
  found.add("announcedUs", isLate, `retroactive: expected at most ${from}, found ${announcedUs}`);
  found.add("effectiveToUs", to !== undefined && to <= from, `expected after ${from}, found ${to}`);
  const next = (previous?.version ?? 0n) + 1n;
  found.add("version", version !== next, `expected ${next}, found ${version}`);
  if (previous === undefined) return found.all;
  const { effectiveFromUs: before, effectiveToUs: end } = previous;
  const earliest = publishedUs !== undefined && publishedUs > before ? publishedUs : before + 1n;
  for (const [path, was, is] of [
    ["id", previous.id, book.id],
    ["side", sideOf(previous), sideOf(book)],
    ["pair", pairOf(previous), pairOf(book)],
    ["currency", previous.currency, book.currency],
  ] as const) {
    found.add(path, was !== is, `expected ${was}, found ${is}`);
  }
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

function slotMistakes(slots: readonly TimeOfUseSlot[]): Mistake[] {
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
function minuteMistakes(slots: readonly TimeOfUseSlot[], kind: DayKind): Mistake[] {
  const mistakes: Mistake[] = [];
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

function lineMistakes(line: PriceLine, index: number, book: PriceBook): Mistake[] {
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
  found.addAll(tierMistakes(line.tiers, `${place}.tiers`));
  found.addAll(volumeMistakes(line, place));
  found.addAll(variantMistakes(line, place));
  const isTenants = sideOf(book) === "sell";
  const message = "expected contract, found pool: a tenant's lines name no pools";
  found.add(`${place}.scope`, isTenants && line.scope !== "contract", message);
  return found.all;
}

/** Sides, and what their parties are called. */
const partyBySide: Readonly<Record<BookSide, string>> = {
  buy: "vendor:",
  licence: "model:",
  sell: "tenant:",
};

function partyMistakes(book: PriceBook): Mistake[] {
  const found = new Mistakes();
  const party = partyBySide[sideOf(book)];
  const pair = pairOf(book);
  const isParty = pair.startsWith(party) && pair.length > party.length;
  found.add("pair", !isParty, `expected ${party}<id> of a ${sideOf(book)} book, found ${pair}`);
  const vendor = pair.startsWith("vendor:") ? pair.slice("vendor:".length) : "";
  found.add("vendor", book.vendor !== vendor, `expected "${vendor}", found "${book.vendor}"`);
  const { baseSlot, slots } = book;
  const isSlot = baseSlot === undefined || slots.some(({ slot }) => slot === baseSlot);
  found.add("baseSlot", !isSlot, `expected a slot of the book, found ${baseSlot}`);
  return found.all;
}

/** Of a volume line the records are rated at its first tier, so both lists must begin with the same price. */
function volumeMistakes({ tiers, volumeTiers }: PriceLine, place: string): Mistake[] {
  if (volumeTiers === undefined) return [];
  const found = new Mistakes();
  found.addAll(tierMistakes(volumeTiers, `${place}.volumeTiers`));
  const [first, rated] = [volumeTiers[0], tiers[0]];
  found.add(`${place}.volumeTiers`, volumeTiers.length < 2, "expected two tiers or more");
  const isSame = tiers.length === 1 && first?.pricePicoPerToken === rated?.pricePicoPerToken;
  found.add(`${place}.tiers`, !isSame, "expected the first of the volume tiers alone");
  return found.all;
}

function variantMistakes(line: PriceLine, place: string): Mistake[] {
  const found = new Mistakes();
  const { tokenClass, variant, minPicoPerRequest: floor, tiers } = line;
  const isFee = tokenClass === "request";
  const isFloor = variant === "minimum";
  const isKnown = variant === undefined || variants.includes(variant);
  found.add(
    `${place}.variant`,
    !isKnown,
    `expected one of ${variants.join(", ")}, found ${variant}`,
  );
  found.add(
    `${place}.variant`,
    isKnown && variant !== undefined && isFee !== isFloor,
    isFee
      ? `expected none or minimum of class request, found ${variant}`
      : `expected a variant of ${tokenClass}, found minimum`,
  );
  const wanted = isFloor ? "expected more than 0" : "expected none but on request/minimum";
  const isRight = isFloor ? floor !== undefined && floor > 0n : floor === undefined;
  found.add(`${place}.minPicoPerRequest`, !isRight, `${wanted}, found ${floor ?? "none"}`);
  const isPlain = tiers.length === 1 && tiers[0]?.pricePicoPerToken === 1n;
  const isCount = isFloor && (!isPlain || line.volumeTiers !== undefined);
  found.add(`${place}.tiers`, isCount, "expected 1 pico a piece: the shortfall is counted in pico");
  return found.all;
}

function tierMistakes(tiers: readonly Tier[], place: string): Mistake[] {
  const found = new Mistakes();
  for (const [tier, { fromTokens, pricePicoPerToken }] of tiers.entries()) {
    const where = `${place}[${tier}]`;
    const before = tiers[tier - 1]?.fromTokens;
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

function isMinute(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max;
}

function clockTime(minute: number): string {
  const [hours, rest] = [Math.floor(minute / 60), minute % 60];
  return `${String(hours).padStart(2, "0")}:${String(rest).padStart(2, "0")}`;
}

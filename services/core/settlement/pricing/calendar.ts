import { assert } from "../../assert.ts";
import type { InstantUs } from "../../units.ts";
import { isWithin, minutesPerDay } from "./day.ts";
import { firstOf, Mistakes, type Mistake } from "../terms/mistake.ts";
import {
  dayKinds,
  type Calendar,
  type DayKind,
  type PriceBook,
  type TimeOfUseSlot,
} from "./price-book.ts";

/** What the clock on the wall shows, where the offset from UTC is known. */
export interface LocalTime {
  /** `2026-10-01`. */
  readonly date: string;
  /** Of the day, 0..1439. */
  readonly minute: number;
  /** 0 is Sunday. */
  readonly weekday: number;
}

const usPerMinute = 60_000_000;
const msPerDay = 86_400_000;

/** 1970-01-01 was a Thursday. */
const epochWeekday = 4;

export function localTime(us: InstantUs, offsetMinutes: number): LocalTime {
  const minutes = Math.floor(Number(us) / usPerMinute) + offsetMinutes;
  const day = Math.floor(minutes / minutesPerDay);
  return {
    date: dateOfDay(day),
    minute: minutes - day * minutesPerDay,
    weekday: (((day + epochWeekday) % 7) + 7) % 7,
  };
}

/** Most instants that come in a row are of one day. */
let lastDay = { day: 0, date: "1970-01-01" };

function dateOfDay(day: number): string {
  if (day !== lastDay.day) {
    lastDay = { day, date: new Date(day * msPerDay).toISOString().slice(0, 10) };
  }
  return lastDay.date;
}

/** The offset from UTC in force at an instant, in minutes. */
export function offsetAt({ offsetMinutes, offsets = [] }: Calendar, us: InstantUs): number {
  return offsets.findLast(({ fromUs }) => fromUs <= us)?.minutes ?? offsetMinutes;
}

/** Named days first, as far as the calendar reaches; the others by the week. */
export function dayKind(calendar: Calendar, us: InstantUs): DayKind {
  return kindOf(calendar, us, localTime(us, offsetAt(calendar, us)));
}

/** Whether the calendar says which day an instant is in. */
export function isCovered({ coversFromUs, coversToUs }: Calendar, us: InstantUs): boolean {
  return us < coversToUs && (coversFromUs === undefined || us >= coversFromUs);
}

export interface SlotChoice {
  readonly slot: string;
  /** False: the slot depends on what day it is, and the calendar does not know. */
  readonly isCovered: boolean;
}

/** The slot of use of a checked book at an instant; `any` where the book has none. */
export function slotAt(book: PriceBook, us: InstantUs): string {
  return slotChoiceAt(book, us).slot;
}

/**
 * The same, and whether the calendar reached that far. Where it did not, the base slot applies, or the day by the week,
 * until a later calendar and a `reprice`; but for a minute that is in one slot on every kind of day no calendar is asked.
 */
export function slotChoiceAt({ slots, calendar, baseSlot }: PriceBook, us: InstantUs): SlotChoice {
  if (slots.length === 0) return { slot: "any", isCovered: true };
  const local = localTime(us, offsetAt(calendar, us));
  const kind = kindOf(calendar, us, local);
  const { slot } = slotOn(slots, kind, local.minute);
  if (isCovered(calendar, us)) return { slot, isCovered: true };
  const others = dayKinds.map((each) => slotOn(slots, each, local.minute).slot);
  if (others.every((each) => each === slot)) return { slot, isCovered: true };
  return { slot: baseSlot ?? slot, isCovered: false };
}

function slotOn(slots: readonly TimeOfUseSlot[], kind: DayKind, minute: number): TimeOfUseSlot {
  const found = slots.find(
    (slot) => slot.dayKinds.has(kind) && isWithin(minute, slot.startMin, slot.endMin),
  );
  assert(found !== undefined, "the slots of a checked book cover every minute");
  return found;
}

function kindOf(calendar: Calendar, us: InstantUs, { date, weekday }: LocalTime): DayKind {
  const named = isCovered(calendar, us) ? calendar.kindByDate.get(date) : undefined;
  return named ?? (weekday === 0 || weekday === 6 ? "weekend" : "workday");
}

const usPerDay = 86_400_000_000n;
const usPerHalfDay = usPerDay / 2n;

/** Whole days from an instant to the end of what the calendar covers; below 0 when it is over. For an alarm. */
export function daysLeft({ coversToUs }: Calendar, us: InstantUs): number {
  const left = coversToUs - us;
  return Number(left >= 0n ? left / usPerDay : -((-left + usPerDay - 1n) / usPerDay));
}

/** Nobody fixes the holidays of more years ahead. */
const coverDaysMax = 3_700;
const offsetMinutesMost = 18 * 60;

/**
 * All that is wrong with a version of a calendar. A later one reaches further, and leaves the days before `publishedUs`
 * as they were: what was rated by them changes by a `reprice` alone.
 */
export function checkCalendar(
  calendar: Calendar,
  previous?: Calendar,
  publishedUs?: InstantUs,
): Mistake[] {
  const found = new Mistakes();
  const { version = 1n, coversFromUs, coversToUs, offsets = [] } = calendar;
  const next = (previous?.version ?? (previous === undefined ? 0n : 1n)) + 1n;
  found.add("version", version !== next, `expected ${next}, found ${version}`);
  const from = coversFromUs ?? 0n;
  found.add("covers_to", coversToUs <= from, `expected after ${from}, found ${coversToUs}`);
  const days = Number((coversToUs - from) / usPerDay);
  found.add(
    "covers_to",
    days > coverDaysMax,
    `expected at most ${coverDaysMax} days, found ${days}`,
  );
  const wanted = `whole minutes from -${offsetMinutesMost} to ${offsetMinutesMost}`;
  const all = [{ fromUs: undefined, minutes: calendar.offsetMinutes }, ...offsets];
  for (const [index, { fromUs, minutes }] of all.entries()) {
    const isOffset = Number.isInteger(minutes) && Math.abs(minutes) <= offsetMinutesMost;
    found.add(`offsets[${index}].minutes`, !isOffset, `expected ${wanted}, found ${minutes}`);
    const before = all[index - 1]?.fromUs;
    const isInOrder = fromUs === undefined || before === undefined || fromUs > before;
    found.add(`offsets[${index}].from`, !isInOrder, `expected after ${before}, found ${fromUs}`);
  }
  for (const date of calendar.kindByDate.keys()) {
    const at = middleOf(date, calendar);
    const what = at === undefined ? "no date" : "outside of what the calendar covers";
    found.add(`days.${date}`, at === undefined || !isCovered(calendar, at), what);
  }
  if (previous !== undefined && found.all.length === 0) {
    found.addAll(retroactive(calendar, previous, publishedUs ?? 0n));
  }
  return firstOf(found.all);
}

/** What of the days that a calendar covers another version has otherwise: of all of them, to come or over. */
export function daysChanged(calendar: Calendar, previous: Calendar): Mistake[] {
  return retroactive(calendar, previous, previous.coversToUs);
}

/** Days that have begun, and are not what they were. */
export function retroactive(
  calendar: Calendar,
  previous: Calendar,
  publishedUs: InstantUs,
): Mistake[] {
  const found = new Mistakes();
  found.add("id", calendar.id !== previous.id, `expected ${previous.id}, found ${calendar.id}`);
  const reach = previous.coversToUs;
  found.add(
    "covers_to",
    calendar.coversToUs < reach,
    `expected ${reach} or later, as in the version before, found ${calendar.coversToUs}`,
  );
  const [from, start] = [calendar.coversFromUs, previous.coversFromUs];
  found.add(
    "covers_from",
    from !== undefined && (start === undefined || from > start),
    `expected ${start ?? "none"} or earlier, as in the version before, found ${from}`,
  );
  const until = publishedUs < reach ? publishedUs : reach;
  const dates = new Set([...previous.kindByDate.keys(), ...calendar.kindByDate.keys()]);
  for (const date of [...dates].toSorted()) {
    const at = middleOf(date, previous);
    if (at === undefined || at - usPerHalfDay >= until || !isCovered(previous, at)) continue;
    const [was, is] = [dayKind(previous, at), dayKind(calendar, at)];
    found.add(`days.${date}`, was !== is, `retroactive: expected ${was} as before, found ${is}`);
  }
  const changes = [previous, calendar].flatMap(({ offsets = [] }) => offsets);
  const instants = [start ?? 0n, ...changes.map(({ fromUs }) => fromUs), until - 1n];
  for (const us of instants) {
    const [was, is] = [previous, calendar].map((each) => offsetAt(each, us));
    const message = `retroactive: expected ${was} minutes as before, found ${is}`;
    found.add("offsets", us < until && was !== is, message);
  }
  return found.all;
}

/** Noon of a date. Undefined: there is no such date. */
function middleOf(date: string, { offsetMinutes }: Calendar): InstantUs | undefined {
  const ms = /^\d{4}-\d\d-\d\d$/.test(date) ? Date.parse(`${date}T12:00:00Z`) : Number.NaN;
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 10) !== date) return undefined;
  return BigInt(ms - offsetMinutes * 60_000) * 1_000n;
}

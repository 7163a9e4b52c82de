import { assert } from "../assert.ts";
import type { InstantUs } from "../units.ts";
import { isWithin, minutesPerDay } from "./day.ts";
import type { Calendar, DayKind, PriceBook } from "./price-book.ts";

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

/** Named days first, as far as the calendar reaches; the others by the week. */
export function dayKind(calendar: Calendar, us: InstantUs): DayKind {
  return kindOf(calendar, us, localTime(us, calendar.offsetMinutes));
}

/** The slot of use of a checked book at an instant; `any` where the book has none. */
export function slotAt(book: PriceBook, us: InstantUs): string {
  if (book.slots.length === 0) return "any";
  const local = localTime(us, book.calendar.offsetMinutes);
  const kind = kindOf(book.calendar, us, local);
  const found = book.slots.find(
    (slot) => slot.dayKinds.has(kind) && isWithin(local.minute, slot.startMin, slot.endMin),
  );
  assert(found !== undefined, "the slots of a checked book cover every minute");
  return found.slot;
}

function kindOf(calendar: Calendar, us: InstantUs, { date, weekday }: LocalTime): DayKind {
  const named = us < calendar.coversToUs ? calendar.kindByDate.get(date) : undefined;
  return named ?? (weekday === 0 || weekday === 6 ? "weekend" : "workday");
}

import { assert } from "../../assert.ts";
import type { InstantUs } from "../../units.ts";
import { localTime } from "../pricing/calendar.ts";

/** Zones whose offset never changes, so that no time-zone database is needed. */
export const offsetMinutesByZone = { "Asia/Shanghai": 480, UTC: 0 } as const;

export type TimeZone = keyof typeof offsetMinutesByZone;

export type PeriodKind = "daily" | "monthly" | "custom";

/** Includes its start and excludes its end. */
export interface Period {
  readonly fromUs: InstantUs;
  readonly toUs: InstantUs;
  readonly timeZone: TimeZone;
}

const usPerMs = 1_000n;
const usPerMinute = 60_000_000n;
export const usPerHour = 3_600_000_000n;

/** The local day that holds an instant. */
export function dayOf(us: InstantUs, timeZone: TimeZone): Period {
  const [year, month, day] = dateParts(us, timeZone);
  return between(timeZone, Date.UTC(year, month, day), Date.UTC(year, month, day + 1));
}

/** The local month that holds an instant. In Shanghai it starts at 16:00 UTC of the day before. */
export function monthOf(us: InstantUs, timeZone: TimeZone): Period {
  const [year, month] = dateParts(us, timeZone);
  return between(timeZone, Date.UTC(year, month, 1), Date.UTC(year, month + 1, 1));
}

export function kindOfPeriod({ fromUs, toUs, timeZone }: Period): PeriodKind {
  const is = (other: Period): boolean => other.fromUs === fromUs && other.toUs === toUs;
  if (is(dayOf(fromUs, timeZone))) return "daily";
  return is(monthOf(fromUs, timeZone)) ? "monthly" : "custom";
}

/** `2026-11-21`, `2026-11`, or both ends in microseconds. */
export function nameOfPeriod(period: Period): string {
  const { date } = localTime(period.fromUs, offsetMinutesByZone[period.timeZone]);
  const names: Readonly<Record<PeriodKind, string>> = {
    daily: date,
    monthly: date.slice(0, 7),
    custom: `${period.fromUs}-${period.toUs}`,
  };
  return names[kindOfPeriod(period)];
}

/** Name of the day or month that holds an instant. */
export function periodNameAt(us: InstantUs, kind: "daily" | "monthly", timeZone: TimeZone): string {
  const { date } = localTime(us, offsetMinutesByZone[timeZone]);
  return kind === "daily" ? date : date.slice(0, 7);
}

/** The day or month of a name, `2026-11-21` or `2026-11`; undefined if it is neither. */
export function periodNamed(name: string, timeZone: TimeZone): Period | undefined {
  const [, year, month, date] = /^(\d{4})-(\d{2})(?:-(\d{2}))?$/.exec(name) ?? [];
  if (year === undefined || month === undefined) return undefined;
  const localMs = Date.UTC(Number(year), Number(month) - 1, Number(date ?? "1"));
  const offsetUs = BigInt(offsetMinutesByZone[timeZone]) * usPerMinute;
  const startUs = BigInt(localMs) * usPerMs - offsetUs;
  const period = date === undefined ? monthOf(startUs, timeZone) : dayOf(startUs, timeZone);
  // A day that does not exist, such as 2026-02-30, would silently become another.
  return nameOfPeriod(period) === name ? period : undefined;
}

/** Name of the day that follows on one. */
export function dayAfter(name: string, timeZone: TimeZone): string {
  const day = periodNamed(name, timeZone);
  assert(day !== undefined, "a day has a name such as 2026-11-21");
  return periodNameAt(day.toUs, "daily", timeZone);
}

/** Names of the days within a period, in order. */
export function daysIn({ fromUs, toUs, timeZone }: Period): string[] {
  const names: string[] = [];
  for (let at = fromUs; at < toUs; at = dayOf(at, timeZone).toUs) {
    names.push(periodNameAt(at, "daily", timeZone));
  }
  return names;
}

/**
 * The day into whose statement a record goes: its own, or the first open one of its pair if its own is closed.
 * What is closed is never changed, and nothing is left out. `firstOpen` is undefined while nothing was closed yet.
 */
export function bookingOf(
  openedUs: InstantUs,
  firstOpen: string | undefined,
  timeZone: TimeZone,
): string {
  const own = periodNameAt(openedUs, "daily", timeZone);
  return firstOpen !== undefined && own < firstOpen ? firstOpen : own;
}

/** The hour is the grain of what statements add up. */
export function hourOf(us: InstantUs): InstantUs {
  return us - (us % usPerHour);
}

function dateParts(us: InstantUs, timeZone: TimeZone): [year: number, month: number, day: number] {
  const { date } = localTime(us, offsetMinutesByZone[timeZone]);
  const [year = 0, month = 1, day = 1] = date.split("-").map(Number);
  return [year, month - 1, day];
}

function between(timeZone: TimeZone, fromLocalMs: number, toLocalMs: number): Period {
  const offsetUs = BigInt(offsetMinutesByZone[timeZone]) * usPerMinute;
  const toUs = (localMs: number): InstantUs => BigInt(localMs) * usPerMs - offsetUs;
  return { fromUs: toUs(fromLocalMs), toUs: toUs(toLocalMs), timeZone };
}

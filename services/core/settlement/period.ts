import type { InstantUs } from "../units.ts";
import { localTime } from "./calendar.ts";

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

import {
  dayOf,
  monthOf,
  nameOfPeriod,
  offsetMinutesByZone,
  type Period,
} from "../core/settlement/statements/period.ts";
import type { InstantUs } from "../core/units.ts";

export interface NamedPeriod extends Period {
  /** As a statement names it: `2026-11-21` or `2026-11`. */
  readonly name: string;
}

/** Days and months are those of the operator, who is in China. No summer time: the offset is fixed. */
export const timeZone = "Asia/Shanghai";

const offsetMs = offsetMinutesByZone[timeZone] * 60_000;

/** `today`, `yesterday`, `2026-11-21` or `2026-11`. A string is the complaint. */
export function parsePeriod(text: string, nowMs: number): NamedPeriod | string {
  const today = dayOf(toUs(nowMs), timeZone);
  if (text === "today") return named(today);
  if (text === "yesterday") return named(dayOf(today.fromUs - 1n, timeZone));
  const [, year, month, date] = /^(\d{4})-(\d{2})(?:-(\d{2}))?$/.exec(text) ?? [];
  if (year === undefined || month === undefined) return complaint(text);
  const start = Date.UTC(Number(year), Number(month) - 1, Number(date ?? "1"));
  // A day that does not exist, such as 2026-02-30, would silently become another.
  if (!new Date(start).toISOString().startsWith(`${year}-${month}-${date ?? "01"}`)) {
    return complaint(text);
  }
  const startUs = toUs(start - offsetMs);
  return named(date === undefined ? monthOf(startUs, timeZone) : dayOf(startUs, timeZone));
}

/** When something begins: `tomorrow`, `next-month`, or an instant with its offset. A string is the complaint. */
export function parseStart(text: string, nowMs: number): InstantUs | string {
  const nowUs = toUs(nowMs);
  if (text === "tomorrow") return dayOf(nowUs, timeZone).toUs;
  if (text === "next-month") return monthOf(nowUs, timeZone).toUs;
  const ms = Date.parse(text);
  if (/T.*(Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(ms)) return toUs(ms);
  return `expected tomorrow, next-month (of ${timeZone}) or 2026-12-01T00:00:00+08:00, found ${JSON.stringify(text)}`;
}

function named(period: Period): NamedPeriod {
  return { ...period, name: nameOfPeriod(period) };
}

function toUs(ms: number): InstantUs {
  return BigInt(Math.floor(ms)) * 1_000n;
}

function complaint(text: string): string {
  return `expected today, yesterday, YYYY-MM-DD or YYYY-MM (days of ${timeZone}), found ${JSON.stringify(text)}`;
}

/** `2026-11-21 13:05:09` in the operator's zone. */
export function localTime(us: InstantUs): string {
  const iso = new Date(Number(us / 1_000n) + offsetMs).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}`;
}

import type { InstantUs } from "../core/units.ts";

/** Includes its start, excludes its end. */
export interface NamedPeriod {
  /** As a statement names it: `2026-11-21` or `2026-11`. */
  readonly name: string;
  readonly fromUs: InstantUs;
  readonly toUs: InstantUs;
  readonly timeZone: string;
}

/** Days and months are those of the operator, who is in China. No summer time: the offset is fixed. */
export const timeZone = "Asia/Shanghai";

const offsetMs = 8 * 3_600_000;
const dayMs = 86_400_000;

/** `today`, `yesterday`, `2026-11-21` or `2026-11`. A string is the complaint. */
export function parsePeriod(text: string, nowMs: number): NamedPeriod | string {
  const today = Math.floor((nowMs + offsetMs) / dayMs) * dayMs;
  if (text === "today") return day(today);
  if (text === "yesterday") return day(today - dayMs);
  const [, year, month, date] = /^(\d{4})-(\d{2})(?:-(\d{2}))?$/.exec(text) ?? [];
  if (year === undefined || month === undefined) return complaint(text);
  const start = Date.UTC(Number(year), Number(month) - 1, Number(date ?? "1"));
  // A day that does not exist, such as 2026-02-30, would silently become another.
  if (!new Date(start).toISOString().startsWith(`${year}-${month}-${date ?? "01"}`)) {
    return complaint(text);
  }
  if (date !== undefined) return day(start);
  return period(`${year}-${month}`, start, Date.UTC(Number(year), Number(month), 1));
}

function day(localMs: number): NamedPeriod {
  return period(new Date(localMs).toISOString().slice(0, 10), localMs, localMs + dayMs);
}

function period(name: string, fromLocalMs: number, toLocalMs: number): NamedPeriod {
  return { name, fromUs: toUs(fromLocalMs), toUs: toUs(toLocalMs), timeZone };
}

function toUs(localMs: number): InstantUs {
  return BigInt(localMs - offsetMs) * 1_000n;
}

function complaint(text: string): string {
  return `expected today, yesterday, YYYY-MM-DD or YYYY-MM (days of ${timeZone}), found ${JSON.stringify(text)}`;
}

/** `2026-11-21 13:05:09` in the operator's zone. */
export function localTime(us: InstantUs): string {
  const iso = new Date(Number(us / 1_000n) + offsetMs).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}`;
}

import type { InstantUs, PairId, PoolId, RegionId } from "../../units.ts";
import { partsOfLineId, type HourKey } from "../pricing/charge.ts";
import { periodNameAt, type Period } from "./period.ts";
import type { At, HourTotal } from "../ledger/posting.ts";
import type { Statement, StatementLine } from "./statement.ts";

/** Stands for what a counterparty is not shown. */
const hidden = "*";

/** A tenant is not shown pools, the owner of a model neither pools nor regions: they are others' business. */
export function shownTo<Place extends Pick<HourKey, "pool" | "region">>(
  pair: PairId,
  place: Place,
): Pick<HourKey, "pool" | "region"> {
  if (pair.startsWith("vendor:")) return { pool: place.pool, region: place.region };
  const pool = hidden as PoolId;
  return { pool, region: pair.startsWith("tenant:") ? place.region : (hidden as RegionId) };
}

/** The day of use, where it is outside a statement's period. */
export function usagePeriodOf(us: InstantUs, { fromUs, toUs, timeZone }: Period) {
  return us >= fromUs && us < toUs ? undefined : periodNameAt(us, "daily", timeZone);
}

/** What was booked by hours, by lines. `period` is that of the statement. */
export function linesOfHours(
  hours: readonly At<HourKey, HourTotal>[],
  period: Period,
): StatementLine[] {
  const lines = new Lines();
  for (const { key, total } of hours) {
    const usagePeriod = usagePeriodOf(key.hourUs, period);
    const { model, tokenClass, slot, attempts, tokens, pico, amountNano } = total;
    lines.add({
      ...partsOfLineId(key.line),
      ...shownTo(key.pair, key),
      ...{ model, tokenClass, slot, usagePeriod },
      ...{ attempts, tokens, pico, amountNano },
    });
  }
  return lines.all;
}

/** Lines of the days of a month. What came late within the month is not late to it. */
export function addedLines(
  days: readonly Pick<Statement, "lines">[],
  month: Period,
): StatementLine[] {
  const lines = new Lines();
  const from = periodNameAt(month.fromUs, "daily", month.timeZone);
  for (const line of days.flatMap((day) => day.lines)) {
    const isBefore = line.usagePeriod !== undefined && line.usagePeriod < from;
    lines.add({ ...line, usagePeriod: isBefore ? line.usagePeriod : undefined });
  }
  return lines.all;
}

/** Adds up what is of the same line, pool and time. */
class Lines {
  readonly #lines = new Map<string, StatementLine>();

  add(line: StatementLine): void {
    const { book, version, line: id, pool, region, usagePeriod = "" } = line;
    const at = placeText({ line: `${book}:${version}:${id}`, pool, region, usagePeriod });
    const before = this.#lines.get(at);
    this.#lines.set(at, before === undefined ? line : added(before, line));
  }

  get all(): StatementLine[] {
    return [...this.#lines.values()];
  }
}

/** Key of a line; `line` is `<book>:<version>:<line>`. */
export function placeText(
  place: Pick<StatementLine, "pool" | "region"> & {
    readonly line: string;
    readonly usagePeriod: string;
  },
): string {
  return `${place.line}\n${place.pool}\n${place.region}\n${place.usagePeriod}`;
}

function added(a: StatementLine, b: StatementLine): StatementLine {
  return {
    ...a,
    attempts: a.attempts + b.attempts,
    tokens: a.tokens + b.tokens,
    pico: a.pico + b.pico,
    amountNano: a.amountNano + b.amountNano,
  };
}

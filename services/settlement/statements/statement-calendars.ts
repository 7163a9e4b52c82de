import { canonicalJson } from "../../core/settlement/canonical.ts";
import { calendarShape } from "../../core/settlement/terms/other-shapes.ts";
import type { Calendar, PriceBook } from "../../core/settlement/pricing/price-book.ts";
import type { BookId } from "../../core/units.ts";
import { sha256 } from "../../io/signing.ts";
import type { StatementSources } from "./statements.ts";

/** Calendars by which the versions of price books in a statement found their slots. */
export function calendarsFrom(
  bookOf: (book: BookId, version: bigint) => PriceBook | undefined,
): StatementSources["calendars"] {
  return (versions) => {
    const calendars = new Map<string, Calendar>();
    for (const { book, version } of versions) {
      const found = bookOf(book, version);
      // A book with one slot asks no calendar.
      if (found === undefined || found.slots.length === 0) continue;
      calendars.set(`${found.calendar.id}@${found.calendar.version ?? 1n}`, found.calendar);
    }
    return [...calendars]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, calendar]) => ({
        id: calendar.id,
        version: calendar.version ?? 1n,
        hash: sha256(canonicalJson(calendarShape.write(calendar))),
      }));
  };
}

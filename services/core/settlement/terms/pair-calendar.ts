import { daysChanged } from "../pricing/calendar.ts";
import { everyTenant, pairOf, type Calendar, type PriceBook } from "../pricing/price-book.ts";
import type { TermsRecord } from "./terms-table.ts";

/**
 * The calendar that a book goes by: the one that it was agreed with, or a later version that leaves the days that one covers as
 * they are, or that its other party has countersigned. The operator's word alone changes no day that anybody else was paid
 * by. A list for every tenant is the operator's own.
 */
export function calendarFor(
  book: PriceBook,
  versions: readonly TermsRecord<"calendar">[],
): Calendar {
  const pair = pairOf(book);
  let calendar = book.calendar;
  for (const { series, version, value, consents, agreedUs } of versions) {
    const isLater = series === calendar.id && version > (calendar.version ?? 1n);
    if (!isLater || agreedUs === undefined) continue;
    const isOwn = pair === everyTenant || consents.some(({ party }) => party === pair);
    if (isOwn || daysChanged(value, calendar).length === 0) calendar = value;
  }
  return calendar;
}

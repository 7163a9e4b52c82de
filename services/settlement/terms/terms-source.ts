import type { BookingOf, Terms } from "../../core/settlement/ledger/prepare.ts";
import type { Tills } from "../../core/settlement/ledger/post-sale.ts";
import type { LineOf } from "../../core/settlement/ledger/posting.ts";
import type { PriceBook } from "../../core/settlement/pricing/price-book.ts";
import type { UsageRecord } from "../../core/settlement/counting/usage.ts";
import type { BookId } from "../../core/units.ts";

/** What was agreed with whom, as records are posted by it. All of it is in memory once `learn` has resolved. */
export interface TermsSource {
  /** Makes sure of the books that these records name: a gateway may have heard of one before we did. */
  learn(records: readonly UsageRecord[]): Promise<void>;
  /** What holds for a record, at the instant at which it was opened. */
  termsOf(record: UsageRecord): Terms;
  readonly bookingOf: BookingOf;
  readonly lineOf: LineOf;
  bookOf(book: BookId, version: bigint): PriceBook | undefined;
  /** SHA-256 of the book's canonical text. */
  readonly priceHashOf: (book: PriceBook) => string;
  readonly packagesOf: Tills["packagesOf"];
}

import {
  partsOfLineId,
  type HourKey,
  type RatingKey,
} from "../../../services/core/settlement/charge.ts";
import type { Contract } from "../../../services/core/settlement/contract.ts";
import { movements, type LedgerEntry } from "../../../services/core/settlement/ledger.ts";
import {
  hourText,
  Posting,
  ratingText,
  type At,
  type HourTotal,
  type PostOutcome,
  type StoredRecord,
} from "../../../services/core/settlement/posting.ts";
import { prepare } from "../../../services/core/settlement/prepare.ts";
import type { PriceBook } from "../../../services/core/settlement/price-book.ts";
import type { Cumulative } from "../../../services/core/settlement/rate.ts";
import type { UsageRecord } from "../../../services/core/settlement/usage.ts";
import { contract as anyContract, sha256 } from "./fixtures.ts";

/** Books that last as long as a test: what a store keeps, without one. */
export class MemoryBooks {
  readonly records = new Map<string, StoredRecord>();
  readonly entries: LedgerEntry[] = [];
  readonly cumulatives = new Map<string, At<RatingKey, Cumulative>>();
  readonly hours = new Map<string, At<HourKey, HourTotal>>();
  /** May be given later than the records that name them. */
  books: readonly PriceBook[];
  readonly #contract: Contract;

  constructor(books: readonly PriceBook[], contract: Contract = anyContract()) {
    this.books = books;
    this.#contract = contract;
  }

  /** One batch. */
  post(records: readonly UsageRecord[]): PostOutcome[] {
    const known = {
      records: [...this.records.values()],
      cumulatives: [...this.cumulatives.values()],
      hours: [...this.hours.values()],
    };
    const posting = new Posting(known, (id) => {
      const { book, version, line } = partsOfLineId(id);
      return this.#bookOf(book, version)?.lines.find((each) => each.id === line);
    });
    const outcomes = records.map((record) => {
      const rev = BigInt(record.id.split(":").at(-1) ?? "");
      const book = this.#bookOf(record.priceBook, record.priceVersion);
      return posting.add(prepare(record, { rev, contract: this.#contract, book, sha256 }));
    });
    const { changes } = posting;
    for (const each of [...changes.waiting, ...changes.posted]) this.records.set(each.record, each);
    this.entries.push(...changes.entries);
    for (const each of changes.cumulatives) this.cumulatives.set(ratingText(each.key), each);
    for (const each of changes.hours) this.hours.set(hourText(each.key), each);
    return outcomes;
  }

  /**
   * What must not depend on order, batches or repetition. Which of several cost accounts bears a nano, or a tier,
   * does depend on the order of the records; what is owed does not.
   */
  get totals() {
    const payable = this.balances.filter(([account]) => account.startsWith("liab:"));
    const byLine = new Map<string, bigint>();
    for (const { key, total } of this.hours.values()) {
      const line = `${key.vendor} ${key.line} ${key.pool}`;
      byLine.set(line, (byLine.get(line) ?? 0n) + total.amountNano);
    }
    const cumulatives = [...this.cumulatives]
      .map(([text, { total }]) => [text, total] as const)
      .filter(([, { records }]) => records > 0n);
    return {
      payable: new Map(payable),
      cumulatives: new Map(cumulatives),
      byLine: new Map([...byLine].filter(([, nano]) => nano > 0n)),
    };
  }

  /** Credits less debits of each account that is not square. */
  get balances(): (readonly [account: string, nano: bigint])[] {
    return [...movements(this.entries)]
      .map(([account, { debitNano, creditNano }]) => [account, creditNano - debitNano] as const)
      .filter(([, nano]) => nano !== 0n);
  }

  #bookOf(id: string, version: bigint): PriceBook | undefined {
    return this.books.find((book) => book.id === id && book.version === version);
  }
}

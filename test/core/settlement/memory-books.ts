import type { HourKey, RatingKey } from "../../../services/core/settlement/pricing/charge.ts";
import type { Contract } from "../../../services/core/settlement/terms/contract.ts";
import { OpenHolds } from "../../../services/core/settlement/packages/hold.ts";
import type { RecordLeaf } from "../../../services/core/settlement/ledger/leaf.ts";
import {
  addBalances,
  movements,
  noBalance,
  type Balance,
  type LedgerEntry,
} from "../../../services/core/settlement/ledger/ledger.ts";
import { bookingOf } from "../../../services/core/settlement/statements/period.ts";
import { keysOf, Posting } from "../../../services/core/settlement/ledger/post.ts";
import {
  consumptionText,
  hourText,
  ratingText,
  type At,
  type Consumption,
  type ConsumptionKey,
  type HourTotal,
  type PostOutcome,
  type SaleRow,
  type StoredRecord,
  type WantedKeys,
} from "../../../services/core/settlement/ledger/posting.ts";
import {
  linesIn,
  prepare,
  type Agreement,
  type Prepared,
  type Selling,
} from "../../../services/core/settlement/ledger/prepare.ts";
import type { PriceBook } from "../../../services/core/settlement/pricing/price-book.ts";
import type { Cumulative } from "../../../services/core/settlement/pricing/rate.ts";
import { fromRecordText } from "../../../services/core/settlement/counting/record-text.ts";
import { bookText } from "../../../services/core/settlement/terms/terms-text.ts";
import type { TokenPackage } from "../../../services/core/settlement/packages/token-package.ts";
import type { UsageRecord } from "../../../services/core/settlement/counting/usage.ts";
import { Wallets } from "../../../services/core/settlement/packages/wallet.ts";
import type { PairId } from "../../../services/core/units.ts";
import { contract as anyContract, sha256 } from "./fixtures.ts";

/** Books that last as long as a test: what a store keeps, without one. */
export class MemoryBooks {
  readonly records = new Map<string, StoredRecord>();
  readonly sales = new Map<string, SaleRow>();
  readonly entries: LedgerEntry[] = [];
  readonly leaves: RecordLeaf[] = [];
  readonly cumulatives = new Map<string, At<RatingKey, Cumulative>>();
  readonly hours = new Map<string, At<HourKey, HourTotal>>();
  readonly consumption = new Map<string, At<ConsumptionKey, Consumption>>();
  readonly holds = new OpenHolds();
  readonly #balances = new Map<string, Balance>();
  /** May be given later than the records that name them. */
  books: readonly PriceBook[];
  licence: Agreement | undefined;
  loserBook: PriceBook | undefined;
  /** Undefined: nobody said what tenants pay. */
  sell: ((record: UsageRecord) => Selling) | undefined;
  packages: readonly TokenPackage[] = [];
  /** First day of a pair that is open. */
  readonly firstOpen = new Map<PairId, string>();
  readonly #contract: Contract;

  constructor(books: readonly PriceBook[], contract: Contract = anyContract()) {
    this.books = books;
    this.#contract = contract;
  }

  /** One batch. */
  post(records: readonly UsageRecord[]): PostOutcome[] {
    return this.#commit(records, (posting, prepared) => posting.add(prepared));
  }

  /** Sales that wait are looked at again. */
  releaseSales(): PostOutcome[] {
    const waiting = [...this.sales.values()].filter(({ state }) => state === "waiting");
    const records = waiting.map(({ text }) => fromRecordText(text));
    return this.#commit(records, (posting, prepared) => posting.addSale(prepared));
  }

  /** Entries of others, such as purchases. */
  enter(entries: readonly LedgerEntry[]): void {
    this.entries.push(...entries);
    for (const [key, by] of movements(entries)) {
      this.#balances.set(key, addBalances(this.#balances.get(key) ?? noBalance, by));
    }
  }

  /**
   * What must not depend on order, batches or repetition. Which of several cost accounts bears a nano, or a tier,
   * does depend on the order of the records; what is owed does not.
   */
  get totals() {
    const payable = this.balances.filter(([account]) => account.includes("\nliab:payable:"));
    const byLine = new Map<string, bigint>();
    for (const { key, total } of this.hours.values()) {
      const line = `${key.pair} ${key.line} ${key.pool}`;
      byLine.set(line, (byLine.get(line) ?? 0n) + total.amountNano);
    }
    const cumulatives = [...this.cumulatives]
      .map(([text, { total }]) => [text, total] as const)
      .filter(([, { records }]) => records > 0n);
    return {
      payable: new Map(payable),
      cumulatives: new Map(cumulatives),
      byLine: new Map([...byLine].filter(([, nano]) => nano !== 0n)),
    };
  }

  /** As they are cached, by `balanceText`. */
  get cachedBalances(): ReadonlyMap<string, Balance> {
    return this.#balances;
  }

  /** Credits less debits of each account that is not square. */
  get balances(): (readonly [account: string, amount: bigint])[] {
    return [...movements(this.entries)]
      .map(([account, { debit, credit }]) => [account, credit - debit] as const)
      .filter(([, amount]) => amount !== 0n);
  }

  /** Credits less debits of an account, in nano. */
  netOf(account: string): bigint {
    return new Map(this.balances).get(`CNY:nano\n${account}`) ?? 0n;
  }

  readonly bookingOf = (pair: PairId, openedUs: bigint): string =>
    bookingOf(openedUs, this.firstOpen.get(pair), this.#contract.timeZone);

  readonly lineOf = linesIn((id, version) => this.#bookOf(id, version));

  #commit(
    records: readonly UsageRecord[],
    add: (posting: Posting, prepared: Prepared) => PostOutcome,
  ): PostOutcome[] {
    const prepared = records.map((record) => this.#prepare(record));
    const { posting, outcomes } = this.#posted(prepared, add);
    const { changes } = posting;
    for (const each of [...changes.waiting, ...changes.posted]) this.records.set(each.record, each);
    for (const each of changes.sales) this.sales.set(`${each.attempt}:${each.rev}`, each);
    this.leaves.push(...posting.leaves);
    this.enter(changes.entries);
    this.holds.apply(posting.holds);
    for (const each of changes.cumulatives) this.cumulatives.set(ratingText(each.key), each);
    for (const each of changes.hours) this.hours.set(hourText(each.key), each);
    for (const each of changes.consumption) this.consumption.set(consumptionText(each.key), each);
    return outcomes;
  }

  /** Reads what is wanted, and what turns out to be: an absent total is one that was read. */
  #posted(
    prepared: readonly Prepared[],
    add: (posting: Posting, prepared: Prepared) => PostOutcome,
  ) {
    let read: WantedKeys = { cumulatives: [], hours: [], consumption: [] };
    let wanted: WantedKeys = keysOf(prepared);
    for (;;) {
      read = {
        cumulatives: [...read.cumulatives, ...wanted.cumulatives],
        hours: [...read.hours, ...wanted.hours],
        consumption: [...read.consumption, ...wanted.consumption],
      };
      const posting = this.#postingOver(read);
      const outcomes = prepared.map((each) => add(posting, each));
      wanted = posting.missing;
      if (Object.values(wanted).every((keys) => keys.length === 0)) return { posting, outcomes };
    }
  }

  #postingOver(read: WantedKeys): Posting {
    const sheet = <Key, Total>(
      all: ReadonlyMap<string, At<Key, Total>>,
      keys: readonly Key[],
      textOf: (key: Key) => string,
    ) => new Map(keys.map((key) => [textOf(key), all.get(textOf(key))]));
    return new Posting(
      {
        records: [...this.records.values()],
        sales: [...this.sales.values()].filter(({ state }) => state !== "replaced"),
        cumulatives: sheet(this.cumulatives, read.cumulatives, ratingText),
        hours: sheet(this.hours, read.hours, hourText),
        consumption: sheet(this.consumption, read.consumption, consumptionText),
      },
      {
        lineOf: this.lineOf,
        bookingOf: this.bookingOf,
        priceHashOf: (book) => sha256(bookText(book)),
        secrets: { sha256, saltOf: (record) => sha256(`a secret of ${record}`) },
        tills: {
          wallets: new Wallets(this.#balances, this.holds),
          packagesOf: (tenant, openedUs) =>
            this.packages.filter(
              (each) =>
                each.tenant === tenant && each.startsUs <= openedUs && openedUs < each.expiresUs,
            ),
        },
      },
    );
  }

  #prepare(record: UsageRecord): Prepared {
    const rev = BigInt(record.id.split(":").at(-1) ?? "");
    const terms = {
      contract: this.#contract,
      book: this.#bookOf(record.priceBook, record.priceVersion),
      ...(this.loserBook !== undefined && { forLosers: { book: this.loserBook } }),
      licence: this.licence,
      sell: this.sell?.(record),
    };
    return prepare(record, { rev, terms, sha256, bookingOf: this.bookingOf });
  }

  #bookOf(id: string, version: bigint): PriceBook | undefined {
    const all = [
      ...this.books,
      ...[this.licence?.book, this.loserBook].filter((each) => each !== undefined),
    ];
    return all.find((book) => book.id === id && book.version === version);
  }
}

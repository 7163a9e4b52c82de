import { ConnectError } from "@connectrpc/connect";
import type { PriceBook } from "../../core/settlement/pricing/price-book.ts";
import type { Party } from "../../core/settlement/terms/terms-kinds.ts";
import type { BookId, PairId } from "../../core/units.ts";
import type { Log } from "../../io/log.ts";
import type { Registry } from "../../io/registry.ts";
import { reasonOf } from "../../wire/errors.ts";
import type { Agreements, BuyBooks } from "./agreements.ts";
import type { Books } from "./books.ts";
import type { Terms } from "./terms.ts";

/**
 * Buy books of the registry that both parties have agreed on. Placement goes by what a vendor publishes, money by what was
 * signed: records that name another version wait in quarantine for it.
 */
export class AgreedBooks implements BuyBooks {
  readonly #books: Books;
  readonly #terms: Terms;
  readonly #registry: Registry;
  readonly #log: Log;
  readonly #adopted = new Set<string>();
  /** Other bytes were proposed by their name, and no bytes ever change. */
  readonly #refused = new Set<string>();

  constructor(options: {
    readonly books: Books;
    readonly terms: Terms;
    readonly registry: Registry;
    readonly log: Log;
  }) {
    this.#books = options.books;
    this.#terms = options.terms;
    this.#registry = options.registry;
    this.#log = options.log;
  }

  known(book: BookId, version: bigint): PriceBook | undefined {
    return this.#terms.state.bookVersion(book, version);
  }

  /** One that cannot be used is as unknown as none: it keeps nobody else's records from being posted. */
  async find(book: BookId, version: bigint): Promise<PriceBook | undefined> {
    const known = this.known(book, version);
    if (known !== undefined) return known;
    const key = `${book}@${version}`;
    if (this.#refused.has(key)) return undefined;
    try {
      const published = await this.#books.find(book, version);
      if (published !== undefined) await this.#adopt(published);
    } catch (error) {
      if (error instanceof ConnectError && reasonOf(error) === "CONFLICT") this.#refused.add(key);
      this.#log.error({ book: key, error }, "a price version is not used: its records wait");
    }
    return this.known(book, version);
  }

  /** Everything in the registry that is not a document yet: at start, and when a book has come. */
  async adoptAll(): Promise<void> {
    for (const { key } of await this.#registry.list("price-book")) {
      const [, book, version] = /^(.+)@(\d{1,18})$/.exec(key) ?? [];
      if (book === undefined || version === undefined || this.#adopted.has(key)) continue;
      await this.find(book as BookId, BigInt(version));
    }
  }

  async #adopt(book: PriceBook): Promise<void> {
    const key = `${book.id}@${book.version}`;
    if (this.#adopted.has(key)) return;
    const entry = await this.#registry.get("price-book", key);
    const publisher: Party | undefined =
      entry?.author === book.vendor ? (`vendor:${book.vendor}` as PairId) : undefined;
    const record = await this.#terms.adopt(book, publisher);
    this.#adopted.add(key);
    const missing = this.#terms.state.missing(record);
    if (missing.length > 0)
      this.#log.info({ book: key, missing }, "a price version waits for signatures");
  }
}

/** What is agreed on is what records are posted by. To be called before the documents are read. */
export function feed(terms: Terms, agreements: Agreements, release: () => void): void {
  terms.onAgreed((record) => {
    const { kind, value } = record;
    if (kind === "contract" && "period" in value) agreements.addContract(value);
    // Records name buy books by their versions; those for attempts that lost are named by contracts.
    if (kind === "price-version" && "currency" in value) agreements.addBook(value);
    if (kind === "split-rule" && "parts" in value) agreements.addSplitRule(value);
    release();
  });
}

import { fromJsonString } from "@bufbuild/protobuf";
import type { Calendar, PriceBook } from "../../core/settlement/pricing/price-book.ts";
import { checkPrices } from "../../core/settlement/pricing/price-check.ts";
import type { BookId, VendorId } from "../../core/units.ts";
import type { Log } from "../../io/log.ts";
import type { Entry, Registry } from "../../io/registry.ts";
import { PriceBookSchema } from "../../wire/gen/tokengrid/v1/price_pb.js";
import { toPriceBook } from "../../wire/price.ts";

/** Price books of the registry, kept in memory: they are immutable, so what is known stays true. */
export class Books {
  readonly #registry: Registry;
  readonly #calendarOf: (id: string) => Calendar | undefined;
  readonly #log: Log;
  readonly #bookByVersion = new Map<string, PriceBook>();

  constructor(options: {
    readonly registry: Registry;
    readonly calendarOf: (id: string) => Calendar | undefined;
    readonly log: Log;
  }) {
    this.#registry = options.registry;
    this.#calendarOf = options.calendarOf;
    this.#log = options.log;
  }

  /** Only what is in memory. */
  known(book: BookId, version: bigint): PriceBook | undefined {
    return this.#bookByVersion.get(`${book}@${version}`);
  }

  /** Asks the registry too: a gateway may have heard of a book before we did. */
  async find(book: BookId, version: bigint): Promise<PriceBook | undefined> {
    const known = this.known(book, version);
    if (known !== undefined || book === "") return known;
    const entry = await this.#registry.get("price-book", `${book}@${version}`);
    if (entry !== undefined) this.#learn(entry);
    return this.known(book, version);
  }

  get vendors(): ReadonlySet<VendorId> {
    return new Set([...this.#bookByVersion.values()].map((book) => book.vendor));
  }

  /** Loads what is there, then follows what comes. `onBook` is called for each that comes later. */
  async follow(onBook: () => void, signal: AbortSignal): Promise<void> {
    let revision = 0;
    for (const entry of await this.#registry.list("price-book")) {
      this.#learn(entry);
      revision = Math.max(revision, entry.revision);
    }
    const watch = async (): Promise<void> => {
      for await (const entry of this.#registry.watch(revision, signal)) {
        if (entry.kind === "price-book" && this.#learn(entry)) onBook();
      }
    };
    watch().catch((error: unknown) =>
      this.#log.error({ error }, "price books are no longer followed"),
    );
  }

  /** A book that cannot be used is none: its records wait in quarantine. */
  #learn({ key, value, isDeleted }: Entry): boolean {
    if (isDeleted || this.#bookByVersion.has(key)) return false;
    const book = this.#parsed(key, value);
    if (book === undefined) return false;
    const [mistake] = checkPrices(book);
    if (mistake !== undefined) {
      this.#log.error({ key, ...mistake }, "a price book cannot be used");
      return false;
    }
    this.#bookByVersion.set(`${book.id}@${book.version}`, book);
    return true;
  }

  #parsed(key: string, value: string): PriceBook | undefined {
    try {
      return toPriceBook(fromJsonString(PriceBookSchema, value), this.#calendarOf);
    } catch (error) {
      this.#log.error({ key, error }, "a price book cannot be read");
      return undefined;
    }
  }
}

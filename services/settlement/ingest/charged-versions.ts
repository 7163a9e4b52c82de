import type { Prepared } from "../../core/settlement/ledger/prepare.ts";
import type { PriceBook } from "../../core/settlement/pricing/price-book.ts";
import { bookText } from "../../core/settlement/terms/terms-text.ts";
import type { ChargedVersion } from "../../io/ledger-store.ts";

/** The versions of price books that were charged by: the ledger keeps each as it was then. */
export class ChargedVersions {
  readonly #priceHashOf: (book: PriceBook) => string;
  readonly #kept = new Set<string>();

  constructor(priceHashOf: (book: PriceBook) => string) {
    this.#priceHashOf = priceHashOf;
  }

  /** Those that this process has not kept yet. */
  newOf(prepared: readonly Prepared[]): ChargedVersion[] {
    const books = new Set(prepared.flatMap(({ finding }) => booksOf(finding)));
    const versions = [...books].map((book) => ({ book, key: keyOf(book.id, book.version) }));
    return versions
      .filter(({ key }) => !this.#kept.has(key))
      .map(({ book }) => ({
        book: book.id,
        version: book.version,
        hash: this.#priceHashOf(book),
        text: bookText(book),
      }));
  }

  /** They are in the ledger. */
  keep(versions: readonly ChargedVersion[]): void {
    for (const { book, version } of versions) this.#kept.add(keyOf(book, version));
  }
}

function keyOf(book: string, version: bigint): string {
  return `${book}@${version}`;
}

/** By which something of a record was priced. */
function booksOf(finding: Prepared["finding"]): PriceBook[] {
  if (finding.kind !== "owing") return [];
  const sold = finding.sale.kind === "priced" ? finding.sale.side : undefined;
  return [finding.buy, finding.fee, sold].flatMap((side) => {
    return side?.book === undefined || side.lines.length === 0 ? [] : [side.book];
  });
}

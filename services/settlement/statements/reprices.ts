import { canonicalJson } from "../../core/settlement/canonical.ts";
import type { Reprice } from "../../core/settlement/terms/other-shapes.ts";
import type { PriceBook } from "../../core/settlement/pricing/price-book.ts";
import type { Terms as RecordTerms } from "../../core/settlement/ledger/prepare.ts";
import type { TermsRecord } from "../../core/settlement/terms/terms-state.ts";
import type { AttemptId, BookId, InstantUs, PairId } from "../../core/units.ts";
import type { Leaf, LedgerStore } from "../../io/ledger-store.ts";
import type { Log } from "../../io/log.ts";
import type { Resettling, Revisions } from "./revisions.ts";
import type { Terms } from "../terms/terms.ts";
import type { Writer } from "../ingest/writer.ts";

/** Leaves that are looked at, and corrected, together. */
const pageLeaves = 256;
const doneKind = "repriced";

interface Parts {
  readonly store: LedgerStore;
  readonly writer: Writer;
  readonly terms: Terms;
  readonly revisions: Revisions;
  readonly log: Log;
  readonly nowUs: () => InstantUs;
}

/**
 * Rates again what both parties have signed a `reprice` for: what stands between two places of a pair's log, and still counts,
 * by another version of its prices or of its calendar. Each correction is booked into the open period. After a crash it goes on
 * where it was: what has been corrected does not count any more.
 */
export class Reprices {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Everything that was agreed and is not done. */
  async run(): Promise<void> {
    const { terms, store } = this.#parts;
    for (const record of terms.state.list("reprice")) {
      if (record.agreedUs === undefined) continue;
      if ((await store.document(doneKind, record.id)) === undefined) await this.#reprice(record);
    }
  }

  async #reprice({ id, value }: TermsRecord<"reprice">): Promise<void> {
    const { store, log } = this.#parts;
    const book = this.#bookOf(value);
    const size = (await store.logs()).get(value.pair) ?? 0n;
    if (book === undefined || value.endIndex > size) {
      const expected =
        book === undefined ? "the book and calendar that it names" : `end_index up to ${size}`;
      log.error({ reprice: id, expected }, "a reprice cannot be done");
      return;
    }
    let [changed, refused] = [0, 0];
    for (let index = value.firstIndex; index < value.endIndex;) {
      const left = value.endIndex - index;
      const page = await store.leaves(value.pair, index, Math.min(Number(left), pageLeaves));
      if (page.length === 0)
        throw new Error(`log ${value.pair}: expected leaf ${index}, found none`);
      const done = await this.#repriceLeaves(page, value, book);
      changed += done.changed;
      refused += done.refused;
      index += BigInt(page.length);
    }
    await this.#finish(id, value, { changed, refused });
    log.info({ reprice: id, changed, refused }, "records were priced again");
  }

  async #repriceLeaves(page: readonly Leaf[], reprice: Reprice, book: PriceBook) {
    const refs = new Set(page.filter(isOfRecord).map(({ ref }) => ref));
    const attempts = [...refs].map((ref) => ref.slice(0, ref.lastIndexOf(":")) as AttemptId);
    if (attempts.length === 0) return { changed: 0, refused: 0 };
    const isBuy = reprice.pair.startsWith("vendor:");
    const by: Resettling = {
      isMeant: ({ record }) => refs.has(record),
      terms: (terms) => repricedTerms(terms, reprice.pair, book),
      price: isBuy ? { priceBook: book.id, priceVersion: book.version } : undefined,
    };
    return this.#parts.revisions.settle(attempts, by);
  }

  #bookOf({ book, version, calendar, calendarVersion }: Reprice): PriceBook | undefined {
    const { state } = this.#parts.terms;
    const found = state.bookVersion(book as BookId, version);
    const days = state.calendarVersion(calendar, calendarVersion);
    return found && days && { ...found, calendar: days };
  }

  async #finish(
    id: string,
    { pair }: Reprice,
    counts: { readonly changed: number; readonly refused: number },
  ): Promise<void> {
    const { writer, nowUs } = this.#parts;
    const members = { changed: BigInt(counts.changed), refused: BigInt(counts.refused) };
    const body = canonicalJson({ type: doneKind, v: "1", reprice_id: id, ...members });
    const document = { kind: doneKind, id, pair, atUs: nowUs(), body };
    await writer.write(async () => ({ change: { documents: [document] }, result: undefined }));
  }
}

/** Not of a share of a sale, nor of anything that is no record. */
function isOfRecord({ kind, ref }: Leaf): boolean {
  return (kind === "usage" || kind === "sale") && /:\d+$/.test(ref);
}

function repricedTerms(terms: RecordTerms, pair: PairId, book: PriceBook): RecordTerms {
  const { contract, sell, licence } = terms;
  if (pair.startsWith("vendor:")) {
    return { ...terms, book, contract: { ...contract, isRepriced: true } as typeof contract };
  }
  const by = <Agreed extends NonNullable<RecordTerms["licence"]>>(agreed: Agreed): Agreed => ({
    ...agreed,
    book,
    contract: { ...agreed.contract, isRepriced: true },
  });
  return pair.startsWith("tenant:")
    ? { ...terms, sell: sell && by(sell) }
    : { ...terms, licence: licence && by(licence) };
}

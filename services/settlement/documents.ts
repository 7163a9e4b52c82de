import type { LedgerDocument, LedgerStore } from "../io/ledger-store.ts";
import type { LedgerWriter } from "./ledger-writer.ts";

/** Documents that are read at once. */
const pageDocuments = 1_000;

type Apply = (document: LedgerDocument) => void;

/**
 * Tells reducers of the ledger's documents, in order: of what is there at start, and of each as it is committed. What they
 * keep in memory is what the documents say, and nothing else.
 */
export class Documents {
  readonly #byKind = new Map<string, Apply[]>();

  /** Of these kinds; in the order in which they were asked for. */
  on(kinds: readonly string[], apply: Apply): void {
    for (const kind of kinds) this.#byKind.set(kind, [...(this.#byKind.get(kind) ?? []), apply]);
  }

  /** Reads what is there, then follows what is committed. To be called once, before anything is written. */
  async follow(store: LedgerStore, writer: LedgerWriter): Promise<void> {
    let afterSeq = 0n;
    for (;;) {
      const page = await store.documents({}, { afterSeq, limit: pageDocuments });
      for (const document of page) this.#tell(document);
      const last = page.at(-1);
      if (last === undefined) break;
      afterSeq = last.seq;
    }
    writer.onCommitted(({ documents }) => {
      for (const document of documents) this.#tell(document);
    });
  }

  #tell(document: LedgerDocument): void {
    for (const apply of this.#byKind.get(document.kind) ?? []) apply(document);
  }
}

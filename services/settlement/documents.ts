import type { LedgerDocument, LedgerStore } from "../io/ledger-store.ts";
import type { LedgerWriter } from "./ingest/ledger-writer.ts";

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
    // Kinds that nobody asked for, such as statements, are many more than all the others.
    const kinds = [...this.#byKind.keys()];
    const found = await Promise.all(kinds.map(async (kind) => readAll(store, kind)));
    const inOrder = found.flat().toSorted((a, b) => (a.seq < b.seq ? -1 : 1));
    for (const document of inOrder) this.#tell(document);
    writer.onCommitted(({ documents }) => {
      for (const document of documents) this.#tell(document);
    });
  }

  #tell(document: LedgerDocument): void {
    for (const apply of this.#byKind.get(document.kind) ?? []) apply(document);
  }
}

async function readAll(store: LedgerStore, kind: string): Promise<LedgerDocument[]> {
  const all: LedgerDocument[] = [];
  for (;;) {
    const afterSeq = all.at(-1)?.seq ?? 0n;
    const page = await store.documents({ kind }, { afterSeq, limit: pageDocuments });
    all.push(...page);
    if (page.length < pageDocuments) return all;
  }
}

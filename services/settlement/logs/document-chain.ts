import type { LedgerDocument, LedgerStore } from "../../io/ledger-store.ts";

type Documents = Pick<LedgerStore, "document">;

/** Documents of one kind that follow on each other: `<name>#1`, `<name>#2`, … without a gap. */
export interface Chain {
  readonly kind: string;
  readonly name: string;
}

/** How far a chain goes, and its last document. */
export interface ChainEnd {
  /** 0 before the first. */
  readonly length: number;
  readonly last: LedgerDocument | undefined;
}

export function chainId(name: string, place: number): string {
  return `${name}#${place}`;
}

/** The end of a chain, in as many look-ups as its length has bits, twice. */
export async function endOfChain(store: Documents, { kind, name }: Chain): Promise<ChainEnd> {
  const at = async (place: number): Promise<LedgerDocument | undefined> =>
    store.document(kind, chainId(name, place));
  let end: ChainEnd = { length: 0, last: undefined };
  let beyond = 1;
  for (;;) {
    const found = await at(beyond);
    if (found === undefined) break;
    end = { length: beyond, last: found };
    beyond *= 2;
  }
  while (beyond - end.length > 1) {
    const middle = Math.floor((end.length + beyond) / 2);
    const found = await at(middle);
    if (found === undefined) beyond = middle;
    else end = { length: middle, last: found };
  }
  return end;
}

/** The first document of a chain that is so; the later ones are so too. */
export async function firstInChain(
  store: Documents,
  chain: Chain & { readonly length: number },
  isSo: (document: LedgerDocument) => boolean,
): Promise<LedgerDocument | undefined> {
  let [before, first] = [0, chain.length + 1];
  let found: LedgerDocument | undefined;
  while (first - before > 1) {
    const middle = Math.floor((before + first) / 2);
    const document = await store.document(chain.kind, chainId(chain.name, middle));
    if (document !== undefined && isSo(document)) [first, found] = [middle, document];
    else before = middle;
  }
  return found;
}

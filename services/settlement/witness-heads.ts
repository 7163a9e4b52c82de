import { z } from "zod";
import { canonicalJson } from "../core/settlement/canonical.ts";
import type { WitnessedHead, WitnessOutcome } from "../core/settlement/witness.ts";
import type { InstantUs } from "../core/units.ts";
import type { LedgerStore } from "../io/ledger-store.ts";
import type { KeptHead, WitnessHeads } from "../io/witness.ts";
import { chainId, endOfChain, type Chain } from "./document-chain.ts";
import { witnessedKind } from "./log-documents.ts";
import type { LogId } from "./log-reader.ts";
import type { Writer } from "./writer.ts";

const headSchema = z.strictObject({
  type: z.literal("witnessed"),
  v: z.literal("1"),
  origin: z.string(),
  size: z.string().regex(/^\d+$/).transform(BigInt),
  root: z.string(),
  note: z.string(),
});

/** What the operator has signed as witness of others' logs, in its ledger. */
export class LedgerHeads implements WitnessHeads {
  readonly #store: Pick<LedgerStore, "document">;
  readonly #writer: Writer;
  readonly #pairOf: (origin: string) => LogId;
  readonly #nowUs: () => InstantUs;

  constructor(options: {
    readonly store: Pick<LedgerStore, "document">;
    readonly writer: Writer;
    /** Whose log it is. */
    readonly pairOf: (origin: string) => LogId;
    readonly nowUs: () => InstantUs;
  }) {
    this.#store = options.store;
    this.#writer = options.writer;
    this.#pairOf = options.pairOf;
    this.#nowUs = options.nowUs;
  }

  async head(origin: string): Promise<KeptHead | undefined> {
    return (await last(this.#store, origin)).head;
  }

  /** In the writer's turn: what is compared with is what the next one finds. */
  async update(
    origin: string,
    note: string,
    decide: (head: WitnessedHead | undefined) => WitnessOutcome,
  ): Promise<WitnessOutcome> {
    return this.#writer.write(async (store) => {
      const { head, length } = await last(store, origin);
      const outcome = decide(head);
      const isSame = outcome.status === 200 && outcome.head.size === head?.size;
      if (outcome.status !== 200 || isSame) return { change: {}, result: outcome };
      const { size, root } = outcome.head;
      const document = {
        kind: witnessedKind,
        id: chainId(origin, length + 1),
        pair: this.#pairOf(origin),
        atUs: this.#nowUs(),
        body: canonicalJson({ type: "witnessed", v: 1n, origin, size, root, note }),
      };
      return { change: { documents: [document] }, result: outcome };
    });
  }
}

async function last(
  store: Pick<LedgerStore, "document">,
  origin: string,
): Promise<{ readonly head: KeptHead | undefined; readonly length: number }> {
  const chain: Chain = { kind: witnessedKind, name: origin };
  const { length, last: document } = await endOfChain(store, chain);
  if (document === undefined) return { head: undefined, length };
  const { size, root, note } = headSchema.parse(JSON.parse(document.body));
  return { head: { size, root, note }, length };
}

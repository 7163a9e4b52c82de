import { z } from "zod";
import { canonicalJson } from "../../core/settlement/canonical.ts";
import type { InstantUs } from "../../core/units.ts";
import type { LedgerDocument, LedgerStore } from "../../io/ledger-store.ts";
import type { LogId } from "./log-reader.ts";
import type { NewLeaf } from "../ingest/writer.ts";

/** A leaf that was put back from a copy of its log; what it is a leaf of was lost with the ledger. */
export interface LostLeaf {
  readonly log: LogId;
  readonly index: bigint;
  readonly kind: string;
  readonly ref: string;
}

export const lostLeafKind = "lost-leaf";
const pageDocuments = 1_000;

const bodySchema = z.strictObject({
  type: z.literal("lost_leaf"),
  v: z.literal("1"),
  log: z.string(),
  index: z.string().regex(/^\d+$/).transform(BigInt),
  kind: z.string(),
  ref: z.string(),
});

export function lostLeafDocument(
  { log, index, kind, ref }: LostLeaf,
  atUs: InstantUs,
): Omit<LedgerDocument, "seq" | "hash"> {
  const body = canonicalJson({ type: "lost_leaf", v: 1n, log, index, kind, ref });
  return { kind: lostLeafKind, id: `${log}#${index}`, pair: log, atUs, body };
}

/** All leaves that were ever put back, whether or not what they are leaves of has come since. */
export async function lostLeaves(store: Pick<LedgerStore, "documents">): Promise<LostLeaf[]> {
  const found: LostLeaf[] = [];
  let afterSeq = 0n;
  for (;;) {
    const page = await store.documents({ kind: lostLeafKind }, { afterSeq, limit: pageDocuments });
    const last = page.at(-1);
    if (last === undefined) return found;
    for (const { body, pair } of page) {
      const { index, kind, ref } = bodySchema.parse(JSON.parse(body));
      found.push({ log: pair, index, kind, ref });
    }
    afterSeq = last.seq;
  }
}

export function keyOfLeaf({
  log,
  kind,
  ref,
}: Pick<NewLeaf, "log" | "ref"> & { readonly kind: string }): string {
  return `${log}\n${kind}\n${ref}`;
}

import { treeHash } from "../../services/core/settlement/proof/merkle.ts";
import type { Leaf, LogTile } from "../../services/io/ledger-store.ts";
import { sha256 } from "../../services/io/signing.ts";

const tree = treeHash(sha256);

/** Bytes of a document. */
export function hashed(body: string) {
  return { body, hash: sha256(body) };
}

/** Bytes of a claim. */
export function claimed(text: string) {
  return { text, hash: sha256(text) };
}

export function leaf(log: Leaf["log"], index: number): Leaf {
  const text = `leaf ${index} of ${log}`;
  return {
    log,
    index: BigInt(index),
    kind: "usage",
    ref: `r${index}`,
    text,
    hash: tree.leaf(text),
  };
}

/** The first tile of a log. */
export function tileOf(leaves: readonly Leaf[]): LogTile {
  const first = leaves.slice(0, 256);
  const [{ log } = { log: "internal" as const }] = first;
  return { log, level: 0, index: 0n, hashes: first.map(({ hash }) => hash).join("") };
}

/**
 * What proofs cost at ten million leaves: appending to the tree with its tiles, the size of a proof, and how long it takes to
 * make and to check one with the signatures of the log and of a witness.
 */

import { signCheckpoint } from "../services/core/settlement/proof/checkpoint.ts";
import { cosign } from "../services/core/settlement/proof/cosignature.ts";
import { Frontier, treeHash, type Hash } from "../services/core/settlement/proof/merkle.ts";
import { formatKey, noteKey } from "../services/core/settlement/proof/note.ts";
import {
  foldRight,
  inclusionPlan,
  perfectRoot,
  sliceOf,
  TileEdge,
  tileHashes,
  type Perfect,
} from "../services/core/settlement/proof/tiles.ts";
import { parsePolicy, type TlogPolicy } from "../services/core/settlement/proof/tlog-policy.ts";
import {
  formatTlogProof,
  parseTlogProof,
  verifyTlogProof,
} from "../services/core/settlement/proof/tlog-proof.ts";
import { newSigningKey, sha256, verify } from "../services/io/signing.ts";
import { appendResult } from "./report.ts";

const checks = 2_000;
const hashBytes = 32;
const tree = treeHash(sha256);

/** As long as what a vendor is shown of a record at the least. */
function record(index: number): string {
  return `{"record_id":"${index}:0",${'"pool_id":"north-1",'.repeat(18)}"v":"1"}`;
}

/** Rows of hashes as a store would have them, but in one buffer each. */
class Rows {
  readonly #leaves: number;
  readonly #rows: Buffer[] = [];

  constructor(leaves: number) {
    this.#leaves = leaves;
  }

  put(level: number, index: number, hash: Hash): void {
    const row = (this.#rows[level] ??= Buffer.alloc(
      (Math.ceil(this.#leaves / tileHashes ** level) + tileHashes) * hashBytes,
    ));
    row.write(hash, index * hashBytes, "hex");
  }

  rootOf(perfect: Perfect): Hash {
    const { level, tile, from, count } = sliceOf(perfect);
    const first = Number(tile) * tileHashes + from;
    const row = this.#rows[level] ?? Buffer.alloc(0);
    const slice = Array.from({ length: count }, (_each, at) =>
      row.toString("hex", (first + at) * hashBytes, (first + at + 1) * hashBytes),
    );
    return perfectRoot(slice, tree);
  }
}

export async function measureProofs(leaves: number): Promise<void> {
  const rows = new Rows(leaves);
  const edge = new TileEdge(new Frontier(tree));
  const startedAt = performance.now();
  for (let index = 0; index < leaves; index += 1) {
    const leaf = tree.leaf(record(index));
    rows.put(0, index, leaf);
    for (const full of edge.append(leaf)) {
      rows.put(full.level + 1, Number(full.index), perfectRoot(full.hashes, tree));
    }
  }
  const appendMs = performance.now() - startedAt;
  const { policy, checkpoint } = signed(leaves, edge.root());
  const madeAt = performance.now();
  const proofs = Array.from({ length: checks }, (_, at) => {
    const index = Math.floor((at * leaves) / checks);
    const path = inclusionPlan(BigInt(index), BigInt(leaves)).map((trees) =>
      foldRight(
        trees.map((each) => rows.rootOf(each)),
        tree,
      ),
    );
    const text = formatTlogProof({ index: BigInt(index), path, checkpoint });
    return { text, leaf: record(index), hashes: path.length };
  });
  const makeMs = performance.now() - madeAt;
  const checkedAt = performance.now();
  for (const { text, leaf } of proofs) check(text, leaf, policy);
  const checkMs = performance.now() - checkedAt;
  const bytes = Math.max(...proofs.map((each) => Buffer.byteLength(each.text)));
  const hashes = Math.max(...proofs.map((each) => each.hashes));
  const conditions = { leaves, leafBytes: record(0).length, checks, signatures: 2, hashes };
  const tell = (name: string, value: number, unit: string): void => {
    appendResult({ name: `settlement/proof/${name}`, unit, value, conditions });
  };
  tell("append", (leaves * 1_000) / appendMs, "leaves/s");
  tell("size", bytes, "bytes");
  tell("make", makeMs / checks, "ms");
  tell("check", checkMs / checks, "ms");
}

/** The root, signed by the log and by a witness. */
function signed(leaves: number, root: Hash): { policy: TlogPolicy; checkpoint: string } {
  const [log, witness] = [newSigningKey(), newSigningKey()];
  const origin = "grid.example/tokengrid/vendor/northgrid";
  const logKey = noteKey({ name: origin, type: "signature", publicKey: log.publicKey }, sha256);
  const witnessKey = noteKey(
    { name: "northgrid.example/witness", type: "cosignature", publicKey: witness.publicKey },
    sha256,
  );
  const head = { origin, size: BigInt(leaves), root, extensions: [] };
  const note = signCheckpoint(head, logKey, log.sign);
  const text = `${note.slice(0, note.lastIndexOf("\n\n"))}\n`;
  const line = cosign(text, { key: witnessKey, sign: witness.sign, timeSeconds: 1_750_000_000n });
  const policy = parsePolicy(
    `log ${formatKey(logKey)}\nwitness v ${formatKey(witnessKey)}\nquorum v\n`,
    sha256,
  );
  if (typeof policy === "string") throw new Error(policy);
  return { policy, checkpoint: note + line };
}

function check(text: string, leaf: string, policy: TlogPolicy): void {
  const proof = parseTlogProof(text);
  if (typeof proof === "string") throw new Error(proof);
  const proven = verifyTlogProof({ proof, leaf, policy }, { tree, verify });
  if (typeof proven === "string") throw new Error(proven);
}

/**
 * What proofs cost at 10 million leaves: appending to the tree with its tiles, the size of a proof, and how long it takes to
 * make and to check one with the signatures of the log and of a witness. `--quick` takes a hundredth of the leaves.
 */

import { hashText, signCheckpoint } from "../services/core/settlement/checkpoint.ts";
import { cosign } from "../services/core/settlement/cosignature.ts";
import { Frontier, treeHash, type Hash } from "../services/core/settlement/merkle.ts";
import { formatKey, noteKey } from "../services/core/settlement/note.ts";
import {
  foldRight,
  inclusionPlan,
  perfectRoot,
  sliceOf,
  TileEdge,
  tileHashes,
  type Perfect,
} from "../services/core/settlement/tiles.ts";
import { parsePolicy } from "../services/core/settlement/tlog-policy.ts";
import {
  formatTlogProof,
  parseTlogProof,
  verifyTlogProof,
} from "../services/core/settlement/tlog-proof.ts";
import { newSigningKey, sha256, verify } from "../services/io/signing.ts";

const leaves = process.argv.includes("--quick") ? 100_000 : 10_000_000;
const checks = 2_000;
const hashBytes = 32;
const tree = treeHash(sha256);
const record = (index: number): string =>
  `{"record_id":"${index}:0",${'"pool_id":"north-1",'.repeat(18)}"v":"1"}`;

/** Rows of hashes as a store would have them, but in one buffer each. */
const rows: Buffer[] = [];
const edge = new TileEdge(new Frontier(tree));
const startedAt = performance.now();
for (let index = 0; index < leaves; index += 1) {
  const leaf = tree.leaf(record(index));
  put(0, index, leaf);
  for (const full of edge.append(leaf)) {
    put(full.level + 1, Number(full.index), perfectRoot(full.hashes, tree));
  }
}
const appendMs = performance.now() - startedAt;

const [log, witness] = [newSigningKey(), newSigningKey()];
const origin = "grid.example/tokengrid/vendor/northgrid";
const logKey = noteKey({ name: origin, type: "signature", publicKey: log.publicKey }, sha256);
const witnessKey = noteKey(
  { name: "northgrid.example/witness", type: "cosignature", publicKey: witness.publicKey },
  sha256,
);
const size = BigInt(leaves);
const note = signCheckpoint({ origin, size, root: edge.root(), extensions: [] }, logKey, log.sign);
const text = `${note.slice(0, note.lastIndexOf("\n\n"))}\n`;
const line = cosign(text, { key: witnessKey, sign: witness.sign, timeSeconds: 1_750_000_000n });
const policy = parsePolicy(
  `log ${formatKey(logKey)}\nwitness v ${formatKey(witnessKey)}\nquorum v\n`,
  sha256,
);
if (typeof policy === "string") throw new Error(policy);

const proofs: { readonly text: string; readonly leaf: string }[] = [];
const madeAt = performance.now();
for (let at = 0; at < checks; at += 1) {
  const index = Math.floor((at * leaves) / checks);
  const path = inclusionPlan(BigInt(index), size).map((trees) =>
    foldRight(trees.map(rootOfPerfect), tree),
  );
  const checkpoint = note + line;
  proofs.push({
    text: formatTlogProof({ index: BigInt(index), path, checkpoint }),
    leaf: record(index),
  });
}
const makeMs = performance.now() - madeAt;

const checkedAt = performance.now();
for (const { text: written, leaf } of proofs) {
  const proof = parseTlogProof(written);
  if (typeof proof === "string") throw new Error(proof);
  const proven = verifyTlogProof({ proof, leaf, policy }, { tree, verify });
  if (typeof proven === "string") throw new Error(proven);
}
const checkMs = performance.now() - checkedAt;

const bytes = proofs.map((each) => Buffer.byteLength(each.text));
const hashes = proofs.map((each) => each.text.split("\n\n")[0]?.split("\n").length ?? 0);
process.stdout.write(
  [
    `leaves            ${leaves}, of ${record(0).length} bytes`,
    `append            ${Math.round((leaves * 1_000) / appendMs)}/s, with leaf hash and tiles`,
    `proof             ${Math.max(...hashes) - 2} hashes, ${Math.max(...bytes)} bytes at most`,
    `make a proof      ${(makeMs / checks).toFixed(3)} ms, hashes at hand`,
    `check a proof     ${(checkMs / checks).toFixed(3)} ms, two signatures`,
    `root              ${hashText(edge.root())}`,
    "",
  ].join("\n"),
);

function put(level: number, index: number, hash: Hash): void {
  const row = (rows[level] ??= Buffer.alloc(
    (Math.ceil(leaves / tileHashes ** level) + tileHashes) * hashBytes,
  ));
  row.write(hash, index * hashBytes, "hex");
}

function rootOfPerfect(perfect: Perfect): Hash {
  const { level, tile, from, count } = sliceOf(perfect);
  const first = Number(tile) * tileHashes + from;
  const slice = Array.from({ length: count }, (_each, at) =>
    (rows[level] ?? Buffer.alloc(0)).toString(
      "hex",
      (first + at) * hashBytes,
      (first + at + 1) * hashBytes,
    ),
  );
  return perfectRoot(slice, tree);
}

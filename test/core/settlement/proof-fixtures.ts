import { signCheckpoint } from "../../../services/core/settlement/proof/checkpoint.ts";
import { cosign } from "../../../services/core/settlement/proof/cosignature.ts";
import { rootOf, treeHash, type Hash } from "../../../services/core/settlement/proof/merkle.ts";
import { noteKey, type NoteKey } from "../../../services/core/settlement/proof/note.ts";
import {
  consistencyPlan,
  foldRight,
  inclusionPlan,
  perfectRoot,
  type ProofPlan,
} from "../../../services/core/settlement/proof/tiles.ts";
import { newSigningKey, sha256, verify, type SigningKey } from "../../../services/io/signing.ts";

export const tree = treeHash(sha256);
export const means = { tree, verify };

/** A log that is all in memory. */
export interface TestLog {
  readonly key: NoteKey;
  readonly texts: readonly string[];
  /** The signed checkpoint of its first leaves. */
  checkpoint(size: number): string;
  root(size: number): Hash;
  inclusion(index: number, size: number): Hash[];
  consistency(oldSize: number, size: number): Hash[];
}

export function testLog(
  origin: string,
  texts: readonly string[],
  signing: SigningKey = newSigningKey(),
): TestLog {
  const leaves = texts.map((text) => tree.leaf(text));
  const key = noteKey({ name: origin, type: "signature", publicKey: signing.publicKey }, sha256);
  const root = (size: number): Hash => rootOf(leaves.slice(0, size), tree);
  const made = (plan: ProofPlan): Hash[] =>
    plan.map((trees) => {
      const roots = trees.map(({ height, index }) => {
        const first = Number(index) * 2 ** height;
        return perfectRoot(leaves.slice(first, first + 2 ** height), tree);
      });
      return foldRight(roots, tree);
    });
  return {
    key,
    texts,
    root,
    checkpoint: (size) =>
      signCheckpoint(
        { origin, size: BigInt(size), root: root(size), extensions: [] },
        key,
        signing.sign,
      ),
    inclusion: (index, size) => made(inclusionPlan(BigInt(index), BigInt(size))),
    consistency: (oldSize, size) => made(consistencyPlan(BigInt(oldSize), BigInt(size))),
  };
}

export interface TestWitness {
  readonly key: NoteKey;
  /** The checkpoint with one line more. */
  cosigned(checkpoint: string, timeSeconds?: bigint): string;
}

export function testWitness(name: string, signing: SigningKey = newSigningKey()): TestWitness {
  const key = noteKey({ name, type: "cosignature", publicKey: signing.publicKey }, sha256);
  return {
    key,
    cosigned: (checkpoint, timeSeconds = 1_700_000_000n) => {
      const text = `${checkpoint.slice(0, checkpoint.lastIndexOf("\n\n"))}\n`;
      return checkpoint + cosign(text, { key, sign: signing.sign, timeSeconds });
    },
  };
}

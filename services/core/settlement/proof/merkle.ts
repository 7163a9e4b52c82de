import { assert } from "../../assert.ts";
import { writeHex } from "./bytes.ts";

/** SHA-256 as 64 digits of lower-case hex. Strings were measured against bytes: half the time of a node, a third of a leaf. */
export type Hash = string;

/** SHA-256 of bytes, or of a text's UTF-8; the algorithm is the machine's. */
export type HashBytes = (data: string | Uint8Array) => Hash;

/** How RFC 6962 § 2.1 hashes: leaves and nodes can never be mistaken for one another. */
export interface TreeHash {
  /** Root of a tree without leaves. */
  readonly empty: Hash;
  /** SHA-256(0x00 ‖ bytes of the text). */
  leaf(text: string): Hash;
  /** SHA-256(0x01 ‖ left ‖ right). */
  node(left: Hash, right: Hash): Hash;
}

const hashDigits = 64;

export function treeHash(sha256: HashBytes): TreeHash {
  const pair = new Uint8Array(65);
  pair[0] = 1;
  return {
    empty: sha256(""),
    leaf: (text) => sha256(`\0${text}`),
    node: (left, right) => {
      assert(left.length === hashDigits, "left is no hash");
      assert(right.length === hashDigits, "right is no hash");
      writeHex(left, pair, 1);
      writeHex(right, pair, 33);
      return sha256(pair);
    },
  };
}

/**
 * All that is needed of a tree to append to it and to say its root: the roots of the perfect trees that it is made
 * of, one for each bit of its size.
 */
export class Frontier {
  readonly #tree: TreeHash;
  /** By height; of height n if the size has the bit 2^n. */
  readonly #roots: (Hash | undefined)[];
  #size: bigint;

  /** `roots` of a tree of that size, the largest first, as `rootPlan` names them. */
  constructor(tree: TreeHash, size = 0n, roots: readonly Hash[] = []) {
    this.#tree = tree;
    this.#size = size;
    this.#roots = [];
    const left = [...roots];
    for (let height = 0; size >> BigInt(height) > 0n; height += 1) {
      const isThere = ((size >> BigInt(height)) & 1n) === 1n;
      this.#roots.push(isThere ? left.pop() : undefined);
      assert(!isThere || this.#roots[height] !== undefined, "a root for each bit of the size");
    }
    assert(left.length === 0, "a bit of the size for each root");
  }

  get size(): bigint {
    return this.#size;
  }

  /** `onPerfect` hears of every perfect tree that the leaf completes, the leaf itself first. */
  append(leaf: Hash, onPerfect?: (height: number, root: Hash) => void): void {
    let root = leaf;
    let height = 0;
    for (;;) {
      onPerfect?.(height, root);
      const left = this.#roots[height];
      if (left === undefined) break;
      root = this.#tree.node(left, root);
      this.#roots[height] = undefined;
      height += 1;
    }
    this.#roots[height] = root;
    this.#size += 1n;
  }

  root(): Hash {
    let root: Hash | undefined;
    for (const left of this.#roots) {
      if (left !== undefined) root = root === undefined ? left : this.#tree.node(left, root);
    }
    return root ?? this.#tree.empty;
  }
}

/** Root of a tree that is all at hand. */
export function rootOf(leaves: readonly Hash[], tree: TreeHash): Hash {
  const frontier = new Frontier(tree);
  for (const leaf of leaves) frontier.append(leaf);
  return frontier.root();
}

export interface Inclusion {
  readonly index: bigint;
  readonly size: bigint;
  readonly leaf: Hash;
  readonly root: Hash;
  /** From the leaf's sibling to the root's child. */
  readonly path: readonly Hash[];
}

/** RFC 9162 § 2.1.3.2. */
export function verifyInclusion(inclusion: Inclusion, tree: TreeHash): boolean {
  const { index, size, leaf, root, path } = inclusion;
  if (index < 0n || index >= size) return false;
  let [node, last] = [index, size - 1n];
  let hash = leaf;
  for (const each of path) {
    if (last === 0n) return false;
    if ((node & 1n) === 1n || node === last) {
      hash = tree.node(each, hash);
      while ((node & 1n) === 0n && node !== 0n) [node, last] = [node >> 1n, last >> 1n];
    } else {
      hash = tree.node(hash, each);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  return last === 0n && hash === root;
}

export interface Consistency {
  readonly oldSize: bigint;
  readonly oldRoot: Hash;
  readonly size: bigint;
  readonly root: Hash;
  readonly path: readonly Hash[];
}

/**
 * That the larger tree begins with the smaller one: RFC 9162 § 2.1.4.2. Of an empty tree and of the same size there
 * is nothing to prove, and a path that proves it is none.
 */
export function verifyConsistency(consistency: Consistency, tree: TreeHash): boolean {
  const { oldSize, oldRoot, size, root, path } = consistency;
  if (oldSize < 0n || oldSize > size) return false;
  if (oldSize === 0n && oldRoot !== tree.empty) return false;
  if (oldSize === size) return path.length === 0 && oldRoot === root;
  if (oldSize === 0n) return path.length === 0;
  const isPerfect = (oldSize & (oldSize - 1n)) === 0n;
  const [first, ...rest] = isPerfect ? [oldRoot, ...path] : path;
  if (first === undefined) return false;
  let [node, last] = [oldSize - 1n, size - 1n];
  while ((node & 1n) === 1n) [node, last] = [node >> 1n, last >> 1n];
  let [old, whole] = [first, first];
  for (const each of rest) {
    if (last === 0n) return false;
    if ((node & 1n) === 1n || node === last) {
      old = tree.node(each, old);
      whole = tree.node(each, whole);
      while ((node & 1n) === 0n && node !== 0n) [node, last] = [node >> 1n, last >> 1n];
    } else {
      whole = tree.node(whole, each);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  return last === 0n && old === oldRoot && whole === root;
}

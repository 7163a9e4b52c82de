import { assert } from "../../assert.ts";
import { Frontier, type Hash, type TreeHash } from "./merkle.ts";

/** C2SP tlog-tiles: rows of hashes, cut into tiles of 256, each row the roots of the tiles below it. */
export const tileHeight = 8;
export const tileHashes = 256;

/** A tile that is complete and will never change. */
export interface Tile {
  readonly level: number;
  readonly index: bigint;
  readonly hashes: readonly Hash[];
}

/** The perfect tree over the leaves from `index` × 2^`height` on, 2^`height` of them. */
export interface Perfect {
  readonly height: number;
  readonly index: bigint;
}

/** Each hash of a proof, as the perfect trees that it is made of, from left to right. */
export type ProofPlan = readonly (readonly Perfect[])[];

/** Where the hashes are of which a perfect tree's root is made; always in one tile. */
export interface TileSlice {
  readonly level: number;
  readonly tile: bigint;
  /** Within the tile. */
  readonly from: number;
  readonly count: number;
}

/** The right edge of a log: its frontier and the tiles that are not yet full. */
export class TileEdge {
  readonly #frontier: Frontier;
  readonly #rows: Hash[][];

  /** `rows` of the tiles that are begun, from the leaves up. */
  constructor(frontier: Frontier, rows: readonly (readonly Hash[])[] = []) {
    this.#frontier = frontier;
    this.#rows = rows.map((row) => [...row]);
    for (const [level, row] of this.#rows.entries()) {
      assert(row.length === begun(frontier.size, level), "a row holds what its tile has begun");
    }
  }

  get size(): bigint {
    return this.#frontier.size;
  }

  root(): Hash {
    return this.#frontier.root();
  }

  /** Says which tiles the leaf fills, the lowest first. */
  append(leaf: Hash): Tile[] {
    const full: Tile[] = [];
    const at = this.size;
    this.#frontier.append(leaf, (height, root) => {
      if (height % tileHeight !== 0) return;
      const level = height / tileHeight;
      const row = (this.#rows[level] ??= []);
      row.push(root);
      if (row.length < tileHashes) return;
      full.push({ level, index: at >> BigInt(height + tileHeight), hashes: row });
      this.#rows[level] = [];
    });
    return full;
  }
}

/** How many hashes the tile that is not full has at a level of a log of that size. */
export function begun(size: bigint, level: number): number {
  return Number((size >> BigInt(level * tileHeight)) % BigInt(tileHashes));
}

/** Perfect trees that a tree is made of, the largest first. Their hashes folded from the right are its root. */
export function rootPlan(size: bigint): readonly Perfect[] {
  return perfectTrees(0n, size);
}

/** RFC 6962 § 2.1.1, from the leaf's sibling up. */
export function inclusionPlan(index: bigint, size: bigint): ProofPlan {
  assert(index >= 0n && index < size, "the index is in the tree");
  const path: (readonly Perfect[])[] = [];
  let [start, end] = [0n, size];
  while (end - start > 1n) {
    const middle = start + splitOf(end - start);
    if (index < middle) {
      path.push(perfectTrees(middle, end));
      end = middle;
    } else {
      path.push(perfectTrees(start, middle));
      start = middle;
    }
  }
  return path.toReversed();
}

/** RFC 6962 § 2.1.2. Empty for an empty tree and for the same one. */
export function consistencyPlan(oldSize: bigint, size: bigint): ProofPlan {
  assert(oldSize >= 0n && oldSize <= size, "the old tree is no larger");
  if (oldSize === 0n || oldSize === size) return [];
  const path: (readonly Perfect[])[] = [];
  let [start, end] = [0n, size];
  while (end !== oldSize) {
    const middle = start + splitOf(end - start);
    if (oldSize <= middle) {
      path.push(perfectTrees(middle, end));
      end = middle;
    } else {
      path.push(perfectTrees(start, middle));
      start = middle;
    }
  }
  // A tree whose root the verifier knows is not said again.
  if (start > 0n) path.push(perfectTrees(start, end));
  return path.toReversed();
}

/** Where to read what a perfect tree is made of. */
export function sliceOf({ height, index }: Perfect): TileSlice {
  const level = Math.floor(height / tileHeight);
  const within = height % tileHeight;
  const first = index << BigInt(within);
  return {
    level,
    tile: first / BigInt(tileHashes),
    from: Number(first % BigInt(tileHashes)),
    count: 2 ** within,
  };
}

/** Root of a perfect tree over these hashes; their number is a power of two. */
export function perfectRoot(hashes: readonly Hash[], tree: TreeHash): Hash {
  assert(hashes.length > 0 && (hashes.length & (hashes.length - 1)) === 0, "a power of two");
  let row = hashes;
  while (row.length > 1) {
    const above: Hash[] = [];
    for (let at = 0; at < row.length; at += 2) {
      above.push(tree.node(row[at] ?? "", row[at + 1] ?? ""));
    }
    row = above;
  }
  return row[0] ?? tree.empty;
}

/** What a tree of perfect trees has as its root; hashes from left to right. */
export function foldRight(hashes: readonly Hash[], tree: TreeHash): Hash {
  let root: Hash | undefined;
  for (const left of hashes.toReversed()) {
    root = root === undefined ? left : tree.node(left, root);
  }
  return root ?? tree.empty;
}

/** `tile/0/x001/234`, and `tile/0/x001/234.p/17` for one with 17 hashes yet. */
export function tilePath(level: number, index: bigint, width = tileHashes): string {
  const digits = index.toString();
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, "0");
  const groups = padded.match(/\d{3}/g) ?? [];
  const path = groups.map((group, at) => (at === groups.length - 1 ? group : `x${group}`));
  const partial = width === tileHashes ? "" : `.p/${width}`;
  return `tile/${level}/${path.join("/")}${partial}`;
}

/** The largest power of two below a size. */
function splitOf(size: bigint): bigint {
  let split = 1n;
  while (split * 2n < size) split *= 2n;
  return split;
}

/** `start` is a multiple of the largest power of two that the range holds. */
function perfectTrees(start: bigint, end: bigint): Perfect[] {
  const trees: Perfect[] = [];
  const bits = (end - start).toString(2);
  let at = start;
  for (let place = 0; place < bits.length; place += 1) {
    if (bits[place] === "0") continue;
    const height = bits.length - 1 - place;
    trees.push({ height, index: at >> BigInt(height) });
    at += 1n << BigInt(height);
  }
  return trees;
}

import { assert } from "../../core/assert.ts";
import { Frontier, treeHash, type Hash } from "../../core/settlement/proof/merkle.ts";
import {
  begun,
  consistencyPlan,
  foldRight,
  inclusionPlan,
  perfectRoot,
  rootPlan,
  sliceOf,
  TileEdge,
  tileHashes,
  tileHeight,
  type Perfect,
  type ProofPlan,
} from "../../core/settlement/proof/tiles.ts";
import type { LedgerStore, Leaf } from "../../io/ledger-store.ts";
import { sha256 } from "../../io/signing.ts";

export type LogId = Leaf["log"];

/** What of the store a log is read from. */
export type LogStore = Pick<LedgerStore, "logs" | "tile" | "leafHashes" | "leafOf">;

export const tree = treeHash(sha256);

/** Roots of full tiles that are kept in memory, so that only new ones are made. */
const rootsKeptMax = 100_000;

/** Roots and proofs of logs, from the tiles that are full and the hashes of leaves behind them. */
export class LogReader {
  readonly #store: LogStore;
  /** Of full tiles whose row above is not full, so that the store has no tile that would say them. */
  readonly #rootByTile = new Map<string, Hash>();

  constructor(store: LogStore) {
    this.#store = store;
  }

  /** Root of the first `size` leaves. */
  async root(log: LogId, size: bigint): Promise<Hash> {
    return foldRight(await this.#perfects(log, rootPlan(size)), tree);
  }

  /** Roots of the perfect trees that the first `size` leaves are made of, the largest first. */
  async roots(log: LogId, size: bigint): Promise<Hash[]> {
    return this.#perfects(log, rootPlan(size));
  }

  async inclusion(log: LogId, index: bigint, size: bigint): Promise<Hash[]> {
    return this.#proof(log, inclusionPlan(index, size));
  }

  async consistency(log: LogId, oldSize: bigint, size: bigint): Promise<Hash[]> {
    return this.#proof(log, consistencyPlan(oldSize, size));
  }

  async frontier(log: LogId, size: bigint): Promise<Frontier> {
    return new Frontier(tree, size, await this.#perfects(log, rootPlan(size)));
  }

  async edge(log: LogId, size: bigint): Promise<TileEdge> {
    const rows: Hash[][] = [];
    for (let level = 0; size >> BigInt(level * tileHeight) > 0n; level += 1) {
      const tile = size >> BigInt((level + 1) * tileHeight);
      rows.push(await this.#hashes(log, { level, tile, from: 0, count: begun(size, level) }));
    }
    return new TileEdge(await this.frontier(log, size), rows);
  }

  async #proof(log: LogId, plan: ProofPlan): Promise<Hash[]> {
    const path: Hash[] = [];
    for (const trees of plan) path.push(foldRight(await this.#perfects(log, trees), tree));
    return path;
  }

  async #perfects(log: LogId, trees: readonly Perfect[]): Promise<Hash[]> {
    const hashes: Hash[] = [];
    for (const each of trees) {
      hashes.push(perfectRoot(await this.#hashes(log, sliceOf(each)), tree));
    }
    return hashes;
  }

  /** A part of a tile, whether it is full or not. */
  async #hashes(log: LogId, slice: ReturnType<typeof sliceOf>): Promise<Hash[]> {
    const { level, tile, from, count } = slice;
    if (count === 0) return [];
    const first = tile * BigInt(tileHashes) + BigInt(from);
    if (level === 0) return this.#leafHashes(log, first, count);
    const full = await this.#store.tile(log, level, tile);
    if (full !== undefined) return cut(full.hashes, from, count);
    const hashes: Hash[] = [];
    for (let at = 0n; at < BigInt(count); at += 1n) {
      hashes.push(await this.#rootOfTile(log, level - 1, first + at));
    }
    return hashes;
  }

  async #leafHashes(log: LogId, first: bigint, count: number): Promise<Hash[]> {
    const hashes = await this.#store.leafHashes(log, first, count);
    assert(hashes.length === count, "the log has the leaves that are asked for");
    return hashes;
  }

  async #rootOfTile(log: LogId, level: number, index: bigint): Promise<Hash> {
    const key = `${log}\n${level}\n${index}`;
    const known = this.#rootByTile.get(key);
    if (known !== undefined) return known;
    const full = await this.#store.tile(log, level, index);
    assert(full !== undefined, "a tile below a full one is full");
    const root = perfectRoot(cut(full.hashes, 0, tileHashes), tree);
    if (this.#rootByTile.size >= rootsKeptMax) this.#rootByTile.clear();
    this.#rootByTile.set(key, root);
    return root;
  }
}

const hashDigits = 64;

function cut(hashes: string, from: number, count: number): Hash[] {
  return Array.from({ length: count }, (_each, at) =>
    hashes.slice((from + at) * hashDigits, (from + at + 1) * hashDigits),
  );
}

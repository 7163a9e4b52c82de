import type { Hash } from "../../core/settlement/proof/merkle.ts";
import type { TileEdge } from "../../core/settlement/proof/tiles.ts";
import type { Leaf, LogTile } from "../../io/ledger-store.ts";
import { keyOfLeaf, type LostLeaf } from "./lost-leaves.ts";
import { LogReader, tree, type LogId, type LogStore } from "./log-reader.ts";
import type { LeafKind, NewLeaf } from "../ingest/writer.ts";

/** What a transaction writes of the logs. */
export interface LogRows {
  /** In order of index within each log. */
  readonly leaves: readonly Leaf[];
  readonly tiles: readonly LogTile[];
}

/** The same kind and ref with other bytes: nothing is written. */
export class LeafConflictError extends Error {
  override name = "LeafConflictError";
}

/**
 * Kinds of which each is known to be new before it comes here, because its record, sale or claim was. They are too
 * many to be looked up; the store's key still refuses a second one.
 */
const knownToBeNew: ReadonlySet<LeafKind> = new Set(["usage", "sale", "claim"]);

/** Edges kept in memory; more logs than that and all are read again. */
const edgesMax = 4_096;

/**
 * Gives leaves their places. Only the writer calls it, in turn with its commits: what was assigned is taken for
 * committed, until `forget()` says that it was not.
 */
export class Logs {
  readonly #store: LogStore;
  readonly #reader: LogReader;
  readonly #edgeByLog = new Map<LogId, TileEdge>();
  #sizes: ReadonlyMap<LogId, bigint> | undefined;
  /** Keys of leaves that were put back without what they are leaves of. */
  #lost: ReadonlySet<string> = new Set();

  constructor(store: LogStore) {
    this.#store = store;
    this.#reader = new LogReader(store);
  }

  /**
   * The rows to commit. A leaf that the log has already is left out; with other bytes it throws `LeafConflictError`
   * before anything has changed. Nothing is read of the edges before what was assigned last is `durable`.
   */
  async assign(leaves: readonly NewLeaf[], durable?: Promise<void>): Promise<LogRows> {
    const fresh = await this.#fresh(leaves);
    await this.#open(new Set(fresh.map((leaf) => leaf.log)), durable);
    const rows: { leaves: Leaf[]; tiles: LogTile[] } = { leaves: [], tiles: [] };
    for (const leaf of fresh) this.#append(leaf, rows);
    return rows;
  }

  /**
   * Leaves that are in the log before their record is in the ledger. If it comes again, its leaf stays as it was signed,
   * whatever the record gives now: in another order the parts of a sum are others. A statement that is made again and is
   * another is refused like any leaf with other bytes.
   */
  expect(lost: readonly LostLeaf[]): void {
    this.#lost = new Set(lost.map(keyOfLeaf));
  }

  /** After a commit that failed, or whose end is not known: edges are read from the store again. */
  forget(): void {
    this.#edgeByLog.clear();
    this.#sizes = undefined;
  }

  #append(leaf: NewLeaf, rows: { leaves: Leaf[]; tiles: LogTile[] }): void {
    const { log, kind, ref, text } = leaf;
    const edge = this.#edgeByLog.get(log);
    if (edge === undefined) throw new Error(`the edge of log ${log} is not at hand`);
    const hash: Hash = tree.leaf(text);
    rows.leaves.push({ log, index: edge.size, kind, ref, text, hash });
    for (const { level, index, hashes } of edge.append(hash)) {
      rows.tiles.push({ log, level, index, hashes: hashes.join("") });
    }
  }

  /** Those that are in no log yet, each once. */
  async #fresh(leaves: readonly NewLeaf[]): Promise<NewLeaf[]> {
    const byKey = new Map<string, NewLeaf>();
    for (const leaf of leaves) {
      const key = keyOfLeaf(leaf);
      const same = byKey.get(key) ?? (await this.#stored(leaf));
      if (same === undefined) byKey.set(key, leaf);
      else if (same.text !== leaf.text && !this.#isLost(leaf)) {
        throw new LeafConflictError(
          `leaf ${leaf.kind} ${leaf.ref} of log ${leaf.log}: expected the bytes that it has, found others`,
        );
      }
    }
    return [...byKey.values()];
  }

  async #stored(leaf: NewLeaf): Promise<Leaf | undefined> {
    if (knownToBeNew.has(leaf.kind) && !this.#isLost(leaf)) return undefined;
    return this.#store.leafOf(leaf.log, leaf.kind, leaf.ref);
  }

  #isLost(leaf: NewLeaf): boolean {
    return this.#lost.size > 0 && knownToBeNew.has(leaf.kind) && this.#lost.has(keyOfLeaf(leaf));
  }

  async #open(logs: ReadonlySet<LogId>, durable?: Promise<void>): Promise<void> {
    if (logs.isSubsetOf(this.#edgeByLog)) return;
    await durable;
    if (this.#edgeByLog.size + logs.size > edgesMax) this.forget();
    this.#sizes ??= await this.#store.logs();
    for (const log of logs) {
      if (this.#edgeByLog.has(log)) continue;
      this.#edgeByLog.set(log, await this.#reader.edge(log, this.#sizes.get(log) ?? 0n));
    }
  }
}

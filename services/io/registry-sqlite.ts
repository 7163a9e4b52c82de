import { DatabaseSync, type SQLOutputValue, type StatementSync } from "node:sqlite";
import type { Entry, EntryKind, Registry, SetOutcome } from "./registry.ts";

/** How soon a change by another process is seen. */
const pollMs = 250;
/** How long a change waits for another process that is writing. */
const busyTimeoutMs = 5_000;

const schema = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA busy_timeout = ${busyTimeoutMs};
  CREATE TABLE IF NOT EXISTS entry (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    author TEXT NOT NULL,
    comment TEXT NOT NULL,
    set_at_us INTEGER NOT NULL,
    is_deleted INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS entry_by_key ON entry (kind, key, revision);
`;

const newest = `revision = (
  SELECT max(other.revision) FROM entry other WHERE other.kind = entry.kind AND other.key = entry.key
)`;

const queries = {
  newest: "SELECT * FROM entry WHERE kind = ? AND key = ? ORDER BY revision DESC LIMIT 1",
  list: `SELECT * FROM entry WHERE kind = ? AND is_deleted = 0 AND ${newest} ORDER BY key`,
  history: "SELECT * FROM entry WHERE kind = ? AND key = ? ORDER BY revision DESC LIMIT ?",
  since: `SELECT * FROM entry WHERE revision > ? AND ${newest} ORDER BY revision`,
  insert: `INSERT INTO entry (kind, key, value, author, comment, set_at_us, is_deleted)
    VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *`,
  dataVersion: "PRAGMA data_version",
} as const;

type Row = Record<string, SQLOutputValue>;

/**
 * The registry in one SQLite file, shared by the processes of one machine. A change is fsynced when `set` resolves.
 * Each row is a revision and none is ever changed, so the table is its own history.
 */
export async function openSqliteRegistry(path: string): Promise<Registry> {
  return new SqliteRegistry(new DatabaseSync(path, { readBigInts: true }));
}

class SqliteRegistry implements Registry {
  readonly #database: DatabaseSync;
  readonly #statements: Readonly<Record<keyof typeof queries, StatementSync>>;
  /** Watchers that sleep until something changes. */
  readonly #sleepers = new Set<() => void>();
  #poll: NodeJS.Timeout | undefined;
  #dataVersion: unknown;
  #isClosed = false;

  constructor(database: DatabaseSync) {
    this.#database = database;
    database.exec(schema);
    this.#statements = {
      newest: database.prepare(queries.newest),
      list: database.prepare(queries.list),
      history: database.prepare(queries.history),
      since: database.prepare(queries.since),
      insert: database.prepare(queries.insert),
      dataVersion: database.prepare(queries.dataVersion),
    };
  }

  async get(kind: EntryKind, key: string): Promise<Entry | undefined> {
    const entry = this.#newest(kind, key);
    return entry?.isDeleted === true ? undefined : entry;
  }

  async list(kind: EntryKind): Promise<readonly Entry[]> {
    return this.#statements.list.all(kind).map(toEntry);
  }

  async set(change: Parameters<Registry["set"]>[0]): Promise<SetOutcome> {
    const { kind, key, value, baseRevision, author, comment, isDeleted = false } = change;
    const setAtUs = BigInt(Date.now()) * 1_000n;
    const outcome = this.#inTransaction((): SetOutcome => {
      const current = this.#newest(kind, key);
      const isThere = current !== undefined && !current.isDeleted;
      if (baseRevision !== (isThere ? current.revision : 0)) {
        return { kind: "conflict", current: isThere ? current : undefined };
      }
      const row = this.#statements.insert.get(
        ...[kind, key, value, author, comment, setAtUs, isDeleted ? 1 : 0],
      );
      if (row === undefined) throw new Error("expected the row that was written, found none");
      return { kind: "set", entry: toEntry(row) };
    });
    if (outcome.kind === "set") this.#wake();
    return outcome;
  }

  async history(kind: EntryKind, key: string, limit: number): Promise<readonly Entry[]> {
    return this.#statements.history.all(kind, key, limit).map(toEntry);
  }

  async *watch(afterRevision: number, signal: AbortSignal): AsyncGenerator<Entry> {
    let seen = afterRevision;
    while (!signal.aborted && !this.#isClosed) {
      // Taken before the query, so that a change between the two is not slept through.
      const change = this.#nextChange(signal);
      try {
        for (const entry of this.#statements.since.all(seen).map(toEntry)) {
          seen = entry.revision;
          yield entry;
        }
        await change.happened;
      } finally {
        change.forget();
      }
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#wake();
    clearInterval(this.#poll);
    this.#database.close();
  }

  #newest(kind: EntryKind, key: string): Entry | undefined {
    const row = this.#statements.newest.get(kind, key);
    return row === undefined ? undefined : toEntry(row);
  }

  #inTransaction(change: () => SetOutcome): SetOutcome {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const outcome = change();
      this.#database.exec("COMMIT");
      return outcome;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  #nextChange(signal: AbortSignal): {
    readonly happened: Promise<void>;
    readonly forget: () => void;
  } {
    this.#startPolling();
    const { promise, resolve } = Promise.withResolvers<void>();
    const forget = (): void => {
      this.#sleepers.delete(wake);
      signal.removeEventListener("abort", wake);
      if (this.#sleepers.size === 0) this.#stopPolling();
    };
    const wake = (): void => {
      forget();
      resolve();
    };
    this.#sleepers.add(wake);
    signal.addEventListener("abort", wake);
    return { happened: promise, forget };
  }

  #wake(): void {
    for (const wake of this.#sleepers) wake();
  }

  /** Another process does not call us: SQLite counts its changes. */
  #startPolling(): void {
    if (this.#poll !== undefined) return;
    this.#dataVersion ??= this.#readDataVersion();
    this.#poll = setInterval(() => {
      const version = this.#readDataVersion();
      if (version === this.#dataVersion) return;
      this.#dataVersion = version;
      this.#wake();
    }, pollMs).unref();
  }

  #stopPolling(): void {
    clearInterval(this.#poll);
    this.#poll = undefined;
  }

  #readDataVersion(): unknown {
    return this.#statements.dataVersion.get()?.["data_version"];
  }
}

function toEntry(row: Row): Entry {
  return {
    kind: String(row["kind"]) as EntryKind,
    key: String(row["key"]),
    revision: Number(row["revision"]),
    value: String(row["value"]),
    author: String(row["author"]),
    comment: String(row["comment"]),
    setAtUs: BigInt(String(row["set_at_us"])),
    isDeleted: Number(row["is_deleted"]) === 1,
  };
}

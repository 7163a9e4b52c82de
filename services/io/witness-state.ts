import { chmodSync, existsSync, closeSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import type { WitnessedHead, WitnessOutcome } from "../core/settlement/proof/witness.ts";
import type { KeptHead, WitnessHeads } from "./witness.ts";

/** The state of another process, or no state at all. */
export class WitnessStateError extends Error {
  override name = "WitnessStateError";
}

const fileMode = 0o600;

/**
 * EXTRA also syncs the folder, so that an answer is never given for what a power loss takes back. One process holds
 * the file: two with one key could sign two things.
 */
const pragmas = `
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = DELETE;
  PRAGMA synchronous = EXTRA;
`;

const schema = `
  CREATE TABLE IF NOT EXISTS head (
    origin TEXT NOT NULL PRIMARY KEY,
    size INTEGER NOT NULL CHECK (size >= 0),
    root TEXT NOT NULL,
    note TEXT NOT NULL
  ) STRICT
`;

export interface WitnessState extends WitnessHeads {
  origins(): readonly string[];
  close(): void;
}

/** What a witness has signed, in a file of its own. Throws `WitnessStateError` if another process holds it. */
export function openWitnessState(path: string): WitnessState {
  if (path !== ":memory:" && !existsSync(path)) closeSync(openSync(path, "a", fileMode));
  if (path !== ":memory:") chmodSync(path, fileMode);
  const database = new DatabaseSync(path, { readBigInts: true, timeout: 0 });
  try {
    database.exec(pragmas);
    // The lock is taken with the first transaction that writes, and kept.
    database.exec("BEGIN EXCLUSIVE");
    database.exec(schema);
    database.exec("COMMIT");
  } catch (cause) {
    database.close();
    throw new WitnessStateError(`${path}: expected a witness's state that nobody else holds`, {
      cause,
    });
  }
  return new SqliteState(database);
}

class SqliteState implements WitnessState {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  async head(origin: string): Promise<KeptHead | undefined> {
    return this.#read(origin);
  }

  /** All in one call: nothing else of this process has a turn before it is on disk. */
  async update(
    origin: string,
    note: string,
    decide: (head: WitnessedHead | undefined) => WitnessOutcome,
  ): Promise<WitnessOutcome> {
    const outcome = decide(this.#read(origin));
    if (outcome.status !== 200) return outcome;
    const { size, root } = outcome.head;
    this.#database
      .prepare(
        "INSERT INTO head (origin, size, root, note) VALUES (?, ?, ?, ?) " +
          "ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root, note = excluded.note",
      )
      .run(origin, size, root, note);
    return outcome;
  }

  origins(): readonly string[] {
    const rows = this.#database.prepare("SELECT origin FROM head ORDER BY origin").all();
    return rows.map(({ origin }) => String(origin));
  }

  close(): void {
    this.#database.close();
  }

  #read(origin: string): KeptHead | undefined {
    const row = this.#database
      .prepare("SELECT CAST(size AS TEXT) AS size, root, note FROM head WHERE origin = ?")
      .get(origin);
    if (row === undefined) return undefined;
    return {
      size: BigInt(String(row["size"])),
      root: String(row["root"]),
      note: String(row["note"]),
    };
  }
}

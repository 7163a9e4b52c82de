import { DatabaseSync, type StatementSync } from "node:sqlite";
import { sqliteSchema } from "./ledger-schema.ts";
import { openSqlLedger, readSqlLedger, type SqlLedger } from "./ledger-sql.ts";
import { LedgerStoppedError, type LedgerStore } from "./ledger-store.ts";
import type { Row, SqlDriver, Statement, Value, Work } from "./sql-driver.ts";

/** How long a commit waits for another process that holds the file. */
const busyTimeoutMs = 5_000;
const cacheKib = 65_536;
/** A record and its leaf have 2 to 3 KB each: two fit where pages of 4 KB hold one and a rest. */
const pageBytes = 8_192;
/** Pages that change with every batch are copied out of the log once for several of them. */
const checkpointPages = 4_000;

const pragmas = `
  PRAGMA page_size = ${pageBytes};
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA busy_timeout = ${busyTimeoutMs};
  PRAGMA cache_size = -${cacheKib};
  PRAGMA temp_store = MEMORY;
  PRAGMA wal_autocheckpoint = ${checkpointPages};
`;

/** Opens or creates the ledger in a file, and fences off whoever wrote before. Works on this thread. */
export async function openSqliteLedger(path: string): Promise<SqlLedger> {
  const database = new DatabaseSync(path, { readBigInts: true, timeout: busyTimeoutMs });
  database.exec(pragmas);
  return openSqlLedger(sqliteDriver(database));
}

/**
 * Opens a ledger that is there to look at it, as it is at this moment, while another process may go on writing:
 * nothing can be committed, and nobody is fenced off.
 */
export async function readSqliteLedger(path: string): Promise<LedgerStore> {
  const options = { readBigInts: true, readOnly: true, timeout: busyTimeoutMs };
  const database = new DatabaseSync(path, options);
  database.exec("BEGIN");
  return readSqlLedger(new SqliteDriver(database));
}

/** Over a database that is open; `openSqliteLedger` is for one in a file. */
export function sqliteDriver(database: DatabaseSync): SqlDriver {
  return new SqliteDriver(database);
}

/** Everything happens inside the call: between the statements of a transaction nobody else has a turn. */
class SqliteDriver implements SqlDriver {
  /** A transaction has the whole file. */
  readonly rowLock = "";
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();
  /** Why nothing can be committed any more: a commit failed, and what is on disk is not known. */
  #broken: unknown;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  async ask(...statements: readonly Statement[]) {
    return statements.map((each) => this.#run(each));
  }

  async transaction<Result>(work: () => Work<Result>) {
    if (this.#broken !== undefined) {
      throw new LedgerStoppedError("a commit failed before", { cause: this.#broken });
    }
    this.#database.exec("BEGIN IMMEDIATE");
    let result: Result;
    try {
      result = this.#perform(work());
    } catch (error) {
      // A full disk has rolled back by itself; to do it again would hide why.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
    try {
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#broken = error;
      throw new LedgerStoppedError("the commit failed", { cause: error });
    }
    return result;
  }

  async hasTable(name: string) {
    const found = this.#database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name = ?")
      .get(name);
    return found !== undefined;
  }

  async create() {
    // In one transaction: half a schema is none, and the disk is waited for once.
    this.#database.exec(`BEGIN IMMEDIATE; ${sqliteSchema()} COMMIT;`);
  }

  async close() {
    this.#database.close();
  }

  #perform<Result>(work: Work<Result>): Result {
    let step = work.next();
    while (step.done !== true) step = work.next(step.value.map((each) => this.#run(each)));
    return step.value;
  }

  #run(statement: Statement): Row[] {
    if ("values" in statement) return this.#statement(statement.text, 0).all(...statement.values);
    if ("keys" in statement) return this.#runKeys(statement);
    const [first] = statement.rows;
    if (first === undefined) return [];
    const prepared = this.#statement(statement.text, first.length);
    for (const row of statement.rows) prepared.run(...row);
    return [];
  }

  #runKeys({ text, keys }: { readonly text: string; readonly keys: readonly Value[][] }): Row[] {
    const [first] = keys;
    if (first === undefined) return [];
    const prepared = this.#statement(text, first.length);
    return keys.flatMap((key): Row[] => prepared.all(...key));
  }

  #statement(query: string, width: number): StatementSync {
    const known = this.#prepared.get(query);
    if (known !== undefined) return known;
    const values = `VALUES (${Array.from({ length: width }, () => "?").join(", ")})`;
    const prepared = this.#database.prepare(query.replace("{rows}", values));
    this.#prepared.set(query, prepared);
    return prepared;
  }
}

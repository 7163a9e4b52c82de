import { Client, Pool, types, type ClientConfig } from "pg";
import { postgresArray } from "./postgres-array.ts";
import { postgresSchema } from "./ledger-schema.ts";
import { openSqlLedger, readSqlLedger, type SqlLedger } from "./ledger-sql.ts";
import { LedgerStoppedError, type LedgerStore } from "./ledger-store.ts";
import type { Row, SqlDriver, Statement, Value, Work } from "./sql-driver.ts";

const connectionsToRead = 4;
const connectTimeoutMs = 10_000;
/** How long a transaction waits for another process that writes. */
const lockTimeoutMs = 5_000;
/** After that the server gives up a transaction whose writer is silent, so that another may take over. */
const silenceTimeoutMs = 30_000;
/** After that a write counts as lost on the way. */
const answerTimeoutMs = 60_000;
/** Of the advisory lock under which tables are made. */
const schemaLock = 7_306_001_001n;

/** Opens or creates the ledger in a database, and fences off whoever wrote before. */
export async function openPostgresLedger(url: string): Promise<SqlLedger> {
  return openSqlLedger(new PostgresDriver(url));
}

/** Opens a ledger that is there to look at it, as it is at this moment, while another process may go on writing. */
export async function readPostgresLedger(url: string): Promise<LedgerStore> {
  return readSqlLedger(await Snapshot.open(url));
}

/** One connection writes, others read. Every statement of a step is sent before the first is answered. */
class PostgresDriver implements SqlDriver {
  readonly rowLock = " FOR UPDATE";
  readonly #url: string;
  readonly #readers: Pool;
  readonly #names = new StatementNames();
  #writer: Client | undefined;
  /** Why nothing can be committed any more: nobody knows whether a commit came through. */
  #broken: unknown;

  constructor(url: string) {
    this.#url = url;
    this.#readers = new Pool({ ...settings(url), max: connectionsToRead });
    // A reader that is lost while nobody uses it; the next question gets another one.
    this.#readers.on("error", () => undefined);
  }

  async ask(...statements: readonly Statement[]) {
    const client = await this.#readers.connect();
    try {
      const found = await this.#names.askTogether(client, statements);
      client.release();
      return found;
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  async hasTable(name: string) {
    return this.#names.hasTable(await this.#connected(), name);
  }

  async create() {
    const client = await this.#connected();
    await client.query(
      `BEGIN; SELECT pg_advisory_xact_lock(${schemaLock}); ${postgresSchema()} COMMIT;`,
    );
  }

  async close() {
    await Promise.all([this.#writer?.end(), this.#readers.end()]);
    this.#writer = undefined;
  }

  async transaction<Result>(work: () => Work<Result>) {
    if (this.#broken !== undefined) {
      throw new LedgerStoppedError("a commit failed before", { cause: this.#broken });
    }
    const client = await this.#connected();
    let result: Result;
    try {
      await client.query("BEGIN ISOLATION LEVEL READ COMMITTED");
      result = await this.#perform(client, work());
    } catch (error) {
      await this.#rollBack(client);
      throw error;
    }
    try {
      const { command } = await client.query("COMMIT");
      if (command !== "COMMIT") throw new Error(`expected COMMIT, found ${command}`);
    } catch (error) {
      // The server may have done it and been lost before it could say so.
      this.#broken = error;
      this.#forget(client);
      throw new LedgerStoppedError("the commit failed", { cause: error });
    }
    return result;
  }

  async #perform<Result>(client: Client, work: Work<Result>): Promise<Result> {
    let step = work.next();
    while (step.done !== true) {
      const statements = step.value.map((each) => this.#names.run(client, each));
      step = work.next(await Promise.all(statements));
    }
    return step.value;
  }

  /** Without a commit the server takes everything back, also when it is the connection that was lost. */
  async #rollBack(client: Client): Promise<void> {
    try {
      await client.query("ROLLBACK");
    } catch {
      this.#forget(client);
    }
  }

  async #connected(): Promise<Client> {
    if (this.#writer !== undefined) return this.#writer;
    const client = await connect(this.#url);
    client.on("error", () => this.#forget(client));
    client.on("end", () => this.#forget(client));
    this.#writer = client;
    return client;
  }

  #forget(client: Client): void {
    if (this.#writer !== client) return;
    this.#writer = undefined;
    client.end().catch(() => undefined);
  }
}

/** One connection with one view, for whoever only looks. */
class Snapshot implements SqlDriver {
  readonly rowLock = "";
  readonly #client: Client;
  readonly #names = new StatementNames();

  static async open(url: string): Promise<Snapshot> {
    const client = new Client(settings(url));
    client.on("error", () => undefined);
    await client.connect();
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    return new Snapshot(client);
  }

  constructor(client: Client) {
    this.#client = client;
  }

  async ask(...statements: readonly Statement[]) {
    return Promise.all(statements.map((each) => this.#names.run(this.#client, each)));
  }

  async transaction(): Promise<never> {
    throw new Error("expected a transaction of the ledger's writer, found one of a reader");
  }

  async hasTable(name: string) {
    return this.#names.hasTable(this.#client, name);
  }

  async create(): Promise<never> {
    throw new Error("expected a ledger that is there, found none");
  }

  async close() {
    await this.#client.end();
  }
}

type Asked = Pick<Client, "query">;

/** Runs statements as prepared ones. */
class StatementNames {
  readonly #nameByText = new Map<string, string>();

  /** In one transaction if there are several, so that they are answered of one moment. */
  async askTogether(client: Asked, statements: readonly Statement[]): Promise<Row[][]> {
    const [only] = statements;
    if (statements.length === 1 && only !== undefined) return [await this.run(client, only)];
    const [, found] = await Promise.all([
      client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
      Promise.all(statements.map((each) => this.run(client, each))),
      client.query("COMMIT"),
    ]);
    return found;
  }

  async run(client: Asked, statement: Statement): Promise<Row[]> {
    if ("values" in statement)
      return this.#query(client, numbered(statement.text), statement.values);
    const rows = "keys" in statement ? statement.keys : statement.rows;
    const [first] = rows;
    if (first === undefined) return [];
    const arrays = first.map((value, at) => {
      return `$${at + 1}::${typeof value === "bigint" ? "bigint" : "text"}[]`;
    });
    const text = statement.text.replace("{rows}", `SELECT * FROM unnest(${arrays.join(", ")})`);
    const columns = first.map((_, at) => postgresArray(rows.map((row) => row[at] ?? "")));
    return this.#query(client, text, columns);
  }

  async hasTable(client: Asked, name: string): Promise<boolean> {
    const { rows } = await client.query("SELECT to_regclass($1) AS found", [name]);
    return (rows as readonly Row[])[0]?.["found"] !== null;
  }

  async #query(client: Asked, text: string, values: readonly (Value | Buffer)[]): Promise<Row[]> {
    const name = this.#nameByText.get(text) ?? `ledger_${this.#nameByText.size}`;
    this.#nameByText.set(text, name);
    const { rows } = await client.query({ name, text, values: [...values] });
    return rows as Row[];
  }
}

/** A connection to write on. Throws if the server would not keep what it says it has. */
async function connect(url: string): Promise<Client> {
  const client = new Client({
    ...settings(url),
    lock_timeout: lockTimeoutMs,
    idle_in_transaction_session_timeout: silenceTimeoutMs,
    query_timeout: answerTimeoutMs,
  });
  await client.connect();
  await client.query(`SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')`);
  for (const [setting, expected] of Object.entries({ fsync: "on", server_encoding: "UTF8" })) {
    const { rows } = await client.query("SELECT current_setting($1) AS found", [setting]);
    const found = (rows as readonly Row[])[0]?.["found"];
    if (found === expected) continue;
    await client.end();
    throw new Error(`PostgreSQL setting ${setting}: expected ${expected}, found ${String(found)}`);
  }
  return client;
}

function settings(url: string): ClientConfig {
  return {
    connectionString: url,
    application_name: "tokengrid",
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
    pipeline: true,
    types: {
      getTypeParser: (oid, format) =>
        oid === types.builtins.INT8 ? BigInt : types.getTypeParser(oid, format),
    },
  };
}

/** `?` are `$1`, `$2`, … here. */
function numbered(text: string): string {
  let number = 0;
  return text.replaceAll("?", () => `$${(number += 1)}`);
}

import { fromBatch, type BatchRows } from "./ledger-batch.ts";
import { reads, writes } from "./ledger-queries.ts";
import { ledgerReads } from "./ledger-reads.ts";
import { schemaVersion } from "./ledger-schema.ts";
import { LedgerFencedError, type LedgerStore } from "./ledger-store.ts";
import { int, text, type Row, type SqlDriver, type Value, type Work } from "./sql-driver.ts";

/** A ledger in a database. */
export interface SqlLedger extends LedgerStore {
  /** A batch that was made into rows before, on another thread. */
  commitRows(rows: BatchRows): Promise<void>;
}

/** Makes the tables if there are none, and fences off whoever wrote before. */
export async function openSqlLedger(driver: SqlDriver): Promise<SqlLedger> {
  try {
    if (await isNew(driver)) await driver.create();
    await checkSchema(driver);
    const writer = await Writer.takeOver(driver);
    return {
      ...ledgerReads(driver),
      commit: (batch) => writer.commit(fromBatch(batch)),
      commitRows: (rows) => writer.commit(rows),
      close: async () => {
        await writer.drain();
        await driver.close();
      },
    };
  } catch (error) {
    await driver.close();
    throw error;
  }
}

/** Opens a ledger that is there to look at it: nothing can be committed, and nobody is fenced off. */
export async function readSqlLedger(driver: SqlDriver): Promise<LedgerStore> {
  const refuse = async (): Promise<never> => {
    throw new Error("expected a transaction of the ledger's writer, found one of a reader");
  };
  try {
    if (await isNew(driver)) throw new Error("expected a ledger, found no tables of one");
    await checkSchema(driver);
    const close = (): Promise<void> => driver.close();
    return { ...ledgerReads(driver), commit: refuse, close };
  } catch (error) {
    await driver.close();
    throw error;
  }
}

async function isNew(driver: SqlDriver): Promise<boolean> {
  if (await driver.hasTable("ledger_schema")) return false;
  // Before there were numbers of schemas.
  if (await driver.hasTable("writer")) throw new Error(mismatch("none"));
  return true;
}

async function checkSchema(driver: SqlDriver): Promise<void> {
  const [[row] = []] = await driver.ask({ text: reads.schema, values: [] });
  const found = row === undefined ? "none" : String(int(row, "version"));
  if (found !== String(schemaVersion)) throw new Error(mismatch(found));
}

function mismatch(found: string): string {
  return `expected a ledger with schema version ${schemaVersion}, found ${found}: another version of tokengrid made it, which alone can open it`;
}

/** The numbers that the one writer gives out. Nobody else writes, so they are those of the ledger. */
interface Numbers {
  readonly record: bigint;
  readonly entry: bigint;
  readonly document: bigint;
}

class Writer {
  readonly #driver: SqlDriver;
  readonly #epoch: bigint;
  #numbers: Numbers;
  readonly #sizeByLog: Map<string, bigint>;
  #last: Promise<unknown> = Promise.resolve();

  static async takeOver(driver: SqlDriver): Promise<Writer> {
    const epoch = await driver.transaction(function* (): Work<bigint> {
      const [[row = {}] = []] = yield [{ text: writes.takeOver, values: [] }];
      return int(row, "epoch");
    });
    const questions = [reads.lastRecord, reads.lastEntry, reads.lastDocument];
    const [[record], [entry], [document], logs] = (await driver.ask(
      ...[...questions, reads.logs].map((query) => ({ text: query, values: [] })),
    )) as [Row[], Row[], Row[], Row[]];
    const last = (row: Row | undefined): bigint => int(row ?? {}, "last");
    const numbers = {
      record: last(record),
      entry: last(entry),
      document: last(document),
    };
    const sizes = new Map(logs.map((row) => [text(row, "log"), int(row, "size")]));
    return new Writer(driver, { epoch, numbers, sizes });
  }

  constructor(
    driver: SqlDriver,
    state: {
      readonly epoch: bigint;
      readonly numbers: Numbers;
      readonly sizes: Map<string, bigint>;
    },
  ) {
    this.#driver = driver;
    this.#epoch = state.epoch;
    this.#numbers = state.numbers;
    this.#sizeByLog = state.sizes;
  }

  /** One after the other: each goes on from the numbers that the one before it left. */
  async commit(rows: BatchRows): Promise<void> {
    const done = this.#last.then(() => this.#commit(rows));
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** Resolves when nothing is being written. */
  async drain(): Promise<void> {
    await this.#last;
  }

  async #commit(rows: BatchRows): Promise<void> {
    const sizes = this.#sizesAfter(rows.leaves);
    const after = await this.#driver.transaction(() => this.#write(rows));
    this.#numbers = after;
    for (const [log, size] of sizes) this.#sizeByLog.set(log, size);
  }

  *#write(rows: BatchRows): Work<Numbers> {
    yield* this.#checkFence();
    const documents = yield* newDocuments(rows.documents);
    const claims = yield* newClaims(rows.claims);
    const before = this.#numbers;
    yield [
      { text: writes.record, rows: numbered(rows.posted, before.record) },
      { text: writes.waiting, rows: rows.waiting },
      { text: writes.release, rows: rows.released },
      { text: writes.entry, rows: numbered(rows.entries, before.entry) },
      { text: writes.openBalance, rows: rows.movements },
      { text: writes.addBalance, rows: rows.movements },
      { text: writes.cumulative, rows: rows.cumulatives },
      { text: writes.hour, rows: rows.hours },
      { text: writes.newSale, rows: rows.newSales },
      { text: writes.sale, rows: rows.sales },
      { text: writes.consumption, rows: rows.consumption },
      { text: writes.version, rows: rows.versions },
      { text: writes.producer, rows: rows.producers },
      { text: writes.leaf, rows: rows.leaves },
      { text: writes.tile, rows: rows.tiles },
      { text: writes.document, rows: numbered(documents, before.document) },
      { text: writes.hold, rows: rows.holds },
      { text: writes.claim, rows: claims },
    ];
    return {
      ...before,
      record: before.record + BigInt(rows.posted.length),
      entry: before.entry + BigInt(rows.entries.length),
      document: before.document + BigInt(documents.length),
    };
  }

  /** Holds the row until the end, so that nobody takes over between this look and the commit. */
  *#checkFence(): Work<void> {
    const query = `${reads.epoch}${this.#driver.rowLock}`;
    const [[row = {}] = []] = yield [{ text: query, values: [] }];
    const epoch = int(row, "epoch");
    if (epoch === this.#epoch) return;
    throw new LedgerFencedError(`expected writer epoch ${this.#epoch}, found ${epoch}`);
  }

  /** How long the logs will be. Throws if a leaf leaves a gap. */
  #sizesAfter(leaves: readonly Value[][]): ReadonlyMap<string, bigint> {
    const sizes = new Map<string, bigint>();
    for (const [log, index] of leaves as readonly [string, bigint][]) {
      const size = sizes.get(log) ?? this.#sizeByLog.get(log) ?? 0n;
      if (index !== size) throw new Error(`log ${log}: expected leaf ${size}, found ${index}`);
      sizes.set(log, size + 1n);
    }
    return sizes;
  }
}

/** Rows with their number as the last column. */
function numbered(rows: readonly Value[][], after: bigint): readonly Value[][] {
  let seq = after;
  return rows.map((row) => [...row, ++seq]);
}

/** Without those that are there already. Throws if one is there with other bytes. */
function* newDocuments(rows: readonly Value[][]): Work<Value[][]> {
  if (rows.length === 0) return [];
  const keys = rows.map(([kind = "", id = ""]) => [kind, id]);
  const [found = []] = yield [{ text: reads.documentsOf, keys }];
  const known = new Map(
    found.map((row) => [`${text(row, "kind")} ${text(row, "id")}`, text(row, "body")]),
  );
  return rows.filter(([kind, id, , , body]) => isFresh(known, `${kind} ${id}`, body as string));
}

function* newClaims(rows: readonly Value[][]): Work<Value[][]> {
  if (rows.length === 0) return [];
  const keys = rows.map(([pair = "", attempt = "", rev = 0n]) => [pair, attempt, rev]);
  const [found = []] = yield [{ text: reads.claimHashes, keys }];
  const keyOf = (row: Row): string =>
    `${text(row, "pair_id")} ${text(row, "attempt_id")}:${int(row, "rev")}`;
  const known = new Map(found.map((row) => [keyOf(row), text(row, "hash")]));
  return rows.filter(([pair, attempt, rev, ...rest]) =>
    isFresh(known, `${pair} ${attempt}:${rev}`, rest.at(-1) as string),
  );
}

/** Notes it, so that the same one twice in a batch is one. */
function isFresh(known: Map<string, string>, key: string, bytes: string): boolean {
  const before = known.get(key);
  known.set(key, bytes);
  if (before === undefined) return true;
  if (before === bytes) return false;
  throw new Error(`expected the bytes of ${key} that are there, found others`);
}

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { HourKey, RatingKey } from "../core/settlement/charge.ts";
import type { Period } from "../core/settlement/period.ts";
import type { StoredRecord } from "../core/settlement/posting.ts";
import { fromStatementText } from "../core/settlement/statement-text.ts";
import type { Statement } from "../core/settlement/statement.ts";
import type { AttemptId, VendorId } from "../core/units.ts";
import {
  fromBatch,
  int,
  text,
  toCumulative,
  toEntry,
  toHour,
  toPosted,
  toProducer,
  toStored,
  toWaiting,
  type BatchRows,
  type Row,
  type Value,
} from "./ledger-rows.ts";
import { sql, usageQuery } from "./ledger-queries.ts";
import {
  LedgerFencedError,
  LedgerStoppedError,
  type LedgerBatch,
  type LedgerStore,
  type UsageFilter,
  type UsagePlace,
  type VendorAccount,
} from "./ledger-store.ts";

/** How long a commit waits for another process that holds the file. */
const busyTimeoutMs = 5_000;
const cacheKib = 65_536;

const pragmas = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA busy_timeout = ${busyTimeoutMs};
  PRAGMA cache_size = -${cacheKib};
  PRAGMA temp_store = MEMORY;
`;

const appendOnly = ["usage_record", "entry", "price_version", "statement"];

/** What PostgreSQL does with revoked rights and `RAISE EXCEPTION`. */
const triggers = appendOnly.flatMap((table) =>
  ["UPDATE", "DELETE"].map(
    (change) => `CREATE TRIGGER IF NOT EXISTS ${table}_no_${change.toLowerCase()}
      BEFORE ${change} ON ${table}
      BEGIN SELECT RAISE(ABORT, '${table} is append-only'); END;`,
  ),
);

/** Opens or creates the ledger in a file, and fences off whoever wrote before. Works on this thread. */
export function openSqliteLedger(path: string): SqliteLedger {
  const database = new DatabaseSync(path, { readBigInts: true, timeout: busyTimeoutMs });
  database.exec(pragmas);
  const schema = readFileSync(new URL("./ledger.sql", import.meta.url), "utf8");
  // In one transaction: half a schema is none, and the disk is waited for once.
  database.exec(`BEGIN IMMEDIATE; ${schema} ${triggers.join("\n")} COMMIT;`);
  return new SqliteLedger(database, "writer");
}

/**
 * Opens a ledger that is there to look at it, as it is at this moment, while another process may go on writing:
 * nothing can be committed, and nobody is fenced off.
 */
export function readSqliteLedger(path: string): LedgerStore {
  const options = { readBigInts: true, readOnly: true, timeout: busyTimeoutMs };
  const database = new DatabaseSync(path, options);
  database.exec("BEGIN");
  return new SqliteLedger(database, "reader");
}

export class SqliteLedger implements LedgerStore {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #epoch: bigint;
  /** Numbers of the last record, entry and statement; nobody else writes. */
  #recordSeq: bigint;
  #entrySeq: bigint;
  #statementSeq: bigint;
  /** Why nothing can be committed any more: a commit failed, and what is on disk is not known. */
  #broken: unknown;

  constructor(database: DatabaseSync, use: "writer" | "reader") {
    this.#database = database;
    const held =
      use === "writer" ? this.#inTransaction(() => this.#get(sql.takeOver)) : this.#get(sql.epoch);
    this.#epoch = int(held ?? {}, "epoch");
    this.#recordSeq = int(this.#get(sql.lastRecord) ?? {}, "last");
    this.#entrySeq = int(this.#get(sql.lastEntry) ?? {}, "last");
    this.#statementSeq = int(this.#get(sql.lastStatement) ?? {}, "last");
  }

  async recordsOf(attempts: readonly AttemptId[]) {
    const records: StoredRecord[] = [];
    for (const attempt of new Set(attempts)) {
      for (const row of this.#all(sql.recordsOf, attempt)) records.push(toStored(row, "posted"));
      for (const row of this.#all(sql.waitingOf, attempt)) records.push(toStored(row, "waiting"));
    }
    return records;
  }

  async totalsOf(rating: readonly RatingKey[], hours: readonly HourKey[]) {
    const cumulatives = rating
      .map(({ vendor, period, line, pool }) =>
        this.#get(sql.cumulativeAt, vendor, period, line, pool),
      )
      .filter((row) => row !== undefined);
    const found = hours
      .map(({ vendor, hourUs, line, pool, region }) =>
        this.#get(sql.hourAt, vendor, hourUs, line, pool, region),
      )
      .filter((row) => row !== undefined);
    return { cumulatives: cumulatives.map(toCumulative), hours: found.map(toHour) };
  }

  async commit(batch: LedgerBatch) {
    await this.commitRows(fromBatch(batch));
  }

  /** A batch that was made into rows before, on another thread. */
  async commitRows(rows: BatchRows) {
    this.#inTransaction(() => {
      this.#checkFence();
      this.#insertNumbered(sql.insertRecord, rows.posted, this.#recordSeq);
      this.#runEach(sql.insertWaiting, rows.waiting);
      this.#runEach(sql.release, rows.released);
      this.#insertNumbered(sql.insertEntry, rows.entries, this.#entrySeq);
      this.#runEach(sql.addBalance, rows.movements);
      this.#runEach(sql.setCumulative, rows.cumulatives);
      this.#runEach(sql.setHour, rows.hours);
      this.#runEach(sql.addVersion, rows.versions);
      this.#runEach(sql.setProducer, rows.producers);
    });
    this.#recordSeq += BigInt(rows.posted.length);
    this.#entrySeq += BigInt(rows.entries.length);
  }

  async producers() {
    return this.#all(sql.producers).map(toProducer);
  }

  async waiting(after: Pick<StoredRecord, "attempt" | "rev"> | undefined, limit: number) {
    const { attempt = "", rev = 0n } = after ?? {};
    return this.#all(sql.waitingAfter, attempt, attempt, rev, BigInt(limit)).map(toWaiting);
  }

  async waitingCount() {
    return Number(int(this.#get(sql.waitingCount) ?? {}, "count"));
  }

  async usages(
    filter: UsageFilter,
    page: { readonly after: UsagePlace | undefined; readonly limit: number },
  ) {
    const posted = usageQuery("usage_record", filter, page);
    const waiting = usageQuery("quarantine", filter, page);
    const found = [
      ...this.#all(posted.text, ...posted.values).map(toPosted),
      ...this.#all(waiting.text, ...waiting.values).map(toWaiting),
    ];
    return found.toSorted(newestFirst).slice(0, page.limit);
  }

  async vendors() {
    return this.#all(sql.vendors).map((row) => text(row, "vendor_id") as VendorId);
  }

  async account(vendor: VendorId, { fromUs, toUs }: Period): Promise<VendorAccount> {
    const count = (query: string): bigint =>
      int(this.#get(query, vendor, fromUs, toUs) ?? {}, "count");
    const versions = this.#all(sql.versions).map((row) => {
      const version = `${text(row, "book_id")}@${int(row, "version")}`;
      return [version, text(row, "hash")] as const;
    });
    return {
      hours: this.#all(sql.hoursOf, vendor, fromUs, toUs).map(toHour),
      attempts: count(sql.attemptsIn),
      quarantined: count(sql.waitingIn),
      hashByVersion: new Map(versions),
    };
  }

  async saveStatement(statement: Statement) {
    const { id, vendor, period, rev, text: body, digest } = statement;
    this.#inTransaction(() => {
      this.#checkFence();
      const before = this.#get(sql.statement, id);
      if (before !== undefined && text(before, "body") !== body) {
        throw new Error(`expected the bytes of statement ${id}, found others`);
      }
      if (before !== undefined) return;
      const { fromUs, toUs, timeZone } = period;
      const seq = this.#statementSeq + 1n;
      const key: Value[] = [seq, id, vendor, fromUs, toUs, timeZone];
      this.#run(sql.insertStatement, ...key, BigInt(rev), body, digest);
    });
    this.#statementSeq = int(this.#get(sql.lastStatement) ?? {}, "last");
  }

  async latestStatement(vendor: VendorId, { fromUs, toUs, timeZone }: Period) {
    const row = this.#get(sql.latestStatement, vendor, fromUs, toUs, timeZone);
    return row === undefined ? undefined : toStatement(row);
  }

  async statement(id: string) {
    const row = this.#get(sql.statement, id);
    return row === undefined ? undefined : toStatement(row);
  }

  async statements(vendor: VendorId | undefined, limit: number) {
    const rows =
      vendor === undefined
        ? this.#all(sql.statements, BigInt(limit))
        : this.#all(sql.statementsOf, vendor, BigInt(limit));
    return rows.map(toStatement);
  }

  async recordsAfter(after: Pick<StoredRecord, "attempt" | "rev"> | undefined, limit: number) {
    const { attempt = "", rev = 0n } = after ?? {};
    return this.#all(sql.recordsAfter, attempt, attempt, rev, BigInt(limit)).map(toPosted);
  }

  async entriesAfter(count: bigint, limit: number) {
    return this.#all(sql.entriesAfter, count, BigInt(limit)).map(toEntry);
  }

  async balances() {
    return new Map(
      this.#all(sql.balances).map((row) => [
        text(row, "account"),
        { debitNano: int(row, "posted_dr"), creditNano: int(row, "posted_cr") },
      ]),
    );
  }

  async cumulatives() {
    return this.#all(sql.cumulatives).map(toCumulative);
  }

  async hours() {
    return this.#all(sql.hours).map(toHour);
  }

  async close() {
    this.#database.close();
  }

  #checkFence(): void {
    const epoch = int(this.#get(sql.epoch) ?? {}, "epoch");
    if (epoch === this.#epoch) return;
    throw new LedgerFencedError(`expected writer epoch ${this.#epoch}, found ${epoch}`);
  }

  /** After a failed commit nobody knows what is on disk, so nothing is tried again. */
  #inTransaction<Result>(work: () => Result): Result {
    if (this.#broken !== undefined) {
      throw new LedgerStoppedError("a commit failed before", { cause: this.#broken });
    }
    this.#database.exec("BEGIN IMMEDIATE");
    let result: Result;
    try {
      result = work();
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

  #all(query: string, ...values: Value[]): Row[] {
    return this.#prepared(query).all(...values);
  }

  #get(query: string, ...values: Value[]): Row | undefined {
    return this.#prepared(query).get(...values);
  }

  #insertNumbered(query: string, rows: readonly Value[][], after: bigint): void {
    const statement = this.#prepared(query);
    let seq = after;
    for (const row of rows) {
      seq += 1n;
      statement.run(seq, ...row);
    }
  }

  #runEach(query: string, rows: readonly Value[][]): void {
    const statement = this.#prepared(query);
    for (const row of rows) statement.run(...row);
  }

  #run(query: string, ...values: Value[]): void {
    this.#prepared(query).run(...values);
  }

  #prepared(query: string): StatementSync {
    const known = this.#statements.get(query);
    if (known !== undefined) return known;
    const prepared = this.#database.prepare(query);
    this.#statements.set(query, prepared);
    return prepared;
  }
}

/** Throws for bytes that are not those that were issued. */
function toStatement(row: Row): Statement {
  const statement = fromStatementText(text(row, "body"), (body) =>
    createHash("sha256").update(body).digest("hex"),
  );
  const digest = text(row, "digest");
  if (statement.digest === digest) return statement;
  throw new Error(`statement ${statement.id}: its bytes do not have the digest ${digest}`);
}

function newestFirst(a: UsagePlace, b: UsagePlace): number {
  if (a.openedUs !== b.openedUs) return a.openedUs < b.openedUs ? 1 : -1;
  if (a.attempt !== b.attempt) return a.attempt < b.attempt ? 1 : -1;
  return Number(b.rev - a.rev);
}

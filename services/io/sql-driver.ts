/** What both databases give and take: integers are bigints. */
export type Value = string | bigint;
export type Row = Readonly<Record<string, unknown>>;

/**
 * SQL that SQLite and PostgreSQL both understand, in three forms. `?` stands for a value. `{rows}` stands for a
 * table of values, one row after the other or all at once as the database likes it best: after `INSERT INTO …`,
 * in `IN (…)`, or in a `WITH`.
 */
export type Statement =
  | { readonly text: string; readonly values: readonly Value[] }
  /** Asks about many keys. */
  | { readonly text: string; readonly keys: readonly Value[][] }
  /** Writes many rows. Nothing is done if there are none. */
  | { readonly text: string; readonly rows: readonly Value[][] };

/** Statements in the order in which they are to run, and what they gave. May throw: then nothing is written. */
export type Work<Result> = Generator<readonly Statement[], Result, Row[][]>;

/** What a ledger needs of a database. */
export interface SqlDriver {
  /** After the `SELECT` of a row that nobody else may change before this transaction ends. */
  readonly rowLock: "" | " FOR UPDATE";
  /** Answers of one moment, however many are asked for. */
  ask(...statements: readonly Statement[]): Promise<Row[][]>;
  /** Not two at once. Throws `LedgerStoppedError` when it is not known what was written, and from then on. */
  transaction<Result>(work: () => Work<Result>): Promise<Result>;
  hasTable(name: string): Promise<boolean>;
  /** Makes the tables, all or none. */
  create(): Promise<void>;
  close(): Promise<void>;
}

/** A column of `ledger.sql` that is text; anything else is a damaged file. */
export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== "string")
    throw new TypeError(`${column}: expected text, found ${typeof value}`);
  return value;
}

export function int(row: Row, column: string): bigint {
  const value = row[column];
  if (typeof value !== "bigint")
    throw new TypeError(`${column}: expected integer, found ${typeof value}`);
  return value;
}

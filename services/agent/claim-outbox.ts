import { chmodSync, closeSync, existsSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { fromClaimText, toClaimText, type UsageClaim } from "../core/settlement/claims/claim.ts";
import type { OwnCount } from "../core/settlement/claims/own-count.ts";
import type { AttemptId, InstantUs, ModelId, PoolId } from "../core/units.ts";

/** The outbox of another process, or no outbox at all. */
export class OutboxError extends Error {
  override name = "OutboxError";
}

/** A count with its number in the outbox. */
export interface Waiting {
  readonly seq: bigint;
  readonly count: OwnCount;
}

/** Signed, and not acknowledged yet: what is sent again is the same to the byte. */
export interface SignedClaims {
  readonly text: string;
  readonly jws: string;
  readonly claims: readonly UsageClaim[];
}

/** Counts on their way to the operator, on disk until it has them. */
export interface ClaimOutbox {
  /** Up to where a source was read; undefined before the first time. */
  placeOf(source: string): string | undefined;
  /** Keeps counts and the place after them at once, so that none is lost or counted twice. */
  add(source: string, place: string, counts: readonly OwnCount[]): void;
  /** Counts that are in no batch. */
  readonly waiting: number;
  /** The oldest that are due. */
  due(nowUs: InstantUs, max: number): Waiting[];
  /** Not before then: nothing has a price for them. */
  postpone(counts: readonly Waiting[], untilUs: InstantUs): void;
  /** The batch that was signed and is not acknowledged. */
  signed(): SignedClaims | undefined;
  /** In the place of the one before; the counts in it no longer wait. */
  sign(batch: SignedClaims, counts: readonly Waiting[]): void;
  acknowledged(): void;
  close(): void;
}

const fileMode = 0o600;

/** One process holds the file: two could claim by turns what the other has not seen. */
const pragmas = `
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
`;

const schema = `
  CREATE TABLE IF NOT EXISTS count (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    due_us INTEGER NOT NULL,
    attempt TEXT NOT NULL,
    rev INTEGER NOT NULL,
    pool TEXT NOT NULL,
    model TEXT NOT NULL,
    in_uncached INTEGER NOT NULL,
    in_cache_read INTEGER NOT NULL,
    in_cache_write INTEGER NOT NULL,
    out_response INTEGER NOT NULL,
    out_reasoning INTEGER NOT NULL,
    opened_us INTEGER NOT NULL,
    first_byte_us INTEGER,
    closed_us INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS count_due ON count (due_us, seq);
  CREATE TABLE IF NOT EXISTS batch (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    text TEXT NOT NULL,
    jws TEXT NOT NULL,
    claims TEXT NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS place (source TEXT PRIMARY KEY, place TEXT NOT NULL) STRICT;
`;

/** Throws `OutboxError` if another process holds it. */
export function openClaimOutbox(path: string): ClaimOutbox {
  if (path !== ":memory:" && !existsSync(path)) closeSync(openSync(path, "a", fileMode));
  if (path !== ":memory:") chmodSync(path, fileMode);
  const database = new DatabaseSync(path, { readBigInts: true, timeout: 0 });
  try {
    database.exec(pragmas);
    database.exec("BEGIN EXCLUSIVE");
    database.exec(schema);
    database.exec("COMMIT");
  } catch (cause) {
    database.close();
    throw new OutboxError(`${path}: expected an outbox of claims that nobody else holds`, {
      cause,
    });
  }
  return new SqliteOutbox(database);
}

type Row = Readonly<Record<string, unknown>>;

const columns =
  "attempt, rev, pool, model, in_uncached, in_cache_read, in_cache_write, out_response, out_reasoning, " +
  "opened_us, first_byte_us, closed_us";

class SqliteOutbox implements ClaimOutbox {
  readonly #database: DatabaseSync;
  #waiting: number;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#waiting = Number(
      database.prepare("SELECT count(*) AS waiting FROM count").get()?.["waiting"],
    );
  }

  get waiting(): number {
    return this.#waiting;
  }

  placeOf(source: string): string | undefined {
    const row = this.#database.prepare("SELECT place FROM place WHERE source = ?").get(source);
    return row === undefined ? undefined : String(row["place"]);
  }

  add(source: string, place: string, counts: readonly OwnCount[]): void {
    const insert = this.#database.prepare(
      `INSERT INTO count (due_us, ${columns}) VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#atOnce(() => {
      for (const { attempt, rev, pool, model, tokens, ...at } of counts) {
        const { uncachedInput, cacheRead, cacheWrite, response, reasoning } = tokens;
        insert.run(
          ...[attempt, rev, pool, model, uncachedInput, cacheRead, cacheWrite, response, reasoning],
          ...[at.openedUs, at.firstByteUs ?? null, at.closedUs],
        );
      }
      this.#database
        .prepare(
          "INSERT INTO place (source, place) VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET place = excluded.place",
        )
        .run(source, place);
    });
    this.#waiting += counts.length;
  }

  due(nowUs: InstantUs, max: number): Waiting[] {
    const rows = this.#database
      .prepare(`SELECT seq, ${columns} FROM count WHERE due_us <= ? ORDER BY due_us, seq LIMIT ?`)
      .all(nowUs, max);
    return rows.map((row) => ({ seq: integer(row, "seq"), count: toCount(row) }));
  }

  postpone(counts: readonly Waiting[], untilUs: InstantUs): void {
    const update = this.#database.prepare("UPDATE count SET due_us = ? WHERE seq = ?");
    this.#atOnce(() => {
      for (const { seq } of counts) update.run(untilUs, seq);
    });
  }

  signed(): SignedClaims | undefined {
    const row = this.#database.prepare("SELECT text, jws, claims FROM batch").get();
    if (row === undefined) return undefined;
    const claims = JSON.parse(String(row["claims"])) as readonly string[];
    return {
      text: String(row["text"]),
      jws: String(row["jws"]),
      claims: claims.map(fromClaimText),
    };
  }

  sign({ text, jws, claims }: SignedClaims, counts: readonly Waiting[]): void {
    const remove = this.#database.prepare("DELETE FROM count WHERE seq = ?");
    this.#atOnce(() => {
      this.#database
        .prepare("INSERT OR REPLACE INTO batch (one, text, jws, claims) VALUES (1, ?, ?, ?)")
        .run(text, jws, JSON.stringify(claims.map(toClaimText)));
      for (const { seq } of counts) remove.run(seq);
    });
    this.#waiting -= counts.length;
  }

  acknowledged(): void {
    this.#database.exec("DELETE FROM batch");
  }

  close(): void {
    this.#database.close();
  }

  #atOnce(change: () => void): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      change();
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#database.exec("ROLLBACK");
      throw error;
    }
  }
}

function toCount(row: Row): OwnCount {
  return {
    attempt: String(row["attempt"]) as AttemptId,
    rev: integer(row, "rev"),
    pool: String(row["pool"]) as PoolId,
    model: String(row["model"]) as ModelId,
    tokens: {
      uncachedInput: integer(row, "in_uncached"),
      cacheRead: integer(row, "in_cache_read"),
      cacheWrite: integer(row, "in_cache_write"),
      response: integer(row, "out_response"),
      reasoning: integer(row, "out_reasoning"),
    },
    openedUs: integer(row, "opened_us"),
    firstByteUs: row["first_byte_us"] === null ? undefined : integer(row, "first_byte_us"),
    closedUs: integer(row, "closed_us"),
  };
}

function integer(row: Row, name: string): bigint {
  return BigInt(String(row[name]));
}

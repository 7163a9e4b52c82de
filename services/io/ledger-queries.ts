import { quarantineColumns, usageColumns, type Value } from "./ledger-rows.ts";
import type { UsageFilter, UsagePlace } from "./ledger-store.ts";

/** What SQLite and PostgreSQL both understand. `?` stands for a value; the other driver numbers them. */
export const sql = {
  takeOver: `INSERT INTO writer (shard, epoch) VALUES ('main', 1)
    ON CONFLICT (shard) DO UPDATE SET epoch = writer.epoch + 1 RETURNING epoch`,
  epoch: "SELECT epoch FROM writer WHERE shard = 'main'",
  lastRecord: "SELECT COALESCE(MAX(seq), 0) AS last FROM usage_record",
  lastEntry: "SELECT COALESCE(MAX(seq), 0) AS last FROM entry",
  lastStatement: "SELECT COALESCE(MAX(seq), 0) AS last FROM statement",

  recordsOf: `SELECT attempt_id, rev, hash, vendor_id, pool_id, region_id, opened_us, period, cost_side,
    amount_nano, charges FROM usage_record WHERE attempt_id = ?`,
  waitingOf: "SELECT * FROM quarantine WHERE attempt_id = ? AND state = 'waiting'",
  cumulativeAt: `SELECT * FROM cumulative
    WHERE contract_id = ? AND period = ? AND line_id = ? AND scope = ?`,
  hourAt: `SELECT * FROM usage_hour
    WHERE vendor_id = ? AND hour_us = ? AND line_id = ? AND pool_id = ? AND region_id = ?`,

  insertRecord: insert("usage_record", usageColumns),
  insertWaiting: insert("quarantine", quarantineColumns),
  release: "UPDATE quarantine SET state = 'released' WHERE attempt_id = ? AND rev = ?",
  insertEntry: `INSERT INTO entry (seq, entry_id, kind, record_id, at_us, unit, debit, credit, amount_nano)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  addBalance: `INSERT INTO balance (unit, account, posted_dr, posted_cr) VALUES (?, ?, ?, ?)
    ON CONFLICT (unit, account) DO UPDATE SET
      posted_dr = balance.posted_dr + excluded.posted_dr,
      posted_cr = balance.posted_cr + excluded.posted_cr`,
  setCumulative: `INSERT INTO cumulative (contract_id, period, line_id, scope, tokens, pico, records)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (contract_id, period, line_id, scope) DO UPDATE SET
      tokens = excluded.tokens, pico = excluded.pico, records = excluded.records`,
  setHour: `INSERT INTO usage_hour (vendor_id, hour_us, line_id, pool_id, region_id, model_id, token_class,
      slot, tokens, pico, amount_nano, attempts)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (vendor_id, hour_us, line_id, pool_id, region_id) DO UPDATE SET
      tokens = excluded.tokens, pico = excluded.pico, amount_nano = excluded.amount_nano,
      attempts = excluded.attempts`,
  addVersion: `INSERT INTO price_version (book_id, version, hash, body) VALUES (?, ?, ?, ?)
    ON CONFLICT (book_id, version) DO NOTHING`,
  setProducer: `INSERT INTO producer (gateway_id, epoch, next_seq, ahead, lost) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (gateway_id, epoch) DO UPDATE SET
      next_seq = excluded.next_seq, ahead = excluded.ahead, lost = excluded.lost`,

  producers: "SELECT * FROM producer ORDER BY gateway_id, epoch",
  waitingAfter: `SELECT * FROM quarantine WHERE state = 'waiting'
    AND (attempt_id > ? OR (attempt_id = ? AND rev > ?)) ORDER BY attempt_id, rev LIMIT ?`,
  waitingCount: "SELECT COUNT(*) AS count FROM quarantine WHERE state = 'waiting'",
  vendors: `${distinct("usage_record")} UNION ${distinct("quarantine")}`,

  hoursOf: `SELECT * FROM usage_hour WHERE vendor_id = ? AND hour_us >= ? AND hour_us < ?`,
  attemptsIn: `SELECT COUNT(DISTINCT attempt_id) AS count FROM usage_record
    WHERE vendor_id = ? AND opened_us >= ? AND opened_us < ?`,
  waitingIn: `SELECT COUNT(*) AS count FROM quarantine
    WHERE vendor_id = ? AND opened_us >= ? AND opened_us < ? AND state = 'waiting'`,
  versions: "SELECT book_id, version, hash FROM price_version",

  insertStatement: `INSERT INTO statement
    (seq, statement_id, vendor_id, from_us, to_us, time_zone, rev, body, digest)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  statement: "SELECT body, digest FROM statement WHERE statement_id = ?",
  latestStatement: `SELECT body, digest FROM statement
    WHERE vendor_id = ? AND from_us = ? AND to_us = ? AND time_zone = ? ORDER BY rev DESC LIMIT 1`,
  statements: "SELECT body, digest FROM statement ORDER BY seq DESC LIMIT ?",
  statementsOf: "SELECT body, digest FROM statement WHERE vendor_id = ? ORDER BY seq DESC LIMIT ?",

  recordsAfter: `SELECT * FROM usage_record WHERE attempt_id > ? OR (attempt_id = ? AND rev > ?)
    ORDER BY attempt_id, rev LIMIT ?`,
  entriesAfter: "SELECT * FROM entry WHERE seq > ? ORDER BY seq LIMIT ?",
  balances: "SELECT * FROM balance",
  cumulatives: "SELECT * FROM cumulative",
  hours: "SELECT * FROM usage_hour",
} as const;

/** Vendors of a table, each found by one step in its index, however many records there are. */
function distinct(table: "usage_record" | "quarantine"): string {
  const least = `SELECT MIN(vendor_id) AS vendor_id FROM ${table}`;
  return `SELECT vendor_id FROM (
    WITH RECURSIVE each_vendor AS (
      ${least} UNION ALL
      SELECT (${least} WHERE vendor_id > each_vendor.vendor_id)
        FROM each_vendor WHERE each_vendor.vendor_id IS NOT NULL
    ) SELECT vendor_id FROM each_vendor) AS found WHERE vendor_id IS NOT NULL`;
}

/** One page of a table, newest first. */
export function usageQuery(
  table: "usage_record" | "quarantine",
  filter: UsageFilter,
  page: { readonly after: UsagePlace | undefined; readonly limit: number },
): { readonly text: string; readonly values: Value[] } {
  const conditions: string[] = table === "quarantine" ? ["state = 'waiting'"] : [];
  const values: Value[] = [];
  const add = (condition: string, ...operands: Value[]): void => {
    conditions.push(condition);
    values.push(...operands);
  };
  if (filter.vendor !== undefined) add("vendor_id = ?", filter.vendor);
  if (filter.tenant !== undefined) add("tenant_id = ?", filter.tenant);
  if (filter.request !== undefined) add("request_id = ?", filter.request);
  if (filter.fromUs !== undefined) add("opened_us >= ?", filter.fromUs);
  if (filter.toUs !== undefined) add("opened_us < ?", filter.toUs);
  if (page.after !== undefined) {
    const { openedUs, attempt, rev } = page.after;
    // The first part is for the index, the rest is exact.
    add("opened_us <= ?", openedUs);
    const later = "opened_us < ? OR attempt_id < ? OR (attempt_id = ? AND rev < ?)";
    add(`(${later})`, openedUs, attempt, attempt, rev);
  }
  const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
  const order = "ORDER BY opened_us DESC, attempt_id DESC, rev DESC LIMIT ?";
  return {
    text: `SELECT * FROM ${table} ${where} ${order}`,
    values: [...values, BigInt(page.limit)],
  };
}

function insert(table: string, columns: readonly string[]): string {
  return `INSERT INTO ${table} (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`;
}

import {
  balanceKeys,
  balanceTotals,
  claimColumns,
  consumptionKeys,
  consumptionTotals,
  documentColumns,
  entryColumns,
  holdFacts,
  holdKeys,
  leafColumns,
  producerFacts,
  producerKeys,
  saleFacts,
  saleKeys,
  tileColumns,
} from "./ledger-batch.ts";
import {
  cumulativeKeys,
  cumulativeTotals,
  hourKeys,
  hourTotals,
  quarantineColumns,
  usageColumns,
} from "./ledger-rows.ts";
import type { UsageFilter, UsagePlace } from "./ledger-store.ts";
import type { Value } from "./sql-driver.ts";

/** How the ledger is written: one statement for all rows of a kind. */
export const writes = {
  takeOver: `INSERT INTO writer (shard, epoch) VALUES ('main', 1)
    ON CONFLICT (shard) DO UPDATE SET epoch = writer.epoch + 1 RETURNING epoch`,
  record: insert("usage_record", usageColumns),
  waiting: insert("quarantine", quarantineColumns),
  release: "UPDATE quarantine SET state = 'released' WHERE (attempt_id, rev) IN ({rows})",
  entry: insert("entry", entryColumns),
  openBalance: `WITH moved (${balanceKeys.join(", ")}, ${balanceTotals.join(", ")}) AS ({rows})
    INSERT INTO balance (${balanceKeys.join(", ")}, ${balanceTotals.join(", ")})
    SELECT ${balanceKeys.join(", ")}, 0, 0, 0, 0 FROM moved WHERE 1 = 1
    ON CONFLICT (${balanceKeys.join(", ")}) DO NOTHING`,
  // Not as an upsert: a row that is refused would be the movement, not the balance that it makes.
  addBalance: `WITH moved (${balanceKeys.join(", ")}, ${balanceTotals.join(", ")}) AS ({rows})
    UPDATE balance SET ${balanceTotals.map((each) => `${each} = balance.${each} + moved.${each}`).join(", ")}
    FROM moved WHERE balance.unit = moved.unit AND balance.account = moved.account`,
  cumulative: upsert("cumulative", cumulativeKeys, cumulativeTotals),
  hour: upsert("usage_hour", hourKeys, hourTotals),
  newSale: insert("sale", [...saleKeys, ...saleFacts]),
  sale: upsert("sale", saleKeys, saleFacts),
  consumption: upsert("consumption", consumptionKeys, consumptionTotals),
  version: `${insert("price_version", ["book_id", "version", "hash", "body"])}
    ON CONFLICT (book_id, version) DO NOTHING`,
  producer: upsert("producer", producerKeys, producerFacts),
  leaf: insert("leaf", leafColumns),
  tile: insert("tile", tileColumns),
  document: insert("document", documentColumns),
  hold: upsert("hold", holdKeys, holdFacts),
  claim: insert("claim", claimColumns),
} as const;

/** How it is read. */
export const reads = {
  schema: "SELECT version FROM ledger_schema WHERE name = 'ledger'",
  epoch: "SELECT epoch FROM writer WHERE shard = 'main'",
  lastRecord: last("usage_record"),
  lastEntry: last("entry"),
  lastDocument: last("document"),

  recordCount: numbers("usage_record"),
  entryCount: numbers("entry"),
  documentCount: numbers("document"),

  recordsOf: among("usage_record", ["attempt_id"]),
  waitingOf: `${among("quarantine", ["attempt_id"])} AND state = 'waiting'`,
  cumulativesOf: among("cumulative", cumulativeKeys),
  hoursOf: among("usage_hour", hourKeys),
  balancesOf: among("balance", balanceKeys),
  salesOf: `${among("sale", ["attempt_id"])} ORDER BY attempt_id, rev DESC`,
  salesOfRequests: `${among("sale", ["request_id"])} AND state <> 'replaced' ORDER BY attempt_id, rev`,
  consumptionOf: among("consumption", consumptionKeys),
  claimsOf: `${among("claim", ["pair_id", "attempt_id"])} ORDER BY attempt_id, rev`,
  claimHashes: `SELECT pair_id, attempt_id, rev, hash FROM claim
    WHERE (pair_id, attempt_id, rev) IN ({rows})`,
  leavesOf: among("leaf", ["log", "kind", "ref"]),
  documentsOf: among("document", ["kind", "id"]),

  producers: "SELECT * FROM producer ORDER BY gateway_id, epoch",
  waitingAfter: `SELECT * FROM quarantine WHERE state = 'waiting'
    AND (attempt_id, rev) > (?, ?) ORDER BY attempt_id, rev LIMIT ?`,
  waitingCount: "SELECT COUNT(*) AS count FROM quarantine WHERE state = 'waiting'",
  vendors: `${distinct("usage_record", "vendor_id")} UNION ${distinct("quarantine", "vendor_id")}
    ORDER BY vendor_id`,

  hoursBooked: "SELECT * FROM usage_hour WHERE pair_id = ? AND booking = ?",
  hoursIn: "SELECT * FROM usage_hour WHERE pair_id = ? AND hour_us >= ? AND hour_us < ?",
  versions: "SELECT book_id, version, hash FROM price_version",

  recordsAfter: `SELECT * FROM usage_record WHERE (attempt_id, rev) > (?, ?)
    ORDER BY attempt_id, rev LIMIT ?`,
  recordsIn: `SELECT * FROM usage_record WHERE vendor_id = ? AND (attempt_id, rev) > (?, ?)
    AND opened_us >= ? AND opened_us < ? ORDER BY attempt_id, rev LIMIT ?`,
  chargesIn: `SELECT attempt_id, rev, opened_us, pool_id, region_id, booking, period, charges
    FROM usage_record WHERE vendor_id = ? AND (attempt_id, rev) > (?, ?)
    AND opened_us >= ? AND opened_us < ? ORDER BY attempt_id, rev LIMIT ?`,
  entriesAfter: "SELECT * FROM entry WHERE seq > ? ORDER BY seq LIMIT ?",
  balances: "SELECT * FROM balance ORDER BY unit, account",
  cumulativesIn:
    "SELECT * FROM cumulative WHERE pair_id = ? AND period = ? ORDER BY line_id, scope",
  cumulatives: "SELECT * FROM cumulative ORDER BY pair_id, period, line_id, scope",
  hours: `SELECT * FROM usage_hour ORDER BY ${hourKeys.join(", ")}`,

  salesBooked: `SELECT * FROM sale WHERE tenant_id = ? AND booking = ? AND attempt_id > ?
    AND state = 'billed' ORDER BY attempt_id LIMIT ?`,
  salesWaitingCount: "SELECT COUNT(*) AS count FROM sale WHERE state = 'waiting'",
  salesWaiting: `SELECT * FROM sale WHERE state = 'waiting' AND attempt_id > ?
    ORDER BY attempt_id, rev LIMIT ?`,
  consumption: `SELECT * FROM consumption WHERE hour_us >= ? AND hour_us < ?
    ORDER BY ${consumptionKeys.join(", ")}`,
  consumptionOfTenant: `SELECT * FROM consumption WHERE tenant_id = ? AND hour_us >= ? AND hour_us < ?
    ORDER BY ${consumptionKeys.join(", ")}`,

  document: "SELECT * FROM document WHERE kind = ? AND id = ?",
  logs: `SELECT found.log AS log, (SELECT MAX(idx) FROM leaf WHERE leaf.log = found.log) + 1 AS size
    FROM (${distinct("leaf", "log")}) AS found ORDER BY found.log`,
  leaves: "SELECT * FROM leaf WHERE log = ? AND idx >= ? ORDER BY idx LIMIT ?",
  leafHashes: "SELECT hash FROM leaf WHERE log = ? AND idx >= ? ORDER BY idx LIMIT ?",
  leafOf: "SELECT * FROM leaf WHERE log = ? AND kind = ? AND ref = ?",
  tile: "SELECT * FROM tile WHERE log = ? AND level = ? AND idx = ?",
  hold: "SELECT * FROM hold WHERE hold_id = ?",
  holdsEnding: `SELECT * FROM hold WHERE state = 'open' AND expires_us <= ?
    ORDER BY expires_us, hold_id LIMIT ?`,
  holdsOpen: "SELECT * FROM hold WHERE state = 'open' AND hold_id > ? ORDER BY hold_id LIMIT ?",
  claims: `SELECT * FROM claim WHERE pair_id = ? AND (attempt_id, rev) > (?, ?)
    AND opened_us >= ? AND opened_us < ? ORDER BY attempt_id, rev LIMIT ?`,
} as const;

/** How many attempts of a vendor or of a tenant there are in a time, or in a period of its statements. */
export const counts = {
  vendor: {
    ...countsBy("vendor_id"),
    booked: `SELECT COUNT(DISTINCT attempt_id) AS count FROM usage_record
      WHERE vendor_id = ? AND booking = ?`,
  },
  tenant: {
    ...countsBy("tenant_id"),
    booked: `SELECT COUNT(DISTINCT attempt_id) AS count FROM sale
      WHERE tenant_id = ? AND booking = ? AND state IN ('billed', 'replaced')`,
  },
} as const;

function countsBy(column: "vendor_id" | "tenant_id") {
  const between = `${column} = ? AND opened_us >= ? AND opened_us < ?`;
  return {
    attempts: `SELECT COUNT(DISTINCT attempt_id) AS count FROM usage_record WHERE ${between}`,
    waiting: `SELECT COUNT(*) AS count FROM quarantine WHERE ${between} AND state = 'waiting'`,
  };
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

/** Documents of a kind, of a pair, of both or all. */
export function documentQuery(
  filter: { readonly kind?: string; readonly pair?: string },
  page: { readonly afterSeq: bigint; readonly limit: number },
): { readonly text: string; readonly values: Value[] } {
  const conditions = ["seq > ?"];
  const values: Value[] = [page.afterSeq];
  for (const [column, value] of [
    ["kind", filter.kind],
    ["pair_id", filter.pair],
  ] as const) {
    if (value === undefined) continue;
    conditions.push(`${column} = ?`);
    values.push(value);
  }
  return {
    text: `SELECT * FROM document WHERE ${conditions.join(" AND ")} ORDER BY seq LIMIT ?`,
    values: [...values, BigInt(page.limit)],
  };
}

function insert(table: string, columns: readonly string[]): string {
  return `INSERT INTO ${table} (${columns.join(", ")}) {rows}`;
}

function upsert(table: string, keys: readonly string[], facts: readonly string[]): string {
  const sets = facts.map((each) => `${each} = excluded.${each}`);
  return `${insert(table, [...keys, ...facts])}
    ON CONFLICT (${keys.join(", ")}) DO UPDATE SET ${sets.join(", ")}`;
}

function among(table: string, keys: readonly string[]): string {
  return `SELECT * FROM ${table} WHERE (${keys.join(", ")}) IN ({rows})`;
}

function last(table: string): string {
  return `SELECT COALESCE(MAX(seq), 0) AS last FROM ${table}`;
}

function numbers(table: string): string {
  return `SELECT COUNT(*) AS rows_there, COALESCE(MAX(seq), 0) AS last FROM ${table}`;
}

/** Values of a column, each found by one step in its index, however many rows there are. */
function distinct(table: string, column: string): string {
  const least = `SELECT MIN(${column}) AS ${column} FROM ${table}`;
  return `SELECT ${column} FROM (
    WITH RECURSIVE step AS (
      ${least} UNION ALL
      SELECT (${least} WHERE ${table}.${column} > step.${column})
        FROM step WHERE step.${column} IS NOT NULL
    ) SELECT ${column} FROM step) AS every WHERE ${column} IS NOT NULL`;
}

import { DatabaseSync } from "node:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { noTokens } from "../../services/core/settlement/counting/usage.ts";
import type { AttemptId, ModelId, PairId, PoolId } from "../../services/core/units.ts";
import { openLedger, readLedger } from "../../services/io/ledger-open.ts";
import { openSqliteLedger, readSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { LedgerStoppedError, type ClaimRow } from "../../services/io/ledger-store.ts";
import { openLedgerThread } from "../../services/io/ledger-thread.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { batch, openBooks, record } from "./ledger-books.ts";
import { claimed, hashed, leaf, tileOf } from "./ledger-rows.ts";
import { ledgerStoreSuite, moved } from "./ledger-store-suite.ts";

const vendor = "vendor:northgrid" as PairId;
const document = { kind: "contract", id: "c1", pair: vendor, seq: 0n, atUs: 1n, ...hashed("x") };
const claim: ClaimRow = {
  ...{ pair: vendor, attempt: "a1" as AttemptId, rev: 0n, openedUs: 0n, batch: "b" },
  ...{ pool: "p1" as PoolId, model: "m" as ModelId, tokens: noTokens, ...claimed("x") },
};
const folder = mkdtempSync(join(tmpdir(), "tokengrid-ledger-"));
let ledgers = 0;
const newPath = (): string => join(folder, `ledger-${(ledgers += 1)}.sqlite`);

afterAll(() => rmSync(folder, { recursive: true }));

const kind = { target: async () => newPath(), read: readLedger };
ledgerStoreSuite("SQLite", { ...kind, open: openSqliteLedger });
ledgerStoreSuite("SQLite on a thread", { ...kind, open: openLedger });

test("openLedger() of a folder that is not there fails", async () => {
  await expect(openLedger("/nowhere/ledger.sqlite")).rejects.toThrow(/unable to open/);
});

test("a ledger on a thread answers nothing after it was closed", async () => {
  const store = await openLedgerThread(":memory:");
  await store.close();
  await expect(store.producers()).rejects.toThrow(LedgerStoppedError);
});

/** Files that another version made, and what is said of them. */
const strangers: Readonly<Record<string, readonly [sql: string, found: string]>> = {
  "that has no number": ["CREATE TABLE writer (shard TEXT, epoch BIGINT)", "none"],
  "with another number": [
    "CREATE TABLE ledger_schema (name TEXT, version BIGINT); INSERT INTO ledger_schema VALUES ('ledger', 7)",
    "7",
  ],
};

for (const [what, [sql, found]] of Object.entries(strangers)) {
  test(`a ledger ${what} is not opened, and stays as it is`, async () => {
    const path = newPath();
    const database = new DatabaseSync(path);
    database.exec(sql);
    const message = new RegExp(`^expected a ledger with schema version 3, found ${found}: `);
    await expect(openLedger(path)).rejects.toThrow(message);
    await expect(readLedger(path)).rejects.toThrow(message);
    expect(database.prepare("SELECT COUNT(*) AS tables FROM sqlite_master").get()).toEqual({
      tables: 1,
    });
    database.close();
  });
}

test("verifyLedger() finds what was changed behind the ledger's back", async () => {
  const store = await openSqliteLedger(":memory:");
  await store.commit(batch({ movements: new Map([["CNY:nano\nexp:audit", moved(5n)]]) }));
  expect((await verifyLedger(store)).mistakes).toEqual([
    "balance of CNY:nano exp:audit: kept 5 debited, 0 credited, entries give 0 debited, 0 credited",
  ]);
  await store.close();
});

/** What somebody with the file in his hands may do to it, and how it is told. */
// prettier-ignore
const tamperings: Readonly<Record<string, readonly [sql: string, told: RegExp]>> = {
  "the bytes of a record": ["UPDATE usage_record SET body = replace(body, '\"chunks\":\"50\"', '\"chunks\":\"51\"')", /^record a1:0: its bytes do not have the hash [0-9a-f]{64}$/],
  "the amount of a record": ["UPDATE usage_record SET amount_nano = amount_nano + 1", /^record a1:0: charges add up to 527980, not 527981$/],
  "the fee of a record": ["UPDATE usage_record SET fees = replace(fees, '\"nano\":\"18518\"', '\"nano\":\"18519\"')", /^fee of a1:0: charges add up to 18518, not 18519$/],
  "an entry": ["UPDATE entry SET amount = amount + 1 WHERE kind = 'usage'", /^balance of CNY:nano exp:cogs:pool:p1: kept 527980 debited, 0 credited, entries give 527981 debited/],
  "who owes what an entry says": ["UPDATE entry SET credit = 'liab:payable:vendor:east:accrued' WHERE kind = 'usage'", /^balance of CNY:nano liab:payable:vendor:northgrid:accrued: kept 0 debited, 527980 credited/],
  "a balance": ["UPDATE balance SET posted_cr = posted_cr + 1 WHERE account = 'exp:cogs:pool:p1'", /^balance of CNY:nano exp:cogs:pool:p1: kept 527980 debited, 1 credited/],
  "what is held": ["UPDATE balance SET held_cr = held_cr + 1 WHERE account = 'exp:cogs:pool:p1'", /^balance of CNY:nano exp:cogs:pool:p1: kept 527980 debited, 0 credited, 0 and 1 held/],
  "a hold": ["INSERT INTO hold VALUES ('h', 'CNY:nano', 'a', 'b', 5, 4, 9, 'open')", /^holds on CNY:nano a: 0 and 0 held, open ones have 4 and 0 left$/],
  "the price of what was rated": ["UPDATE cumulative SET pico = '1' WHERE pair_id = 'vendor:northgrid'", /^total of vendor:northgrid 2026-11-20 northgrid-list:1:\w+ p1: kept \d+ tokens, 1 pico, records give \d+ tokens, \d+ pico$/],
  "the tokens of an hour": ["UPDATE usage_hour SET tokens = tokens + 1 WHERE token_class = 'response' AND pair_id = 'vendor:northgrid'", /^hours of vendor:northgrid 1795154400000000 northgrid-list:1:response p1 zhongwei: kept 51 tokens, 400000000 pico, 400000 nano, records give 50 tokens, 400000000 pico, 400000 nano$/],
  "a total that is gone": ["DELETE FROM cumulative WHERE pair_id = 'vendor:northgrid'", /^no total of vendor:northgrid 2026-11-20 northgrid-list:1:\w+ p1$/],
  "an entry that is gone": ["DELETE FROM entry WHERE seq = 1", /^entries: numbers up to \d+, found \d+ rows$/],
  "a record that is gone": ["DELETE FROM usage_record", /^total of .*: kept \d+ tokens, \d+ pico, records give 0 tokens, 0 pico$/],
  "what a sale says": ["UPDATE sale SET billed_nano = billed_nano + 1", /^sale a1:0: \d+ billed, its text says \d+$/],
  "a sale that is gone": ["DELETE FROM sale", /^total of tenant:acme 2026-11-20 acme-sell:1:\w+ p1: kept \d+ tokens, \d+ pico, records give 0 tokens, 0 pico$/],
  "what a tenant used": ["UPDATE consumption SET requests = 2", /^consumption of acme    1795154400000000 qwen3-32b p1 zhongwei: kept 2 60 40 0 50 0 \d+ 0 \d+ 0 527980, records give 1 60 40 0 50 0/],
  "the text of a leaf": ["UPDATE leaf SET body = body || ' ' WHERE log = 'tenant:acme'", /^leaf 0 of log tenant:acme: its bytes do not have the hash [0-9a-f]{64}$/],
  "a leaf that is gone": ["DELETE FROM leaf WHERE log = 'vendor:northgrid'", /^record a1:0: no leaf in the log of vendor:northgrid$/],
  "a leaf of another record": ["UPDATE leaf SET body = '{}' WHERE log = 'vendor:northgrid'", /^record a1:0: its leaf does not name the hash [0-9a-f]{64}$/],
  "a document": ["UPDATE document SET body = 'y'", /^document contract c1: its bytes do not have the hash [0-9a-f]{64}$/],
  "a claim": ["UPDATE claim SET body = 'y'", /^claim a1:0 of vendor:northgrid: its bytes do not have the hash [0-9a-f]{64}$/],
  "a record that waits": ["UPDATE quarantine SET body = '{}'", /^record w1:0, which waits: its bytes do not have the hash [0-9a-f]{64}$/],
};

async function openTampered(sql: string) {
  const path = newPath();
  const store = await openSqliteLedger(path);
  await (await openBooks(store)).post([record("a1")]);
  await (await openBooks(store, [])).post([record("w1", { producerSeq: 2n })]);
  await store.commit(batch({ documents: [document], claims: [claim] }));
  expect((await verifyLedger(store)).mistakes).toEqual([]);
  await store.close();
  const database = new DatabaseSync(path);
  const triggers = database.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").all();
  for (const { name } of triggers) database.exec(`DROP TRIGGER ${String(name)}`);
  database.exec(sql);
  database.close();
  return readSqliteLedger(path);
}

for (const [what, [sql, told]] of Object.entries(tamperings)) {
  test(`verifyLedger() finds a change of ${what}`, async () => {
    const reader = await openTampered(sql);
    const { mistakes } = await verifyLedger(reader);
    await reader.close();
    expect(mistakes).toContainEqual(expect.stringMatching(told));
  });
}

test("verifyLedger() makes tiles of leaves again", async () => {
  const store = await openSqliteLedger(":memory:");
  const leaves = Array.from({ length: 256 }, (_, index) => leaf(vendor, index));
  await store.commit(batch({ leaves }));
  const { mistakes, heads } = await verifyLedger(store);
  expect(mistakes).toEqual(["tile 0/0 of log vendor:northgrid is not there"]);
  expect(heads.get(vendor)?.size).toBe(256n);
  const tile = tileOf(leaves.toReversed());
  await store.commit(batch({ tiles: [tile] }));
  expect((await verifyLedger(store)).mistakes).toEqual([
    "tile 0/0 of log vendor:northgrid: leaves give other hashes",
  ]);
  await store.close();
});

test("the file itself refuses to change what was written", async () => {
  const path = newPath();
  const store = await openSqliteLedger(path);
  await (await openBooks(store)).post([record("a1")]);
  await store.commit({
    ...batch(),
    documents: [document],
    claims: [claim],
    tiles: [tileOf([leaf(vendor, 0)])],
  });
  await store.close();
  const database = new DatabaseSync(path);
  const tables = "usage_record entry price_version document leaf tile claim sale ledger_schema";
  for (const table of tables.split(" ")) {
    const told = `${table} is append-only`;
    expect(() => database.exec(`DELETE FROM ${table}`), table).toThrow(told);
    const column = table === "sale" ? "billed_nano" : "rowid";
    const change = `UPDATE ${table} SET ${column} = ${column} + 1`;
    expect(() => database.exec(change), table).toThrow(told);
  }
  const amount = `INSERT INTO entry VALUES ('e', 't', 'usage', 'posted', 'c', 0, 'CNY:nano', 'x', 'y', 0, '', 99)`;
  expect(() => database.exec(amount)).toThrow(/CHECK/);
  database.close();
});

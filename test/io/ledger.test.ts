import { DatabaseSync } from "node:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSqliteLedger, readSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { LedgerStoppedError } from "../../services/io/ledger-store.ts";
import { openLedgerThread } from "../../services/io/ledger-thread.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { close, emptyBatch, ledgerStoreSuite, post, record } from "./ledger-store-suite.ts";

ledgerStoreSuite("SQLite", async (path) => openSqliteLedger(path));
ledgerStoreSuite("SQLite on a thread", openLedgerThread);

test("openLedgerThread() of a folder that is not there fails", async () => {
  await expect(openLedgerThread("/nowhere/ledger.sqlite")).rejects.toThrow(/unable to open/);
});

test("a ledger on a thread answers nothing after it was closed", async () => {
  const store = await openLedgerThread(":memory:");
  await store.close();
  await expect(store.producers()).rejects.toThrow(LedgerStoppedError);
});

test("whoever reads a ledger does not fence off who writes it, and cannot write", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tokengrid-ledger-"));
  const path = join(folder, "ledger.sqlite");
  const store = openSqliteLedger(path);
  const reader = readSqliteLedger(path);
  await store.commit(emptyBatch);
  expect(await verifyLedger(reader)).toEqual({ records: 0, entries: 0, mistakes: [] });
  const movements = new Map([["exp:audit", { debitNano: 1n, creditNano: 1n }]]);
  await expect(reader.commit({ ...emptyBatch, movements })).rejects.toThrow(/transaction/);
  await post(store, [record("a1")]);
  // Of the moment at which it was opened, however long it takes.
  expect(await verifyLedger(reader)).toEqual({ records: 0, entries: 0, mistakes: [] });
  await reader.close();
  await store.close();
  rmSync(folder, { recursive: true });
});

test("verifyLedger() finds what was changed behind the ledger's back", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tokengrid-ledger-"));
  const path = join(folder, "ledger.sqlite");
  const store = openSqliteLedger(path);
  const movement = { debitNano: 5n, creditNano: 0n };
  await store.commit({ ...emptyBatch, movements: new Map([["exp:audit", movement]]) });
  expect((await verifyLedger(store)).mistakes).toEqual([
    "balance of exp:audit: kept 5 debited, 0 credited, entries give 0 debited, 0 credited",
  ]);
  await store.close();
  rmSync(folder, { recursive: true });
});

/** What somebody with the file in his hands may do to it, and how it is told. */
// prettier-ignore
const tamperings: Readonly<Record<string, readonly [sql: string, told: RegExp]>> = {
  "the bytes of a record": ["UPDATE usage_record SET body = '{}'", /^record a1:0: its bytes do not have the hash [0-9a-f]{64}$/],
  "the amount of a record": ["UPDATE usage_record SET amount_nano = amount_nano + 1", /^record a1:0: charges add up to 527980, not 527981$/],
  "an entry": ["UPDATE entry SET amount_nano = amount_nano + 1", /^balance of exp:cogs:pool:p1: kept 527980 debited, 0 credited, entries give 527981 debited/],
  "a balance": ["UPDATE balance SET posted_cr = posted_cr + 1", /^balance of exp:cogs:pool:p1: kept 527980 debited, 1 credited/],
  "the price of what was rated": ["UPDATE cumulative SET pico = '1'", /^total of northgrid 2026-11-20 northgrid-list:1:\w+ p1: kept \d+ tokens, 1 pico, records give \d+ tokens, \d+ pico$/],
  "the tokens of an hour": ["UPDATE usage_hour SET tokens = tokens + 1 WHERE token_class = 'response'", /^hours of northgrid northgrid-list:1:response p1 zhongwei: kept 51 tokens, 400000000 pico, 400000 nano, records give 50 tokens, 400000000 pico, 400000 nano$/],
  "a total that is gone": ["DELETE FROM cumulative", /^no total of northgrid 2026-11-20 northgrid-list:1:uncachedInput p1$/],
  "an entry that is gone": ["DELETE FROM entry", /^balance of exp:cogs:pool:p1: kept 527980 debited, 0 credited, entries give 0 debited/],
};

async function openTampered(sql: string) {
  const folder = mkdtempSync(join(tmpdir(), "tokengrid-ledger-"));
  const path = join(folder, "ledger.sqlite");
  const store = openSqliteLedger(path);
  await post(store, [record("a1")]);
  await store.saveStatement(await close(store, undefined));
  expect((await verifyLedger(store)).mistakes).toEqual([]);
  await store.close();
  const database = new DatabaseSync(path);
  for (const table of ["usage_record", "entry", "statement"]) {
    for (const change of ["update", "delete"]) database.exec(`DROP TRIGGER ${table}_no_${change}`);
  }
  database.exec(sql);
  database.close();
  const reader = readSqliteLedger(path);
  const end = async () => {
    await reader.close();
    rmSync(folder, { recursive: true });
  };
  return { reader, end };
}

for (const [what, [sql, told]] of Object.entries(tamperings)) {
  test(`verifyLedger() finds a change of ${what}`, async () => {
    const { reader, end } = await openTampered(sql);
    expect((await verifyLedger(reader)).mistakes[0]).toMatch(told);
    await end();
  });
}

test("a statement whose bytes were changed is not given out", async () => {
  const { reader, end } = await openTampered(
    "UPDATE statement SET body = replace(body, '527980', '527981')",
  );
  await expect(reader.statement("northgrid:daily:2026-11-20:0")).rejects.toThrow(
    /^statement northgrid:daily:2026-11-20:0: its bytes do not have the digest [0-9a-f]{64}$/,
  );
  await end();
});

test("the file itself refuses to change what was written", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tokengrid-ledger-"));
  const path = join(folder, "ledger.sqlite");
  const store = openSqliteLedger(path);
  await store.close();
  const database = new DatabaseSync(path);
  database.exec(
    `INSERT INTO entry VALUES (1, 'usage:a:0', 'usage', 'a:0', 0, 'CNY:nano', 'x', 'y', 1)`,
  );
  expect(() => database.exec("UPDATE entry SET amount_nano = 2")).toThrow("entry is append-only");
  expect(() => database.exec("DELETE FROM entry")).toThrow("entry is append-only");
  expect(() =>
    database.exec(
      `INSERT INTO entry VALUES (2, 'usage:b:0', 'usage', 'b:0', 0, 'CNY:nano', 'x', 'y', 0)`,
    ),
  ).toThrow(/CHECK/);
  database.close();
  rmSync(folder, { recursive: true });
});

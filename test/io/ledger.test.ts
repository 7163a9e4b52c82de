import { DatabaseSync } from "node:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSqliteLedger, readSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { LedgerStoppedError } from "../../services/io/ledger-store.ts";
import { openLedgerThread } from "../../services/io/ledger-thread.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { emptyBatch, ledgerStoreSuite } from "./ledger-store-suite.ts";

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
  await expect(reader.commit({ ...emptyBatch, movements })).rejects.toThrow(/readonly/);
  await store.commit(emptyBatch);
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

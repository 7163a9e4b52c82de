import { mkdtempSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createDataFolder } from "../../services/cli/dev/data-folder.ts";
import { calendarFinding, examine } from "../../services/cli/doctor.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { batch, post, record } from "../io/ledger-books.ts";

test("examine() makes the sums of a ledger again while settlement writes it, and does not stop that", async () => {
  const root = mkdtempSync(join(tmpdir(), "tokengrid-doctor-"));
  const store = await openSqliteLedger(createDataFolder(root).ledger);
  await post(store, [record("a1")]);
  const ports = { gateway: 0, rpc: 0, console: 0, metrics: 0, sim: 0 };
  const patient = { dataPath: root, host: "127.0.0.1", ports, nodeVersion: "24.21.0" };
  const findings = await examine(patient);
  expect(findings.filter(({ check }) => check.startsWith("ledger"))).toMatchObject([
    { check: "ledger", verdict: "ok" },
    { check: "ledger sums", verdict: "ok", detail: "1 records and 5 entries add up" },
  ]);
  await store.commit(batch());
  await post(store, [record("a2")]);
  expect((await store.recordsAfter(undefined, 9)).length).toBe(2);
  await store.close();
  rmSync(root, { recursive: true });
});

test("examine() says that a ledger is of another version", async () => {
  const root = mkdtempSync(join(tmpdir(), "tokengrid-doctor-"));
  const database = new DatabaseSync(createDataFolder(root).ledger);
  database.exec("CREATE TABLE writer (epoch BIGINT); CREATE TABLE entry (seq BIGINT)");
  database.close();
  const ports = { gateway: 0, rpc: 0, console: 0, metrics: 0, sim: 0 };
  const findings = await examine({
    dataPath: root,
    host: "127.0.0.1",
    ports,
    nodeVersion: "24.21.0",
  });
  const detail = expect.stringMatching(/expected a ledger with schema version 3, found none/);
  expect(findings).toContainEqual({ check: "ledger sums", verdict: "bad", detail });
  rmSync(root, { recursive: true });
});

const ends: readonly (readonly [now: string, verdict: string, told: RegExp])[] = [
  ["2026-10-31T00:00:00+08:00", "ok", /^cn-2026 knows the days until 2027-01-01$/],
  ["2026-11-01T00:00:00+08:00", "note", /^cn-2026 ends on 2027-01-01: from then on/],
  ["2027-01-01T00:00:00+08:00", "bad", /^cn-2026 ends on 2027-01-01: from then on/],
];

for (const [now, verdict, told] of ends) {
  test(`calendarFinding() at ${now} is ${verdict}`, () => {
    const finding = calendarFinding(loadCalendar(), Date.parse(now));
    expect(finding).toMatchObject({ check: "calendar", verdict });
    expect(finding.detail).toMatch(told);
  });
}

/**
 * Settlement: durable records per second on SQLite with `synchronous = FULL` and on PostgreSQL with `fsync = on`, a
 * statement over many records, and what a proof costs.
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openPostgresLedger } from "../services/io/ledger-postgres.ts";
import { openLedgerThread } from "../services/io/ledger-thread.ts";
import { openPostgres, whyNoPostgres } from "../test/fixtures/postgres.ts";
import { measureProofs } from "./settlement-proof.ts";
import { measureRates } from "./settlement-rates.ts";
import { measureStatement } from "./settlement-statement.ts";

const { values } = parseArgs({
  options: {
    /** Parts to run, separated by commas. */
    only: { type: "string", default: "sqlite,postgres,statement,proof" },
    /** Of the statement: 10,000,000 take about an hour and 70 GB below the folder for temporary files. */
    records: { type: "string", default: "1000000" },
    /** Of the log that proofs are made of. */
    leaves: { type: "string", default: "10000000" },
  },
});

const folder = mkdtempSync(join(tmpdir(), "tokengrid-bench-settlement-"));

const parts: Readonly<Record<string, () => Promise<void>>> = {
  async sqlite() {
    const store = await openLedgerThread(join(folder, "ledger.sqlite"));
    const conditions = { store: "sqlite", synchronous: "FULL" };
    await measureRates(store, { folder, prefix: "settlement/", conditions });
  },
  async postgres() {
    const why = whyNoPostgres();
    if (why !== undefined) {
      console.log(`settlement/postgres: not measured, ${why}`);
      return;
    }
    const server = await openPostgres();
    try {
      const store = await openPostgresLedger(await server.url("bench"));
      // The server has its own processes, which are not in the CPU time.
      const conditions = { store: "postgres", fsync: "on" };
      await measureRates(store, { folder, prefix: "settlement/postgres/", conditions });
    } finally {
      await server.close();
    }
  },
  statement: async () => measureStatement(Number(values.records), folder),
  proof: async () => measureProofs(Number(values.leaves)),
};

try {
  for (const name of values.only.split(",")) {
    const part = parts[name];
    if (part === undefined) {
      throw new Error(`--only: expected ${Object.keys(parts).join(", ")}, found ${name}`);
    }
    await part();
    // The registry and the salt are made anew for the next one.
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/**
 * Writes batches of records to a ledger, the same ones each time it is started, and says on standard output which
 * batch is durable. Is killed while it does so.
 */
import { openLog } from "../../../services/io/log.ts";
import { openLedgerThread } from "../../../services/io/ledger-thread.ts";
import { Registry as Metrics } from "../../../services/io/metrics.ts";
import { openSqliteRegistry } from "../../../services/io/registry-sqlite.ts";
import { loadCalendar } from "../../../services/io/preset.ts";
import { systemClock } from "../../../services/io/clock.ts";
import { Books } from "../../../services/settlement/books.ts";
import { Ingest } from "../../../services/settlement/ingest.ts";
import { SettlementMetrics } from "../../../services/settlement/metrics.ts";
import { Producers } from "../../../services/settlement/producers.ts";
import { contract } from "../../core/settlement/fixtures.ts";
import { batchesToWrite } from "../ledger-batches.ts";

const [registryPath = "", ledgerPath = ""] = process.argv.slice(2);
const log = openLog({ role: "test", level: "error" });
const calendar = loadCalendar();
const registry = await openSqliteRegistry(registryPath);
const store = await openLedgerThread(ledgerPath);
const books = new Books({ registry, calendarOf: () => calendar, log });
const metrics = new SettlementMetrics(new Metrics());
const producers = new Producers({
  states: await store.producers(),
  clock: systemClock,
  onLost: () => undefined,
});
const ingest = new Ingest({ store, books, contractOf: () => contract(), metrics, log, producers });

process.stdout.write("open\n");
for (const [index, batch] of batchesToWrite().entries()) {
  const outcomes = await ingest.record(batch);
  const bad = outcomes.find(({ status }) => status !== "posted" && status !== "exists");
  if (bad !== undefined) throw new Error(`${bad.record}: ${bad.status} ${bad.reason}`);
  process.stdout.write(`durable ${index}\n`);
}
await store.close();
await registry.close();
process.stdout.write("done\n");

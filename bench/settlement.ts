/**
 * Durable records per second: from usage record to ledger, through count rule, price books of both sides, rating, posting,
 * split, leaves of the logs and consumption, on SQLite with `synchronous = FULL`. A record is durable when its caller is answered.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toJsonString } from "@bufbuild/protobuf";
import { Registry as Metrics } from "prom-client";
import { systemClock } from "../services/io/clock.ts";
import { openLedgerThread } from "../services/io/ledger-thread.ts";
import { verifyLedger } from "../services/io/ledger-verify.ts";
import { openLog } from "../services/io/log.ts";
import { loadCalendar } from "../services/io/preset.ts";
import { openSqliteRegistry } from "../services/io/registry-sqlite.ts";
import { Agreements } from "../services/settlement/agreements.ts";
import { Books } from "../services/settlement/books.ts";
import { Ingest } from "../services/settlement/ingest.ts";
import { LedgerWriter } from "../services/settlement/ledger-writer.ts";
import { SettlementMetrics } from "../services/settlement/metrics.ts";
import { Producers } from "../services/settlement/producers.ts";
import { PriceBookSchema } from "../services/wire/gen/tokengrid/v1/price_pb.js";
import { fromPriceBook } from "../services/wire/price.ts";
import { appendResult } from "./report.ts";
import { medians, type Round } from "./rounds.ts";
import { openSalt } from "../services/settlement/salt.ts";
import { loadBooks, loadRecord, loadTerms } from "./settlement-load.ts";

const rounds = 5;
const roundMs = 500;

const folder = mkdtempSync(join(tmpdir(), "tokengrid-bench-settlement-"));
const registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
const calendar = loadCalendar();
for (const book of loadBooks(calendar)) {
  await registry.set({
    kind: "price-book",
    key: `${book.id}@${book.version}`,
    value: toJsonString(PriceBookSchema, fromPriceBook(book)),
    baseRevision: 0,
    author: "bench",
    comment: "",
  });
}
const log = openLog({ role: "bench", level: "warn" });
const store = await openLedgerThread(join(folder, "ledger.sqlite"));
const agreements = new Agreements({
  buyBooks: new Books({ registry, calendarOf: () => calendar, log }),
});
loadTerms(calendar, agreements);
const ingest = new Ingest({
  writer: new LedgerWriter({ store, log }),
  terms: agreements,
  saltOf: await openSalt(join(folder, "salt")),
  metrics: new SettlementMetrics(new Metrics()),
  log,
  producers: new Producers({ states: [], clock: systemClock, onLost: () => undefined }),
});

let sent = 0;

async function sendBatch(size: number): Promise<void> {
  const records = Array.from({ length: size }, () => loadRecord(sent++));
  const outcomes = await ingest.record(records);
  const other = outcomes.find(({ status }) => status !== "posted");
  if (other !== undefined) throw new Error(`${other.record}: ${other.status} ${other.reason}`);
}

/** Records per second of callers that each wait for their batch. */
function round(batch: number, callers = 1): Round {
  return async () => {
    const [start, before] = [performance.now(), sent];
    const call = async (): Promise<void> => {
      while (performance.now() - start < roundMs) await sendBatch(batch);
    };
    await Promise.all(Array.from({ length: callers }, call));
    return ((sent - before) * 1_000) / (performance.now() - start);
  };
}

const contestants = {
  "batch-1": round(1),
  "batch-100": round(100),
  "batch-250": round(250),
  "batch-1000": round(1_000),
  // What gateways do: many callers with few records each share transactions.
  "callers-64x4": round(4, 64),
} as const;

const found = await medians(contestants, { rounds });
const verification = await verifyLedger(store);
await store.close();
await registry.close();
rmSync(folder, { recursive: true });
if (verification.mistakes.length > 0) throw new Error(verification.mistakes.join("\n"));

const conditions = { rounds, roundMs, store: "sqlite", synchronous: "FULL", ledgered: sent };
for (const [name, value] of Object.entries(found)) {
  appendResult({ name: `settlement/${name}`, unit: "records/s", value, conditions });
}

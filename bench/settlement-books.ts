/** Settlement over a store, as benchmarks use it. */

import { join } from "node:path";
import { toJsonString } from "@bufbuild/protobuf";
import { Registry as Metrics } from "prom-client";
import { defaultContract } from "../services/core/settlement/terms/contract.ts";
import type { UsageRecord } from "../services/core/settlement/counting/usage.ts";
import type { InstantUs } from "../services/core/units.ts";
import { systemClock } from "../services/io/clock.ts";
import type { LedgerStore } from "../services/io/ledger-store.ts";
import { openLog } from "../services/io/log.ts";
import { loadCalendar } from "../services/io/preset.ts";
import { openSqliteRegistry } from "../services/io/registry-sqlite.ts";
import { sha256 } from "../services/io/signing.ts";
import { Agreements } from "../services/settlement/terms/agreements.ts";
import { Books } from "../services/settlement/terms/books.ts";
import { ClosedPeriods } from "../services/settlement/statements/closed-periods.ts";
import { Ingest } from "../services/settlement/ingest/ingest.ts";
import { LedgerWriter } from "../services/settlement/ingest/ledger-writer.ts";
import { SettlementMetrics } from "../services/settlement/metrics.ts";
import { Producers } from "../services/settlement/ingest/producers.ts";
import { openSalt } from "../services/settlement/salt.ts";
import { Statements } from "../services/settlement/statements/statements.ts";
import { PriceBookSchema } from "../services/wire/gen/tokengrid/v1/price_pb.js";
import { fromPriceBook } from "../services/wire/price.ts";
import { loadBooks, loadTerms } from "./settlement-load.ts";

export type SettlementBooks = Awaited<ReturnType<typeof openSettlement>>;

/** `hasTenants`: both sides are posted; else the vendors' alone. */
export async function openSettlement(
  store: LedgerStore,
  options: {
    readonly folder: string;
    readonly hasTenants: boolean;
    readonly nowUs: () => InstantUs;
  },
) {
  const { folder, hasTenants, nowUs } = options;
  const registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
  const calendar = loadCalendar();
  for (const book of loadBooks(calendar)) {
    await registry.set({
      ...{ kind: "price-book", key: `${book.id}@${book.version}`, baseRevision: 0 },
      ...{
        value: toJsonString(PriceBookSchema, fromPriceBook(book)),
        author: "bench",
        comment: "",
      },
    });
  }
  const log = openLog({ role: "bench", level: "warn" });
  const closed = await ClosedPeriods.load(store);
  const agreements = new Agreements({
    buyBooks: new Books({ registry, calendarOf: () => calendar, log }),
    firstOpenOf: (pair) => closed.firstOpenOf(pair),
  });
  if (hasTenants) loadTerms(calendar, agreements);
  const writer = new LedgerWriter({ store, log });
  const metrics = new SettlementMetrics(new Metrics());
  const ingest = new Ingest({
    ...{ writer, terms: agreements, metrics, log },
    saltOf: await openSalt(join(folder, "salt")),
    producers: new Producers({ states: [], clock: systemClock, onLost: () => undefined }),
  });
  const { period, timeZone } = defaultContract;
  const statements = new Statements({
    ...{ store, writer, closed, metrics, log, nowUs, domain: "grid.example" },
    sources: {
      termsOf: () => ({ period, timeZone, hash: sha256("contract") }),
      sign: () => undefined,
      trueUps: async () => ({ trueUps: [], entries: [] }),
      recon: async () => undefined,
      gatewaysBehind: () => [],
      unwitnessedSinceUs: () => undefined,
      calendars: () => [],
    },
  });
  /** Throws unless all were posted. */
  const post = async (records: readonly UsageRecord[]): Promise<void> => {
    const outcomes = await ingest.record(records);
    const other = outcomes.find(({ status }) => status !== "posted");
    if (other !== undefined) throw new Error(`${other.record}: ${other.status} ${other.reason}`);
  };
  const close = async (): Promise<void> => {
    await ingest.drain();
    await writer.drain();
    await store.close();
    await registry.close();
  };
  return { store, post, statements, close };
}

import { applyDocument, packageKinds } from "../core/settlement/package-text.ts";
import { TokenPackages } from "../core/settlement/token-package.ts";
import type { InstantUs } from "../core/units.ts";
import type { Clock } from "../io/clock.ts";
import type { LedgerStore } from "../io/ledger-store.ts";
import type { Log } from "../io/log.ts";
import { loadCalendar } from "../io/preset.ts";
import type { Registry } from "../io/registry.ts";
import type { SaltOf } from "../core/settlement/leaf.ts";
import { Agreements } from "./agreements.ts";
import { Books } from "./books.ts";
import { ClosedPeriods } from "./closed-periods.ts";
import { Documents } from "./documents.ts";
import { Ingest } from "./ingest.ts";
import { LedgerWriter } from "./ledger-writer.ts";
import type { SettlementMetrics } from "./metrics.ts";
import { Producers } from "./producers.ts";

/** What everything in settlement is made of: the one writer, what the ledger says, and what was agreed. */
export interface SettlementParts {
  readonly store: LedgerStore;
  readonly writer: LedgerWriter;
  readonly ingest: Ingest;
  readonly agreements: Agreements;
  /** Buy books of the registry. */
  readonly books: Books;
  readonly packages: TokenPackages;
  readonly closed: ClosedPeriods;
  /** Reducers of documents ask here to be told of them, before `start()`. */
  readonly documents: Documents;
  readonly metrics: SettlementMetrics;
  readonly log: Log;
  nowUs(): InstantUs;
  /** Reads what the documents say, follows books, and posts what had waited. To be called once. */
  start(signal: AbortSignal): Promise<void>;
  /** Looks again at whatever waits for terms: to be called when any have come. */
  release(): void;
  /** Waits for what was accepted to be durable. */
  close(): Promise<void>;
}

/** How often holes in gateways' sequences are looked at. */
const holeIntervalMs = 5_000;

export async function openParts(options: {
  readonly store: LedgerStore;
  readonly registry: Registry;
  readonly metrics: SettlementMetrics;
  readonly clock: Clock;
  readonly log: Log;
  readonly saltOf: SaltOf;
}): Promise<SettlementParts> {
  const { store, registry, metrics, clock, log, saltOf } = options;
  const calendar = loadCalendar();
  const calendarOf = (id: string) => (id === calendar.id ? calendar : undefined);
  const books = new Books({ registry, calendarOf, log });
  const packages = new TokenPackages();
  const closed = await ClosedPeriods.load(store);
  const agreements = new Agreements({
    buyBooks: books,
    firstOpenOf: (pair) => closed.firstOpenOf(pair),
    packagesOf: (tenant, openedUs) => packages.valid(tenant, openedUs),
  });
  const writer = new LedgerWriter({ store, log });
  const producers = new Producers({
    states: await store.producers(),
    clock,
    onLost: (numbers) => metrics.onLost(numbers),
  });
  const ingest = new Ingest({ writer, terms: agreements, metrics, log, producers, saltOf });
  const documents = new Documents();
  documents.on(packageKinds, (document) => applyDocument(packages, document));
  const release = (): void => {
    ingest.release().catch((error: unknown) => log.error({ error }, "quarantine was not released"));
    ingest.releaseSales().catch((error: unknown) => log.error({ error }, "sales were not billed"));
  };
  let timer: NodeJS.Timeout | undefined;
  const start = async (signal: AbortSignal): Promise<void> => {
    await writer.loadHolds();
    await documents.follow(store, writer);
    await books.follow(release, signal);
    metrics.onWaiting(await store.waitingCount());
    release();
    timer = setInterval(() => {
      ingest.giveUpHoles().catch((error: unknown) => log.error({ error }, "holes were not kept"));
    }, holeIntervalMs);
  };
  const close = async (): Promise<void> => {
    clearInterval(timer);
    await ingest.drain();
    await writer.drain();
    await store.close();
  };
  const nowUs = (): InstantUs => BigInt(Math.round(clock.now() * 1_000));
  return {
    ...{ store, writer, ingest, agreements, books, packages, closed, documents, metrics, log },
    ...{ nowUs, start, release, close },
  };
}

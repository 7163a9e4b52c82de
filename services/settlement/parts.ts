import type { InstantUs } from "../core/units.ts";
import type { Clock } from "../io/clock.ts";
import type { LedgerStore } from "../io/ledger-store.ts";
import type { Log } from "../io/log.ts";
import { loadCalendar } from "../io/preset.ts";
import type { Registry } from "../io/registry.ts";
import type { SaltOf } from "../core/settlement/ledger/leaf.ts";
import { AgreedBooks, feed } from "./terms/agreed-books.ts";
import { Agreements } from "./terms/agreements.ts";
import { Books } from "./terms/books.ts";
import { ClosedPeriods } from "./statements/closed-periods.ts";
import { Documents } from "./documents.ts";
import { Gateways } from "./ingest/gateways.ts";
import { Ingest } from "./ingest/ingest.ts";
import { LedgerWriter } from "./ingest/ledger-writer.ts";
import type { SettlementMetrics } from "./metrics.ts";
import { LateClaims } from "./claims/late-claims.ts";
import { Packages } from "./packages/packages.ts";
import { Producers } from "./ingest/producers.ts";
import { Reprices } from "./statements/reprices.ts";
import { Revisions } from "./statements/revisions.ts";
import { Terms, type OperatorKey } from "./terms/terms.ts";

/** What everything in settlement is made of: the one writer, what the ledger says, and what was agreed. */
export interface SettlementParts {
  readonly store: LedgerStore;
  readonly writer: LedgerWriter;
  readonly ingest: Ingest;
  readonly agreements: Agreements;
  /** Who has proposed and signed what. */
  readonly terms: Terms;
  /** Buy books of the registry. */
  readonly books: Books;
  readonly packages: Packages;
  readonly closed: ClosedPeriods;
  /** How far they are. */
  readonly gateways: Gateways;
  /** Reducers of documents ask here to be told of them, before `start()`. */
  readonly documents: Documents;
  readonly metrics: SettlementMetrics;
  readonly log: Log;
  readonly nowUs: () => InstantUs;
  /** Reads what the documents say, follows books, and posts what had waited. To be called once. */
  start(signal: AbortSignal): Promise<void>;
  /** Looks again at whatever waits for terms: to be called when any have come. Before `start()` it does nothing. */
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
  readonly operator: OperatorKey;
}): Promise<SettlementParts> {
  const { store, registry, metrics, clock, log, saltOf, operator } = options;
  const nowUs = (): InstantUs => BigInt(Math.round(clock.now() * 1_000));
  const writer = new LedgerWriter({ store, log });
  const documents = new Documents();
  const calendars = [loadCalendar()];
  const terms = new Terms({ documents, writer, operator, calendars, nowUs, log });
  const calendarOf = (id: string) => terms.state.calendarOf(id);
  const books = new Books({ registry, calendarOf, log });
  const agreed = new AgreedBooks({ books, terms, registry, log });
  const packages = new Packages({
    ...{ store, writer, holds: writer.holds, nowUs },
    bookingOf: (pair, us) => agreements.bookingOf(pair, us),
  });
  const closed = await ClosedPeriods.load(store);
  const agreements: Agreements = new Agreements({
    buyBooks: agreed,
    firstOpenOf: (pair) => closed.firstOpenOf(pair),
    withCalendar: (book) => terms.state.withCalendar(book),
    packagesOf: (tenant, openedUs) => packages.catalog.valid(tenant, openedUs),
  });
  const states = await store.producers();
  const gateways = new Gateways({ before: states.map(({ gateway }) => gateway), nowUs });
  const producers = new Producers({
    states,
    clock,
    onLost: (numbers) => metrics.onLost(numbers),
  });
  const ingest = new Ingest({ writer, terms: agreements, metrics, log, producers, saltOf, nowUs });
  const again = new Again(async () => {
    await ingest.release();
    await ingest.releaseSales();
  }, log);
  feed(terms, agreements, () => again.ask());
  const revisions = new Revisions({ store, ingest, log });
  const reprices = new Reprices({ store, writer, terms, revisions, log, nowUs });
  const lateClaims = new LateClaims({ store, agreements, revisions, nowUs });
  const settling = new Again(async () => {
    await reprices.run();
    await lateClaims.run();
  }, log);
  terms.onAgreed(({ kind }) => {
    if (kind === "reprice") settling.ask();
  });
  const onBook = (): void => {
    agreed
      .adoptAll()
      .then(() => again.ask())
      .catch((error: unknown) => log.error({ error }, "a price book was not adopted"));
  };
  let timer: NodeJS.Timeout | undefined;
  const start = async (signal: AbortSignal): Promise<void> => {
    await writer.loadHolds();
    await packages.load();
    writer.onCommitted((batch) => packages.onCommitted(batch));
    await documents.follow(store, writer);
    // A ledger that was rolled back is read, and nothing is added to it.
    if (writer.isReady) await terms.start();
    writer.onCommitted(({ claims }) => {
      if (claims.length > 0 && lateClaims.note(claims)) settling.ask();
    });
    await books.follow(onBook, signal);
    if (writer.isReady) await agreed.adoptAll();
    metrics.onWaiting(await store.waitingCount());
    again.open();
    settling.open();
    timer = setInterval(() => {
      if (ingest.waitsForTime) again.ask();
      ingest.giveUpHoles().catch((error: unknown) => log.error({ error }, "holes were not kept"));
    }, holeIntervalMs);
  };
  const close = async (): Promise<void> => {
    clearInterval(timer);
    await again.close();
    await settling.close();
    await ingest.drain();
    await writer.drain();
    await store.close();
  };
  const release = (): void => again.ask();
  return {
    ...{ store, writer, documents, books, log, nowUs },
    ...{ ingest, agreements, terms, packages, closed, gateways, metrics, start, release, close },
  };
}

/** Work that is asked for often and done once for all who asked before it began. */
class Again {
  readonly #work: () => Promise<void>;
  readonly #log: Log;
  #isOpen = false;
  #isAsked = false;
  #running: Promise<void> | undefined;

  constructor(work: () => Promise<void>, log: Log) {
    this.#work = work;
    this.#log = log;
  }

  open(): void {
    this.#isOpen = true;
    this.ask();
  }

  ask(): void {
    this.#isAsked = true;
    if (this.#isOpen) this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isAsked && this.#isOpen) {
      this.#isAsked = false;
      await this.#work().catch((error: unknown) =>
        this.#log.error({ error }, "what waits was not looked at again"),
      );
    }
    this.#running = undefined;
  }
}

import { hash } from "node:crypto";
import { assert } from "../core/assert.ts";
import { partsOfLineId } from "../core/settlement/charge.ts";
import type { Contract } from "../core/settlement/contract.ts";
import {
  keysOf,
  Posting,
  type PostOutcome,
  type WaitingRecord,
} from "../core/settlement/posting.ts";
import { prepare, type Prepared } from "../core/settlement/prepare.ts";
import type { PriceBook } from "../core/settlement/price-book.ts";
import { fromRecordText } from "../core/settlement/record-text.ts";
import { bookText } from "../core/settlement/terms-text.ts";
import type { UsageRecord } from "../core/settlement/usage.ts";
import type { VendorId } from "../core/units.ts";
import {
  LedgerFencedError,
  LedgerStoppedError,
  type ChargedVersion,
  type LedgerStore,
} from "../io/ledger-store.ts";
import type { Log } from "../io/log.ts";
import { toConnectError } from "../wire/errors.ts";
import type { Books } from "./books.ts";
import type { SettlementMetrics } from "./metrics.ts";
import type { Producers } from "./producers.ts";
import { Totals } from "./totals.ts";

/** Records of one transaction; a caller's own are never divided. */
const batchRecordsMax = 256;
/** Records that wait for their turn. Beyond them callers are told to come again. */
const queueRecordsMax = 20_000;
/** Records in quarantine that are looked at again together. */
const releaseRecordsMax = 256;

const retryAfterMs = 1_000;

export function sha256(text: string): string {
  return hash("sha256", text, "hex");
}

const nothingPosted = {
  posted: [],
  waiting: [],
  released: [],
  entries: [],
  movements: new Map(),
  cumulatives: [],
  hours: [],
  versions: [],
};

interface Job {
  readonly records: readonly UsageRecord[];
  /** From a gateway's sequence, not from quarantine. */
  readonly isDelivery: boolean;
  resolve(outcomes: PostOutcome[]): void;
  reject(error: unknown): void;
}

/**
 * The one writer of the ledger. Callers that come while a transaction runs share the next one, so that the disk
 * is waited for once for all of them.
 */
export class Ingest {
  readonly #store: LedgerStore;
  readonly #books: Books;
  readonly #contractOf: (vendor: VendorId) => Contract;
  readonly #metrics: SettlementMetrics;
  readonly #log: Log;
  readonly #producers: Producers;
  readonly #totals: Totals;
  readonly #queueRecordsMax: number;
  readonly #queue: Job[] = [];
  readonly #chargedVersions = new Set<string>();
  #queuedRecords = 0;
  #running: Promise<void> | undefined;
  /** Why nothing can be posted any more. */
  #failure: unknown;

  constructor(options: {
    readonly store: LedgerStore;
    readonly books: Books;
    readonly contractOf: (vendor: VendorId) => Contract;
    readonly metrics: SettlementMetrics;
    readonly log: Log;
    readonly producers: Producers;
    readonly queueRecordsMax?: number;
  }) {
    this.#queueRecordsMax = options.queueRecordsMax ?? queueRecordsMax;
    this.#store = options.store;
    this.#books = options.books;
    this.#contractOf = options.contractOf;
    this.#metrics = options.metrics;
    this.#log = options.log;
    this.#producers = options.producers;
    this.#totals = new Totals(options.store);
  }

  get isReady(): boolean {
    return this.#failure === undefined;
  }

  /** Resolves when all of them are durable: one outcome for each, in their order. */
  async record(records: readonly UsageRecord[]): Promise<PostOutcome[]> {
    for (const record of records) revOf(record);
    if (this.#queuedRecords + records.length > this.#queueRecordsMax) {
      const found = this.#queuedRecords + records.length;
      const message = `expected at most ${this.#queueRecordsMax} records in the queue, found ${found}`;
      throw toConnectError("SHED", message, {
        retryAfterMs,
      });
    }
    return this.#enqueue(records, true);
  }

  /** Looks again at what waits for a price book. Resolves to the number that was posted. */
  async release(): Promise<number> {
    let posted = 0;
    let last: WaitingRecord | undefined;
    do {
      const page = await this.#store.waiting(last, releaseRecordsMax);
      const records = page.map(({ text }) => fromRecordText(text));
      const ready = records.filter((record) => this.#mayRelease(record));
      const outcomes = ready.length === 0 ? [] : await this.#enqueue(ready, false);
      posted += outcomes.filter(({ status }) => status === "posted").length;
      last = page.at(-1);
    } while (last !== undefined);
    if (posted > 0) this.#log.info({ records: posted }, "records left quarantine");
    return posted;
  }

  /** Resolves when all that was accepted is durable or refused. */
  async drain(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  #mayRelease({ priceBook, priceVersion }: UsageRecord): boolean {
    return this.#books.known(priceBook, priceVersion) !== undefined;
  }

  async #enqueue(records: readonly UsageRecord[], isDelivery: boolean): Promise<PostOutcome[]> {
    const { promise, resolve, reject } = Promise.withResolvers<PostOutcome[]>();
    this.#queue.push({ records, isDelivery, resolve, reject });
    this.#queuedRecords += records.length;
    this.#running ??= this.#run();
    return promise;
  }

  async #run(): Promise<void> {
    // Callers of the same turn of the event loop share the first transaction too.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      await this.#settle(this.#takeJobs());
    }
    this.#running = undefined;
  }

  async #settle(jobs: readonly Job[]): Promise<void> {
    try {
      const outcomes = await this.#post(jobs);
      for (const job of jobs) job.resolve(outcomes.splice(0, job.records.length));
    } catch (error) {
      this.#fail(error);
      if (jobs.length > 1 && this.#failure === undefined) {
        // What the ledger cannot take from one caller is no reason to refuse the others.
        for (const job of jobs) await this.#settle([job]);
      } else {
        const refusal = toConnectError("METERING_UNAVAILABLE", "the ledger cannot be written");
        for (const job of jobs) job.reject(refusal);
      }
    }
  }

  #takeJobs(): Job[] {
    const jobs: Job[] = [];
    let records = 0;
    while (this.#queue.length > 0 && records < batchRecordsMax) {
      const job = this.#queue.shift();
      if (job === undefined) break;
      jobs.push(job);
      records += job.records.length;
    }
    this.#queuedRecords -= records;
    return jobs;
  }

  async #post(jobs: readonly Job[]): Promise<PostOutcome[]> {
    if (this.#failure !== undefined) throw this.#failure;
    const records = jobs.flatMap((job) => job.records);
    const prepared = await this.#prepareAll(records);
    const stored = await this.#store.recordsOf(records.map(({ attempt }) => attempt));
    const keys = keysOf(prepared, stored);
    const totals = await this.#totals.of(keys);
    const posting = new Posting({ records: stored, ...totals }, (id) => this.#lineOf(id));
    const outcomes = prepared.map((each) => posting.add(each));
    const { changes } = posting;
    const delivered = jobs.filter((job) => job.isDelivery).flatMap((job) => job.records);
    const noted = this.#producers.note(delivered);
    const versions = this.#newVersions(prepared);
    await this.#store.commit({
      ...changes,
      released: changes.released.map(({ attempt, rev }) => ({ attempt, rev })),
      versions,
      producers: noted.states,
    });
    noted.keep();
    this.#totals.keep(changes);
    for (const { book, version } of versions) this.#chargedVersions.add(`${book}@${version}`);
    this.#metrics.onCommitted(outcomes, changes.entries);
    // Two records under one id are a defect of a gateway, or worse: someone must look.
    for (const { record, status, reason } of outcomes) {
      if (status === "conflict") this.#log.error({ record, reason }, "a record conflicts");
    }
    if (changes.waiting.length + changes.released.length > 0) {
      this.#metrics.onWaiting(await this.#store.waitingCount());
    }
    return outcomes;
  }

  /** Holes that stayed too long are counted and forgotten. */
  async giveUpHoles(): Promise<void> {
    const noted = this.#producers.giveUp();
    if (noted.states.length === 0 || this.#running !== undefined) return;
    await this.#store.commit({ ...nothingPosted, producers: noted.states });
    noted.keep();
  }

  async #prepareAll(records: readonly UsageRecord[]): Promise<Prepared[]> {
    const prepared: Prepared[] = [];
    for (const record of records) {
      const { priceBook, priceVersion, vendor } = record;
      const known = this.#books.known(priceBook, priceVersion);
      const book = known ?? (await this.#books.find(priceBook, priceVersion));
      const contract = this.#contractOf(vendor);
      prepared.push(prepare(record, { rev: revOf(record), contract, book, sha256 }));
    }
    return prepared;
  }

  #lineOf(id: string) {
    const { book, version, line } = partsOfLineId(id);
    return this.#books.known(book, version)?.lines.find((each) => each.id === line);
  }

  /** Versions that this process has not charged by yet; the ledger keeps what it charged by. */
  #newVersions(prepared: readonly Prepared[]): ChargedVersion[] {
    const versions = new Map<string, PriceBook>();
    for (const { finding } of prepared) {
      if (finding.kind !== "owing") continue;
      for (const { book: id, version } of finding.lines) {
        const key = `${id}@${version}`;
        if (this.#chargedVersions.has(key) || versions.has(key)) continue;
        const book = this.#books.known(id, version);
        assert(book !== undefined, "a line is priced by a known book");
        versions.set(key, book);
      }
    }
    return [...versions.values()].map((book) => {
      const text = bookText(book);
      return { book: book.id, version: book.version, hash: sha256(text), text };
    });
  }

  /** Whoever asked may ask again; but after a failed commit, or with another writer, the answer stays. */
  #fail(error: unknown): void {
    const isFinal = error instanceof LedgerStoppedError || error instanceof LedgerFencedError;
    if (this.#failure === undefined) this.#log.error({ error, isFinal }, "records were not posted");
    if (isFinal) this.#failure = error;
    this.#totals.forget();
  }
}

/** Of `<attempt>:<rev>`. Throws INVALID_ARGUMENT for any other id. */
function revOf({ id, attempt }: UsageRecord): bigint {
  const rev = id.startsWith(`${attempt}:`) ? id.slice(attempt.length + 1) : "";
  if (/^\d{1,9}$/.test(rev)) return BigInt(rev);
  throw toConnectError("BAD_REQUEST", `record_id: expected ${attempt}:<rev>, found ${id}`, {
    metadata: { field: "record_id" },
  });
}

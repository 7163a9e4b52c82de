import type { Balance } from "../../core/settlement/ledger/ledger.ts";
import { keysOf, Posting } from "../../core/settlement/ledger/post.ts";
import type { PostOutcome, SaleRow, WaitingRecord } from "../../core/settlement/ledger/posting.ts";
import {
  isOfFuture,
  isRefused,
  isUnsold,
  prepare,
  refuse,
  type Prepared,
} from "../../core/settlement/ledger/prepare.ts";
import { fromRecordText } from "../../core/settlement/counting/record-text.ts";
import type { Tokens, UsageRecord } from "../../core/settlement/counting/usage.ts";
import { accountsOf, Wallets } from "../../core/settlement/packages/wallet.ts";
import type { AttemptId } from "../../core/units.ts";
import { sha256 } from "../../io/signing.ts";
import { toConnectError } from "../../wire/errors.ts";
import { claimedFor } from "../claims/claimed.ts";
import { ChargedVersions } from "./charged-versions.ts";
import { divided, Refusals } from "./divide.ts";
import type { IngestOptions } from "./ingest-options.ts";
import { JobQueue, type Job, type JobKind, type OtherTerms } from "./job-queue.ts";
import { OutdatedError, unavailable } from "./ledger-writer.ts";
import type { Noted } from "./producers.ts";
import { ReadAhead, salesOf } from "./read-ahead.ts";
import { revOf } from "./record-id.ts";

/**
 * With so many that wait, they are worked on while those before them are being written. Fewer wait for that, and share a
 * transaction with those who come meanwhile.
 */
const overlapRecordsMin = 200;
/** Records that wait for their turn. Beyond them callers are told to come again. */
const queueRecordsMax = 20_000;
/** Records in quarantine, or sales that wait, that are looked at again together. */
const releaseRecordsMax = 256;

const retryAfterMs = 1_000;

/** Jobs of one transaction. */
interface Batch {
  readonly jobs: readonly Job[];
  readonly records: readonly UsageRecord[];
  readonly ledger: ReadAhead;
}

/**
 * Posts usage records. Callers that come while a transaction runs share the next one, so that the disk is waited for
 * once for all of them.
 */
export class Ingest {
  readonly #options: IngestOptions;
  readonly #queue = new JobQueue();
  readonly #refusals = new Refusals();
  #waitsForTime = false;
  /** What the ledger did not take is tried again after a start alone: another program may. */
  #isReleased = false;
  readonly #charged: ChargedVersions;
  /** Of callers whose price books are being found out. */
  #learningRecords = 0;
  #learned: Promise<unknown> = Promise.resolve();
  #running: Promise<void> | undefined;
  /** Not resolved before all that were sent have their answers. */
  #answered: Promise<unknown> = Promise.resolve();
  #next: Batch | undefined;

  constructor(options: IngestOptions) {
    this.#options = options;
    this.#charged = new ChargedVersions(options.terms.priceHashOf);
  }

  get isReady(): boolean {
    return this.#options.writer.isReady;
  }

  /** Resolves when all of them are durable: one outcome for each, in their order. */
  async record(records: readonly UsageRecord[]): Promise<PostOutcome[]> {
    for (const record of records) revOf(record);
    const found = this.#queue.records + this.#learningRecords + records.length;
    const most = this.#options.queueRecordsMax ?? queueRecordsMax;
    if (found > most) {
      const message = `expected at most ${most} records in the queue, found ${found}`;
      throw toConnectError("SHED", message, { retryAfterMs });
    }
    if (records.some((record) => !this.#isPriceable(record))) {
      const learned = this.#learn(records);
      this.#learned = Promise.allSettled([this.#learned, learned]).then(() => undefined);
      await learned;
    }
    return this.#enqueue(records, "delivery");
  }

  /** Not within a turn: a book that is new is written too, which takes a turn of its own. */
  async #learn(records: readonly UsageRecord[]): Promise<void> {
    const { terms, log } = this.#options;
    this.#learningRecords += records.length;
    try {
      await terms.learn(records);
    } catch (error) {
      log.error({ error }, "price books were not found out");
      throw unavailable();
    } finally {
      this.#learningRecords -= records.length;
    }
  }

  /** Something is in quarantine that may leave it as time goes by. */
  get waitsForTime(): boolean {
    return this.#waitsForTime;
  }

  /** Looks again at what waits for a price book, or for its time. Resolves to the number that was posted. */
  async release(): Promise<number> {
    const { writer, log } = this.#options;
    let posted = 0;
    let last: WaitingRecord | undefined;
    this.#waitsForTime = false;
    do {
      const page = await writer.store.waiting(last, releaseRecordsMax);
      const tried = page.filter(({ reason }) => !this.#isReleased || !isRefused(reason));
      const records = tried.map(({ text }) => fromRecordText(text));
      const ready = records.filter(
        (record, place) => isOfFuture(tried[place]?.reason ?? "") || this.#isPriceable(record),
      );
      posted += await this.#postedOf(ready, "release");
      last = page.at(-1);
      this.#waitsForTime ||= page.some(({ reason }) => isOfFuture(reason));
    } while (last !== undefined);
    this.#isReleased = true;
    if (posted > 0) log.info({ records: posted }, "records left quarantine");
    return posted;
  }

  /** Looks again at sales that wait for a sell book or a split rule. Resolves to the number that was billed. */
  async releaseSales(): Promise<number> {
    const { writer, log } = this.#options;
    let billed = 0;
    let last: SaleRow | undefined;
    do {
      const page = await writer.store.salesWaiting(last?.attempt, releaseRecordsMax);
      const records = page.map(({ text }) => fromRecordText(text));
      const ready = records.filter((record) => this.#maySell(record));
      billed += await this.#postedOf(ready, "sale");
      last = page.at(-1);
    } while (last !== undefined);
    if (billed > 0) log.info({ sales: billed }, "sales that waited were billed");
    return billed;
  }

  /** What would become of records, by other terms than theirs. Changes nothing. */
  async preview(records: readonly UsageRecord[], otherTerms: OtherTerms): Promise<Prepared[]> {
    await this.#options.terms.learn(records);
    const claims = await this.#claimedFor(records);
    return records.map((record) => this.#prepare(record, claims.get(record.attempt), otherTerms));
  }

  /** Posts revisions that settlement makes itself, by other terms than theirs. */
  async revise(records: readonly UsageRecord[], otherTerms: OtherTerms): Promise<PostOutcome[]> {
    return this.#enqueue(records, "revision", otherTerms);
  }

  /** Resolves when all that was accepted is durable or refused. */
  async drain(): Promise<void> {
    await this.#learned;
    for (let last; last !== this.#answered || this.#running !== undefined;) {
      await this.#running;
      last = this.#answered;
      await last;
    }
  }

  /** Holes that stayed too long are counted and forgotten. */
  async giveUpHoles(): Promise<void> {
    const { writer, producers } = this.#options;
    await writer.turn(async () => {
      const noted = producers.giveUp();
      await writer.commit({ producers: noted.states });
      noted.keep();
    });
  }

  #isPriceable({ priceBook, priceVersion }: UsageRecord): boolean {
    return this.#options.terms.bookOf(priceBook, priceVersion) !== undefined;
  }

  #maySell(record: UsageRecord): boolean {
    const { finding } = this.#prepare(record);
    return finding.kind === "owing" && finding.sale.kind === "priced";
  }

  async #postedOf(records: readonly UsageRecord[], kind: JobKind): Promise<number> {
    const outcomes = records.length === 0 ? [] : await this.#enqueue(records, kind);
    return outcomes.filter(({ status }) => status === "posted").length;
  }

  async #enqueue(
    records: readonly UsageRecord[],
    kind: JobKind,
    otherTerms?: OtherTerms,
  ): Promise<PostOutcome[]> {
    const { promise, resolve, reject } = Promise.withResolvers<PostOutcome[]>();
    this.#queue.add({ records, kind, otherTerms, resolve, reject });
    this.#running ??= this.#run();
    return promise;
  }

  async #run(): Promise<void> {
    // Callers of the same turn of the event loop share the first transaction too.
    await Promise.resolve();
    while (!this.#queue.isEmpty || this.#next !== undefined) {
      await this.#options.writer
        .overlappingTurn(() => this.#settle())
        .catch(() => this.#refuse(this.#take().jobs));
    }
    this.#running = undefined;
  }

  /** Within a turn. Resolves when the records are on their way. */
  async #settle(): Promise<void> {
    const isFew = this.#next === undefined && this.#queue.records < overlapRecordsMin;
    if (isFew || this.#queue.isNextAlone) await this.#options.writer.settled();
    const batch = this.#take();
    const { jobs } = batch;
    try {
      const { outcomes, written } = await this.#post(batch);
      const answers = written.then(
        () => {
          for (const job of jobs) {
            this.#refusals.forget(job);
            job.resolve(outcomes.splice(0, job.records.length));
          }
        },
        (error: unknown) => this.#again(jobs, error),
      );
      this.#answered = Promise.all([this.#answered, answers]).then(() => undefined);
    } catch (error) {
      this.#again(jobs, error);
    }
  }

  /** What the ledger cannot take from one caller is no reason to refuse the others. */
  #again(jobs: readonly Job[], error: unknown): void {
    const [job] = jobs;
    const isShared = jobs.length > 1 || error instanceof OutdatedError;
    if (this.isReady && isShared) {
      this.#queue.again(jobs);
      this.#running ??= this.#run();
    } else if (this.isReady && job !== undefined && this.#refusals.isToDivide(job)) {
      const { length } = job.records;
      this.#options.log.error({ error, records: length }, "records are tried in smaller parts");
      this.#queue.again(divided(job, error));
      this.#running ??= this.#run();
    } else {
      this.#options.log.error({ error }, "records were not posted");
      this.#refuse(jobs);
    }
  }

  #refuse(jobs: readonly Job[]): void {
    for (const job of jobs) job.reject(unavailable());
  }

  #take(): Batch {
    const next = this.#next;
    this.#next = undefined;
    if (next !== undefined) return next;
    const jobs = this.#queue.take();
    const records = jobs.flatMap((job) => job.records);
    return { jobs, records, ledger: new ReadAhead(this.#options.writer, records) };
  }

  /** Within a turn. */
  async #post({ jobs, ledger }: Batch) {
    const { writer, metrics, producers } = this.#options;
    const asked = await this.#asked(jobs);
    const { posting, outcomes } = await this.#posted(asked, ledger);
    const delivered = jobs.filter(({ kind }) => kind === "delivery");
    const { changes, leaves, holds } = posting;
    const versions = this.#charged.newOf(asked.map(({ prepared }) => prepared));
    let noted: Noted | undefined;
    const rows = {
      ...changes,
      released: changes.released.map(({ attempt, rev }) => ({ attempt, rev })),
      ...{ versions, leaves, holds },
    };
    const { batch, written } = await writer.send(rows, {
      atLast: () => {
        this.#readAhead();
        noted = producers.note(delivered.flatMap((job) => job.records));
        return { producers: noted.states };
      },
      onWritten: () => {
        noted?.keep();
        this.#charged.keep(versions);
        const recorded = outcomes.filter((_, index) => asked[index]?.kind !== "sale");
        metrics.onCommitted(recorded);
        const unsold = asked.filter(
          ({ prepared }, index) => outcomes[index]?.status === "posted" && isUnsold(prepared),
        );
        metrics.onUnsold(unsold.length);
        this.#report(outcomes);
      },
    });
    this.#next?.ledger.isWithout(batch);
    const isWaitingMoved = changes.waiting.length + changes.released.length > 0;
    const counted = async (): Promise<void> => {
      await written;
      if (isWaitingMoved) metrics.onWaiting(await writer.store.waitingCount());
    };
    return { outcomes, written: counted() };
  }

  async #asked(jobs: readonly Job[]) {
    const accepted = jobs.filter(({ refusal }) => refusal === undefined);
    const claims = await this.#claimedFor(accepted.flatMap(({ records }) => records));
    return jobs.flatMap(({ kind, otherTerms, refusal, records }) =>
      records.map((record) => {
        const claim = claims.get(record.attempt);
        const prepared =
          refusal === undefined
            ? this.#prepare(record, claim, otherTerms)
            : refuse(record, { rev: revOf(record), sha256, detail: refusal });
        return { kind, prepared };
      }),
    );
  }

  /** Asks for what comes next before this transaction is in the way. */
  #readAhead(): void {
    if (this.#next !== undefined || this.#queue.records < overlapRecordsMin) return;
    if (!this.#queue.isNextAlone) this.#next = this.#take();
  }

  /** Two records under one id are a defect of a gateway, or worse: someone must look. */
  #report(outcomes: readonly PostOutcome[]): void {
    const { log } = this.#options;
    for (const { record, status, reason } of outcomes) {
      if (status === "quarantined") this.#waitsForTime ||= isOfFuture(reason);
      if (status === "conflict") log.error({ record, reason }, "a record conflicts");
    }
  }

  /** Made again with what it found missing, until nothing is: nothing is written before. */
  async #posted(
    asked: readonly { readonly kind: JobKind; readonly prepared: Prepared }[],
    ledger: ReadAhead,
  ) {
    const { writer, terms, saltOf } = this.#options;
    const { totals } = writer;
    const prepared = asked.map((each) => each.prepared);
    if (totals.isTooMany) {
      await writer.settled();
      totals.trim();
    }
    const [{ records, sales }, balances] = await Promise.all([
      ledger.found(),
      this.#balancesOf(prepared),
      totals.load(keysOf(prepared)),
    ]);
    const sold = salesOf(sales, prepared);
    for (;;) {
      const known = { records, sales: sold, ...totals.sheets };
      const wallets = new Wallets(balances, writer.holds);
      const { lineOf, bookingOf, priceHashOf } = terms;
      const posting = new Posting(known, {
        ...{ lineOf, bookingOf, priceHashOf, secrets: { sha256, saltOf } },
        tills: { wallets, packagesOf: (tenant, at) => terms.packagesOf(tenant, at) },
      });
      const outcomes = asked.map(({ kind, prepared: each }) =>
        kind === "sale" ? posting.addSale(each) : posting.add(each),
      );
      const { missing } = posting;
      if (Object.values(missing).every((keys) => keys.length === 0)) return { posting, outcomes };
      await totals.load(missing);
    }
  }

  async #balancesOf(prepared: readonly Prepared[]): Promise<ReadonlyMap<string, Balance>> {
    const { writer, terms } = this.#options;
    const packages = prepared.flatMap(({ record: { tenant, openedUs } }) =>
      terms.packagesOf(tenant, openedUs),
    );
    return writer.totals.balancesOf(accountsOf([...new Set(packages)]));
  }

  async #claimedFor(records: readonly UsageRecord[]): Promise<ReadonlyMap<AttemptId, Tokens>> {
    const { terms, writer } = this.#options;
    return claimedFor(records, { terms, store: writer.store });
  }

  #prepare(record: UsageRecord, claim?: Tokens, otherTerms?: OtherTerms): Prepared {
    const { terms, nowUs } = this.#options;
    const { bookingOf } = terms;
    const agreed = terms.termsOf(record);
    const of = { ...(otherTerms === undefined ? agreed : otherTerms(agreed)), claim };
    return prepare(record, { rev: revOf(record), terms: of, sha256, bookingOf, nowUs: nowUs?.() });
  }
}

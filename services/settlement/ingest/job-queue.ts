import type { PostOutcome } from "../../core/settlement/ledger/posting.ts";
import type { Terms } from "../../core/settlement/ledger/prepare.ts";
import type { UsageRecord } from "../../core/settlement/counting/usage.ts";
import type { Division } from "./divide.ts";

/** Records of one transaction; a caller's own are divided only when the ledger does not take them. */
const batchRecordsMax = 256;

/**
 * - `delivery`: from a gateway's sequence.
 * - `release`: from quarantine.
 * - `sale`: was posted before, and its sale waits.
 * - `revision`: made here of one that was posted before.
 */
export type JobKind = "delivery" | "release" | "sale" | "revision";

/** What the terms of a record are instead. */
export type OtherTerms = (terms: Terms) => Terms;

/** Records of one caller, who waits for what became of them. */
export interface Job {
  readonly records: readonly UsageRecord[];
  readonly kind: JobKind;
  readonly otherTerms?: OtherTerms | undefined;
  /** It was among others that could not be written together. */
  readonly isAlone?: boolean;
  /** It is a part of a job that could not be written. */
  readonly division?: Division;
  /** Why its one record cannot be posted: it goes into quarantine. */
  readonly refusal?: string;
  resolve(outcomes: PostOutcome[]): void;
  reject(error: unknown): void;
}

/** Who waits for a transaction, in the order in which they came. */
export class JobQueue {
  readonly #jobs: Job[] = [];
  #records = 0;

  get records(): number {
    return this.#records;
  }

  get isEmpty(): boolean {
    return this.#jobs.length === 0;
  }

  /** The next one shares its transaction with nobody. */
  get isNextAlone(): boolean {
    return this.#jobs[0]?.isAlone === true;
  }

  add(job: Job): void {
    this.#jobs.push(job);
    this.#records += job.records.length;
  }

  /** Before all others, each by itself. */
  again(jobs: readonly Job[]): void {
    this.#jobs.unshift(...jobs.map((job) => ({ ...job, isAlone: true })));
    for (const { records } of jobs) this.#records += records.length;
  }

  /** Those of the next transaction. */
  take(): Job[] {
    const jobs: Job[] = [];
    let records = 0;
    while (records < batchRecordsMax) {
      const [job] = this.#jobs;
      if (job === undefined || (job.isAlone === true && jobs.length > 0)) break;
      this.#jobs.shift();
      jobs.push(job);
      records += job.records.length;
      if (job.isAlone === true) break;
    }
    this.#records -= records;
    return jobs;
  }
}

import type { Job } from "./job-queue.ts";

/** Records whose last transaction was not written, of which the ids are remembered. */
const refusedRecordsMax = 20_000;
const reasonCharactersMax = 500;

/** Jobs that came of one: when the ledger takes not even the quarantine of a record of it, it is not the records. */
export interface Division {
  isOver: boolean;
}

/**
 * Who may be divided: the ledger did not take it when it came before either, so that it is not the disk's bad moment, and one
 * record of it may keep all the others waiting for ever.
 */
export class Refusals {
  readonly #ids = new Set<string>();

  /** Remembers the records of a job that stood alone and was not written. */
  isToDivide({ records, refusal, division, kind }: Job): boolean {
    if (refusal !== undefined && division !== undefined) division.isOver = true;
    if (refusal !== undefined || division?.isOver === true) return false;
    if (kind === "revision") return false;
    if (division !== undefined || records.some(({ id }) => this.#ids.has(id))) return true;
    if (this.#ids.size > refusedRecordsMax) this.#ids.clear();
    for (const { id } of records) this.#ids.add(id);
    return false;
  }

  /** It was written. What went into quarantine is known for the next time it comes. */
  forget({ records, refusal }: Job): void {
    if (this.#ids.size === 0 || refusal !== undefined) return;
    for (const { id } of records) this.#ids.delete(id);
  }
}

/**
 * Two halves of a job, whose outcomes are its own; of one record, the job that puts it in quarantine. What waited before
 * waits on.
 */
export function divided(job: Job, error: unknown): readonly Job[] {
  const { records, kind, division = { isOver: false } } = job;
  const [first] = records;
  const text = error instanceof Error ? error.message : String(error);
  if (records.length > 1) return halves(job, division);
  const refusal = `the ledger did not take it: ${text.slice(0, reasonCharactersMax)}`;
  if (first === undefined || kind === "delivery") return [{ ...job, division, refusal }];
  job.resolve([{ record: first.id, status: "quarantined", reason: refusal }]);
  return [];
}

function halves(job: Job, division: Division): readonly Job[] {
  const middle = Math.ceil(job.records.length / 2);
  const parts = [job.records.slice(0, middle), job.records.slice(middle)].map((records) => {
    const { promise, resolve, reject } = Promise.withResolvers<Parameters<Job["resolve"]>[0]>();
    return { promise, job: { ...job, records, division, resolve, reject } };
  });
  Promise.all(parts.map(({ promise }) => promise)).then(
    (outcomes) => job.resolve(outcomes.flat()),
    (error: unknown) => job.reject(error),
  );
  return parts.map((part) => part.job);
}

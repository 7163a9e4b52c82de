import { Code, ConnectError } from "@connectrpc/connect";
import { systemTimers, type Timers } from "../io/clock.ts";
import type { Log } from "../io/log.ts";
import { RecordStatus, type RecordResult } from "../wire/gen/tokengrid/v1/usage_pb.js";
import type { Batch, Spool, SpooledRecord } from "./spool.ts";
import type { SendRecords } from "./usage-sender.ts";

/** What shipping works with. */
export interface Shipping {
  readonly spool: Spool;
  readonly send: SendRecords;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly timers?: Timers;
}

const recordsPerBatchMax = 1_000;
/** Records that close within it travel together. */
const gatherMs = 200;
/** A gateway without work says so often enough that nobody waits for it long. */
const markEveryMs = 10_000;
const backoffMsMin = 100;
const backoffMsMax = 10_000;

/**
 * Sends what the spool holds to settlement until the signal says stop. A record leaves the spool only when the
 * ledger said what became of it; no answer, or one that is none, means sending it again.
 */
export async function shipUsage(options: Shipping): Promise<void> {
  const { spool, signal, log, timers = systemTimers } = options;
  let backoffMs = backoffMsMin;
  const marks = new Marks(options);
  signal.addEventListener("abort", () => spool.wake());
  while (!signal.aborted) {
    const changed = spool.changed();
    try {
      const batch = await spool.nextBatch(recordsPerBatchMax);
      if (batch.records.length > 0) {
        await ship(batch, options);
        marks.isDue = true;
      } else {
        if (marks.isDue) await marks.tell();
        await marks.until(changed);
        await timers.wait(gatherMs);
      }
      backoffMs = backoffMsMin;
    } catch (error) {
      log.warn({ error: String(error), backoffMs }, "usage not shipped");
      await timers.wait(backoffMs, signal);
      backoffMs = Math.min(backoffMs * 2, backoffMsMax);
    }
  }
}

/** Tells settlement how far this gateway is: when it has shipped all it had, and again and again while it has nothing. */
class Marks {
  readonly #options: Shipping;
  isDue = true;

  constructor(options: Shipping) {
    this.#options = options;
  }

  async tell(): Promise<void> {
    const { spool, send } = this.#options;
    await send([], spool.mark);
    this.isDue = false;
  }

  /** Resolves when there is work, or a mark is due again. */
  async until(changed: Promise<void>): Promise<void> {
    const { timers = systemTimers, signal } = this.#options;
    const stop = new AbortController();
    const due = timers.wait(markEveryMs, AbortSignal.any([stop.signal, signal])).then(() => {
      this.isDue = true;
    });
    await Promise.race([changed, due]);
    stop.abort();
  }
}

/** One try at what is left, for a gateway that is closing. */
export async function shipRest(options: Shipping): Promise<void> {
  for (;;) {
    const batch = await options.spool.nextBatch(recordsPerBatchMax);
    if (batch.records.length === 0) return;
    await ship(batch, options);
  }
}

async function ship(batch: Batch, options: Shipping): Promise<void> {
  const { spool, send } = options;
  try {
    const bytes = batch.records.map((record) => record.bytes);
    await confirm(batch.records, await send(bytes, spool.mark), options);
  } catch (error) {
    if (!(error instanceof ConnectError) || error.code !== Code.InvalidArgument) throw error;
    await shipOneByOne(batch.records, options);
  }
  await spool.acknowledge(batch);
}

/** One record that settlement cannot read must not hold up the others. */
async function shipOneByOne(records: readonly SpooledRecord[], options: Shipping): Promise<void> {
  const { spool, send, log } = options;
  for (const record of records) {
    try {
      await confirm([record], await send([record.bytes], spool.mark), options);
    } catch (error) {
      if (!(error instanceof ConnectError) || error.code !== Code.InvalidArgument) throw error;
      log.error({ record: record.id, error: error.rawMessage }, "usage record set aside");
      await spool.setAside(record);
    }
  }
}

/** Throws unless the ledger said what became of every record. What it has another of is kept for people. */
async function confirm(
  records: readonly SpooledRecord[],
  results: readonly RecordResult[],
  { spool, log }: Pick<Shipping, "spool" | "log">,
): Promise<void> {
  const statusById = new Map(results.map(({ recordId, status }) => [recordId, status]));
  for (const record of records) {
    const { id } = record;
    switch (statusById.get(id)) {
      case RecordStatus.POSTED:
      case RecordStatus.EXISTS:
        break;
      case RecordStatus.QUARANTINED:
        log.warn({ record: id }, "usage record in quarantine");
        break;
      case RecordStatus.CONFLICT:
        log.error({ record: id }, "another usage record has this id, ours is set aside");
        await spool.setAside(record);
        break;
      case RecordStatus.UNSPECIFIED:
      case undefined:
        throw new Error(`settlement said nothing of the record ${id}`);
    }
  }
}

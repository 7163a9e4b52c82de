import { Code, ConnectError, type Client } from "@connectrpc/connect";
import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "../io/log.ts";
import {
  RecordStatus,
  type RecordResult,
  type UsageRecord,
  type UsageService,
} from "../wire/gen/tokengrid/v1/usage_pb.js";
import type { Batch, Spool } from "./spool.ts";

const recordsPerBatchMax = 1_000;
/** Records that close within it travel together. */
const gatherMs = 20;
const backoffMsMin = 100;
const backoffMsMax = 10_000;
const timeoutMs = 30_000;

/**
 * Sends what the spool holds to settlement until the signal says stop. A record leaves the spool only when the
 * ledger said what became of it; no answer, or one that is none, means sending it again.
 */
export async function shipUsage(options: {
  readonly spool: Spool;
  readonly client: Client<typeof UsageService>;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { spool, signal, log } = options;
  let backoffMs = backoffMsMin;
  signal.addEventListener("abort", () => spool.wake());
  while (!signal.aborted) {
    const changed = spool.changed();
    const batch = await spool.nextBatch(recordsPerBatchMax);
    if (batch.records.length === 0) {
      await changed;
      await delay(gatherMs, undefined, { ref: false });
      continue;
    }
    try {
      await ship(batch, options);
      backoffMs = backoffMsMin;
    } catch (error) {
      log.warn(
        { error: String(error), records: batch.records.length, backoffMs },
        "usage not shipped",
      );
      await delay(backoffMs, undefined, { signal, ref: false }).catch(ignoreAbort);
      backoffMs = Math.min(backoffMs * 2, backoffMsMax);
    }
  }
}

/** One try at what is left, for a gateway that is closing. */
export async function shipRest(options: Parameters<typeof shipUsage>[0]): Promise<void> {
  for (;;) {
    const batch = await options.spool.nextBatch(recordsPerBatchMax);
    if (batch.records.length === 0) return;
    await ship(batch, options);
  }
}

async function ship(batch: Batch, options: Parameters<typeof shipUsage>[0]): Promise<void> {
  const { spool, client, log } = options;
  try {
    const { results } = await client.record({ records: [...batch.records] }, { timeoutMs });
    confirm(batch.records, results, log);
  } catch (error) {
    if (!(error instanceof ConnectError) || error.code !== Code.InvalidArgument) throw error;
    await shipOneByOne(batch.records, options);
  }
  await spool.acknowledge(batch);
}

/** One record that settlement cannot read must not hold up the others. */
async function shipOneByOne(
  records: readonly UsageRecord[],
  { spool, client, log }: Parameters<typeof shipUsage>[0],
): Promise<void> {
  for (const record of records) {
    try {
      const { results } = await client.record({ records: [record] }, { timeoutMs });
      confirm([record], results, log);
    } catch (error) {
      if (!(error instanceof ConnectError) || error.code !== Code.InvalidArgument) throw error;
      log.error({ record: record.recordId, error: error.rawMessage }, "usage record set aside");
      await spool.setAside(record);
    }
  }
}

/** Throws unless the ledger said what became of every record. */
function confirm(
  records: readonly UsageRecord[],
  results: readonly RecordResult[],
  log: Log,
): void {
  const statusById = new Map(results.map(({ recordId, status }) => [recordId, status]));
  for (const { recordId } of records) {
    switch (statusById.get(recordId)) {
      case RecordStatus.POSTED:
      case RecordStatus.EXISTS:
        break;
      case RecordStatus.QUARANTINED:
        log.warn({ record: recordId }, "usage record in quarantine");
        break;
      case RecordStatus.CONFLICT:
        log.error({ record: recordId }, "another usage record has this id, ours was not posted");
        break;
      case RecordStatus.UNSPECIFIED:
      case undefined:
        throw new Error(`settlement said nothing of the record ${recordId}`);
    }
  }
}

function ignoreAbort(): void {
  // The loop looks at the signal itself.
}

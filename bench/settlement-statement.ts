/**
 * A statement over many records: a vendor's day is posted as any other, closed, and made again from its hour totals, from
 * its records and from the leaves of its log.
 */

import { join } from "node:path";
import { dayOf } from "../services/core/settlement/statements/period.ts";
import type { UsageRecord } from "../services/core/settlement/counting/usage.ts";
import type { BookId, PairId, VendorId } from "../services/core/units.ts";
import { openLedgerThread } from "../services/io/ledger-thread.ts";
import { recompute, type RecomputeSource } from "../services/settlement/statements/recompute.ts";
import { appendResult } from "./report.ts";
import { openSettlement } from "./settlement-books.ts";
import { loadRecord, loadVendors } from "./settlement-load.ts";

/** Of one transaction. */
const batchRecords = 2_000;
const usPerDay = 86_400_000_000n;
const pair = "vendor:vendor-0" as PairId;

const sources: readonly RecomputeSource[] = ["hours", "records", "leaves"];

export async function measureStatement(records: number, folder: string): Promise<void> {
  const store = await openLedgerThread(join(folder, "statement.sqlite"));
  const day = dayOf(loadRecord(0).openedUs, "Asia/Shanghai");
  const nowUs = (): bigint => day.toUs + 1n;
  const { post, statements, close } = await openSettlement(store, {
    ...{ folder, hasTenants: false, nowUs },
  });
  const recordOf = (number: number): UsageRecord => ({
    ...loadRecord(number * loadVendors),
    ...{ vendor: "vendor-0" as VendorId, priceBook: "book-0" as BookId },
    ...times(day.fromUs + (BigInt(number) * usPerDay) / BigInt(records)),
    producerSeq: BigInt(number + 1),
  });
  const startMs = performance.now();
  for (let from = 0; from < records; from += batchRecords) {
    const length = Math.min(batchRecords, records - from);
    await post(Array.from({ length }, (_, place) => recordOf(from + place)));
    if (from % (records / 10) < batchRecords) {
      const rate = Math.round((from * 1_000) / (performance.now() - startMs));
      process.stderr.write(`${from} records are there, ${rate}/s\n`);
    }
  }
  const tell = (name: string, ms: number): void => {
    const conditions = { records, store: "sqlite", perSecond: Math.round((records * 1_000) / ms) };
    appendResult({ name: `settlement/${name}`, unit: "s", value: ms / 1_000, conditions });
  };
  const closedMs = performance.now();
  const statement = await statements.close(pair, day);
  tell("statement/close", performance.now() - closedMs);
  if (statement.totals.attempts !== BigInt(records)) {
    throw new Error(`expected ${records} attempts, found ${statement.totals.attempts}`);
  }
  for (const source of sources) {
    const fromMs = performance.now();
    const found = await recompute(store, statement, { source });
    tell(`statement/from-${source}`, performance.now() - fromMs);
    if (found.length > 0) throw new Error(found.join("\n"));
  }
  await close();
}

function times(openedUs: bigint): Partial<UsageRecord> {
  return {
    openedUs,
    dispatchedUs: openedUs + 900n,
    firstByteUs: openedUs + 180_000n,
    lastByteUs: openedUs + 4_000_000n,
    closedUs: openedUs + 4_000_500n,
  };
}

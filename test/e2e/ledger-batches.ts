import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import { engineCounts, evidence } from "../core/settlement/fixtures.ts";
import { record } from "../io/ledger-books.ts";

const batches = 120;
const recordsPerBatch = 20;

/** Every fourth batch corrects records of the one before it, and every fifth comes twice. */
export function batchesToWrite(): UsageRecord[][] {
  return Array.from({ length: batches }, (_, batch) => {
    const records = Array.from({ length: recordsPerBatch }, (__, index) => {
      const isCorrection = batch % 4 === 3;
      const attempt = `b${isCorrection ? batch - 1 : batch}-${index}`;
      return record(attempt, {
        id: `${attempt}:${isCorrection ? 1 : 0}`,
        producerSeq: BigInt(batch * recordsPerBatch + index + 1),
        engineCounts: engineCounts({ output: BigInt(20 + ((batch + index) % 30)) }),
        evidence: evidence({ chunks: 0n }),
      });
    });
    return batch % 5 === 0 ? [...records, ...records] : records;
  });
}

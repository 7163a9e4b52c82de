import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { dayOf } from "../../services/core/settlement/statements/period.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type { AttemptId, PairId, RequestId } from "../../services/core/units.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { recompute } from "../../services/settlement/statements/recompute.ts";
import { engineCounts, friday, usageRecord } from "../core/settlement/fixtures.ts";
import { openClosing } from "./closing-books.ts";

/** Seeds of the simulation that failed, as the least that shows why. */

const dayUs = 86_400_000_000n;
const commitment = { period: "daily", minimumNano: undefined, discountPpm: 0n } as const;

let store: LedgerStore;
let books: Awaited<ReturnType<typeof openClosing>>;

beforeEach(async () => {
  store = await openSqliteLedger(":memory:");
  books = await openClosing(store, { commitment, nowUs: () => friday + 2n * dayUs });
});

afterEach(async () => {
  await books.writer.drain();
  await store.close();
});

async function post(attempt: string, changes: Partial<UsageRecord> = {}): Promise<void> {
  const request = `r-${attempt}` as RequestId;
  const record = { attempt: attempt as AttemptId, id: `${attempt}:0`, request, ...changes };
  await books.ingest.record([usageRecord(record)]);
}

describe("a statement comes out the same when a record was corrected after it was closed (I36)", () => {
  const output = { engineCounts: engineCounts({ output: 20n }), isWinner: true };
  const corrections: Readonly<Record<string, Partial<UsageRecord>>> = {
    "less was used": output,
    "it served nobody": { isWinner: false },
  };
  for (const [name, changes] of Object.entries(corrections)) {
    for (const pair of ["vendor:northgrid", "tenant:acme", "channel:west"]) {
      test(`${pair}: ${name}`, async () => {
        await post("a1");
        await post("a2");
        const day = dayOf(friday, "Asia/Shanghai");
        const statement = await books.statements.close(pair as PairId, day);
        await post("a1", { id: "a1:1", ...changes });
        for (const source of ["hours", "leaves"] as const) {
          expect(await recompute(store, statement, { source })).toEqual([]);
        }
      });
    }
  }
});

import { expect, onTestFinished, test } from "vitest";
import { dayOf } from "../../../services/core/settlement/statements/period.ts";
import type { ReconCounts } from "../../../services/core/settlement/statements/statement.ts";
import type { AttemptId, PairId, RequestId } from "../../../services/core/units.ts";
import { openSqliteLedger } from "../../../services/io/ledger-sqlite.ts";
import { friday, usageRecord } from "../../core/settlement/fixtures.ts";
import { openClosing } from "../closing-books.ts";

const dayUs = 86_400_000_000n;
const commitment = { period: "daily", minimumNano: undefined, discountPpm: 0n } as const;
const pair = "vendor:northgrid" as PairId;

/** When the record was opened that comes while a day is compared, and how often the day is compared then. */
const cases = { "of the day itself": [friday, 2], "of the next day": [friday + dayUs, 1] } as const;

for (const [name, [openedUs, times]] of Object.entries(cases)) {
  test(`a record ${name} is posted while a day is compared, which is done ${times} times`, async () => {
    const store = await openSqliteLedger(":memory:");
    onTestFinished(() => store.close());
    const posted: string[] = [];
    let compared = 0;
    const post = async (attempt: string, us: bigint): Promise<void> => {
      const record = usageRecord({
        ...{ attempt: attempt as AttemptId, id: `${attempt}:0`, openedUs: us },
        request: `r-${attempt}` as RequestId,
      });
      const [outcome] = await books.ingest.record([record]);
      posted.push(outcome?.status ?? "");
    };
    const recons: (() => Promise<void>)[] = [() => post("a2", openedUs)];
    const recon = async (): Promise<ReconCounts | undefined> => {
      compared += 1;
      await recons.shift()?.();
      return undefined;
    };
    const books = await openClosing(store, {
      ...{ commitment, nowUs: () => friday + 2n * dayUs },
      sources: { recon },
    });
    await post("a1", friday);
    const { totals } = await books.statements.close(pair, dayOf(friday, "Asia/Shanghai"));
    expect([posted, compared, totals.attempts]).toEqual([
      ["posted", "posted"],
      times,
      BigInt(times),
    ]);
  });
}

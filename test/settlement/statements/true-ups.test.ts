import { describe, expect, test } from "vitest";
import { largestRemainder } from "../../../services/core/settlement/ratio.ts";
import { fromSaleText } from "../../../services/core/settlement/ledger/sale-text.ts";
import { acme, channel } from "../../core/settlement/market.ts";
import { randomFromSeed } from "../../../services/core/random.ts";
import { balanceText } from "../../../services/core/settlement/ledger/ledger.ts";
import {
  dayOf,
  monthOf,
  periodNamed,
} from "../../../services/core/settlement/statements/period.ts";
import { accountsOf } from "../../../services/core/settlement/statements/statement-entries.ts";
import {
  payableNano,
  type Statement,
} from "../../../services/core/settlement/statements/statement.ts";
import { fromStatementText } from "../../../services/core/settlement/statements/statement-text.ts";
import { finalNano, minimumLine } from "../../../services/core/settlement/pricing/true-up.ts";
import { toNano } from "../../../services/core/settlement/pricing/rate.ts";
import type { UsageRecord } from "../../../services/core/settlement/counting/usage.ts";
import type { AttemptId, PairId, PoolId, RequestId } from "../../../services/core/units.ts";
import { openSqliteLedger } from "../../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../../services/io/ledger-store.ts";
import { verifyLedger } from "../../../services/io/ledger-verify.ts";
import { recompute } from "../../../services/settlement/statements/recompute.ts";
import {
  engineCounts,
  evidence,
  friday,
  sha256,
  usageRecord,
} from "../../core/settlement/fixtures.ts";
import { closingPairs, openClosing, type Commitment } from "../closing-books.ts";

const dayUs = 86_400_000_000n;
const zone = "Asia/Shanghai";

function record(number: number, rev: number, openedUs: bigint, output: number): UsageRecord {
  const attempt = `a${number}`;
  return usageRecord({
    ...{ attempt: attempt as AttemptId, id: `${attempt}:${rev}`, openedUs },
    ...{ request: `r${number}` as RequestId, pool: `p${number % 2}` as PoolId },
    engineCounts: engineCounts({ output: BigInt(output) }),
    evidence: evidence({ outBytes: 100_000n, deliveredBytes: 1_000_000n, chunks: 0n }),
  });
}

type Books = Awaited<ReturnType<typeof openClosing>>;

/** Posts, corrects late and closes in any order; then all there is is closed. */
async function live(books: Books, seed: number, clock: { nowUs: bigint }): Promise<void> {
  const random = randomFromSeed(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const opened: bigint[] = [];
  const revs: number[] = [];
  const post = async (number: number): Promise<void> => {
    opened[number] ??= clock.nowUs - BigInt(below(40)) * 3_600_000_000n;
    const rev = revs[number] ?? 0;
    revs[number] = rev + 1;
    await books.ingest.record([record(number, rev, opened[number], below(200))]);
  };
  const act = [
    async () => post(opened.length),
    async () => post(opened.length),
    async () => post(below(opened.length + 1)),
    async () => post(below(opened.length + 1)),
    async () => {
      clock.nowUs += BigInt(below(5)) * 8n * 3_600_000_000n;
    },
    async () => {
      const pair = closingPairs[below(closingPairs.length)] as PairId;
      const yesterday = dayOf(clock.nowUs - dayUs, zone);
      await books.statements.closeThrough(pair, yesterday).catch(() => undefined);
    },
    async () => {
      const pair = closingPairs[below(closingPairs.length)] as PairId;
      const month = monthOf(monthOf(clock.nowUs, zone).fromUs - 1n, zone);
      await books.statements.closeThrough(pair, month).catch(() => undefined);
    },
  ];
  for (let step = 0; step < 120; step++) await act[below(act.length)]?.();
  clock.nowUs = monthOf(clock.nowUs, zone).toUs + dayUs;
  for (const pair of closingPairs) {
    await books.statements.closeThrough(pair, monthOf(clock.nowUs - 2n * dayUs, zone));
  }
}

async function statementsOf(store: LedgerStore, books: Books, pair: PairId): Promise<Statement[]> {
  const found = await Promise.all(
    books.closed.of(pair).map(async ({ statement }) => store.document("statement", statement)),
  );
  return found.flatMap((each) => (each === undefined ? [] : fromStatementText(each.body, sha256)));
}

/** What all keys of a pair come to when all is known, each period with its minimum. */
async function dueNano(store: LedgerStore, books: Books, pair: PairId, of: Commitment) {
  const terms = books.agreements.contractOf(pair, friday);
  const { minimumNano = 0n, discountPpm = 0n } = terms ?? {};
  const byPeriod = new Map<string, bigint>();
  for (const { name, kind } of books.closed.of(pair)) {
    if (`${kind}` === of.period) byPeriod.set(name, 0n);
  }
  for (const { key, total } of await store.cumulatives()) {
    if (key.pair !== pair) continue;
    const line = books.agreements.lineOf(key.line);
    const nano = line === undefined ? 0n : finalNano({ key, total, line }, discountPpm);
    byPeriod.set(key.period, (byPeriod.get(key.period) ?? 0n) + nano);
  }
  return [...byPeriod].reduce(
    (sum, [, nano]) => sum + (nano < minimumNano ? minimumNano : nano),
    0n,
  );
}

// prettier-ignore
const commitments: readonly Commitment[] = [
  { period: "daily",   minimumNano: undefined,  discountPpm: 0n },
  { period: "daily",   minimumNano: 1_000_000n, discountPpm: 12_345n },
  { period: "monthly", minimumNano: undefined,  discountPpm: 123_456n },
  { period: "monthly", minimumNano: 9_000_000n, discountPpm: 0n },
];

describe("whatever comes late, statements add up to what their periods come to in the end", () => {
  for (const commitment of commitments) {
    const { period, minimumNano, discountPpm } = commitment;
    test(`${period}, at least ${minimumNano ?? 0n}, less ${discountPpm} ppm`, async () => {
      for (let seed = 1; seed <= 3; seed++) {
        const store = await openSqliteLedger(":memory:");
        const clock = { nowUs: friday };
        const books = await openClosing(store, { commitment, nowUs: () => clock.nowUs });
        await live(books, seed, clock);
        for (const pair of closingPairs) {
          const all = await statementsOf(store, books, pair);
          const payable = all.filter(({ isPayable }) => isPayable);
          const netNano = payable.reduce((sum, { totals }) => sum + totals.netNano, 0n);
          const fees = payable.flatMap((each) => each.fees);
          const feeNano = fees.reduce((sum, { amountNano }) => sum + amountNano, 0n);
          expect(netNano).toBe(feeNano + (await dueNano(store, books, pair, commitment)));
          await expectBalances(store, pair, payable);
          for (const each of all) {
            expect(await recompute(store, each, { source: "leaves" })).toEqual([]);
          }
        }
        expect((await verifyLedger(store)).mistakes).toEqual([]);
        await books.writer.drain();
        await store.close();
      }
    });
  }
});

/** I7: all that was accrued was stated, and is what the statements ask for. */
async function expectBalances(
  store: LedgerStore,
  pair: PairId,
  payable: readonly Statement[],
): Promise<void> {
  const asked = payable.reduce((sum, each) => sum + payableNano(each), 0n);
  const keys = accountsOf(pair);
  const balances = await store.balancesOf(keys);
  const nets = keys.map((key) => {
    const { debit = 0n, credit = 0n } = balances.get(balanceText(key)) ?? {};
    return credit - debit;
  });
  expect(nets).toEqual(pair === "tenant:acme" ? [-asked] : [0n, asked, 0n, 0n, 0n]);
}

test("shares are what the sum of a period's sales is split into, not the sum of rounded ones", async () => {
  const store = await openSqliteLedger(":memory:");
  const clock = { nowUs: friday };
  const commitment: Commitment = { period: "daily", minimumNano: undefined, discountPpm: 0n };
  const books = await openClosing(store, { commitment, nowUs: () => clock.nowUs });
  const count = 40;
  const records = Array.from({ length: count }, (_, number) => {
    return record(number, 0, friday, 3 * number);
  });
  await books.ingest.record(records);
  const sales = (await store.salesBooked(acme, "2026-11-20", undefined, 1_000)).map(
    ({ text }) => fromSaleText(text).sale,
  );
  // Where the platform bore a loss there was nothing to divide.
  const divided = sales
    .map(({ parts }) => parts.filter(({ way }) => way === "share"))
    .filter((shares) => shares.every(({ amountNano }) => amountNano >= 0n));
  expect(divided.length).toBeGreaterThan(10);
  const rest = divided.flat().reduce((all, { amountNano }) => all + amountNano, 0n);
  const [, exact = 0n] = largestRemainder(rest, [900_001n, 99_999n]);
  const rounded = sales.flatMap(({ parts }) => parts.filter(({ part }) => part === "channel"));
  const sum = rounded.reduce((all, { amountNano }) => all + amountNano, 0n);
  expect(sum).not.toBe(exact);
  clock.nowUs += dayUs;
  await books.statements.closeThrough("tenant:acme" as PairId, dayOf(friday, zone));
  const share = await books.statements.closeThrough(channel, dayOf(friday, zone));
  expect(share.fees).toEqual([
    { part: "channel", party: channel, sku: undefined, amountNano: exact },
  ]);
  const leaves = await store.leaves(channel, 0n, 100);
  expect(leaves.map(({ text }) => text).join("")).not.toMatch(/acme/);
  expect((await verifyLedger(store)).mistakes).toEqual([]);
  await store.close();
});

test("a correction after the close brings the volume price back in the next period", async () => {
  const store = await openSqliteLedger(":memory:");
  const clock = { nowUs: friday };
  const commitment: Commitment = { period: "daily", minimumNano: undefined, discountPpm: 0n };
  const books = await openClosing(store, { commitment, nowUs: () => clock.nowUs });
  const pair = "vendor:northgrid" as PairId;
  await books.ingest.record([record(2, 0, friday, 190)]);
  clock.nowUs += dayUs;
  const first = await books.statements.closeThrough(pair, dayOf(friday, zone));
  const nano = (tokens: bigint, pico: bigint): bigint => toNano(tokens * pico);
  expect(first.trueUps).toEqual([
    {
      ...{ line: "northgrid-list:1:response", scope: "p0", period: "2026-11-20" },
      amountNano: nano(190n, 1_111_111n) - nano(190n, 1_999_501n),
    },
  ]);
  await books.ingest.record([record(2, 1, friday, 100)]);
  clock.nowUs += dayUs;
  const next = periodNamed("2026-11-21", zone);
  const second = next && (await books.statements.close(pair, next));
  expect(second?.trueUps.map((each) => [each.period, each.amountNano])).toEqual([
    ["2026-11-20", nano(190n, 1_999_501n) - nano(190n, 1_111_111n)],
  ]);
  expect(first.trueUps.every(({ line }) => line !== minimumLine)).toBe(true);
  await store.close();
});

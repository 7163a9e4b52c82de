import { afterEach, beforeEach, expect, test } from "vitest";
import { balanceText, receivableAccount } from "../../services/core/settlement/ledger/ledger.ts";
import { dayOf, monthOf } from "../../services/core/settlement/statements/period.ts";
import { fromSaleText } from "../../services/core/settlement/ledger/sale-text.ts";
import { payableNano } from "../../services/core/settlement/statements/statement.ts";
import type { AttemptId, PackageId, PairId, RequestId } from "../../services/core/units.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { recompute } from "../../services/settlement/statements/recompute.ts";
import { bookedHours } from "../../services/settlement/statements/statement-hours.ts";
import { collected } from "../collected.ts";
import { engineCounts, friday, usageRecord } from "../core/settlement/fixtures.ts";
import { acme } from "../core/settlement/market.ts";
import { sku } from "../core/settlement/package-ledger.ts";
import { openClosing, type Commitment } from "./closing-books.ts";

const dayUs = 86_400_000_000n;
const zone = "Asia/Shanghai";
const pair = "tenant:acme" as PairId;
const priceNano = 49_900_000_001n;

let store: LedgerStore;
let books: Awaited<ReturnType<typeof openClosing>>;
let nowUs: bigint;

async function open(period: Commitment["period"]): Promise<void> {
  const commitment = { period, minimumNano: undefined, discountPpm: 0n };
  books = await openClosing(store, { commitment, nowUs: () => nowUs });
}

beforeEach(async () => {
  store = await openSqliteLedger(":memory:");
  nowUs = friday;
  await open("daily");
});

afterEach(async () => {
  await books.writer.drain();
  await store.close();
});

async function buy(id: string): Promise<void> {
  const quantity = 100_000n;
  await books.packages.publish(
    sku({ id: "some", quantity, priceNano, refundPpm: 900_000n, validityUs: 30n * dayUs }),
  );
  await books.packages.purchase({ id: id as PackageId, tenant: acme, sku: "some", skuVersion: 0n });
}

async function use(name: string): Promise<void> {
  const [attempt, request] = [name as AttemptId, `r-${name}` as RequestId];
  await books.ingest.record([usageRecord({ attempt, id: `${name}:0`, request, openedUs: nowUs })]);
}

async function owedNano(): Promise<bigint> {
  const key = { unit: "CNY:nano", account: receivableAccount(acme) } as const;
  const { debit = 0n, credit = 0n } = (await store.balancesOf([key])).get(balanceText(key)) ?? {};
  return debit - credit;
}

test("a bill asks for what was billed and bought, less what was given back", async () => {
  await use("a1");
  const billed = await owedNano();
  await buy("p1");
  await buy("p2");
  await use("a2");
  const refund = await books.packages.refund("p2" as PackageId, "all", undefined);
  nowUs += dayUs;
  const bill = await books.statements.closeThrough(pair, dayOf(friday, zone));
  expect(bill.fees).toEqual([
    { part: "purchase", party: "package:p1", sku: "some@1", amountNano: priceNano },
    { part: "purchase", party: "package:p2", sku: "some@1", amountNano: priceNano },
    { part: "refund", party: "package:p2", sku: "some@1", amountNano: -refund.refundNano },
  ]);
  expect(bill.totals.netNano).toBe(billed + 2n * priceNano - refund.refundNano);
  expect(await owedNano()).toBe(payableNano(bill));
  expect(await recompute(store, bill, { source: "leaves" })).toEqual([]);
  expect(await recompute(store, bill, { source: "hours" })).toEqual([]);
  expect((await verifyLedger(store)).mistakes).toEqual([]);
});

test("a tenant that has only bought has a bill too, and a month adds up its days", async () => {
  await open("monthly");
  await buy("p1");
  nowUs += dayUs;
  await buy("p2");
  nowUs = monthOf(friday, zone).toUs + dayUs;
  const month = await books.statements.closeThrough(pair, monthOf(friday, zone));
  expect(month.fees.map(({ party }) => party)).toEqual(["package:p1", "package:p2"]);
  expect(month.totals.netNano).toBe(2n * priceNano);
  expect(await owedNano()).toBe(payableNano(month));
});

test("what a package let go of for a sale that was corrected is taken back from its cost", async () => {
  await buy("p1");
  const changes = { openedUs: nowUs, request: "r-a1" as RequestId, attempt: "a1" as AttemptId };
  const first = usageRecord({
    ...changes,
    id: "a1:0",
    engineCounts: engineCounts({ output: 50n }),
  });
  const next = usageRecord({ ...changes, id: "a1:1", engineCounts: engineCounts({ output: 20n }) });
  await books.ingest.record([first]);
  await books.ingest.record([next]);
  nowUs += dayUs;
  const bill = await books.statements.closeThrough(pair, dayOf(friday, zone));
  const rows = (await store.salesOf(["a1" as AttemptId])).filter(({ state }) => state === "billed");
  const [sale] = rows.map(({ text }) => fromSaleText(text).sale);
  const hours = (await collected(bookedHours(store, bill, 100))).flat();
  const sum = (of: readonly bigint[]): bigint => of.reduce((total, each) => total + each, 0n);
  expect(sale?.draws.length).toBe(1);
  expect(sum(hours.map(({ releasedNano }) => releasedNano))).toBe(sale?.draws[0]?.releasedNano);
  expect(sum(hours.map(({ coveredNano }) => coveredNano))).toBe(sale?.coveredNano);
  const draws = hours.flatMap((hour) => hour.draws);
  expect(sum(draws.map(({ amount }) => amount))).toBe(sale?.draws[0]?.amount);
  expect(await recompute(store, bill, { source: "leaves" })).toEqual([]);
});

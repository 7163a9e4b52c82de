import { Registry as Metrics } from "prom-client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { dayOf, monthOf } from "../../../services/core/settlement/statements/period.ts";
import type { AttemptId, GatewayId, PairId, RequestId } from "../../../services/core/units.ts";
import { openSqliteLedger } from "../../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../../services/io/ledger-store.ts";
import { openLog } from "../../../services/io/log.ts";
import { Closer } from "../../../services/settlement/statements/closer.ts";
import { SettlementMetrics } from "../../../services/settlement/metrics.ts";
import { friday, usageRecord } from "../../core/settlement/fixtures.ts";
import { openClosing } from "../closing-books.ts";

const dayUs = 86_400_000_000n;
const hourUs = 3_600_000_000n;
const log = openLog({ role: "test", level: "silent" });
const northgrid = "vendor:northgrid" as PairId;
const commitment = { period: "monthly", minimumNano: undefined, discountPpm: 0n } as const;

let store: LedgerStore;
let books: Awaited<ReturnType<typeof openClosing>>;
let closer: Closer;
let metrics: Metrics;
let nowUs: bigint;
let behind: readonly { gateway: GatewayId; completeUntilUs: bigint | undefined }[];

beforeEach(async () => {
  store = await openSqliteLedger(":memory:");
  [nowUs, behind] = [friday, []];
  metrics = new Metrics();
  books = await openClosing(store, {
    ...{ commitment, nowUs: () => nowUs },
    sources: { gatewaysBehind: () => behind },
  });
  const { statements } = books;
  const terms = {
    state: { calendarIds: ["cn-2026", "gone"] },
    calendarDaysLeft: (id: string) => (id === "gone" ? undefined : 40),
  };
  closer = new Closer({
    ...{ store, statements, terms, log, nowUs: () => nowUs },
    metrics: new SettlementMetrics(metrics),
  });
});

afterEach(async () => {
  await books.writer.drain();
  await store.close();
});

async function post(name: string, openedUs: bigint): Promise<void> {
  const [attempt, request] = [name as AttemptId, `r-${name}` as RequestId];
  await books.ingest.record([usageRecord({ attempt, id: `${name}:0`, request, openedUs })]);
}

function closed(pair: PairId = northgrid): string[] {
  return books.closed.of(pair).map(({ name }) => name);
}

async function gauge(name: string): Promise<number | undefined> {
  const found = await metrics.getSingleMetric(`tokengrid_settlement_${name}`)?.get();
  return found?.values[0]?.value;
}

test("a day is closed for every pair when it is over, and not before", async () => {
  await post("a1", friday);
  nowUs = dayOf(friday, "Asia/Shanghai").toUs - 1n;
  await closer.sweep();
  expect([closed(), await gauge("unclosed_seconds")]).toEqual([[], 0]);
  nowUs += 1n;
  await closer.sweep();
  await closer.sweep();
  expect(closed()).toEqual(["2026-11-20"]);
  expect(closed("tenant:acme" as PairId)).toEqual(["2026-11-20"]);
  expect(closed("channel:west" as PairId)).toEqual(["2026-11-20"]);
});

test("days without usage and the month follow, however long nobody looked", async () => {
  await post("a1", friday);
  nowUs = monthOf(friday, "Asia/Shanghai").toUs + dayUs;
  await closer.sweep();
  expect(closed()).toHaveLength(11 + 1 + 1);
  expect(closed().slice(-3)).toEqual(["2026-11-30", "2026-11", "2026-12-01"]);
  expect(await gauge("unclosed_seconds")).toBe(0);
});

test("what may not be closed yet is seen by its age, and closed an hour later at last", async () => {
  await post("a1", friday);
  behind = [{ gateway: "gw-1" as GatewayId, completeUntilUs: undefined }];
  nowUs = dayOf(friday, "Asia/Shanghai").toUs + hourUs - 1_000_000n;
  await closer.sweep();
  expect([closed(), await gauge("unclosed_seconds")]).toEqual([[], 3_599]);
  nowUs += 1_000_000n;
  await closer.sweep();
  expect([closed(), await gauge("unclosed_seconds")]).toEqual([["2026-11-20"], 0]);
});

test("it tells what waits, and how far calendars reach", async () => {
  await closer.sweep();
  expect([await gauge("sales_waiting"), await gauge("calendar_days_left")]).toEqual([0, 40]);
});

import { afterEach, beforeEach, expect, test } from "vitest";
import { dayOf } from "../../services/core/settlement/statements/period.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type {
  AttemptId,
  PairId,
  RequestId,
  TenantId,
  VendorId,
} from "../../services/core/units.ts";
import { readCharges } from "../../services/io/ledger-rows.ts";
import { LedgerFencedError, type LedgerStore } from "../../services/io/ledger-store.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { engineCounts, evidence, friday, usageRecord } from "../core/settlement/fixtures.ts";
import { batch, openBooks, post, record } from "./ledger-books.ts";
import { hashed, leaf } from "./ledger-rows.ts";
import { ledgerRowsSuite } from "./ledger-rows-suite.ts";

const day = dayOf(friday, "Asia/Shanghai");
const northgrid = "vendor:northgrid" as PairId;

/** A place for ledgers, one kind of them. */
export interface LedgerKind {
  /** Where a ledger is that nobody has opened yet. */
  target(): Promise<string>;
  open(target: string): Promise<LedgerStore>;
  read(target: string): Promise<LedgerStore>;
}

/** What every ledger store promises. */
export function ledgerStoreSuite(name: string, kind: LedgerKind): void {
  let target: string;
  let store: LedgerStore;

  beforeEach(async () => {
    target = await kind.target();
    store = await kind.open(target);
  });

  afterEach(() => store.close());

  ledgerRowsSuite(name, () => store);

  test(`${name}: what is committed is there after opening it again`, async () => {
    const books = await openBooks(store);
    await books.buyPackage();
    await books.post([record("a1"), record("a2", { isWinner: false })]);
    const before = await everything(store);
    await store.close();
    store = await kind.open(target);
    expect(await everything(store)).toEqual(before);
    expect(before.records.map((each) => each.record)).toEqual(["a1:0", "a2:0"]);
    expect(before.mistakes).toEqual([]);
  });

  test(`${name}: chargesIn() gives what a sum needs of the records that recordsIn() gives, page by page`, async () => {
    const records = ["a1", "a2", "a3"].map((attempt) => record(attempt));
    await post(store, [...records, record("a2", { id: "a2:1", finishReason: "length" })]);
    const vendor = "northgrid" as VendorId;
    const whole = await store.recordsIn(vendor, day, undefined, 9);
    const first = await store.chargesIn(vendor, day, undefined, 3);
    const last = first.at(-1);
    const after = last && { attempt: last[0], rev: last[1] };
    const all = [...first, ...(await store.chargesIn(vendor, day, after, 3))];
    expect(all.map(([attempt, rev]) => `${attempt}:${rev}`)).toEqual([
      "a1:0",
      "a2:0",
      "a2:1",
      "a3:0",
    ]);
    expect(all.map((row) => [...row.slice(2, 7), readCharges(row[7])])).toEqual(
      whole.map((each) => [
        ...[each.openedUs, each.pool, each.region, each.booking, each.period],
        each.charges,
      ]),
    );
  });

  test(`${name}: the same records in other batches and again give the same books`, async () => {
    const records = Array.from({ length: 12 }, (_, index) =>
      record(`a${index % 6}`, {
        engineCounts: engineCounts({ output: BigInt(20 + (index % 6)) }),
      }),
    );
    for (const each of records) await post(store, [each]);
    const other = await kind.open(await kind.target());
    await post(other, records.toReversed());
    const [one, two] = [await everything(store), await everything(other)];
    await other.close();
    expect(two.cumulatives).toEqual(one.cumulatives);
    expect(two.consumption).toEqual(one.consumption);
    expect([one.mistakes, two.mistakes]).toEqual([[], []]);
  });

  test(`${name}: a commit that fails leaves nothing behind`, async () => {
    await post(store, [record("a1")]);
    const before = await everything(store);
    const [entry] = await store.entriesAfter(0n, 1);
    const again = batch({
      entries: entry === undefined ? [] : [entry],
      movements: new Map([["CNY:nano\nx", moved(1n)]]),
      producers: [producer(9n)],
    });
    await expect(store.commit(again)).rejects.toThrow(/UNIQUE|duplicate key/);
    expect(await everything(store)).toEqual(before);
    await post(store, [record("a2", { producerSeq: 2n })]);
    expect((await everything(store)).records.length).toBe(2);
  });

  test(`${name}: commits that do not wait for one another are numbered one after the other`, async () => {
    const commits = Array.from({ length: 20 }, (_, index) => {
      const leaves = [leaf("internal", 2 * index), leaf("internal", 2 * index + 1)];
      const body = { kind: "k", pair: "internal", seq: 0n, atUs: 0n, ...hashed("x") } as const;
      const documents = [0, 1].map((each) => ({ ...body, id: `${index}-${each}` }));
      return store.commit(batch({ leaves, documents }));
    });
    await Promise.all(commits);
    const { documents } = await store.counts();
    expect(documents).toEqual({ rows: 40n, last: 40n });
    expect((await verifyLedger(store)).mistakes).toEqual([]);
  });

  test(`${name}: whoever opened it last writes, the one before is fenced off`, async () => {
    const later = await kind.open(target);
    await expect(store.commit(batch({ producers: [producer(2n)] }))).rejects.toThrow(
      LedgerFencedError,
    );
    await later.commit(batch({ producers: [producer(3n)] }));
    expect(await store.producers()).toEqual([producer(3n)]);
    await later.close();
  });

  test(`${name}: nothing of a writer that is being fenced off comes after the one that follows`, async () => {
    const commits = Array.from({ length: 30 }, (_, index) =>
      store.commit(batch({ producers: [producer(BigInt(index + 1))] })),
    );
    const ended = Promise.allSettled(commits);
    const later = await kind.open(target);
    const ends = await ended;
    const kept = ends.filter(({ status }) => status === "fulfilled").length;
    const [state] = await later.producers();
    expect(state?.nextSeq ?? 0n).toBe(BigInt(kept));
    expect(ends.slice(0, kept).every(({ status }) => status === "fulfilled")).toBe(true);
    const refused = ends.slice(kept).map((end) => end.status === "rejected" && end.reason);
    expect(refused.every((reason) => reason instanceof LedgerFencedError)).toBe(true);
    await later.close();
  });

  test(`${name}: whoever reads a ledger fences off nobody, cannot write, and sees one moment`, async () => {
    const reader = await kind.read(target);
    const nothing = await verifyLedger(reader);
    expect(nothing).toEqual({ records: 0, entries: 0, heads: new Map(), mistakes: [] });
    await post(store, [record("a1")]);
    await expect(reader.commit(batch())).rejects.toThrow(/transaction/);
    expect(await verifyLedger(reader)).toEqual(nothing);
    await reader.close();
    const later = await kind.read(target);
    expect(await verifyLedger(later)).toMatchObject({ records: 1, mistakes: [] });
    await later.close();
  });

  test(`${name}: producers, totals and records are found by their keys`, async () => {
    await post(store, [record("a1")]);
    await store.commit(batch({ producers: [producer(2n), { ...producer(7n), epoch: 2n }] }));
    expect(await store.producers()).toEqual([producer(2n), { ...producer(7n), epoch: 2n }]);
    const stored = await store.recordsOf(["a1", "a9"] as AttemptId[]);
    expect(stored).toMatchObject([
      {
        attempt: "a1",
        rev: 0n,
        state: "posted",
        amountNano: 527_980n,
        fees: [{ pair: "model:qwen" }],
      },
    ]);
    const all = { cumulatives: await store.cumulatives(), hours: await store.hours() };
    const [pair, period] = [northgrid, "2026-11-20"];
    expect(await store.cumulativesOf(pair, period)).toEqual(
      all.cumulatives.filter(({ key }) => key.pair === pair && key.period === period),
    );
    expect(await store.cumulativesOf(pair, "2026-11")).toEqual([]);
    expect([all.cumulatives.length, all.hours.length]).toEqual([9, 9]);
    const found = await store.totalsOf(
      all.cumulatives.map(({ key }) => key),
      all.hours.map(({ key }) => key),
    );
    expect(new Set(found.cumulatives)).toEqual(new Set(all.cumulatives));
    expect(new Set(found.hours)).toEqual(new Set(all.hours));
    const elsewhere = all.hours.map(({ key }) => ({ ...key, booking: "2026-11-21" }));
    expect((await store.totalsOf([], elsewhere)).hours).toEqual([]);
  });

  test(`${name}: quarantine holds what waits until it is released`, async () => {
    await post(store, [record("a1"), record("a2", { producerSeq: 2n })], []);
    expect(await store.waitingCount()).toBe(2);
    const [first] = await store.waiting(undefined, 1);
    expect(first).toMatchObject({
      record: "a1:0",
      reason: expect.stringMatching(/^price-book-unknown/),
    });
    expect((await store.waiting(first, 9)).map((each) => each.record)).toEqual(["a2:0"]);
    await post(store, [record("a1")]);
    expect(await store.waitingCount()).toBe(1);
    const states = (await store.recordsOf(["a1", "a2"] as AttemptId[])).map(({ state }) => state);
    expect(states).toEqual(["posted", "waiting"]);
    expect(await store.account(northgrid, day)).toMatchObject({ attempts: 1n, quarantined: 1n });
    expect((await verifyLedger(store)).mistakes).toEqual([]);
  });

  test(`${name}: usages come newest first, page by page, by any filter`, async () => {
    const records = Array.from({ length: 23 }, (_, index) =>
      record(`a${String(index).padStart(2, "0")}`, {
        // Several at one instant, so that a page ends between them.
        openedUs: friday + BigInt(Math.floor(index / 5)) * 1_000_000n,
        request: `r${index % 3}` as RequestId,
        tenant: `t${index % 2}` as TenantId,
        producerSeq: BigInt(index + 1),
      }),
    );
    await post(store, records.slice(0, 20));
    await post(store, records.slice(20), []);
    const newestFirst = records
      .map(({ id }) => id)
      .toReversed()
      .toSorted((a, b) => at(b, records) - at(a, records));
    expect(await pages(store, {}, 4)).toEqual(newestFirst);
    const isOf = (key: "request" | "tenant", value: string) =>
      records.filter((each) => each[key] === value).length;
    expect((await pages(store, { request: "r1" as RequestId }, 3)).length).toBe(
      isOf("request", "r1"),
    );
    expect((await pages(store, { tenant: "t1" as TenantId }, 3)).length).toBe(isOf("tenant", "t1"));
    const second = { fromUs: friday + 1_000_000n, toUs: friday + 2_000_000n };
    expect(await pages(store, second, 2)).toEqual(["a09:0", "a08:0", "a07:0", "a06:0", "a05:0"]);
    expect(await pages(store, { vendor: "south" as VendorId }, 2)).toEqual([]);
  });

  test(`${name}: every vendor of a record is known, also while all its records wait`, async () => {
    expect(await store.vendors()).toEqual([]);
    await post(store, [record("a1"), record("a2")]);
    const waiting = ["south", "east", "south"].map((vendor, index) => ({
      ...record(`w${index}`),
      vendor: vendor as VendorId,
    }));
    await post(store, waiting);
    expect(await store.waitingCount()).toBe(3);
    expect(await store.vendors()).toEqual(["east", "northgrid", "south"]);
  });

  test(`${name}: a period has what was booked into it, and what was used in it`, async () => {
    const late = { openedUs: friday + 86_400_000_000n };
    await post(store, [record("a1"), record("a2", { isWinner: false }), record("a3", late)]);
    const tenant = "tenant:acme" as PairId;
    expect(await store.bookedAttempts(northgrid, "2026-11-20")).toBe(2n);
    expect(await store.bookedAttempts(northgrid, "2026-11-21")).toBe(1n);
    expect(await store.bookedAttempts(tenant, "2026-11-20")).toBe(1n);
    expect((await store.booked(northgrid, "2026-11-20")).length).toBe(3);
    expect((await store.booked(tenant, "2026-11-22")).length).toBe(0);
    const account = await store.account(northgrid, day);
    expect(account).toMatchObject({ attempts: 2n, quarantined: 0n });
    expect(account.hours.map(({ total }) => total.attempts)).toEqual([2n, 2n, 2n]);
    expect([...account.hashByVersion.keys()].toSorted()).toEqual([
      ...["acme-sell@1", "northgrid-list@1", "qwen-licence@1"],
    ]);
    expect(await store.account(tenant, day)).toMatchObject({ attempts: 2n });
    const ids = async (from: bigint, after: UsageRecord | undefined) => {
      const period = { fromUs: from, toUs: from + 86_400_000_000n };
      const place = after && { attempt: after.attempt, rev: 0n };
      const found = await store.recordsIn("northgrid" as VendorId, period, place, 9);
      return found.map((each) => each.record);
    };
    expect(await ids(day.fromUs, undefined)).toEqual(["a1:0", "a2:0"]);
    expect(await ids(day.fromUs, record("a1"))).toEqual(["a2:0"]);
    expect(await ids(day.toUs, undefined)).toEqual(["a3:0"]);
  });

  test(`${name}: corrections leave every sum as it can be made again`, async () => {
    const books = await openBooks(store);
    await books.buyPackage();
    const many = Array.from({ length: 9 }, (_, index) => record(`a${index}`));
    await books.post(many);
    const corrected = {
      engineCounts: engineCounts({ output: 31n }),
      evidence: evidence({ chunks: 0n }),
    };
    await books.post([
      record("a2", { ...corrected, id: "a2:1" }),
      record("a8", { ...corrected, id: "a8:2" }),
      record("a8", { ...corrected, id: "a8:1" }),
    ]);
    const { mistakes, records } = await everything(store);
    expect(mistakes).toEqual([]);
    expect(records.length).toBe(12);
    const sales = await store.salesOf(["a2"] as AttemptId[]);
    expect(sales.map(({ rev, state }) => [rev, state])).toEqual([
      [1n, "billed"],
      [0n, "replaced"],
    ]);
  });

  test(`${name}: whoever checks it hears how far he is`, async () => {
    const books = await openBooks(store);
    await books.post(Array.from({ length: 40 }, (_, index) => record(`a${index}`)));
    const heard: (readonly [done: number, total: number])[] = [];
    await verifyLedger(store, (done, total) => heard.push([done, total]));
    const { entries } = await store.counts();
    const leaves = [...(await store.logs()).values()].reduce((sum, size) => sum + size, 0n);
    const total = Number(40n + entries.rows + leaves);
    expect(heard.at(-1)).toEqual([total, total]);
    expect(heard.map(([done]) => done)).toEqual(
      heard.map(([done]) => done).toSorted((a, b) => a - b),
    );
  });
}

export function producer(nextSeq: bigint) {
  return { gateway: usageRecord().gateway, epoch: 1n, nextSeq, ahead: "", lost: 0n };
}

export function moved(debit: bigint, credit = 0n) {
  return { debit, credit, heldDebit: 0n, heldCredit: 0n };
}

/** All that can be asked for as a whole. */
export async function everything(store: LedgerStore) {
  const { mistakes, heads } = await verifyLedger(store);
  const logs = [...(await store.logs()).keys()];
  return {
    mistakes,
    heads,
    records: await store.recordsAfter(undefined, 10_000),
    entries: await store.entriesAfter(0n, 100_000),
    balances: await store.balances(),
    cumulatives: await store.cumulatives(),
    hours: await store.hours(),
    consumption: await store.consumption(undefined, 0n, 2n ** 62n),
    leaves: await Promise.all(logs.map((log) => store.leaves(log, 0n, 100_000))),
    documents: await store.documents({}, { afterSeq: 0n, limit: 10_000 }),
    holds: await store.holdsOpen(undefined, 10_000),
    producers: await store.producers(),
    account: await store.account(northgrid, day),
  };
}

async function pages(
  store: LedgerStore,
  filter: Parameters<LedgerStore["usages"]>[0],
  limit: number,
): Promise<string[]> {
  const found: string[] = [];
  let page: Awaited<ReturnType<LedgerStore["usages"]>>;
  let after: (typeof page)[number] | undefined;
  do {
    page = await store.usages(filter, { after, limit });
    found.push(...page.map((each) => each.record));
    after = page.at(-1);
  } while (page.length === limit);
  return found;
}

function at(id: string, records: readonly UsageRecord[]): number {
  return Number((records.find((each) => each.id === id)?.openedUs ?? 0n) - friday);
}

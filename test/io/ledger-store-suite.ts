import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { partsOfLineId } from "../../services/core/settlement/charge.ts";
import { dayOf } from "../../services/core/settlement/period.ts";
import { keysOf, Posting } from "../../services/core/settlement/posting.ts";
import { prepare } from "../../services/core/settlement/prepare.ts";
import type { PriceBook } from "../../services/core/settlement/price-book.ts";
import { closeStatement } from "../../services/core/settlement/statement.ts";
import { bookText } from "../../services/core/settlement/terms-text.ts";
import type { UsageRecord } from "../../services/core/settlement/usage.ts";
import type { AttemptId, RequestId, TenantId, VendorId } from "../../services/core/units.ts";
import { LedgerFencedError, type LedgerStore } from "../../services/io/ledger-store.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import {
  contract,
  engineCounts,
  evidence,
  friday,
  priceBook,
  sha256,
  usageRecord,
} from "../core/settlement/fixtures.ts";

const day = dayOf(friday, "Asia/Shanghai");
const northgrid = "northgrid" as VendorId;

/** What every ledger store promises. `open` is given the path of a file that may exist already. */
export function ledgerStoreSuite(name: string, open: (path: string) => Promise<LedgerStore>): void {
  let folder: string;
  let path: string;
  let store: LedgerStore;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "tokengrid-ledger-"));
    path = join(folder, "ledger.sqlite");
    store = await open(path);
  });

  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  test(`${name}: what is committed is there after opening it again`, async () => {
    await post(store, [record("a1"), record("a2", { isWinner: false })]);
    const before = await everything(store);
    await store.close();
    store = await open(path);
    expect(await everything(store)).toEqual(before);
    expect(before.records.map((each) => each.record)).toEqual(["a1:0", "a2:0"]);
    expect(before.mistakes).toEqual([]);
  });

  test(`${name}: the same records in other batches and again give the same books`, async () => {
    const records = Array.from({ length: 12 }, (_, index) =>
      record(`a${index % 6}`, {
        engineCounts: engineCounts({ output: BigInt(20 + (index % 6)) }),
      }),
    );
    for (const each of records) await post(store, [each]);
    const other = await open(join(folder, "other.sqlite"));
    await post(other, records.toReversed());
    const [one, two] = [await everything(store), await everything(other)];
    await other.close();
    expect(two.cumulatives).toEqual(one.cumulatives);
    expect(two.balances).toEqual(one.balances);
    expect(one.mistakes).toEqual([]);
    expect(two.mistakes).toEqual([]);
  });

  test(`${name}: a commit that fails leaves nothing behind`, async () => {
    await post(store, [record("a1")]);
    const before = await everything(store);
    const [, entry] = [...(await store.entriesAfter(0n, 1)), ...(await store.entriesAfter(0n, 1))];
    const batch = {
      ...emptyBatch,
      entries: entry === undefined ? [] : [entry],
      movements: new Map([["x", { debitNano: 1n, creditNano: 0n }]]),
    };
    await expect(store.commit({ ...batch, producers: [producer(9n)] })).rejects.toThrow(/UNIQUE/);
    expect(await everything(store)).toEqual(before);
    expect(await store.producers()).toEqual([]);
    await post(store, [record("a2")]);
    expect((await everything(store)).records.length).toBe(2);
  });

  test(`${name}: whoever opened it last writes, the one before is fenced off`, async () => {
    const later = await open(path);
    await expect(store.commit({ ...emptyBatch, producers: [producer(2n)] })).rejects.toThrow(
      LedgerFencedError,
    );
    await later.commit({ ...emptyBatch, producers: [producer(3n)] });
    expect(await store.producers()).toEqual([producer(3n)]);
    await later.close();
  });

  test(`${name}: producers, totals and records are found by their keys`, async () => {
    await post(store, [record("a1")]);
    await store.commit({ ...emptyBatch, producers: [producer(2n), producer(7n)] });
    expect(await store.producers()).toEqual([producer(7n)]);
    const attempts = ["a1", "a9"] as AttemptId[];
    const stored = await store.recordsOf(attempts);
    expect(stored).toMatchObject([
      { attempt: "a1", rev: 0n, state: "posted", amountNano: 527_980n },
    ]);
    const keys = keysOf([], stored);
    const found = await store.totalsOf(keys.rating, keys.hours);
    expect([found.cumulatives.length, found.hours.length]).toEqual([3, 3]);
    const elsewhere = keys.rating.map((key) => ({ ...key, period: "2026-11-21" }));
    expect((await store.totalsOf(elsewhere, [])).cumulatives).toEqual([]);
  });

  test(`${name}: quarantine holds what waits until it is released`, async () => {
    await post(store, [record("a1"), record("a2")], []);
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
  });

  test(`${name}: usages come newest first, page by page, by any filter`, async () => {
    const records = Array.from({ length: 23 }, (_, index) =>
      record(`a${String(index).padStart(2, "0")}`, {
        // Several at one instant, so that a page ends between them.
        openedUs: friday + BigInt(Math.floor(index / 5)) * 1_000_000n,
        request: `r${index % 3}` as RequestId,
        tenant: `t${index % 2}` as TenantId,
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
    expect((await store.vendors()).toSorted()).toEqual(["east", "northgrid", "south"]);
  });

  test(`${name}: statements are kept by their bytes`, async () => {
    await post(store, [record("a1")]);
    const first = await close(store, undefined);
    await store.saveStatement(first);
    await store.saveStatement(first);
    await expect(store.saveStatement({ ...first, text: `${first.text} ` })).rejects.toThrow(
      first.id,
    );
    await post(store, [record("a2")]);
    const second = await close(store, first);
    await store.saveStatement(second);
    expect(await store.latestStatement(northgrid, day)).toEqual(second);
    expect(await store.statement(first.id)).toEqual(first);
    expect(await store.statement("none")).toBeUndefined();
    expect((await store.statements(undefined, 9)).map(({ rev }) => rev)).toEqual([1, 0]);
    expect((await store.statements(northgrid, 1)).map(({ rev }) => rev)).toEqual([1]);
    expect(await store.statements("south" as VendorId, 9)).toEqual([]);
  });

  test(`${name}: corrections leave every sum as it can be made again`, async () => {
    await post(store, [record("a1"), record("a2"), record("a3")]);
    const corrected = {
      id: "a2:1",
      engineCounts: engineCounts({ output: 31n }),
      evidence: evidence({ chunks: 0n }),
    };
    await post(store, [record("a2", corrected)]);
    const { mistakes, entries, records } = await everything(store);
    expect(mistakes).toEqual([]);
    expect([entries.length, records.length]).toEqual([5, 4]);
    expect(entries.map(({ kind }) => kind)).toEqual([
      "usage",
      "usage",
      "usage",
      "reverse",
      "usage",
    ]);
  });
}

export const emptyBatch = {
  posted: [],
  waiting: [],
  released: [],
  entries: [],
  movements: new Map(),
  cumulatives: [],
  hours: [],
  versions: [],
  producers: [],
};

function producer(nextSeq: bigint) {
  return { gateway: usageRecord().gateway, epoch: 1n, nextSeq, ahead: "", lost: 0n };
}

export function record(attempt: string, changes: Partial<UsageRecord> = {}): UsageRecord {
  return usageRecord({ attempt: attempt as AttemptId, id: `${attempt}:0`, ...changes });
}

/** One batch the way settlement does it. */
export async function post(
  store: LedgerStore,
  records: readonly UsageRecord[],
  books: readonly PriceBook[] = [priceBook()],
): Promise<void> {
  const prepared = records.map((each) => {
    const rev = BigInt(each.id.split(":").at(-1) ?? "");
    return prepare(each, { rev, contract: contract(), book: books[0], sha256 });
  });
  const stored = await store.recordsOf(records.map(({ attempt }) => attempt));
  const keys = keysOf(prepared, stored);
  const totals = await store.totalsOf(keys.rating, keys.hours);
  const posting = new Posting({ records: stored, ...totals }, (id) =>
    books[0]?.lines.find((line) => line.id === partsOfLineId(id).line),
  );
  for (const each of prepared) posting.add(each);
  const versions = books.map((book) => {
    const text = bookText(book);
    return { book: book.id, version: book.version, hash: sha256(text), text };
  });
  await store.commit({ ...posting.changes, versions, producers: [] });
}

async function everything(store: LedgerStore) {
  const { mistakes } = await verifyLedger(store);
  return {
    mistakes,
    records: await store.recordsAfter(undefined, 1_000),
    entries: await store.entriesAfter(0n, 1_000),
    balances: await store.balances(),
    cumulatives: (await store.cumulatives()).toSorted((a, b) => (a.key.line < b.key.line ? -1 : 1)),
    account: await store.account(northgrid, day),
  };
}

export async function close(store: LedgerStore, latest: Parameters<typeof closeStatement>[1]) {
  const books = await store.account(northgrid, day);
  const account = { vendor: northgrid, period: day, contractHash: "", ...books };
  return closeStatement(account, latest, sha256);
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

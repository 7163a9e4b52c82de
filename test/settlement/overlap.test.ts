import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PostOutcome } from "../../services/core/settlement/ledger/posting.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type { AttemptId, RequestId } from "../../services/core/units.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { openLedgerThread } from "../../services/io/ledger-thread.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { engineCounts, evidence, friday, usageRecord } from "../core/settlement/fixtures.ts";
import { openIngest, UnsureStore } from "./sold-books.ts";

/** So many come at once that one transaction does not hold them all. */
const callers = 8;
const recordsOfCaller = 250;

let folder: string;
let stores: LedgerStore[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-overlap-"));
  stores = [];
});

afterEach(async () => {
  for (const store of stores) await store.close();
  rmSync(folder, { recursive: true });
});

async function open(name: string): Promise<LedgerStore> {
  const store = await openLedgerThread(join(folder, name));
  stores.push(store);
  return store;
}

function record(number: number, rev: number, output = 40n): UsageRecord {
  const attempt = `a${String(number).padStart(5, "0")}` as AttemptId;
  return usageRecord({
    ...{ attempt, id: `${attempt}:${rev}`, request: `r${number}` as RequestId },
    ...{ openedUs: friday + BigInt(number), engineCounts: engineCounts({ output }) },
    ...{ producerSeq: BigInt(number * 2 + rev + 1) },
    evidence: evidence({ outBytes: 100_000n, deliveredBytes: 1_000_000n, chunks: 0n }),
  });
}

/** Each caller has some records of the caller before again, and corrects others of them. */
function recordsOf(caller: number): UsageRecord[] {
  const first = caller * recordsOfCaller;
  return Array.from({ length: recordsOfCaller }, (_, place) => {
    const before = first + place - recordsOfCaller;
    if (before >= 0 && place % 5 === 0) return record(before, 0);
    if (before >= 0 && place % 7 === 0) return record(before, 1, 30n);
    return record(first + place, 0);
  });
}

const everyCaller = Array.from({ length: callers }, (_, caller) => recordsOf(caller));

function idsOf(records: readonly UsageRecord[]): Set<string> {
  return new Set(records.map(({ id }) => id));
}

/** All that the books say, but for who came in which transaction. */
async function booksOf(store: LedgerStore) {
  const everything = 2n ** 62n;
  const [records, sales] = [[], []] as [unknown[], unknown[]];
  for (const caller of everyCaller) {
    const attempts = caller.map(({ attempt }) => attempt);
    records.push(...(await store.recordsOf(attempts)));
    sales.push(...(await store.salesOf(attempts)));
  }
  return {
    ...{ records, sales },
    entries: (await store.entriesAfter(0n, 100_000)).toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    balances: await store.balances(),
    cumulatives: await store.cumulatives(),
    hours: await store.hours(),
    consumption: await store.consumption(undefined, -everything, everything),
    logs: await store.logs(),
    producers: await store.producers(),
  };
}

test("books that are written while the next records are worked on are those of one after the other", async () => {
  const [together, alone] = [await open("together"), await open("alone")];
  const one = openIngest(alone);
  const outcomes: PostOutcome[][] = [];
  for (const caller of everyCaller) outcomes.push(await one.ingest.record(caller));
  const all = openIngest(together);
  const found = await Promise.all(everyCaller.map((caller) => all.ingest.record(caller)));
  expect(found).toEqual(outcomes);
  expect(await booksOf(together)).toEqual(await booksOf(alone));
  const { records, mistakes } = await verifyLedger(together);
  expect({ records, mistakes }).toEqual({ records: idsOf(everyCaller.flat()).size, mistakes: [] });
});

test("what goes on from a transaction that was refused is made again without it", async () => {
  const store = await open("refused");
  const unsure = new UnsureStore(store, () => new Error("the disk is busy"));
  const { ingest } = openIngest(unsure.store);
  const [first = [], ...others] = everyCaller;
  const lost = [...first, ...first.map((each) => ({ ...each, id: `${each.attempt}:2` }))];
  unsure.next = "refused";
  const refused = expect(ingest.record(lost)).rejects.toThrow("the ledger cannot be written");
  // They are worked on while it is being refused.
  await Promise.resolve();
  const found = (await Promise.all(others.map((caller) => ingest.record(caller)))).flat();
  await refused;
  const sent = idsOf(others.flat());
  expect(found.filter(({ status }) => status === "posted").length).toBe(sent.size);
  expect((await store.counts()).records.rows).toBe(BigInt(sent.size));
  expect((await verifyLedger(store)).mistakes).toEqual([]);
  const again = await ingest.record(first);
  const posted = again.filter(({ status }) => status === "posted").map((each) => each.record);
  expect(new Set(posted)).toEqual(idsOf(first).difference(sent));
  expect((await verifyLedger(store)).mistakes).toEqual([]);
});

test("who asks to write waits for what is on its way", async () => {
  const store = await open("written");
  const { ingest, writer } = openIngest(store);
  const recorded = Promise.all(everyCaller.slice(0, 3).map((caller) => ingest.record(caller)));
  // Their turn has been asked for then.
  await Promise.resolve();
  await Promise.resolve();
  const seen = await writer.write(async (books) => {
    const [last] = await books.recordsAfter(undefined, 1);
    return { change: {}, result: { sent: writer.sent, last: last?.record } };
  });
  expect(seen).toEqual({ sent: undefined, last: "a00000:0" });
  await recorded;
  await ingest.drain();
  expect((await store.counts()).records.rows).toBe(
    BigInt(idsOf(everyCaller.slice(0, 3).flat()).size),
  );
});

test("drain() resolves when what is on its way is durable", async () => {
  const store = await open("drained");
  const { ingest } = openIngest(store);
  const recorded = Promise.all(everyCaller.map((caller) => ingest.record(caller)));
  await ingest.drain();
  const { records } = await store.counts();
  expect(records.rows).toBe(BigInt(idsOf(everyCaller.flat()).size));
  await recorded;
});

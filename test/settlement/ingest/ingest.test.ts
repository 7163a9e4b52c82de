import { Code, ConnectError } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { expect, test } from "vitest";
import type { UsageRecord } from "../../../services/core/settlement/counting/usage.ts";
import type { AttemptId, InstantUs } from "../../../services/core/units.ts";
import { systemClock } from "../../../services/io/clock.ts";
import type { LedgerBatch, LedgerStore } from "../../../services/io/ledger-store.ts";
import { openSqliteLedger } from "../../../services/io/ledger-sqlite.ts";
import { openLog } from "../../../services/io/log.ts";
import { openSqliteRegistry } from "../../../services/io/registry-sqlite.ts";
import { Agreements } from "../../../services/settlement/terms/agreements.ts";
import { Books } from "../../../services/settlement/terms/books.ts";
import { Ingest } from "../../../services/settlement/ingest/ingest.ts";
import { LedgerWriter } from "../../../services/settlement/ingest/ledger-writer.ts";
import { SettlementMetrics } from "../../../services/settlement/metrics.ts";
import { Producers } from "../../../services/settlement/ingest/producers.ts";
import { friday, usageRecord } from "../../core/settlement/fixtures.ts";

/** A ledger whose rows have a check that those of an attempt do not pass. */
function without(bad: string, store: LedgerStore): LedgerStore {
  const commit = async (batch: LedgerBatch): Promise<void> => {
    if (batch.posted.some(({ attempt }) => attempt === bad)) throw new Error("CHECK failed");
    await store.commit(batch);
  };
  return new Proxy(store, {
    get: (target, name) => {
      const value: unknown = name === "commit" ? commit : Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

async function openIngest(queueRecordsMax: number, bad = "none", nowUs?: () => InstantUs) {
  const log = openLog({ role: "test", level: "silent" });
  const registry = await openSqliteRegistry(":memory:");
  const store = without(bad, await openSqliteLedger(":memory:"));
  const buyBooks = new Books({ registry, calendarOf: () => undefined, log });
  const ingest = new Ingest({
    writer: new LedgerWriter({ store, log }),
    terms: new Agreements({ buyBooks }),
    metrics: new SettlementMetrics(new Metrics()),
    log,
    producers: new Producers({ states: [], clock: systemClock, onLost: () => undefined }),
    saltOf: (record) => `salt of ${record}`,
    queueRecordsMax,
    ...(nowUs && { nowUs }),
  });
  const close = async (): Promise<void> => {
    await store.close();
    await registry.close();
  };
  return { ingest, store, close };
}

/** Owed nothing, so that no price book is wanted. */
function refused(name: string, seq: bigint): UsageRecord {
  const attempt = name as AttemptId;
  return usageRecord({ attempt, id: `${name}:0`, producerSeq: seq, end: "not-dispatched" });
}

test("more records than the queue holds are told to come again, and those in it are posted", async () => {
  const { ingest, store, close } = await openIngest(3);
  const ends = await Promise.allSettled([
    ingest.record([refused("a1", 1n), refused("a2", 2n)]),
    ingest.record([refused("a3", 3n), refused("a4", 4n)]),
    ingest.record([refused("a5", 5n)]),
  ]);
  expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  const [, second] = ends;
  expect(second).toMatchObject({ reason: expect.any(ConnectError) });
  expect(second).toMatchObject({
    reason: {
      code: Code.ResourceExhausted,
      rawMessage: "expected at most 3 records in the queue, found 4",
    },
  });
  const again = await ingest.record([refused("a3", 3n), refused("a4", 4n)]);
  expect(again.map(({ status }) => status)).toEqual(["posted", "posted"]);
  expect((await store.recordsAfter(undefined, 9)).length).toBe(5);
  expect(await store.producers()).toMatchObject([{ nextSeq: 6n, ahead: "" }]);
  await close();
});

test("drain() resolves when what was accepted is durable", async () => {
  const { ingest, store, close } = await openIngest(100);
  const posted = [1, 2, 3].map((each) => ingest.record([refused(`a${each}`, BigInt(each))]));
  await ingest.drain();
  expect((await store.recordsAfter(undefined, 9)).length).toBe(3);
  await Promise.all(posted);
  await close();
});

test("what the ledger cannot take from one caller is refused to that caller alone", async () => {
  const { ingest, store, close } = await openIngest(100);
  const ends = await Promise.allSettled([
    ingest.record([refused("a1", 1n)]),
    ingest.record([{ ...refused("a2", 2n), openedUs: 2n ** 70n }]),
    ingest.record([refused("a3", 3n)]),
  ]);
  expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(ends[1]).toMatchObject({
    reason: { code: Code.Unavailable, rawMessage: "the ledger cannot be written" },
  });
  expect((await store.recordsAfter(undefined, 9)).map(({ attempt }) => attempt)).toEqual([
    "a1",
    "a3",
  ]);
  expect(ingest.isReady).toBe(true);
  await close();
});

test("one record that the ledger does not take waits in quarantine, and those beside it are posted", async () => {
  const { ingest, store, close } = await openIngest(100, "bad");
  const names = ["a1", "a2", "a3", "bad", "a4", "a5", "a6"];
  const records = names.map((name, index) => refused(name, BigInt(index + 1)));
  // The first time it may be the disk.
  await expect(ingest.record(records)).rejects.toThrow("the ledger cannot be written");
  expect(await store.recordsAfter(undefined, 9)).toEqual([]);
  const outcomes = await ingest.record(records);
  expect(outcomes.map(({ record, status }) => [record, status])).toEqual(
    names.map((name) => [`${name}:0`, name === "bad" ? "quarantined" : "posted"]),
  );
  const [waiting, ...others] = await store.waiting(undefined, 9);
  expect([waiting?.attempt, waiting?.reason, others]).toEqual([
    "bad",
    "not-postable: the ledger did not take it: CHECK failed",
    [],
  ]);
  expect(await store.producers()).toMatchObject([{ nextSeq: 8n, ahead: "" }]);
  const again = await ingest.record(records);
  expect(new Set(again.map(({ status }) => status))).toEqual(new Set(["exists"]));
  await close();
});

test("a record from the future waits until its time has come", async () => {
  let nowUs = friday - 3_600_000_000n;
  const { ingest, store, close } = await openIngest(100, "none", () => nowUs);
  const [early] = await ingest.record([refused("a1", 1n)]);
  expect(early).toMatchObject({
    status: "quarantined",
    reason: expect.stringMatching(/^from-future: /),
  });
  expect([ingest.waitsForTime, await ingest.release()]).toEqual([true, 0]);
  nowUs = friday;
  expect([ingest.waitsForTime, await ingest.release()]).toEqual([true, 1]);
  expect([await store.waitingCount(), ingest.waitsForTime]).toEqual([0, true]);
  expect([await ingest.release(), ingest.waitsForTime]).toEqual([0, false]);
  await close();
});

import { fromBinary, create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { defaultContract } from "../../services/core/settlement/terms/contract.ts";
import { settleCounts } from "../../services/core/settlement/counting/count-rule.ts";
import type { AttemptId, GatewayId } from "../../services/core/units.ts";
import { draftOf } from "../../services/gateway/attempt-record.ts";
import { shipRest, shipUsage } from "../../services/gateway/ship.ts";
import {
  defaultSpoolLimits,
  openSpool,
  type Spool,
  type UnnumberedRecord,
} from "../../services/gateway/spool.ts";
import {
  RecordRequestSchema,
  RecordResultSchema,
  RecordStatus,
  UsageRecordSchema,
  type UsageRecord,
} from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { recordRequest, type SendRecords } from "../../services/gateway/usage-sender.ts";
import { serveMetrics } from "../../services/io/metrics.ts";
import { systemDisk, type SegmentDisk } from "../../services/io/segment-disk.ts";
import { toUsageRecord } from "../../services/wire/usage.ts";
import { log } from "./control-fixture.ts";
import { openTestGateway, until } from "./gateway-fixture.ts";
import { plan } from "./plan-fixture.ts";
import { answering } from "./raw-pool.ts";

let folder: string;
let now = 1_000;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "spool-"));
});
afterEach(() => rm(folder, { recursive: true }));

function open(limits = defaultSpoolLimits, disk: SegmentDisk = systemDisk): Promise<Spool> {
  return openSpool({
    folder,
    disk,
    gatewayId: "gateway-1" as GatewayId,
    limits,
    clock: { now: () => (now += 1) },
    log,
    onFsync: () => undefined,
  });
}

/** A disk that has no room for anything while it is full. */
function fillingDisk() {
  const state = { isFull: false };
  const disk: SegmentDisk = {
    ...systemDisk,
    write: (file, bytes, at) => {
      if (!state.isFull) return systemDisk.write(file, bytes, at);
      return Promise.reject(Object.assign(new Error("no space left"), { code: "ENOSPC" }));
    },
  };
  return { state, disk };
}

function draft(attempt: string): UnnumberedRecord {
  return draftOf(plan(attempt as AttemptId), 120);
}

function complete(attempt: string): UnnumberedRecord {
  return { ...draft(attempt), end: "complete", closedUs: 2_000_000n };
}

/** A ledger that answers each record as told, and keeps what it posted. */
function ledger(answer: (record: UsageRecord) => RecordStatus = () => RecordStatus.POSTED) {
  const posted = new Map<string, UsageRecord>();
  const calls: number[] = [];
  const marks: bigint[] = [];
  const send: SendRecords = async (sent, mark) => {
    const request = fromBinary(RecordRequestSchema, recordRequest(sent, mark));
    const { records } = request;
    calls.push(records.length);
    marks.push(request.mark?.completeUntilUs ?? 0n);
    return records.map((record) => {
      const status = answer(record);
      if (status === RecordStatus.POSTED) posted.set(record.recordId, record);
      return create(RecordResultSchema, { recordId: record.recordId, status });
    });
  };
  return { posted, calls, marks, send };
}

function ship(spool: Spool, send: SendRecords): Promise<void> {
  return shipRest({ spool, send, log, signal: new AbortController().signal });
}

/** When attempts were opened, in this story. */
const [early, later] = [70_000_000n, 80_000_000n];

function openedAt(attempt: string, openedUs: bigint): UnnumberedRecord {
  return { ...draft(attempt), openedUs, closedUs: openedUs };
}

test("a gateway says up to when nothing of it is missing: neither open nor on its way", async () => {
  now = 200_000;
  const openingUs = 60_000_000n;
  const first = await open();
  expect(first.mark.completeUntilUs).toBeGreaterThan(200_000_000n - openingUs);
  await first.open(openedAt("a1", early));
  await first.open(openedAt("a2", later));
  expect(first.mark).toMatchObject({ gatewayId: "gateway-1", completeUntilUs: early });
  await first.close(openedAt("a1", early));
  // Closed, but the ledger has not confirmed it.
  expect(first.mark.completeUntilUs).toBe(early);
  await first.closeFiles();
  const second = await open();
  expect(second.mark.completeUntilUs).toBe(early);
  const { marks, send } = ledger();
  await ship(second, send);
  expect(marks).toEqual([early]);
  expect(second.mark.completeUntilUs).toBeGreaterThan(200_000_000n - openingUs);
  await second.closeFiles();
});

test("a gateway that has nothing to ship says so, and again", async () => {
  const spool = await open();
  await spool.open(openedAt("a1", early));
  const { calls, send } = ledger();
  const stop = new AbortController();
  const waits: number[] = [];
  // Time that passes when somebody waits for it.
  const timers = {
    wait: async (ms: number) => {
      waits.push(ms);
      if (waits.length === 4) await spool.close(openedAt("a1", early));
      if (waits.length > 12) stop.abort();
    },
  };
  await shipUsage({ spool, send, log, timers, signal: stop.signal });
  expect(calls).toContain(1);
  expect(calls.filter((records) => records === 0).length).toBeGreaterThan(2);
  await spool.closeFiles();
});

async function ids(spool: Spool): Promise<string[]> {
  return (await spool.nextBatch(1_000)).records.map(({ id }) => id);
}

test("an attempt that was open when the gateway died is a record of its crash after the restart", async () => {
  const first = await open();
  await first.open(draft("a1"));
  await first.open(draft("a2"));
  first.watermark({
    attempt: "a2",
    atUs: "1500000",
    dispatchedUs: "1400000",
    firstByteUs: "1450000",
    output: "40",
    deltas: 39,
    outBytes: 200,
    deliveredBytes: 9_000,
    sentBytes: 18_000,
    chunks: 40,
  });
  await first.open(draft("a3"));
  await first.close(complete("a3"));
  await first.closeFiles();
  const second = await open();
  const batch = await second.nextBatch(10);
  const records = batch.records.map(({ bytes }) => fromBinary(UsageRecordSchema, bytes));
  expect(
    records.map(({ recordId, outcome, engOutput, gwOutput, winner, outBytes, lastByteUs }) => [
      recordId,
      outcome,
      engOutput,
      gwOutput,
      winner,
      outBytes,
      lastByteUs,
    ]),
  ).toEqual([
    ["a3:0", 1, undefined, undefined, false, 0n, undefined],
    ["a1:0", 6, undefined, undefined, false, 0n, undefined],
    ["a2:0", 6, 40n, 39n, true, 200n, 1_500_000n],
  ]);
  // What is known of it is a lower bound, and half of it went out (I20, §10).
  const crash = records[2] && toUsageRecord(records[2]);
  expect(crash).toMatchObject({
    watermarkOutput: 40n,
    watermarkUs: 1_500_000n,
    sentBytes: 18_000n,
  });
  expect(crash && settleCounts(crash, defaultContract)).toMatchObject({
    ending: "crashed",
    basis: "gateway-heuristic",
    tokens: { uncachedInput: 12n, response: 40n },
    sold: { uncachedInput: 12n, response: 20n },
  });
  const [before, ...after] = records;
  expect(after.map(({ producerSeq }) => producerSeq)).toEqual([1n, 2n]);
  expect(after.every(({ epoch }) => epoch > (before?.epoch ?? 0n))).toBe(true);
  expect([second.openAttempts, second.unacknowledged.records]).toEqual([0, 3]);
  await second.closeFiles();
});

test("a restart after a crash makes the crash's records once", async () => {
  const first = await open();
  await first.open(draft("a1"));
  await first.closeFiles();
  for (let restart = 0; restart < 3; restart++) {
    const spool = await open();
    expect(await ids(spool)).toEqual(["a1:0"]);
    await spool.closeFiles();
  }
});

test("what the ledger has is not sent again, also not after a restart", async () => {
  const first = await open();
  for (const attempt of ["a1", "a2"]) {
    await first.open(draft(attempt));
    await first.close(complete(attempt));
  }
  const { posted, send } = ledger();
  await ship(first, send);
  await first.open(draft("a3"));
  await first.close(complete("a3"));
  await first.closeFiles();
  const second = await open();
  expect([[...posted.keys()], await ids(second)]).toEqual([["a1:0", "a2:0"], ["a3:0"]]);
  await second.closeFiles();
});

test("the spool shrinks when the ledger has the records, and not while an attempt in it is open", async () => {
  const spool = await open({ ...defaultSpoolLimits, segmentBytesMax: 1_000 });
  const segments = async (): Promise<number> =>
    (await readdir(folder)).filter((name) => name.endsWith(".seg")).length;
  await spool.open(draft("long"));
  for (let number = 0; number < 10; number++) {
    await spool.open(draft(`a${number}`));
    await spool.close(complete(`a${number}`));
  }
  const full = await segments();
  await ship(spool, ledger().send);
  expect(await segments()).toBeGreaterThanOrEqual(full);
  await spool.close(complete("long"));
  await ship(spool, ledger().send);
  expect(await segments()).toBe(1);
  expect(spool.unacknowledged).toEqual({ records: 0, bytes: 0, oldestUs: 0n });
  await spool.closeFiles();
});

/** Every answer of the ledger, and whether the record leaves the spool. */
const answers: Readonly<Record<keyof typeof RecordStatus, boolean>> = {
  UNSPECIFIED: false,
  POSTED: true,
  EXISTS: true,
  CONFLICT: true,
  QUARANTINED: true,
};

for (const [name, leaves] of Object.entries(answers)) {
  test(`a record that the ledger answers with ${name} ${leaves ? "leaves" : "stays in"} the spool`, async () => {
    const spool = await open();
    await spool.open(draft("a1"));
    await spool.close(complete("a1"));
    const status = RecordStatus[name as keyof typeof RecordStatus];
    const shipped = await ship(spool, ledger(() => status).send).then(
      () => true,
      () => false,
    );
    expect([shipped, (await ids(spool)).length]).toEqual([leaves, leaves ? 0 : 1]);
    await spool.closeFiles();
  });
}

test("every status of the wire has a case above", () => {
  const names = Object.keys(RecordStatus).filter((name) => Number.isNaN(Number(name)));
  expect(Object.keys(answers).toSorted()).toEqual(names.toSorted());
});

test("a record that settlement cannot read is set aside, and the others go", async () => {
  const spool = await open();
  for (const attempt of ["a1", "bad", "a2"]) {
    await spool.open(draft(attempt));
    await spool.close(complete(attempt));
  }
  const { posted, send } = ledger(({ attemptId }) => {
    if (attemptId === "bad") throw new ConnectError("no", Code.InvalidArgument);
    return RecordStatus.POSTED;
  });
  await ship(spool, send);
  expect([[...posted.keys()], await ids(spool)]).toEqual([["a1:0", "a2:0"], []]);
  expect(await readdir(folder)).toContain("refused-bad_0.bin");
  await spool.closeFiles();
});

test("a record whose id the ledger has with other bytes is set aside with its bytes", async () => {
  const spool = await open();
  await spool.open(draft("a1"));
  await spool.close(complete("a1"));
  const [sent] = (await spool.nextBatch(9)).records;
  await ship(spool, ledger(() => RecordStatus.CONFLICT).send);
  const kept = await readFile(join(folder, "refused-a1_0.bin"));
  expect(Buffer.compare(kept, sent?.bytes ?? new Uint8Array())).toBe(0);
  await spool.closeFiles();
});

test("batches have at most a thousand records", async () => {
  const spool = await open();
  const attempts = Array.from({ length: 1_100 }, (_, index) => `a${index}`);
  await Promise.all(attempts.map((attempt) => spool.close(complete(attempt))));
  const { posted, calls, send } = ledger();
  await ship(spool, send);
  expect([posted.size, calls]).toEqual([1_100, [1_000, 100]]);
  await spool.closeFiles();
});

test("a spool that its disk has no room for is not writable until a write succeeds", async () => {
  const { state, disk } = fillingDisk();
  const spool = await open(defaultSpoolLimits, disk);
  await spool.open(draft("a1"));
  expect(spool.isWritable).toBe(true);
  state.isFull = true;
  await expect(spool.open(draft("a2"))).rejects.toThrow("could not be written");
  expect(spool.isWritable).toBe(false);
  state.isFull = false;
  await spool.open(draft("a2"));
  expect(spool.isWritable).toBe(true);
  await spool.close(complete("a1"));
  await spool.close(complete("a2"));
  expect(await ids(spool)).toEqual(["a1:0", "a2:0"]);
  await spool.closeFiles();
});

test("a spool to which nobody writes finds out by itself that there is room again, and loses nothing by it", async () => {
  const { state, disk } = fillingDisk();
  const first = await open(defaultSpoolLimits, disk);
  for (const attempt of ["a1", "a2"]) {
    await first.open(draft(attempt));
    await first.close(complete(attempt));
    if (attempt === "a1") await ship(first, ledger().send);
  }
  state.isFull = true;
  await expect(first.open(draft("a3"))).rejects.toThrow("could not be written");
  state.isFull = false;
  await until(() => first.isWritable);
  await first.closeFiles();
  const second = await open();
  expect(await ids(second)).toEqual(["a2:0"]);
  await second.closeFiles();
});

test("a gateway whose spool has no room is not ready, and is again when it has", async () => {
  const { state, disk } = fillingDisk();
  const stop = new AbortController();
  const tested = await openTestGateway([answering("a")], { spoolDisk: disk });
  const port = await serveMetrics({
    host: "127.0.0.1",
    port: 0,
    registry: tested.metrics,
    isReady: () => tested.gateway.isReady(),
    signal: stop.signal,
  });
  const ready = async (): Promise<number> =>
    (await fetch(`http://127.0.0.1:${port}/readyz`)).status;
  const answered = async (): Promise<number> => (await tested.chat()).status;
  expect([await answered(), await ready()]).toEqual([200, 200]);
  state.isFull = true;
  expect([await answered(), await ready()]).toEqual([503, 503]);
  state.isFull = false;
  await until(async () => (await ready()) === 200);
  expect(await answered()).toBe(200);
  stop.abort();
  await tested.close();
});

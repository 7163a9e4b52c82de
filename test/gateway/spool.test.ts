import { fromBinary, create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AttemptId, GatewayId } from "../../services/core/units.ts";
import { draftOf } from "../../services/gateway/attempt-record.ts";
import { shipRest } from "../../services/gateway/ship.ts";
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
import { log } from "./control-fixture.ts";
import { plan } from "./plan-fixture.ts";

let folder: string;
let now = 1_000;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "spool-"));
});
afterEach(() => rm(folder, { recursive: true }));

function open(limits = defaultSpoolLimits): Promise<Spool> {
  return openSpool({
    folder,
    gatewayId: "gateway-1" as GatewayId,
    limits,
    clock: { now: () => (now += 1) },
    log,
    onFsync: () => undefined,
  });
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
  const send: SendRecords = async (sent) => {
    const { records } = fromBinary(RecordRequestSchema, recordRequest(sent));
    calls.push(records.length);
    return records.map((record) => {
      const status = answer(record);
      if (status === RecordStatus.POSTED) posted.set(record.recordId, record);
      return create(RecordResultSchema, { recordId: record.recordId, status });
    });
  };
  return { posted, calls, send };
}

function ship(spool: Spool, send: SendRecords): Promise<void> {
  return shipRest({ spool, send, log, signal: new AbortController().signal });
}

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

test("batches have at most a thousand records", async () => {
  const spool = await open();
  const attempts = Array.from({ length: 1_100 }, (_, index) => `a${index}`);
  await Promise.all(attempts.map((attempt) => spool.close(complete(attempt))));
  const { posted, calls, send } = ledger();
  await ship(spool, send);
  expect([posted.size, calls]).toEqual([1_100, [1_000, 100]]);
  await spool.closeFiles();
});

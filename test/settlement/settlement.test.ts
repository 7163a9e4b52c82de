import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toJsonString } from "@bufbuild/protobuf";
import { createClient, ConnectError, Code, type Client } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { dayOf } from "../../services/core/settlement/statements/period.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type { AttemptId, GatewayId, RequestId, VendorId } from "../../services/core/units.ts";
import type { Clock } from "../../services/io/clock.ts";
import { openIdentities } from "../../services/io/grpc-identity.ts";
import { createKey } from "../../services/io/keys.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { openLog } from "../../services/io/log.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import type { Registry } from "../../services/io/registry.ts";
import { rpcTransport } from "../../services/io/rpc-client.ts";
import { serveRpc, type RpcServer } from "../../services/io/rpc-server.ts";
import { openSettlement, type Settlement } from "../../services/settlement/main.ts";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { SettlementService } from "../../services/wire/gen/tokengrid/v1/settlement_pb.js";
import { RecordStatus, UsageService } from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { fromPriceBook } from "../../services/wire/price.ts";
import { toStatement } from "../../services/wire/settlement.ts";
import { fromUsageRecord, toUsageRecord } from "../../services/wire/usage.ts";
import { collected } from "../collected.ts";
import {
  engineCounts,
  friday,
  priceBook,
  sha256,
  usageRecord,
} from "../core/settlement/fixtures.ts";

const log = openLog({ role: "test", level: "silent" });
const calendar = loadCalendar();
const period = dayOf(friday, "Asia/Shanghai");
const { POSTED, EXISTS, CONFLICT, QUARANTINED } = RecordStatus;

const theDayAfter: Clock = { now: () => Number(friday / 1_000n) + 86_400_000 };

let folder: string;
let stop: AbortController;
let registry: Registry;
let metrics: Metrics;
let settlement: Settlement;
let server: RpcServer;
let usage: Client<typeof UsageService>;
let settle: Client<typeof SettlementService>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-settlement-"));
  registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
  await publish(priceBook({ calendar }));
  await open();
});

afterEach(async () => {
  await shut();
  await registry.close();
  rmSync(folder, { recursive: true });
});

async function open(): Promise<void> {
  stop = new AbortController();
  metrics = new Metrics();
  const { signal } = stop;
  settlement = await openSettlement({
    registry,
    ledger: join(folder, "ledger.sqlite"),
    secretsPath: join(folder, "secrets"),
    domain: "grid.example",
    log,
    metrics,
    clock: theDayAfter,
    signal,
  });
  server = await serveRpc({
    host: "127.0.0.1",
    port: 0,
    routes: (router) => settlement.routes(router),
    identify: await openIdentities({ registry, log, signal }),
    signal,
    log,
  });
  ({ usage, settle } = clients());
}

function clients(credential?: string) {
  const url = `http://127.0.0.1:${server.port}`;
  const transport = rpcTransport(credential === undefined ? { url } : { url, credential });
  return {
    usage: createClient(UsageService, transport),
    settle: createClient(SettlementService, transport),
  };
}

async function shut(): Promise<void> {
  stop.abort();
  await server.close();
  await settlement.close();
}

async function publish(book: PriceBook): Promise<void> {
  await registry.set({
    kind: "price-book",
    key: `${book.id}@${book.version}`,
    value: toJsonString(PriceBookSchema, fromPriceBook(book)),
    baseRevision: 0,
    author: book.vendor,
    comment: "",
  });
}

function attempt(name: string, changes: Partial<UsageRecord> = {}): UsageRecord {
  return usageRecord({ attempt: name as AttemptId, id: `${name}:0`, ...changes });
}

async function send(...records: readonly UsageRecord[]) {
  const { results } = await usage.record({ records: records.map(fromUsageRecord) });
  return results;
}

async function metric(name: string): Promise<unknown[]> {
  const found = await metrics.getSingleMetric(name)?.get();
  return found?.values.map(({ value, labels }) => [...Object.values(labels), value]) ?? [];
}

async function codeOf(call: Promise<unknown>): Promise<Code | undefined> {
  return call.then(
    () => undefined,
    (error: unknown) => ConnectError.from(error).code,
  );
}

test("records are posted once, whatever comes again, and each answer has its place", async () => {
  const other = attempt("a2", { engineCounts: engineCounts({ output: 999n }) });
  const first = await send(attempt("a1"), other);
  expect(first.map(({ recordId, status }) => [recordId, status])).toEqual([
    ["a1:0", POSTED],
    ["a2:0", QUARANTINED],
  ]);
  expect(first[1]?.reason).toMatch(/^output-over-bytes: expected at most 232 output tokens/);
  const again = await send(other, attempt("a1"), attempt("a1", { finishReason: "length" }));
  expect(again.map(({ status }) => status)).toEqual([EXISTS, EXISTS, CONFLICT]);
  expect(await metric("tokengrid_ledger_records_total")).toEqual([[1]]);
  expect(await metric("tokengrid_metering_duplicates_total")).toEqual([
    ["stream", 0],
    ["ledger", 2],
  ]);
  expect(await metric("tokengrid_ledger_quarantined_records")).toEqual([[1]]);
});

test("callers at the same time share transactions and get their own answers", async () => {
  const batches = Array.from({ length: 30 }, (_, caller) =>
    [0, 1, 2].map((each) =>
      attempt(`c${caller}-${each}`, { producerSeq: BigInt(caller * 3 + each + 1) }),
    ),
  );
  const answers = await Promise.all(batches.map((records) => send(...records)));
  expect(answers.map((each) => each.map(({ recordId }) => recordId))).toEqual(
    batches.map((records) => records.map(({ id }) => id)),
  );
  const { statement } = await settle.closeStatement({ vendorId: "northgrid", period });
  expect(statement?.totals?.attempts).toBe(90n);
  expect(statement?.totals?.netNano).toBe(90n * 527_980n);
});

test("a vendor's engine that counts beyond reason is not paid, and holds nobody up", async () => {
  const absurd = engineCounts({ input: BigInt(Number.MAX_SAFE_INTEGER), cacheRead: 0n });
  const results = await send(attempt("a1", { engineCounts: absurd }), attempt("a2"));
  expect(results.map(({ status }) => status)).toEqual([QUARANTINED, POSTED]);
  expect(results[0]?.reason).toBe(
    "count-over-limit: expected at most 100000000 tokens of an attempt's input, found 9007199254740991",
  );
});

test("a record is found by its request with what settlement made of it", async () => {
  const record = attempt("a1", { request: "r7" as RequestId });
  await send(record, attempt("a2"), attempt("a3", { priceVersion: 9n }));
  const { usages } = await usage.list({ requestId: "r7" });
  expect(usages).toMatchObject([
    {
      status: POSTED,
      tokensByClass: {
        uncached_input: 60n,
        cache_read: 40n,
        cache_write: 0n,
        response: 50n,
        reasoning: 0n,
      },
      countBasis: "engine-final",
      amountNano: 527_980n,
      priceSlot: "any",
    },
  ]);
  const [found] = usages;
  expect(found?.record && toUsageRecord(found.record)).toEqual(record);
  const waiting = await usage.list({ requestId: "r1" });
  expect(waiting.usages.map(({ status, reason }) => [status, reason])).toEqual([
    [
      QUARANTINED,
      "price-book-unknown: price book northgrid-list@9 is not known, or not signed by both",
    ],
    [POSTED, ""],
  ]);
});

test("a list goes on where its page ended", async () => {
  await send(...["a1", "a2", "a3"].map((name) => attempt(name)));
  const first = await usage.list({ limit: 2 });
  const second = await usage.list({ limit: 2, pageToken: first.nextPageToken });
  const ids = [first, second].map(({ usages }) => usages.map((each) => each.record?.recordId));
  expect(ids).toEqual([["a3:0", "a2:0"], ["a1:0"]]);
  expect(second.nextPageToken).toBe("");
});

test("a record whose price book comes later is settled when it comes", async () => {
  const [result] = await send(
    attempt("a1", { priceVersion: 2n }),
    attempt("a2", { priceVersion: 2n }),
  );
  expect(result?.status).toBe(QUARANTINED);
  await publish(priceBook({ calendar, version: 2n }));
  await expect
    .poll(() => metric("tokengrid_ledger_quarantined_records"), { timeout: 10_000 })
    .toEqual([[0]]);
  const [again] = await send(attempt("a1", { priceVersion: 2n }));
  expect([again?.status, again?.reason]).toEqual([EXISTS, ""]);
  const { statement } = await settle.closeStatement({ vendorId: "northgrid", period });
  expect(statement?.totals).toMatchObject({
    attempts: 2n,
    netNano: 2n * 527_980n,
    quarantined: 0n,
  });
});

test("what waited is settled at the next start, if the book came in between", async () => {
  await send(attempt("a1", { priceVersion: 2n }));
  await shut();
  await publish(priceBook({ calendar, version: 2n }));
  await open();
  await expect
    .poll(() => metric("tokengrid_ledger_quarantined_records"), { timeout: 10_000 })
    .toEqual([[0]]);
  expect((await send(attempt("a1", { priceVersion: 2n })))[0]?.status).toBe(EXISTS);
});

test("a price book that cannot be used is none", async () => {
  await publish(priceBook({ calendar, version: 2n, lines: priceBook().lines.slice(1) }));
  const [result] = await send(attempt("a1", { priceVersion: 2n }));
  expect(result?.reason).toMatch(/^price-book-unknown/);
});

test("everybody who may be owed something is listed, to a vendor itself alone", async () => {
  const change = { baseRevision: 0, author: "test", comment: "" };
  await registry.set({ ...change, kind: "vendor", key: "named", value: '{"name":"Named"}' });
  await registry.set({ ...change, kind: "pool", key: "p9", value: '{"vendorId":"pooled"}' });
  await send(attempt("a1", { vendor: "charged" as VendorId }));
  const { vendorIds } = await settle.listVendors({});
  expect(vendorIds).toEqual(["charged", "named", "northgrid", "pooled"]);
  for (const vendorId of vendorIds) {
    const { statement } = await settle.closeStatement({ vendorId, period });
    expect(statement?.vendorId).toBe(vendorId);
  }
  const { secret, record } = createKey({ kind: "vendor", subject: "pooled", nowUs: friday });
  await registry.set({
    ...change,
    kind: "key",
    key: record.prefix,
    value: JSON.stringify(record),
  });
  await expect
    .poll(async () => (await clients(secret).settle.listVendors({})).vendorIds)
    .toEqual(["pooled"]);
});

describe("a statement", () => {
  test("of hours that are no day is refused to a counterparty too, with what was expected", async () => {
    await send(attempt("a1"));
    const { secret, record } = createKey({ kind: "vendor", subject: "northgrid", nowUs: friday });
    const key = { kind: "key", key: record.prefix, value: JSON.stringify(record) } as const;
    await registry.set({ ...key, baseRevision: 0, author: "test", comment: "" });
    const own = clients(secret).settle;
    const pairId = "vendor:northgrid";
    await expect.poll(async () => codeOf(own.closeStatement({ pairId, period }))).toBeUndefined();
    const hours = { ...period, fromUs: period.fromUs + 3_600_000_000n };
    const expected = /period: expected a day or a month of Asia\/Shanghai, found \d+ to \d+/;
    await expect(own.closeStatement({ pairId, period: hours })).rejects.toThrow(expected);
    await expect(collected(own.listStatementHours({ pairId, period: hours }))).rejects.toThrow(
      expected,
    );
  });

  test("is closed once: what comes later goes into the next day, with its own day of use", async () => {
    await send(attempt("a1"));
    const first = await settle.closeStatement({ vendorId: "northgrid", period });
    await send(attempt("a2"));
    const again = await settle.closeStatement({ pairId: "vendor:northgrid", period });
    expect(again).toEqual(first);
    expect(first.statement).toMatchObject({
      ...{ statementId: "vendor:northgrid:daily:2026-11-20:0", kind: "daily", isPayable: true },
      ...{ totals: { attempts: 1n }, prevDigest: "" },
    });
    const today = dayOf(period.toUs, "Asia/Shanghai");
    const { statement } = await settle.closeStatement({ vendorId: "northgrid", period: today });
    expect(statement).toMatchObject({
      ...{ kind: "interim", prevDigest: first.statement?.digest },
      totals: { attempts: 1n, grossNano: 0n, adjustmentsNano: 527_980n, netNano: 527_980n },
    });
    expect(statement?.lines.map(({ usagePeriod }) => usagePeriod)).toEqual(
      Array.from({ length: 3 }, () => "2026-11-20"),
    );
    const kept = await settle.getStatement({ statementId: first.statement?.statementId ?? "" });
    expect(kept.statement).toEqual(first.statement);
    expect(await metric("tokengrid_settlement_statements_total")).toEqual([
      ["issued", 1],
      ["failed", 0],
    ]);
  });

  test("stays closed after a restart", async () => {
    await send(attempt("a1"));
    const first = await settle.closeStatement({ vendorId: "northgrid", period });
    await shut();
    await open();
    await send(attempt("a2"));
    expect(await settle.closeStatement({ vendorId: "northgrid", period })).toEqual(first);
    const { statements } = await settle.list({ periodName: "2026-11-20" });
    expect(statements.map(({ digest }) => digest)).toEqual([first.statement?.digest]);
  });

  test("can be made again, streamed hour by hour, and with its leaves", async () => {
    await send(attempt("a1"), attempt("a2"));
    const { statement } = await settle.closeStatement({ vendorId: "northgrid", period });
    const statementId = statement?.statementId ?? "";
    for (const source of [1, 2, 3] as const) {
      const steps = await collected(settle.recomputeStatement({ statementId, source }));
      expect(steps.at(-1)).toMatchObject({ isDone: true, differences: [] });
    }
    const hours = await collected(settle.listStatementHours({ statementId }));
    expect(hours[0]?.statement).toEqual(statement);
    const nano = hours.flatMap((each) => each.hours).map(({ amountNano }) => amountNano);
    expect(nano.reduce((sum, each) => sum + each, 0n)).toBe(statement?.totals?.netNano);
    const leaves = await collected(settle.listStatementLeaves({ statementId }));
    // Besides the price version that both agreed on.
    expect(leaves.flatMap((each) => each.leaves).length).toBe(3);
    const interim = settle.listStatementHours({ pairId: "vendor:northgrid", period });
    expect((await collected(interim)).length).toBe(2);
  });

  test("names pool, region, model and class, and can be checked from its text", async () => {
    await send(attempt("a1"));
    const { statement } = await settle.closeStatement({ vendorId: "northgrid", period });
    const { lines = [], canonicalJson, digest } = statement ?? {};
    expect(
      lines.map((line) => [
        line.poolId,
        line.regionId,
        line.modelId,
        line.tokenClass,
        line.tokens,
        line.amountNano,
      ]),
    ).toEqual([
      ["p1", "zhongwei", "qwen3-32b", "cache_read", 40n, 8_010n],
      ["p1", "zhongwei", "qwen3-32b", "response", 50n, 400_000n],
      ["p1", "zhongwei", "qwen3-32b", "uncached_input", 60n, 119_970n],
    ]);
    expect(digest).toBe(sha256(canonicalJson ?? ""));
    expect(statement && toStatement(statement, sha256).totals.netNano).toBe(527_980n);
    expect(() => statement && toStatement({ ...statement, digest: "00" }, sha256)).toThrow(
      /digest/,
    );
  });

  test("of a period without usage is empty", async () => {
    const { statement } = await settle.closeStatement({ vendorId: "northgrid", period });
    expect(statement).toMatchObject({ lines: [], totals: { attempts: 0n, netNano: 0n } });
  });

  test("is listed without its lines", async () => {
    await send(attempt("a1"));
    await settle.closeStatement({ vendorId: "northgrid", period });
    const { statements } = await settle.list({ vendorId: "northgrid" });
    expect(statements).toMatchObject([
      {
        statementId: "vendor:northgrid:daily:2026-11-20:0",
        lines: [],
        canonicalJson: "",
        totals: { netNano: 527_980n },
      },
    ]);
    expect((await settle.list({ vendorId: "south" })).statements).toEqual([]);
  });

  // prettier-ignore
  const refused: readonly [string, Code, { vendorId: string; period?: { fromUs: bigint; toUs: bigint; timeZone: string } }][] = [
    ["of a vendor nobody knows", Code.NotFound, { vendorId: "nobody", period }],
    ["of a zone that the contract has not", Code.InvalidArgument, { vendorId: "northgrid", period: { ...period, timeZone: "UTC" } }],
    ["of no vendor", Code.InvalidArgument, { vendorId: "", period }],
    ["of no period", Code.InvalidArgument, { vendorId: "northgrid" }],
    ["of a zone whose days we do not know", Code.InvalidArgument, { vendorId: "northgrid", period: { ...period, timeZone: "Europe/Berlin" } }],
    ["that ends before it starts", Code.InvalidArgument, { vendorId: "northgrid", period: { ...period, toUs: period.fromUs } }],
    ["that has not begun", Code.InvalidArgument, { vendorId: "northgrid", period: dayOf(friday + 2n * 86_400_000_000n, "Asia/Shanghai") }],
    ["of half an hour", Code.InvalidArgument, { vendorId: "northgrid", period: { ...period, toUs: period.toUs + 1_800_000_000n } }],
  ];
  for (const [what, code, request] of refused) {
    test(`${what} is refused`, async () => {
      expect(await codeOf(settle.closeStatement(request))).toBe(code);
    });
  }

  test("that nobody made is not found", async () => {
    expect(await codeOf(settle.getStatement({ statementId: "northgrid:daily:2026-11-20:9" }))).toBe(
      Code.NotFound,
    );
  });
});

test("bad input is refused as a whole and changes nothing", async () => {
  const records = [
    fromUsageRecord(attempt("a1")),
    { ...fromUsageRecord(attempt("a2")), recordId: "b2:0" },
  ];
  await expect(usage.record({ records })).rejects.toThrow(
    /record_id: expected a2:<rev>, found b2:0/,
  );
  expect(await codeOf(usage.record({ records: [] }))).toBe(Code.InvalidArgument);
  expect(await codeOf(usage.list({ pageToken: "x" }))).toBe(Code.InvalidArgument);
  expect((await usage.list({})).usages).toEqual([]);
});

test("fenced off by another writer, settlement says so and posts nothing more", async () => {
  await send(attempt("a1"));
  const other = await openSqliteLedger(join(folder, "ledger.sqlite"));
  expect(settlement.isReady()).toBe(true);
  expect(await codeOf(send(attempt("a2")))).toBe(Code.Unavailable);
  expect(settlement.isReady()).toBe(false);
  expect(await codeOf(send(attempt("a3")))).toBe(Code.Unavailable);
  expect((await other.recordsAfter(undefined, 9)).map(({ record }) => record)).toEqual(["a1:0"]);
  await other.close();
});

describe("who may", () => {
  async function keyOf(kind: "vendor" | "tenant" | "operator", subject: string): Promise<string> {
    const { secret, record } = createKey({ kind, subject, nowUs: friday });
    await registry.set({
      kind: "key",
      key: record.prefix,
      value: JSON.stringify(record),
      baseRevision: 0,
      author: "test",
      comment: "",
    });
    return secret;
  }

  test("a vendor sees its own statements alone, and no records", async () => {
    const [north, south] = [await keyOf("vendor", "northgrid"), await keyOf("vendor", "south")];
    await send(attempt("a1"));
    await shut();
    await open();
    const { statement } = await settle.closeStatement({ vendorId: "northgrid", period });
    const own = clients(north);
    const foreign = clients(south);
    const statementId = statement?.statementId ?? "";
    expect((await own.settle.getStatement({ statementId })).statement).toEqual(statement);
    expect((await own.settle.list({})).statements.length).toBe(1);
    expect(await codeOf(foreign.settle.getStatement({ statementId }))).toBe(Code.NotFound);
    expect((await foreign.settle.list({})).statements).toEqual([]);
    const denied = await Promise.all([
      codeOf(foreign.settle.list({ vendorId: "northgrid" })),
      codeOf(foreign.settle.closeStatement({ vendorId: "northgrid", period })),
      codeOf(own.usage.list({})),
      codeOf(own.usage.record({ records: [fromUsageRecord(attempt("a9"))] })),
    ]);
    expect(denied).toEqual(denied.map(() => Code.PermissionDenied));
  });

  test("a tenant sees its own bill alone, and no cost", async () => {
    const tenant = await keyOf("tenant", "acme");
    await send(attempt("a1"));
    await shut();
    await open();
    const { settle: own } = clients(tenant);
    expect((await own.list({})).statements).toEqual([]);
    const { rows, hasCost } = await own.queryUsage({ period, groupBy: [5] });
    expect([rows.map(({ keys }) => keys), hasCost]).toEqual([[["qwen3-32b"]], false]);
    const denied = await Promise.all([
      codeOf(own.closeStatement({ vendorId: "northgrid", period })),
      codeOf(own.queryUsage({ period, groupBy: [6] })),
      codeOf(own.queryUsage({ period, tenantId: "other" })),
      codeOf(own.approveStatement({ statementId: "vendor:northgrid:daily:2026-11-20:0" })),
      codeOf(collected(own.tailUsage({}))),
    ]);
    expect(denied).toEqual(denied.map(() => Code.PermissionDenied));
  });
});

test("leakage is counted as it is posted, and every account is there from the start", async () => {
  expect(await metric("tokengrid_ledger_leakage_cny_total")).toEqual(
    ["abort", "hedge", "orphan", "insurance", "unmetered"].map((account) => [account, 0]),
  );
  await send(attempt("a1", { end: "gateway-cancel", cancelCause: "hedge-lost", isWinner: false }));
  expect(await metric("tokengrid_ledger_leakage_cny_total")).toContainEqual([
    "hedge",
    0.000_527_98,
  ]);
});

test("where a gateway's sequence stands outlives a restart", async () => {
  const from = (seq: bigint, epoch = 1n) =>
    attempt(`s${epoch}-${seq}`, { gateway: "gw" as GatewayId, epoch, producerSeq: seq });
  await send(from(1n), from(2n), from(4n));
  await shut();
  await open();
  await send(from(3n), from(5n), from(1n, 2n));
  expect(await metric("tokengrid_metering_gaps_total")).toEqual([[0]]);
});

test("a vendor that was only registered has an empty statement", async () => {
  await registry.set({
    kind: "vendor",
    key: "south",
    value: '{"name":"South"}',
    baseRevision: 0,
    author: "test",
    comment: "",
  });
  const { statement } = await settle.closeStatement({ vendorId: "south" as VendorId, period });
  expect(statement?.statementId).toBe("vendor:south:daily:2026-11-20:0");
});

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toJsonString } from "@bufbuild/protobuf";
import { Registry as Metrics } from "prom-client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { canonicalJson } from "../../services/core/settlement/canonical.ts";
import { defaultContract, type Contract } from "../../services/core/settlement/terms/contract.ts";
import { balanceText, type AccountId } from "../../services/core/settlement/ledger/ledger.ts";
import {
  calendarShape,
  repriceShape,
  splitRuleShape,
  type Reprice,
} from "../../services/core/settlement/terms/other-shapes.ts";
import { defaultPairTerms } from "../../services/core/settlement/terms/pair-terms.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import type { SplitRule } from "../../services/core/settlement/packages/split.ts";
import type { Party, TermsKind } from "../../services/core/settlement/terms/terms-kinds.ts";
import { bookText, contractText } from "../../services/core/settlement/terms/terms-text.ts";
import { toNano } from "../../services/core/settlement/pricing/rate.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type { AttemptId, BookId, PairId, RequestId } from "../../services/core/units.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { LedgerStoppedError, type LedgerStore } from "../../services/io/ledger-store.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { openLog } from "../../services/io/log.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import type { Registry } from "../../services/io/registry.ts";
import { newSigningKey, sha256 } from "../../services/io/signing.ts";
import { SettlementMetrics } from "../../services/settlement/metrics.ts";
import { openParts, type SettlementParts } from "../../services/settlement/parts.ts";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { fromPriceBook } from "../../services/wire/price.ts";
import { friday, priceBook, us, usageRecord } from "../core/settlement/fixtures.ts";
import { sellBook } from "../core/settlement/market.ts";
import { UnsureStore } from "./sold-books.ts";

const log = openLog({ role: "test", level: "silent" });
const north = "vendor:northgrid" as PairId;
const acme = "tenant:acme" as PairId;
const calendar = loadCalendar();
const dayUs = 86_400_000_000n;
const key = newSigningKey();

let folder: string;
let registry: Registry;
let parts: SettlementParts;
let stop: AbortController;
let nowUs: bigint;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-reprice-"));
  registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
  nowUs = friday - 2n * dayUs;
  await open();
});

afterEach(async () => {
  await shut();
  await registry.close();
  rmSync(folder, { recursive: true });
});

async function ledger(): Promise<LedgerStore> {
  return openSqliteLedger(join(folder, "ledger.sqlite"));
}

async function open(store?: LedgerStore): Promise<void> {
  stop = new AbortController();
  parts = await openParts({
    store: store ?? (await ledger()),
    ...{ registry, log, metrics: new SettlementMetrics(new Metrics()), saltOf: sha256 },
    clock: { now: () => Number(nowUs / 1_000n) },
    operator: { kid: "operator", publicKey: key.publicKey, sign: key.sign },
  });
  await parts.start(stop.signal);
}

/** What was asked for is done when it is shut. */
async function shut(): Promise<void> {
  stop.abort();
  await parts.close();
}

async function again(): Promise<void> {
  await shut();
  await open();
}

async function publish(book: PriceBook): Promise<void> {
  await registry.set({
    ...{ kind: "price-book", key: `${book.id}@${book.version}`, author: book.vendor },
    ...{ value: toJsonString(PriceBookSchema, fromPriceBook(book)), baseRevision: 0, comment: "" },
  });
}

async function agree(kind: TermsKind, text: string, other?: Party): Promise<void> {
  const { id, hash } = await parts.terms.propose(kind, text, other ?? "internal");
  await parts.terms.sign({ kind, id, hash }, "internal", "");
}

async function reprice(changes: Partial<Reprice>): Promise<void> {
  const { pair = north } = changes;
  const endIndex = (await parts.store.logs()).get(pair) ?? 0n;
  const value: Reprice = {
    ...{ id: "r1", pair, firstIndex: 0n, endIndex, book: "northgrid-list", version: 2n },
    ...{ calendar: calendar.id, calendarVersion: 1n, reason: "agreed late" },
    ...changes,
  };
  await agree("reprice", canonicalJson(repriceShape.write(value)), pair);
}

async function post(
  count: number,
  changes: Partial<UsageRecord> = {},
  prefix = "a",
): Promise<void> {
  const records = Array.from({ length: count }, (_, number) => {
    const attempt = `${prefix}${number}` as AttemptId;
    const request = `r-${attempt}` as RequestId;
    return usageRecord({ attempt, id: `${attempt}:0`, request, ...changes });
  });
  const outcomes = await parts.ingest.record(records);
  expect(outcomes.filter(({ status }) => status !== "posted")).toEqual([]);
}

async function owedNano(account: AccountId): Promise<bigint> {
  const at = { unit: "CNY:nano", account } as const;
  const { debit = 0n, credit = 0n } =
    (await parts.store.balancesOf([at])).get(balanceText(at)) ?? {};
  return credit - debit;
}

const accrued = `liab:payable:${north}:accrued`;

function cheaper(book: PriceBook, changes: Partial<PriceBook> = {}): PriceBook {
  const lines = book.lines.map((line) => {
    const tiers = line.tiers.map((tier) => ({ ...tier, pricePicoPerToken: 1_000n }));
    return { ...line, tiers };
  });
  return { ...book, version: 2n, lines, effectiveFromUs: friday + 30n * dayUs, ...changes };
}

/** Of the fixture's record by `cheaper`: 60 uncached, 40 read, 50 response, each on a key of its own. */
const tokens = 60n + 40n + 50n;

async function mistakes(): Promise<readonly string[]> {
  return (await verifyLedger(parts.store)).mistakes;
}

test("what both have signed is rated again, as corrections, and once", async () => {
  await publish(priceBook({ calendar }));
  await again();
  await post(300, { openedUs: nowUs });
  await publish(cheaper(priceBook({ calendar })));
  await again();
  const before = await owedNano(accrued);
  await reprice({});
  await again();
  expect(await owedNano(accrued)).toBe(toNano(300n * tokens * 1_000n));
  expect(before).toBeGreaterThan(await owedNano(accrued));
  const counts = await parts.store.counts();
  expect(counts.records.rows).toBe(600n);
  expect(await parts.store.document("repriced", "r1@1")).toMatchObject({
    body: '{"changed":"300","refused":"0","reprice_id":"r1@1","type":"repriced","v":"1"}',
  });
  await again();
  expect(await parts.store.counts()).toEqual(counts);
  expect(await mistakes()).toEqual([]);
});

test("a crash in the middle leaves the rest for the next start", async () => {
  await publish(priceBook({ calendar }));
  await publish(cheaper(priceBook({ calendar })));
  await again();
  await post(300, { openedUs: nowUs });
  await shut();
  const unsure = new UnsureStore(await ledger(), () => new LedgerStoppedError("gone"));
  await open(unsure.store);
  let posted = 0;
  parts.writer.onCommitted((batch) => {
    posted += batch.posted.length;
    // The second batch of corrections is not written.
    if (posted > 0) unsure.next = "refused";
  });
  await reprice({});
  await again();
  expect(posted).toBeLessThan(300);
  await again();
  expect(await owedNano(accrued)).toBe(toNano(300n * tokens * 1_000n));
  expect((await parts.store.counts()).records.rows).toBe(600n);
  expect(await mistakes()).toEqual([]);
});

test("only what stands in its range, and still counts", async () => {
  await publish(priceBook({ calendar }));
  await publish(cheaper(priceBook({ calendar })));
  await again();
  await post(3, { openedUs: nowUs });
  const size = (await parts.store.logs()).get(north) ?? 0n;
  const all = await owedNano(accrued);
  await reprice({ firstIndex: size - 2n, endIndex: size - 1n });
  await again();
  expect(await owedNano(accrued)).toBe((all * 2n) / 3n + toNano(tokens * 1_000n));
  await reprice({ id: "r2", endIndex: size });
  await again();
  expect(await owedNano(accrued)).toBe(toNano(3n * tokens * 1_000n));
  expect((await parts.store.counts()).records.rows).toBe(6n);
});

test("a range that the log does not have is not done", async () => {
  await publish(priceBook({ calendar }));
  await again();
  await post(1, { openedUs: nowUs });
  await reprice({ version: 1n, endIndex: 99n });
  await again();
  expect(await parts.store.document("repriced", "r1@1")).toBeUndefined();
});

test("a tenant's bill is rated again without a change for its vendor", async () => {
  await publish(priceBook({ calendar }));
  const sold = { ...sellBook, calendar };
  await again();
  await agree("price-version", bookText(sold));
  const { touBasis, touGraceUs, attemptNanoMax } = defaultContract;
  const contract = {
    ...{ ...defaultPairTerms, touBasis, touGraceUs, attemptNanoMax, id: "acme", pair: acme },
    ...{ sellBook: sold.id, creditNano: undefined, channel: undefined, splitRule: undefined },
    effectiveFromUs: nowUs + 1n,
  };
  await agree("contract", contractText(contract), acme);
  await again();
  await post(4, { openedUs: nowUs + 10n });
  const owed = await owedNano(accrued);
  await agree("price-version", bookText(cheaper(sold)));
  await reprice({ pair: acme, book: sold.id });
  await again();
  expect(await owedNano("asset:receivable:tenant:acme")).toBe(-toNano(4n * tokens * 1_000n));
  expect(await owedNano(accrued)).toBe(owed);
  expect(await mistakes()).toEqual([]);
});

test("days that no calendar covered are flagged, and rated by the next one once both have signed", async () => {
  const always = { startMin: 0, endMin: 1_440 };
  const slots = [
    { slot: "work", dayKinds: new Set(["workday", "makeup"] as const), ...always },
    { slot: "rest", dayKinds: new Set(["weekend", "holiday"] as const), ...always },
  ];
  const byKind = priceBook({
    ...{ calendar, slots, baseSlot: "work" },
    lines: slots.flatMap(({ slot }) =>
      priceBook().lines.map((line) => ({
        ...{ ...line, id: `${line.id}-${slot}`, slot },
        tiers: [{ fromTokens: 0n, pricePicoPerToken: slot === "work" ? 9_000n : 2_000n }],
      })),
    ),
  });
  await publish(byKind);
  await again();
  nowUs = us("2027-01-04T12:00:00+08:00");
  await post(1, { openedUs: nowUs });
  expect(await owedNano(accrued)).toBe(toNano(tokens * 9_000n));
  const [posted] = await parts.store.recordsAfter(undefined, 1);
  expect(posted?.flags).toEqual(["calendar-uncovered"]);
  const next = {
    ...calendar,
    ...{ version: 2n, coversToUs: us("2028-01-01T00:00:00+08:00") },
    kindByDate: new Map([...calendar.kindByDate, ["2027-01-04", "holiday"] as const]),
  };
  await agree("calendar", canonicalJson(calendarShape.write(next)));
  await reprice({ version: 1n, calendarVersion: 2n });
  await again();
  expect(await owedNano(accrued)).toBe(toNano(tokens * 2_000n));
  const [, again2] = await parts.store.recordsAfter(undefined, 2);
  expect(again2?.flags).toEqual([]);
});

test("attempts that lost are paid by the book that the contract names for them, and wait for it", async () => {
  await publish(priceBook({ calendar }));
  await again();
  const rule: SplitRule = {
    ...{ id: "operator", version: 1n, model: "*", effectiveFromUs: nowUs + 1n },
    parts: [
      { part: "platform", party: "internal", way: "share", ppm: 400_000n },
      { part: "computing", party: "*", way: "share", ppm: 600_000n },
    ],
  };
  await agree("split-rule", canonicalJson(splitRuleShape.write(rule)));
  const { touBasis, touGraceUs, attemptNanoMax } = defaultContract;
  await agree("price-version", bookText({ ...sellBook, calendar }));
  const from = { effectiveFromUs: nowUs + 1n };
  const sell = {
    ...{ ...defaultPairTerms, touBasis, touGraceUs, attemptNanoMax, id: "acme", pair: acme },
    ...{ sellBook: sellBook.id, creditNano: undefined, channel: undefined, splitRule: undefined },
    ...from,
  };
  await agree("contract", contractText(sell), acme);
  const buy: Contract = {
    ...{ ...defaultContract, id: "northgrid", pair: north, loserBook: "losers" as BookId },
    ...from,
  };
  await agree("contract", contractText(buy), north);
  await again();
  const lost = usageRecord({ isWinner: false, openedUs: nowUs + 10n });
  expect(await parts.ingest.record([lost])).toMatchObject([{ status: "quarantined" }]);
  const forLosers = { ...cheaper(priceBook({ calendar, id: "losers" as BookId })), version: 1n };
  await agree("price-version", bookText({ ...forLosers, ...from }), north);
  await again();
  expect(await owedNano(accrued)).toBe(toNano(tokens * 1_000n));
  expect(await mistakes()).toEqual([]);
});

test("a claim that comes after its record settles it again, where the contract goes by it", async () => {
  await publish(priceBook({ calendar }));
  const contract: Contract = {
    ...{ ...defaultContract, countRule: "claim-in-tolerance", id: "northgrid", pair: north },
    effectiveFromUs: nowUs + 1n,
  };
  await again();
  await agree("contract", contractText(contract), north);
  await again();
  await post(2, { openedUs: nowUs + 10n });
  const before = await owedNano(accrued);
  const claimed = {
    uncachedInput: 60n,
    cacheRead: 40n,
    cacheWrite: 0n,
    response: 51n,
    reasoning: 0n,
  };
  const claim = {
    ...{ pair: north, attempt: "a0" as AttemptId, rev: 0n, openedUs: nowUs + 10n, tokens: claimed },
    ...{ pool: usageRecord().pool, model: usageRecord().model, batch: "b1", text: "{}" },
    hash: sha256("{}"),
  };
  await parts.writer.write(async () => ({ change: { claims: [claim] }, result: undefined }));
  await again();
  // 8,000 nano a token.
  expect((await owedNano(accrued)) - before).toBe(8_000n);
  const revs = (await parts.store.recordsOf(["a0" as AttemptId])).map(({ rev }) => rev);
  expect(new Set(revs)).toEqual(new Set([0n, 1n]));
  expect(await mistakes()).toEqual([]);
  const { rows } = (await parts.store.counts()).records;
  await again();
  expect((await parts.store.counts()).records.rows).toBe(rows);
});

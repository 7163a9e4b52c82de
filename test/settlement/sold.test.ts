import { createHmac } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { OpenHolds, reserve, sliceId } from "../../services/core/settlement/packages/hold.ts";
import { purchaseEntries } from "../../services/core/settlement/packages/package-entries.ts";
import { TokenPackages } from "../../services/core/settlement/packages/token-package.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type {
  AttemptId,
  GatewayId,
  ModelId,
  PackageId,
  PairId,
  PoolId,
  RequestId,
} from "../../services/core/units.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { LedgerStoppedError, type LedgerStore } from "../../services/io/ledger-store.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { Documents } from "../../services/settlement/documents.ts";
import { DocumentConflictError } from "../../services/settlement/ingest/ledger-writer.ts";
import { hmacBy, openSalt } from "../../services/settlement/salt.ts";
import {
  contract,
  engineCounts,
  evidence,
  friday,
  usageRecord,
} from "../core/settlement/fixtures.ts";
import { acme, channel, owner } from "../core/settlement/market.ts";
import { sku } from "../core/settlement/package-ledger.ts";
import { openIngest, UnsureStore } from "./sold-books.ts";

const vendor = "vendor:northgrid" as PairId;

let store: LedgerStore;

beforeEach(async () => {
  store = await openSqliteLedger(":memory:");
});

afterEach(async () => {
  await store.close();
});

function record(name: string, changes: Partial<UsageRecord> = {}): UsageRecord {
  const [attempt = ""] = name.split(":");
  return usageRecord({
    id: name,
    attempt: attempt as AttemptId,
    request: `r-${attempt}` as RequestId,
    evidence: evidence({ outBytes: 100_000n, deliveredBytes: 1_000_000n, chunks: 0n }),
    ...changes,
  });
}

const shorter = { engineCounts: engineCounts({ output: 30n }) };
const story = [
  [record("a1:0"), record("a2:0")],
  [record("a1:1", shorter), record("a3:0", { isWinner: false })],
  [record("a4:0"), record("a2:1", shorter)],
];

/** What the books say, without the order in which it came. */
async function bookkeeping(of: LedgerStore) {
  const logs = await of.logs();
  const entries = await of.entriesAfter(0n, 1_000);
  return {
    balances: await of.balances(),
    cumulatives: new Set(await of.cumulatives()),
    hours: new Set(await of.hours()),
    consumption: new Set(await of.consumption(undefined, 0n, 2n ** 62n)),
    entries: new Set(entries.map(({ id }) => id)),
    leaves: await Promise.all(
      [...logs].map(async ([log]) => (await of.leaves(log, 0n, 1_000)).map(({ hash }) => hash)),
    ),
    sales: await of.salesOf(["a1", "a2", "a3", "a4"] as AttemptId[]),
  };
}

async function told(to: LedgerStore) {
  const { ingest } = openIngest(to);
  for (const records of story) await ingest.record(records);
}

test("what is posted on both sides is right by all that the ledger can check", async () => {
  await told(store);
  expect((await verifyLedger(store)).mistakes).toEqual([]);
  const logs = await store.logs();
  expect(Object.fromEntries(logs)).toEqual({
    [channel]: 5n,
    [owner]: 6n,
    "tenant:acme": 5n,
    "vendor:northgrid": 6n,
  });
});

describe("a commit whose end is not known", () => {
  for (const end of ["lost", "refused"] as const) {
    for (const [at] of story.entries()) {
      test(`(${end}, batch ${at}) stops the writer; who comes after it ends where nothing had happened`, async () => {
        const plain = await openSqliteLedger(":memory:");
        await told(plain);
        const unsure = new UnsureStore(store, () => new LedgerStoppedError("the disk is gone"));
        const first = openIngest(unsure.store);
        for (const records of story.slice(0, at)) await first.ingest.record(records);
        unsure.next = end;
        await expect(first.ingest.record(story[at] ?? [])).rejects.toThrow(
          "the ledger cannot be written",
        );
        await expect(first.ingest.record(story[0] ?? [])).rejects.toThrow(
          "the ledger cannot be written",
        );
        await expect(first.writer.write(async () => ({ change: {}, result: 1 }))).rejects.toThrow(
          "the ledger cannot be written",
        );
        await told(store);
        expect(await bookkeeping(store)).toEqual(await bookkeeping(plain));
        expect((await verifyLedger(store)).mistakes).toEqual([]);
        await plain.close();
      });
    }
  }

  test("a refusal that is none of the disk's leaves the writer at work, and nothing behind", async () => {
    const unsure = new UnsureStore(store, () => new Error("too large"));
    const { ingest } = openIngest(unsure.store);
    unsure.next = "refused";
    await expect(ingest.record(story[0] ?? [])).rejects.toThrow("the ledger cannot be written");
    for (const records of story) await ingest.record(records);
    expect((await verifyLedger(store)).mistakes).toEqual([]);
    expect((await store.logs()).get("vendor:northgrid" as PairId)).toBe(6n);
  });
});

test("a sale that waited is billed when its book has come, at another start too", async () => {
  const before = openIngest(store, { hasSellBook: false });
  await before.ingest.record([record("a1:0"), record("a2:0")]);
  expect(await before.ingest.releaseSales()).toBe(0);
  const after = openIngest(store);
  expect(await after.ingest.releaseSales()).toBe(2);
  expect(await after.ingest.releaseSales()).toBe(0);
  const sales = await store.salesOf(["a1", "a2"] as AttemptId[]);
  expect(sales.map(({ state }) => state)).toEqual(["billed", "billed"]);
  expect((await verifyLedger(store)).mistakes).toEqual([]);
});

test("a contract that goes by the claim has what the vendor counted, if it is near; the tenant too", async () => {
  const { ingest, agreements, writer } = openIngest(store);
  agreements.addContract(contract({ pair: vendor, countRule: "claim-in-tolerance" }));
  const claimed = (attempt: string, response: bigint) => ({
    ...{ pair: vendor, attempt: attempt as AttemptId, rev: 0n, openedUs: friday },
    ...{ pool: "p1" as PoolId, model: "qwen3-32b" as ModelId, batch: "b", text: attempt, hash: "" },
    tokens: { uncachedInput: 60n, cacheRead: 40n, cacheWrite: 0n, response, reasoning: 0n },
  });
  const claims = [claimed("a1", 49n), claimed("a2", 90n)];
  await writer.write(async () => ({ change: { claims }, result: null }));
  await ingest.record([record("a1:0"), record("a2:0"), record("a3:0")]);
  const posted = await store.recordsAfter(undefined, 9);
  expect(posted.map(({ basis, tokens, sold }) => [basis, tokens.response, sold.response])).toEqual([
    ["vendor-claim", 49n, 49n],
    ["engine-final", 50n, 50n],
    ["engine-final", 50n, 50n],
  ]);
});

test("a sale that waited is not billed by another count than its vendor was paid by", async () => {
  const before = openIngest(store, { hasSellBook: false });
  await before.ingest.record([record("a1:0")]);
  const after = openIngest(store);
  after.agreements.addContract(contract({ pair: vendor, countRule: "ids-first" }));
  await after.ingest.releaseSales();
  expect((await store.salesWaiting(undefined, 9)).length).toBe(0);
  await before.ingest.record([record("a2:0", { idsOutput: 51n })]);
  expect(await after.ingest.releaseSales()).toBe(0);
  const [waiting] = await store.salesWaiting(undefined, 9);
  expect(waiting?.reason).toBe(
    "count-changed: expected 50 response as when a2:0 was posted, found 51",
  );
});

describe("packages", () => {
  const quantity = 400n;
  const atUs = friday - 1n;
  const of = sku({ quantity, validityUs: 10n ** 15n });
  const purchase = {
    ...{ id: "p1" as PackageId, tenant: acme, sku: of.id, skuVersion: 1n },
    ...{ atUs, expiresUs: atUs + of.validityUs },
  };

  function bought() {
    const packages = new TokenPackages();
    packages.addSku(of);
    packages.addPurchase(purchase);
    return packages.packages();
  }

  test("pay for records until they are used up, and what is held for a gateway is used first", async () => {
    const packages = bought();
    const { ingest, writer } = openIngest(store, { packages });
    await writer.write(async () => ({
      change: { entries: purchaseEntries(purchase, of) },
      result: null,
    }));
    const gateway = "gateway-1" as GatewayId;
    const unit = packages[0]?.unit ?? "POINT:milli";
    const ask = {
      ...{ id: sliceId(gateway, "1"), unit, debit: "wallet:acme::p1", credit: "slice:gateway-1" },
      ...{ amount: 200n, expiresUs: friday + 10n ** 12n },
    };
    const held = reserve(ask, quantity, friday);
    expect(held.kind).toBe("held");
    const { hold, entries } = held as Extract<typeof held, { kind: "held" }>;
    await writer.write(async () => ({ change: { holds: [hold], entries }, result: null }));
    // 150 tokens each: the third is paid in part.
    await ingest.record([record("a1:0"), record("a2:0")]);
    await ingest.record([record("a3:0")]);
    expect(await store.hold(hold.id)).toMatchObject({ state: "posted", left: 0n });
    expect(writer.holds).toEqual(new OpenHolds());
    const balances = await store.balances();
    expect(balances.get(`${unit}\nwallet:acme::p1`)).toEqual({
      ...{ debit: quantity, credit: quantity, heldDebit: 0n, heldCredit: 0n },
    });
    expect(balances.get("CNY:nano\nliab:prepaid:tenant:acme:pkg:p1")).toMatchObject({
      ...{ debit: of.priceNano, credit: of.priceNano },
    });
    const [third] = await store.salesOf(["a3" as AttemptId]);
    expect(third?.billedNano).toBeGreaterThan(0n);
    expect((await verifyLedger(store)).mistakes).toEqual([]);
  });
});

describe("write()", () => {
  const document = { kind: "sku", id: "x", pair: "internal", atUs: 1n, body: "{}" } as const;
  const leaf = { log: "internal", kind: "contract", ref: "x", text: "{}" } as const;

  test("the same documents again change nothing, others under their id are refused", async () => {
    const { writer } = openIngest(store);
    const seen: string[] = [];
    writer.onCommitted(({ documents }) => seen.push(...documents.map(({ id }) => id)));
    const write = async (body: string) =>
      writer.write(async () => ({
        change: { documents: [{ ...document, body }], leaves: [leaf] },
        result: body,
      }));
    expect(await write("{}")).toBe("{}");
    expect(await write("{}")).toBe("{}");
    await expect(write("[]")).rejects.toThrow(DocumentConflictError);
    expect(seen).toEqual(["x"]);
    expect((await store.documents({}, { afterSeq: 0n, limit: 9 })).length).toBe(1);
    expect((await store.logs()).get("internal")).toBe(1n);
  });

  test("tells reducers of documents in their order, of those before and of those to come", async () => {
    const { writer } = openIngest(store);
    const write = async (kind: string, id: string) =>
      writer.write(async () => ({
        change: { documents: [{ ...document, kind, id }] },
        result: id,
      }));
    for (const [place, kind] of ["a", "b", "other", "a"].entries()) await write(kind, `${place}`);
    const told: string[] = [];
    const documents = new Documents();
    documents.on(["b", "a"], ({ kind }) => told.push(kind));
    await documents.follow(store, writer);
    expect(told).toEqual(["a", "b", "a"]);
    await write("other", "new");
    await write("b", "new");
    expect(told).toEqual(["a", "b", "a", "b"]);
  });

  test("what it read is still true when it is committed, whoever else writes", async () => {
    const { writer, ingest } = openIngest(store);
    const count = async (id: string) =>
      writer.write(async (of) => {
        const before = await of.documents({ kind: "n" }, { afterSeq: 0n, limit: 99 });
        const body = String(before.length);
        return { change: { documents: [{ ...document, kind: "n", id, body }] }, result: body };
      });
    const all = Array.from({ length: 20 }, (_, index) => count(`n${index}`));
    const records = ingest.record([record("a1:0")]);
    expect(await Promise.all(all)).toEqual(Array.from({ length: 20 }, (_, index) => `${index}`));
    expect((await records).map(({ status }) => status)).toEqual(["posted"]);
  });

  test("what work throws is thrown on, and the next one has its turn", async () => {
    const { writer } = openIngest(store);
    const refused = writer.write(async () => {
      throw new Error("no");
    });
    const next = writer.write(async () => ({ change: {}, result: "yes" }));
    await expect(refused).rejects.toThrow("no");
    expect(await next).toBe("yes");
  });
});

describe("salts", () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "tokengrid-salt-"));
  });

  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  test("are HMACs of the record's id", () => {
    const key = Buffer.from("0b".repeat(32), "hex");
    const expected = createHmac("sha256", key).update("a1:0 é").digest("hex");
    expect(hmacBy(key)("a1:0 é")).toBe(expected);
  });

  test("stay the same after a restart, and nobody else may read their secret", async () => {
    const path = join(folder, "salt");
    const [first, second] = await Promise.all([openSalt(path), openSalt(path)]);
    expect(first("a1:0")).toBe(second("a1:0"));
    expect((await openSalt(path))("a1:0")).toBe(first("a1:0"));
    expect(first("a1:0")).not.toBe(first("a1:1"));
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("are not made from a file that holds no secret", async () => {
    const path = join(folder, "salt");
    writeFileSync(path, "secret\n");
    await expect(openSalt(path)).rejects.toThrow(`${path}: expected 32 bytes as lower-case hex`);
    expect(readFileSync(path, "utf8")).toBe("secret\n");
  });
});

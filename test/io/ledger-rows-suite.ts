import { expect, test } from "vitest";
import type { ConsumptionKey, SaleRow } from "../../services/core/settlement/ledger/posting.ts";
import { noTokens } from "../../services/core/settlement/counting/usage.ts";
import type {
  AttemptId,
  ModelId,
  PairId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
} from "../../services/core/units.ts";
import type {
  ClaimRow,
  HoldRow,
  LedgerDocument,
  LedgerStore,
} from "../../services/io/ledger-store.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { batch, post, record } from "./ledger-books.ts";
import { claimed, hashed, leaf, tileOf } from "./ledger-rows.ts";

const vendor = "vendor:northgrid" as PairId;

/** Rows of every kind, as they are set and found. */
export function ledgerRowsSuite(name: string, opened: () => LedgerStore): void {
  test(`${name}: a wallet never gives more than it has, of which what is held is no more to be had`, async () => {
    const store = opened();
    const [key, other] = ["TOK-pro:1\nwallet:acme::p", "TOK-pro:1\nused:acme::p"] as const;
    const move = async (debit: bigint, credit: bigint, heldDebit: bigint): Promise<void> => {
      const by = { debit, credit, heldDebit, heldCredit: 0n };
      await store.commit(
        batch({
          movements: new Map([
            [key, by],
            [other, by],
          ]),
        }),
      );
    };
    await move(0n, 10n, 0n);
    await move(3n, 0n, 5n);
    const before = await store.balances();
    await expect(move(3n, 0n, 0n)).rejects.toThrow(/wallet_not_overdrawn/);
    await expect(move(0n, 0n, 3n)).rejects.toThrow(/wallet_not_overdrawn/);
    await expect(move(0n, 0n, -6n)).rejects.toThrow(/CHECK|check constraint/);
    expect(await store.balances()).toEqual(before);
    await move(2n, 0n, 0n);
    await move(5n, 0n, -5n);
    const account = { unit: "TOK-pro:1", account: "wallet:acme::p" } as const;
    const found = await store.balancesOf([account, { ...account, account: "wallet:b::p" }]);
    expect([...found]).toEqual([[key, { debit: 10n, credit: 10n, heldDebit: 0n, heldCredit: 0n }]]);
  });

  test(`${name}: documents are numbered as they come, and the same one again changes nothing`, async () => {
    const store = opened();
    const [one, two] = [document("contract", "c1"), document("sku", "s1", "internal")];
    await store.commit(batch({ documents: [one, two, one] }));
    await store.commit(batch({ documents: [one, document("sku", "s2", "internal")] }));
    await expect(
      store.commit(batch({ documents: [{ ...one, ...hashed("other") }] })),
    ).rejects.toThrow("contract c1");
    const ids = async (filter: Parameters<LedgerStore["documents"]>[0], afterSeq = 0n) =>
      (await store.documents(filter, { afterSeq, limit: 2 })).map(({ id, seq }) => [id, seq]);
    expect(await ids({})).toEqual([
      ["c1", 1n],
      ["s1", 2n],
    ]);
    expect(await ids({}, 2n)).toEqual([["s2", 3n]]);
    expect(await ids({ kind: "sku" })).toEqual([
      ["s1", 2n],
      ["s2", 3n],
    ]);
    expect(await ids({ pair: vendor })).toEqual([["c1", 1n]]);
    expect(await ids({ pair: vendor, kind: "sku" })).toEqual([]);
    expect(await store.document("contract", "c1")).toEqual({ ...one, seq: 1n });
    expect(await store.document("contract", "s1")).toBeUndefined();
    expect((await verifyLedger(store)).mistakes).toEqual([]);
  });

  test(`${name}: a log has no gap, and its leaves are found by place and by name`, async () => {
    const store = opened();
    const leaves = Array.from({ length: 300 }, (_, index) => leaf(vendor, index));
    await store.commit(batch({ leaves: leaves.slice(0, 200) }));
    await expect(store.commit(batch({ leaves: leaves.slice(201) }))).rejects.toThrow(
      "log vendor:northgrid: expected leaf 200, found 201",
    );
    await expect(
      store.commit(batch({ leaves: [{ ...leaf(vendor, 7), index: 200n }] })),
    ).rejects.toThrow(/UNIQUE|duplicate key/);
    const others = [leaf("internal", 0), leaf("internal", 1)];
    await store.commit(
      batch({ leaves: [...leaves.slice(200), ...others], tiles: [tileOf(leaves)] }),
    );
    expect(await store.logs()).toEqual(
      new Map([
        ["internal", 2n],
        [vendor, 300n],
      ]),
    );
    expect(await store.leaves(vendor, 298n, 9)).toEqual(leaves.slice(298));
    expect(await store.leafHashes(vendor, 1n, 2)).toEqual(
      leaves.slice(1, 3).map(({ hash }) => hash),
    );
    expect(await store.leafOf(vendor, "usage", "r7")).toEqual(leaves[7]);
    expect(await store.leafOf(vendor, "sale", "r7")).toBeUndefined();
    const refs = [leaf(vendor, 9), leaf("internal", 1), leaf("internal", 2)];
    expect(new Set(await store.leavesOf(refs))).toEqual(new Set([leaves[9], others[1]]));
    expect(await store.tile(vendor, 0, 0n)).toEqual(tileOf(leaves));
    expect(await store.tile(vendor, 0, 1n)).toBeUndefined();
    expect((await verifyLedger(store)).mistakes).toEqual([]);
  });

  test(`${name}: holds are as they were set last, and found by their end`, async () => {
    const store = opened();
    const holds = [hold("h1", 30n), hold("h2", 10n), hold("h3", 20n), hold("h4", 10n)];
    await store.commit(batch({ holds }));
    await store.commit(
      batch({ holds: [hold("h3", 20n, 4n), { ...hold("h3", 20n, 0n), state: "posted" }] }),
    );
    const ids = (found: readonly HoldRow[]) => found.map(({ id }) => id);
    expect(ids(await store.holdsEnding(20n, 9))).toEqual(["h2", "h4"]);
    expect(ids(await store.holdsEnding(99n, 1))).toEqual(["h2"]);
    expect(ids(await store.holdsOpen(undefined, 2))).toEqual(["h1", "h2"]);
    expect(ids(await store.holdsOpen("h2", 2))).toEqual(["h4"]);
    expect(await store.hold("h3")).toEqual({ ...hold("h3", 20n, 0n), state: "posted" });
    expect(await store.hold("h9")).toBeUndefined();
    await expect(store.commit(batch({ holds: [hold("h1", 30n, 11n)] }))).rejects.toThrow(
      /CHECK|check constraint/,
    );
  });

  test(`${name}: claims are kept as they came, by attempt`, async () => {
    const store = opened();
    const claims = [claim("a2", 5n), claim("a1", 9n), { ...claim("a1", 9n), rev: 1n }];
    await store.commit(batch({ claims }));
    await store.commit(batch({ claims: [claim("a1", 9n), claim("a3", 10n)] }));
    await expect(
      store.commit(batch({ claims: [{ ...claim("a3", 10n), ...claimed("other") }] })),
    ).rejects.toThrow("vendor:northgrid a3:0");
    const found = await store.claims(vendor, { fromUs: 5n, toUs: 10n }, undefined, 9);
    expect(found).toEqual([claims[1], claims[2], claims[0]]);
    const after = { attempt: "a1" as AttemptId, rev: 0n };
    const rest = await store.claims(vendor, { fromUs: 0n, toUs: 99n }, after, 2);
    expect(rest.map(({ attempt, rev }) => `${attempt}:${rev}`)).toEqual(["a1:1", "a2:0"]);
    const of = ["a1", "a9", "a1"] as AttemptId[];
    expect(await store.claimsOf(vendor, of)).toEqual([claims[1], claims[2]]);
    expect(await store.claimsOf("vendor:east" as PairId, of)).toEqual([]);
  });

  test(`${name}: a sale waits, is billed and is replaced; what was billed changes no more`, async () => {
    const store = opened();
    const waiting: SaleRow = {
      ...sale("a1"),
      state: "waiting",
      billedNano: 0n,
      text: "the record",
    };
    await store.commit(batch({ sales: [waiting, { ...waiting, attempt: "a2" as AttemptId }] }));
    const ids = (found: readonly SaleRow[]) => found.map(({ attempt, rev }) => `${attempt}:${rev}`);
    expect(ids(await store.salesWaiting(undefined, 1))).toEqual(["a1:0"]);
    expect(ids(await store.salesWaiting("a1" as AttemptId, 9))).toEqual(["a2:0"]);
    await store.commit(batch({ sales: [sale("a1")] }));
    const other = batch({ sales: [{ ...sale("a1"), text: "less", billedNano: 1n }] });
    await expect(store.commit(other)).rejects.toThrow("sale is append-only");
    const replaced: SaleRow = { ...sale("a1"), state: "replaced" };
    await store.commit(batch({ sales: [replaced, { ...sale("a1"), rev: 1n }] }));
    const of = ["a1", "a9"] as AttemptId[];
    expect(await store.salesOf(of)).toEqual([{ ...sale("a1"), rev: 1n }, replaced]);
    const requests = [sale("a1").request, "r9" as RequestId];
    expect(ids(await store.salesOfRequests(requests))).toEqual(["a1:1", "a2:0"]);
    expect(ids(await store.salesWaiting(undefined, 9))).toEqual(["a2:0"]);
    expect(await store.salesWaitingCount()).toBe(1);
    const { tenant, booking } = sale("a1");
    expect(ids(await store.salesBooked(tenant, booking, undefined, 9))).toEqual(["a1:1"]);
    expect(await store.salesBooked(tenant, booking, "a1" as AttemptId, 9)).toEqual([]);
    expect(await store.salesBooked(tenant, "2026-01-01", undefined, 9)).toEqual([]);
  });

  test(`${name}: consumption is found by tenant, hour and key`, async () => {
    const store = opened();
    const cells = [consumed("acme", 1n), consumed("acme", 2n), consumed("bolt", 1n)];
    await store.commit(batch({ consumption: cells }));
    const more = {
      ...consumed("acme", 1n),
      total: { ...consumed("acme", 1n).total, requests: 7n },
    };
    await store.commit(batch({ consumption: [more] }));
    expect(await store.consumption("acme" as TenantId, 0n, 2n)).toEqual([more]);
    expect(await store.consumption(undefined, 1n, 3n)).toEqual([more, cells[1], cells[2]]);
    const keys = [consumed("bolt", 1n).key, consumed("bolt", 3n).key];
    expect(await store.consumptionOf(keys)).toEqual([cells[2]]);
    expect(await store.consumptionOf([])).toEqual([]);
  });

  test(`${name}: names are in the order of their bytes`, async () => {
    const store = opened();
    const names = ["b", "A", "a", "_", "B", "é", "-", "ab", "Z", "中", "0"];
    await post(
      store,
      names.map((each, index) => record(each, { producerSeq: BigInt(index + 1) })),
    );
    const inOrder = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const found = await store.recordsAfter(undefined, 99);
    expect(found.map(({ attempt }) => attempt)).toEqual(inOrder);
    const after = await store.recordsAfter({ attempt: "a" as AttemptId, rev: 0n }, 99);
    expect(after.map(({ attempt }) => attempt)).toEqual(inOrder.slice(inOrder.indexOf("a") + 1));
  });

  test(`${name}: texts come back byte by byte`, async () => {
    const store = opened();
    const body = `{"a":"\\u0000 \\" ' \\\\ ${"x".repeat(70_000)} é 中 😀 $1 {rows} ?"}\n\t`;
    const odd = { ...document("contract", "c1"), ...hashed(body) };
    await store.commit(batch({ documents: [odd] }));
    expect(await store.document("contract", "c1")).toEqual({ ...odd, seq: 1n });
    const highest = 9_000_000_000_000_000_000n;
    const by = { debit: highest, credit: 0n, heldDebit: 0n, heldCredit: 0n };
    await store.commit(batch({ movements: new Map([["CNY:nano\nx", by]]) }));
    expect((await store.balances()).get("CNY:nano\nx")).toEqual(by);
  });
}

function document(kind: string, id: string, pair: LedgerDocument["pair"] = vendor): LedgerDocument {
  return { kind, id, pair, seq: 0n, atUs: 5n, ...hashed(`${kind} ${id}`) };
}

function hold(id: string, expiresUs: bigint, left = 10n): HoldRow {
  const accounts = { debit: "wallet:acme::p", credit: "used:acme::p" };
  return { ...accounts, id, unit: "TOK-pro:1", amount: 10n, left, expiresUs, state: "open" };
}

function claim(attempt: string, openedUs: bigint): ClaimRow {
  return {
    ...{ pair: vendor, attempt: attempt as AttemptId, rev: 0n, openedUs, pool: "p1" as PoolId },
    ...{ model: "m1" as ModelId, tokens: { ...noTokens, response: 4n }, batch: "b1" },
    ...claimed(`claim ${attempt}`),
  };
}

function sale(attempt: string): SaleRow {
  return {
    ...{ attempt: attempt as AttemptId, rev: 0n, request: "r1" as RequestId },
    ...{ tenant: "acme" as TenantId, openedUs: 5n, booking: "2026-11-20", state: "billed" },
    ...{ reason: "", billedNano: 12n, text: "a sale" },
  };
}

function consumed(tenant: string, hourUs: bigint) {
  const key: ConsumptionKey = {
    ...{ tenant: tenant as TenantId, department: "", project: "p", scenario: "", hourUs },
    ...{ model: "m" as ModelId, pool: "p1" as PoolId, region: "r" as RegionId },
  };
  const tokens = { ...noTokens, uncachedInput: 1n, reasoning: 5n };
  const money = { saleNano: 1n, coveredNano: 2n, billedNano: 3n, releasedNano: 4n, costNano: 5n };
  return { key, total: { requests: 1n, tokens, ...money } };
}

import { expect } from "vitest";
import { fromSaleText } from "../../../services/core/settlement/ledger/sale-text.ts";
import { balanceText, movements } from "../../../services/core/settlement/ledger/ledger.ts";
import { purchaseEntries } from "../../../services/core/settlement/packages/package-entries.ts";
import type { StoredRecord } from "../../../services/core/settlement/ledger/posting.ts";
import type { Selling } from "../../../services/core/settlement/ledger/prepare.ts";
import { toNano } from "../../../services/core/settlement/pricing/rate.ts";
import type { Sale } from "../../../services/core/settlement/packages/sale.ts";
import { sumOf, type SplitRule } from "../../../services/core/settlement/packages/split.ts";
import { bookedByLeaf } from "../../../services/core/settlement/statements/statement-leaves.ts";
import {
  TokenPackages,
  type TokenPackage,
} from "../../../services/core/settlement/packages/token-package.ts";
import { tokenClasses } from "../../../services/core/settlement/counting/usage.ts";
import type {
  BookId,
  PackageId,
  PairId,
  TenantId,
  VendorId,
} from "../../../services/core/units.ts";
import { contract, friday, priceBook } from "./fixtures.ts";
import { MemoryBooks } from "./memory-books.ts";
import { sku } from "./package-ledger.ts";

const noVendor = "" as VendorId;
export const acme = "acme" as TenantId;
export const owner = "model:qwen" as PairId;
export const channel = "channel:west" as PairId;

/** Graduated, so that what one record costs depends on those before it. */
const tiers = [
  { fromTokens: 0n, pricePicoPerToken: 1_999_501n },
  { fromTokens: 700n, pricePicoPerToken: 1_234_567n },
  { fromTokens: 3_000n, pricePicoPerToken: 99_999n },
];

const lines = priceBook().lines.map((line) => ({ ...line, tiers }));

export const buyBook = priceBook({ lines });

export const sellBook = priceBook({
  ...{ id: "list" as BookId, side: "sell", vendor: noVendor, pair: "tenant:*" as PairId },
  lines: priceBook().lines.map((line) => ({ ...line, scope: "contract" })),
});

export const licenceBook = priceBook({
  ...{ id: "licence" as BookId, side: "licence", vendor: noVendor, pair: owner },
  lines: priceBook().lines.map((line) => ({
    ...line,
    tiers: [{ fromTokens: 0n, pricePicoPerToken: 333_333n }],
  })),
});

export const rateRule: SplitRule = {
  ...{ id: "rates", version: 1n, model: "*", effectiveFromUs: 0n },
  parts: [
    { part: "platform", party: "internal", way: "share", ppm: 900_001n },
    { part: "computing", party: "*", way: "rate", ppm: 0n },
    { part: "model", party: "*", way: "rate", ppm: 0n },
    { part: "channel", party: "*", way: "share", ppm: 99_999n },
  ],
};

export const shareRule: SplitRule = {
  ...{ id: "shares", version: 1n, model: "*", effectiveFromUs: 0n },
  parts: [
    { part: "platform", party: "internal", way: "share", ppm: 125_000n },
    { part: "computing", party: "*", way: "share", ppm: 620_000n },
    { part: "model", party: "*", way: "share", ppm: 180_000n },
    { part: "channel", party: "*", way: "share", ppm: 75_000n },
  ],
};

/** Every side has a book; a test takes away what it is about. */
export function market(changes: Partial<Selling> = {}): MemoryBooks {
  const books = new MemoryBooks([buyBook, sellBook]);
  books.licence = { pair: owner, contract: contract(), book: licenceBook };
  setSelling(books, changes);
  return books;
}

export function setSelling(books: MemoryBooks, changes: Partial<Selling> = {}): void {
  books.sell = ({ tenant, vendor }) => ({
    pair: `tenant:${tenant}` as PairId,
    contract: contract(),
    book: sellBook,
    rule: rateRule,
    parties: { computing: `vendor:${vendor}` as PairId, model: owner, channel },
    ...changes,
  });
}

/** A package of so many tokens, bought before anything was used. */
export function buyPackage(books: MemoryBooks, id: string, quantity: bigint): TokenPackage {
  const packages = new TokenPackages();
  const atUs = friday - 1n;
  const of = sku({ id: `sku-${id}`, quantity, priceNano: 1_599_999_999n, validityUs: 10n ** 15n });
  packages.addSku(of);
  const purchase = {
    ...{ id: id as PackageId, tenant: acme, sku: of.id, skuVersion: 1n },
    ...{ atUs, expiresUs: atUs + of.validityUs },
  };
  packages.addPurchase(purchase);
  books.enter(purchaseEntries(purchase, of));
  const [bought] = packages.packages();
  if (bought === undefined) throw new Error("expected the package that was bought, found none");
  books.packages = [...books.packages, bought];
  return bought;
}

/** The revision of each attempt that counts. */
export function inForce(books: MemoryBooks): StoredRecord[] {
  const byAttempt = new Map<string, StoredRecord>();
  for (const record of books.records.values()) {
    const other = byAttempt.get(record.attempt);
    const isNewer = other === undefined || other.rev < record.rev;
    if (record.state === "posted" && isNewer) byAttempt.set(record.attempt, record);
  }
  return [...byAttempt.values()];
}

export function billed(books: MemoryBooks): Sale[] {
  return [...books.sales.values()]
    .filter(({ state }) => state === "billed")
    .map(({ text }) => fromSaleText(text).sale);
}

export function sum(all: Iterable<bigint>): bigint {
  return [...all].reduce((total, each) => total + each, 0n);
}

/** All that must be true of books at every moment, made again from the records and sales in force. */
export function checkBooks(books: MemoryBooks): void {
  checkEntries(books);
  checkKeys(books);
  const records = inForce(books);
  const sales = billed(books);
  const packageNano = sum(books.packages.map((each) => each.sku.priceNano));
  expect(-books.netOf("asset:receivable:tenant:acme") - packageNano).toBe(
    sum(sales.map(({ billedNano }) => billedNano)),
  );
  const ratedNano = sum(records.map(({ amountNano }) => amountNano));
  expect(books.netOf("liab:payable:vendor:northgrid:accrued")).toBe(
    ratedNano + sharesOf(sales, "computing"),
  );
  const feeNano = sum(records.flatMap(({ fees }) => fees.map(({ amountNano }) => amountNano)));
  expect(books.netOf(`liab:payable:${owner}:accrued`)).toBe(feeNano + sharesOf(sales, "model"));
  expect(books.netOf(`liab:payable:${channel}:accrued`)).toBe(sharesOf(sales, "channel"));
  checkSales(books, sales);
  checkCube(books, records, sales);
  checkLeaves(books);
}

function sharesOf(sales: readonly Sale[], part: string): bigint {
  const parts = sales.flatMap((sale) => sale.parts);
  return sumOf(parts.filter((each) => each.part === part && each.way === "share"));
}

/** I1, I2, I3. */
function checkEntries(books: MemoryBooks): void {
  const ids = books.entries.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(books.entries.every(({ amount }) => amount > 0n)).toBe(true);
  expect(new Map(books.cachedBalances)).toEqual(movements(books.entries));
  const wallets = [...books.cachedBalances].filter(([key]) => key.includes("\nwallet:"));
  for (const [, { debit, credit, heldDebit }] of wallets) {
    expect(credit - debit - heldDebit >= 0n).toBe(true);
  }
}

/** I5. */
function checkKeys(books: MemoryBooks): void {
  const exact = new Map<string, bigint>();
  for (const { key, total } of books.cumulatives.values()) {
    const name = `${key.pair} ${key.line}`;
    exact.set(name, (exact.get(name) ?? 0n) + toNano(total.pico));
  }
  const stated = new Map<string, bigint>();
  for (const { key, total } of books.hours.values()) {
    const name = `${key.pair} ${key.line}`;
    stated.set(name, (stated.get(name) ?? 0n) + total.amountNano);
  }
  expect(stated).toEqual(exact);
}

/** I6, I18. */
function checkSales(books: MemoryBooks, sales: readonly Sale[]): void {
  for (const sale of sales) {
    expect(sumOf(sale.parts)).toBe(sale.earnedNano);
    expect(sale.billedNano + sale.coveredNano).toBe(sale.saleNano);
    const record = books.records.get(sale.record);
    expect(sale.tokens).toEqual(record?.sold);
  }
  const served = sales.filter(({ tokens }) => tokenClasses.some((each) => tokens[each] > 0n));
  const requests = served.map(({ request }) => request);
  expect(new Set(requests).size).toBe(requests.length);
  for (const { id, unit, sku: of } of books.packages) {
    const used = sum(
      sales.flatMap(({ draws }) =>
        draws.filter((draw) => draw.package === id).map((draw) => draw.amount),
      ),
    );
    const wallet = books.cachedBalances.get(balanceText({ unit, account: `wallet:acme::${id}` }));
    expect(used + (wallet?.credit ?? 0n) - (wallet?.debit ?? 0n)).toBe(of.quantity);
    const releasedNano = sum(
      sales.flatMap(({ draws }) =>
        draws.filter((draw) => draw.package === id).map((draw) => draw.releasedNano),
      ),
    );
    expect(books.netOf(`liab:prepaid:tenant:acme:pkg:${id}`)).toBe(of.priceNano - releasedNano);
  }
}

function checkCube(
  books: MemoryBooks,
  records: readonly StoredRecord[],
  sales: readonly Sale[],
): void {
  const cells = [...books.consumption.values()].map(({ total }) => total);
  for (const each of tokenClasses) {
    expect(sum(cells.map(({ tokens }) => tokens[each]))).toBe(
      sum(records.map(({ sold }) => sold[each])),
    );
  }
  expect(sum(cells.map(({ costNano }) => costNano))).toBe(
    sum(records.map(({ amountNano }) => amountNano)),
  );
  for (const name of ["saleNano", "coveredNano", "billedNano"] as const) {
    expect(sum(cells.map((cell) => cell[name]))).toBe(sum(sales.map((sale) => sale[name])));
  }
  expect(sum(cells.map(({ releasedNano }) => releasedNano))).toBe(
    sum(sales.flatMap(({ draws }) => draws.map(({ releasedNano }) => releasedNano))),
  );
}

/** I22: a posted record has its leaf; the leaves of a booking add up to its hours, pair by pair. */
function checkLeaves(books: MemoryBooks): void {
  const posted = [...books.records.values()].filter(({ state }) => state === "posted");
  const usage = books.leaves.filter(
    ({ log, kind }) => kind === "usage" && log.startsWith("vendor:"),
  );
  expect(usage.map(({ ref }) => ref).toSorted()).toEqual(
    posted.map(({ record }) => record).toSorted(),
  );
  const refs = books.leaves.map(({ log, kind, ref }) => `${log} ${kind} ${ref}`);
  expect(new Set(refs).size).toBe(refs.length);
  const byLeaf = new Map<string, bigint>();
  const byHour = new Map<string, bigint>();
  const add = (sums: Map<string, bigint>, key: string, nano: bigint): void => {
    sums.set(key, (sums.get(key) ?? 0n) + nano);
  };
  for (const { log, text } of books.leaves) {
    const found = bookedByLeaf(text);
    for (const { line, amountNano } of found?.charges ?? []) {
      add(byLeaf, `${log} ${found?.booking} ${line}`, amountNano);
    }
    for (const { line, amountNano } of found?.takenBack ?? []) {
      add(byLeaf, `${log} ${found?.booking} ${line}`, -amountNano);
    }
  }
  for (const { key, total } of books.hours.values()) {
    add(byHour, `${key.pair} ${key.booking} ${key.line}`, total.amountNano);
  }
  const used = (sums: Map<string, bigint>) => new Map([...sums].filter(([, nano]) => nano !== 0n));
  expect(used(byLeaf)).toEqual(used(byHour));
}

import { Registry as Metrics } from "prom-client";
import { partsOfLineId } from "../../services/core/settlement/pricing/charge.ts";
import { purchaseEntries } from "../../services/core/settlement/packages/package-entries.ts";
import { periodNameAt } from "../../services/core/settlement/statements/period.ts";
import type { PostOutcome } from "../../services/core/settlement/ledger/posting.ts";
import type { Selling } from "../../services/core/settlement/ledger/prepare.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import type { SplitRule } from "../../services/core/settlement/packages/split.ts";
import { bookText } from "../../services/core/settlement/terms/terms-text.ts";
import {
  unitOf,
  type TokenPackage,
} from "../../services/core/settlement/packages/token-package.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type {
  AttemptId,
  BookId,
  PackageId,
  PairId,
  RequestId,
  VendorId,
} from "../../services/core/units.ts";
import { systemClock } from "../../services/io/clock.ts";
import type { LedgerBatch, LedgerStore } from "../../services/io/ledger-store.ts";
import { openLog } from "../../services/io/log.ts";
import { Ingest } from "../../services/settlement/ingest/ingest.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { SettlementMetrics } from "../../services/settlement/metrics.ts";
import { Producers } from "../../services/settlement/ingest/producers.ts";
import type { TermsSource } from "../../services/settlement/terms/terms-source.ts";
import { contract, friday, priceBook, sha256, usageRecord } from "../core/settlement/fixtures.ts";
import { acme, sku } from "../core/settlement/package-ledger.ts";

const owner = "model:qwen" as PairId;

export const buyBook = priceBook();
const otherSide = { vendor: "" as VendorId, slots: [] };
const sellBook = priceBook({
  ...{ ...otherSide, id: "acme-sell" as BookId, side: "sell", pair: "tenant:acme" as PairId },
  lines: buyBook.lines.map((line) => ({
    ...line,
    tiers: line.tiers.map((tier) => ({ ...tier, pricePicoPerToken: tier.pricePicoPerToken * 2n })),
  })),
});
const licenceBook = priceBook({
  ...{ ...otherSide, id: "qwen-licence" as BookId, side: "licence", pair: owner },
  lines: buyBook.lines.map((line) => ({
    ...line,
    tiers: line.tiers.map((tier) => ({ ...tier, pricePicoPerToken: 123_457n })),
  })),
});

const rule: SplitRule = {
  ...{ id: "by-west", version: 1n, model: "*", effectiveFromUs: 0n },
  parts: [
    { part: "platform", party: "internal", way: "share", ppm: 900_000n },
    { part: "computing", party: "*", way: "rate", ppm: 0n },
    { part: "model", party: "*", way: "rate", ppm: 0n },
    { part: "channel", party: "*", way: "share", ppm: 100_000n },
  ],
};

const some = sku({ quantity: 1_000n, priceNano: 3_000_001n });

/** Enough for the first records alone. */
const tokenPackage: TokenPackage = {
  ...{ id: "pack-1" as PackageId, tenant: acme, sku: some, unit: unitOf(some) },
  ...{ startsUs: 0n, expiresUs: friday * 2n, plan: [], paths: [""] },
  ...{ refundedUnits: 0n, refundedNano: 0n, expiredUnits: 0n, breakageNano: 0n },
  ...{ allocations: 0n, expiries: 0n },
};

export function record(attempt: string, changes: Partial<UsageRecord> = {}): UsageRecord {
  const request = `request-${attempt}` as RequestId;
  return usageRecord({ attempt: attempt as AttemptId, id: `${attempt}:0`, request, ...changes });
}

/** Settlement over a store, as it is but for the terms, which are known from the beginning. */
export interface Books {
  post(records: readonly UsageRecord[]): Promise<PostOutcome[]>;
  /** A package that the next records draw on. */
  buyPackage(): Promise<void>;
  readonly writer: LedgerWriter;
}

export async function openBooks(
  store: LedgerStore,
  books: readonly PriceBook[] = [buyBook],
): Promise<Books> {
  const log = openLog({ role: "test", level: "silent" });
  const writer = new LedgerWriter({ store, log });
  await writer.loadHolds();
  const packages: TokenPackage[] = [];
  const ingest = new Ingest({
    ...{ writer, log, saltOf: sha256, terms: termsSource(books, packages) },
    metrics: new SettlementMetrics(new Metrics()),
    producers: new Producers({
      ...{ states: await store.producers(), clock: systemClock, onLost: () => undefined },
    }),
  });
  return {
    writer,
    post: (records) => ingest.record(records),
    buyPackage: async () => {
      const { id, tenant, expiresUs } = tokenPackage;
      const purchase = { id, tenant, sku: some.id, skuVersion: 1n, atUs: friday, expiresUs };
      const entries = purchaseEntries(purchase, some);
      const document = { kind: "purchase", id, pair: "tenant:acme" as PairId, atUs: friday };
      // Bought once, however often it is asked for.
      const change = { entries, documents: [{ ...document, body: id }] };
      await writer.write(async () => ({ change, result: undefined }));
      packages.push(tokenPackage);
    },
  };
}

/** One batch the way settlement does it. */
export async function post(
  store: LedgerStore,
  records: readonly UsageRecord[],
  books?: readonly PriceBook[],
): Promise<void> {
  await (await openBooks(store, books)).post(records);
}

function termsSource(bought: readonly PriceBook[], packages: readonly TokenPackage[]): TermsSource {
  const books = [...bought, sellBook, licenceBook];
  const bookOf = (id: BookId, version: bigint) =>
    books.find((book) => book.id === id && book.version === version);
  const agreed = contract();
  return {
    bookOf,
    learn: async () => undefined,
    bookingOf: (_, us) => periodNameAt(us, "daily", "Asia/Shanghai"),
    lineOf: (id) => {
      const { book, version, line } = partsOfLineId(id);
      return bookOf(book, version)?.lines.find((each) => each.id === line);
    },
    priceHashOf: (book) => sha256(bookText(book)),
    packagesOf: () => packages,
    termsOf: (each) => ({
      contract: agreed,
      book: bookOf(each.priceBook, each.priceVersion),
      licence: { pair: owner, contract: agreed, book: licenceBook },
      sell: each.tenant === acme ? selling(each) : undefined,
    }),
  };
}

function selling({ vendor, tenant }: UsageRecord): Selling {
  const computing = `vendor:${vendor}` as PairId;
  return {
    ...{ pair: `tenant:${tenant}` as PairId, contract: contract(), book: sellBook, rule },
    parties: { computing, model: owner, channel: "channel:west" as PairId },
  };
}

export function batch(changes: Partial<LedgerBatch> = {}): LedgerBatch {
  return {
    ...{ posted: [], waiting: [], released: [], entries: [], movements: new Map() },
    ...{ cumulatives: [], hours: [], sales: [], consumption: [], versions: [], producers: [] },
    ...{ leaves: [], tiles: [], documents: [], holds: [], claims: [] },
    ...changes,
  };
}

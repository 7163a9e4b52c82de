import type { InstantUs, PairId } from "../../units.ts";
import type { Sha256 } from "../canonical.ts";
import {
  lineIdOf,
  partsOfLineId,
  priceTokens,
  priceUsage,
  type PriceFlag,
  type PriceReason,
  type Pricing,
  type RatingTerms,
} from "../pricing/charge.ts";
import type { Contract, CostSide } from "../terms/contract.ts";
import { fromFuture } from "../counting/bounds.ts";
import { settleCounts, type CountReason, type Usage } from "../counting/count-rule.ts";
import { periodNameAt } from "../statements/period.ts";
import type { LineOf } from "./posting.ts";
import type { PriceBook } from "../pricing/price-book.ts";
import { toRecordText } from "../counting/record-text.ts";
import type { SplitParties, SplitRule } from "../packages/split.ts";
import type { Place } from "./tally-keys.ts";
import type { LineTokens } from "./tally.ts";
import { tokenClasses, type Tokens, type UsageRecord } from "../counting/usage.ts";

/** Why a sale waits. */
export type SaleReason =
  PriceReason | "contract-unknown" | "split-rule-unknown" | "licence-unknown";

export type DoubtReason =
  CountReason | PriceReason | "revision-mismatch" | "from-future" | "not-postable";

/** What holds for a record when it was opened. */
export interface Terms {
  /** With its vendor. */
  readonly contract: Contract;
  /** The version that the record names. */
  readonly book: PriceBook | undefined;
  /** The newest version of the same book that has begun and was agreed; undefined: none that is newer is known. */
  readonly newestBook?: PriceBook | undefined;
  /**
   * By which the vendor of an attempt that did not serve the tenant is paid, where a share is paid for the others and the
   * contract names a book for them. Without the book itself, such an attempt waits for it.
   */
  readonly forLosers?: { readonly book: PriceBook | undefined };
  /** With the owner of the model; undefined: it is owed nothing by a book. */
  readonly licence: Agreement | undefined;
  /** With its tenant; undefined: nobody has said what any tenant pays, and there is nothing to wait for. */
  readonly sell: Selling | undefined;
  /** What the vendor counted; only where the contract goes by it. */
  readonly claim?: Tokens | undefined;
}

export interface Agreement {
  readonly pair: PairId;
  readonly contract: RatingTerms & Pick<Contract, "period" | "timeZone">;
  readonly book: PriceBook | undefined;
}

export interface Selling extends Agreement {
  /** Others are sold to, and this tenant has neither a contract nor a list to go by. */
  readonly isUncovered?: boolean;
  /** Undefined: what is sold cannot be divided yet. */
  readonly rule: SplitRule | undefined;
  readonly parties: SplitParties;
}

/** What a record is rated by on one side, before the ledger's state is looked at. */
export interface Side {
  readonly place: Place;
  readonly slot: string;
  readonly lines: readonly LineTokens[];
  readonly book: PriceBook | undefined;
  readonly flags: readonly PriceFlag[];
}

/** A record with its bytes and with what the rules make of it, before the ledger's state is looked at. */
export interface Prepared {
  readonly record: UsageRecord;
  readonly rev: bigint;
  /** Canonical. */
  readonly text: string;
  readonly hash: string;
  readonly finding: Owing | Doubtful;
}

export interface Owing {
  readonly kind: "owing";
  readonly usage: Usage;
  readonly cost: CostSide;
  readonly contract: Contract;
  readonly buy: Side;
  /** What the owner of the model is owed by its licence book, whoever won. */
  readonly fee: Side | undefined;
  readonly sale: SaleFinding;
}

export type SaleFinding =
  /** The attempt did not serve the tenant; or, without a place, nobody has said what tenants pay. */
  | { readonly kind: "none"; readonly place: Place | undefined }
  | { readonly kind: "waiting"; readonly reason: SaleReason; readonly detail: string }
  | {
      readonly kind: "priced";
      readonly side: Side;
      readonly rule: SplitRule;
      readonly parties: SplitParties;
    };

export interface Doubtful {
  readonly kind: "doubtful";
  readonly reason: DoubtReason;
  readonly detail: string;
}

export interface PrepareOptions {
  readonly rev: bigint;
  readonly terms: Terms;
  readonly sha256: Sha256;
  readonly bookingOf: BookingOf;
  /** When the record is looked at; undefined: old records are posted again. */
  readonly nowUs?: InstantUs | undefined;
}

/** The day of an instant by the contract with a pair, or the first open one of the pair if that is closed. */
export type BookingOf = (pair: PairId, openedUs: InstantUs) => string;

/** Applies contracts and price books; looks at nothing but its arguments. */
export function prepare(record: UsageRecord, options: PrepareOptions): Prepared {
  const { rev, sha256 } = options;
  const text = toRecordText(record);
  return { record, rev, text, hash: sha256(text), finding: findingOf(record, options) };
}

/** A record that the rules or the ledger do not take, for a reason that is none of theirs: a person has to look. */
export function refuse(
  record: UsageRecord,
  { rev, sha256, detail }: { rev: bigint; sha256: Sha256; detail: string },
): Prepared {
  const text = toRecordText(record);
  const finding = { kind: "doubtful", reason: "not-postable", detail } as const;
  return { record, rev, text, hash: sha256(text), finding };
}

/** By the reason with which it waits. */
export function isRefused(reason: string): boolean {
  return reason.startsWith("not-postable:");
}

/** The same. It may leave quarantine when its time has come. */
export function isOfFuture(reason: string): boolean {
  return reason.startsWith("from-future:");
}

function findingOf(record: UsageRecord, options: PrepareOptions): Owing | Doubtful {
  const { contract, licence, sell, claim } = options.terms;
  const { nowUs } = options;
  const future = nowUs === undefined ? undefined : fromFuture(record, nowUs);
  if (future !== undefined) return { kind: "doubtful", reason: "from-future", detail: future };
  const usage = settleCounts(record, contract, claim);
  if (usage.kind === "doubtful") return usage;
  const { book, pricing } = buyPricing(usage, options.terms);
  if (pricing.kind === "doubtful") return pricing;
  const vendor = { pair: `vendor:${record.vendor}` as PairId, contract, book };
  // Where there was no licence book, it is the sale that waits: the vendor has its own.
  const isLicensed = licence?.book !== undefined;
  const licensed = isLicensed ? priced(usage.tokens, "licence", usage, licence) : undefined;
  if (licensed?.kind === "doubtful") return licensed;
  const owed = contract.owed[usage.ending];
  return {
    kind: "owing",
    usage,
    contract,
    cost: record.isWinner ? owed.cost : owed.costUnlessWinner,
    buy: sideOf(record, vendor, pricing, options),
    fee: licence && licensed && sideOf(record, licence, licensed, options),
    sale: saleOf(usage, sell, options),
  };
}

/**
 * Where the split pays the vendor a share of the sale, its buy book prices nothing that was sold. Attempts that did not
 * serve the tenant are paid by the contract's book for them.
 */
function buyPricing(
  usage: Usage,
  terms: Terms,
): { book: PriceBook | undefined; pricing: Priced | Unpriced } {
  const isShared = isComputingShared(terms.sell?.rule);
  if (isShared && isSold(usage.sold)) {
    return { book: undefined, pricing: { kind: "priced", slot: "any", lines: [], flags: [] } };
  }
  if (isShared && terms.forLosers !== undefined) {
    const { book } = terms.forLosers;
    return { book, pricing: priceUsage(usage, book, terms.contract) };
  }
  const { book, newestBook } = terms;
  return { book, pricing: priceUsage(usage, book, terms.contract, newestBook) };
}

type Priced = Extract<Pricing, { kind: "priced" }>;
type Unpriced = Extract<Pricing, { kind: "doubtful" }>;

function saleOf(usage: Usage, sell: Selling | undefined, options: PrepareOptions): SaleFinding {
  const { record, sold } = usage;
  if (sell === undefined) return { kind: "none", place: undefined };
  const place = placeOf(record, sell, options);
  if (!isSold(sold)) return { kind: "none", place };
  if (sell.isUncovered === true) {
    const detail = `${sell.pair} had neither a contract nor a price list for every tenant`;
    return { kind: "waiting", reason: "contract-unknown", detail };
  }
  const pricing = priced(sold, "sell", usage, sell);
  if (pricing.kind === "doubtful") {
    return { kind: "waiting", reason: pricing.reason, detail: pricing.detail };
  }
  const { rule, parties } = sell;
  if (rule === undefined) {
    const detail = `there is no split rule for ${record.model} of ${record.tenant}`;
    return { kind: "waiting", reason: "split-rule-unknown", detail };
  }
  const isLicensed = rule.parts.some(({ part, way }) => part === "model" && way === "rate");
  if (isLicensed && parties.model !== undefined && options.terms.licence?.book === undefined) {
    const detail = `there was no licence book of ${parties.model} when ${record.model} was used`;
    return { kind: "waiting", reason: "licence-unknown", detail };
  }
  return { kind: "priced", side: sideOf(record, sell, pricing, options), rule, parties };
}

function priced(
  tokens: Tokens,
  side: "sell" | "licence",
  { record, variants }: Usage,
  { pair, book, contract }: Agreement,
): Pricing {
  return priceTokens({ record, tokens, variants, side, pair }, book, contract);
}

function sideOf(
  record: UsageRecord,
  agreement: Agreement,
  { slot, lines, flags }: Priced,
  options: PrepareOptions,
): Side {
  return {
    place: placeOf(record, agreement, options),
    slot,
    lines: lines.map((each) => ({ line: lineIdOf(each), tokens: each.tokens })),
    book: agreement.book,
    flags,
  };
}

function placeOf(
  { openedUs, pool, region }: UsageRecord,
  { pair, contract }: Pick<Agreement, "pair" | "contract">,
  { bookingOf }: PrepareOptions,
): Place {
  const period = periodNameAt(openedUs, contract.period, contract.timeZone);
  const booking = bookingOf(pair, openedUs);
  return { pair, period, booking, openedUs, pool, region };
}

/** It is the first that is said of a request that was served, and nobody pays for it, nor will. */
export function isUnsold({ rev, finding }: Prepared): boolean {
  if (rev > 0n || finding.kind === "doubtful" || finding.sale.kind !== "none") return false;
  return finding.sale.place === undefined && isSold(finding.usage.sold);
}

export function isSold(tokens: Tokens): boolean {
  return tokenClasses.some((each) => tokens[each] !== 0n);
}

export function isComputingShared(rule: SplitRule | undefined): boolean {
  return rule?.parts.some(({ part, way }) => part === "computing" && way === "share") ?? false;
}

/** Finds lines in books that are at hand. What was found once is found again: books never change. */
export function linesIn(bookOf: (id: string, version: bigint) => PriceBook | undefined): LineOf {
  const known = new Map<string, PriceBook["lines"][number]>();
  const find = (id: string): PriceBook["lines"][number] | undefined => {
    const { book, version, line } = partsOfLineId(id);
    const found = bookOf(book, version)?.lines.find((each) => each.id === line);
    if (found !== undefined) known.set(id, found);
    return found;
  };
  return (id) => known.get(id) ?? find(id);
}

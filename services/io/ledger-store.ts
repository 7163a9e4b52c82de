import type { HourKey, RatingKey } from "../core/settlement/pricing/charge.ts";
import type {
  AccountId,
  AccountKey,
  Balance,
  LedgerEntry,
  Unit,
} from "../core/settlement/ledger/ledger.ts";
import type { Period } from "../core/settlement/statements/period.ts";
import type {
  At,
  Changes,
  Consumption,
  ConsumptionKey,
  HourTotal,
  PostedRecord,
  SaleRow,
  StoredRecord,
  WaitingRecord,
} from "../core/settlement/ledger/posting.ts";
import type { Cumulative } from "../core/settlement/pricing/rate.ts";
import type { Tokens } from "../core/settlement/counting/usage.ts";
import type {
  AttemptId,
  BookId,
  GatewayId,
  InstantUs,
  ModelId,
  PairId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../core/units.ts";

/** How far a gateway's dense sequence has come. */
export interface ProducerState {
  readonly gateway: GatewayId;
  readonly epoch: bigint;
  /** Below it everything came or was given up. */
  readonly nextSeq: bigint;
  /** Ranges that came beyond it, as `Sequence` writes them. */
  readonly ahead: string;
  /** Numbers that were given up. */
  readonly lost: bigint;
}

/** A version of a price book as it was when the ledger first charged by it. */
export interface ChargedVersion {
  readonly book: BookId;
  readonly version: bigint;
  readonly hash: string;
  readonly text: string;
}

/** Something of low volume that is kept for ever: a contract, a sku, a purchase, a transition of a dispute, … */
export interface LedgerDocument {
  readonly kind: string;
  /** Unique within the kind. The same bytes again change nothing, other bytes are refused. */
  readonly id: string;
  /** Whom it concerns; `internal` if nobody else. */
  readonly pair: PairId | "internal";
  /** Of all documents, dense from 1. */
  readonly seq: bigint;
  readonly atUs: InstantUs;
  /** Canonical, but for texts of others that are kept as they came. */
  readonly body: string;
  /** SHA-256 of the body, lower-case hex. */
  readonly hash: string;
}

/** A leaf of a log, RFC 6962. Its hash is over the bytes of `text` with the prefix 0x00. */
export interface Leaf {
  readonly log: PairId | "internal";
  /** Dense from 0. */
  readonly index: bigint;
  readonly kind: string;
  readonly ref: string;
  readonly text: string;
  /** Lower-case hex. */
  readonly hash: string;
}

/** 256 hashes of one level of a log, when they are complete (C2SP tlog-tiles, height 8). */
export interface LogTile {
  readonly log: PairId | "internal";
  /** 0 holds hashes of leaves, 1 roots of tiles of level 0, … */
  readonly level: number;
  readonly index: bigint;
  /** 256 × 64 digits of lower-case hex. */
  readonly hashes: string;
}

/** A reservation: so much of an account is set aside until an instant of the ledger's time. */
export interface HoldRow {
  readonly id: string;
  readonly unit: Unit;
  readonly debit: AccountId;
  readonly credit: AccountId;
  readonly amount: bigint;
  /** What is still set aside. */
  readonly left: bigint;
  readonly expiresUs: InstantUs;
  readonly state: "open" | "posted" | "void" | "expired";
}

/** A vendor's count of an attempt, as it was claimed. */
export interface ClaimRow {
  readonly pair: PairId;
  readonly attempt: AttemptId;
  readonly rev: bigint;
  readonly openedUs: InstantUs;
  readonly pool: PoolId;
  readonly model: ModelId;
  readonly tokens: Tokens;
  /** The document `claim-batch` that brought it. */
  readonly batch: string;
  readonly text: string;
  readonly hash: string;
}

/** What one transaction writes. All of it or nothing. */
export interface LedgerBatch extends Omit<Changes, "released"> {
  /** Were in quarantine and are among `posted` now. */
  readonly released: readonly Pick<StoredRecord, "attempt" | "rev">[];
  readonly versions: readonly ChargedVersion[];
  readonly producers: readonly ProducerState[];
  /** In order of index, following without a gap on what the log has. */
  readonly leaves: readonly Leaf[];
  readonly tiles: readonly LogTile[];
  /** Their `seq` is given by the store and follows on the last one. Of one that is there already nothing is written. */
  readonly documents: readonly LedgerDocument[];
  readonly holds: readonly HoldRow[];
  /** The same ones again change nothing, other bytes are refused. */
  readonly claims: readonly ClaimRow[];
}

/** Rows that are numbered from 1 without a gap, so that both are the same. */
export interface RowCount {
  readonly rows: bigint;
  readonly last: bigint;
}

/** What names a leaf. */
export type LeafRef = Pick<Leaf, "log" | "kind" | "ref">;

export interface UsageFilter {
  readonly vendor?: VendorId;
  readonly tenant?: TenantId;
  readonly request?: RequestId;
  /** Of `openedUs`; included. */
  readonly fromUs?: InstantUs;
  /** Excluded. */
  readonly toUs?: InstantUs;
}

/** Where a page ended: the next one begins after it. */
export interface UsagePlace {
  readonly openedUs: InstantUs;
  readonly attempt: string;
  readonly rev: bigint;
}

export type StoredUsage =
  (PostedRecord & { readonly state: "posted" }) | (WaitingRecord & { readonly state: "waiting" });

/** What a posted record is charged, as `readCharges` reads it, and where it goes. */
export type ChargedRow = readonly [
  attempt: AttemptId,
  rev: bigint,
  openedUs: InstantUs,
  pool: PoolId,
  region: RegionId,
  booking: string,
  period: string,
  charges: string,
];

/** What the books say of a pair and a period. */
export interface PairAccount {
  readonly hours: readonly At<HourKey, HourTotal>[];
  readonly attempts: bigint;
  readonly quarantined: bigint;
  readonly hashByVersion: ReadonlyMap<string, string>;
}

/**
 * The book. Append-only: what is committed is on disk when the promise resolves, and is never changed. One
 * process writes; a later one that opens the same ledger fences it off.
 */
export interface LedgerStore {
  /** All revisions of these attempts, those in quarantine too. */
  recordsOf(attempts: readonly AttemptId[]): Promise<StoredRecord[]>;
  /** Totals of the keys that have any. */
  totalsOf(
    rating: readonly RatingKey[],
    hours: readonly HourKey[],
  ): Promise<{
    readonly cumulatives: readonly At<RatingKey, Cumulative>[];
    readonly hours: readonly At<HourKey, HourTotal>[];
  }>;
  /** All of it or nothing. Throws `LedgerFencedError` when another process writes now. */
  commit(batch: LedgerBatch): Promise<void>;
  producers(): Promise<ProducerState[]>;
  /** Texts of records in quarantine, in the order of their ids, from after the given one on. */
  waiting(
    after: Pick<StoredRecord, "attempt" | "rev"> | undefined,
    limit: number,
  ): Promise<WaitingRecord[]>;
  waitingCount(): Promise<number>;
  /** Newest first. */
  usages(
    filter: UsageFilter,
    page: { readonly after: UsagePlace | undefined; readonly limit: number },
  ): Promise<StoredUsage[]>;
  /** Who has a record, settled or waiting. */
  vendors(): Promise<VendorId[]>;
  /** Hours that were booked into a period of a pair, whenever the usage was. */
  booked(pair: PairId, booking: string): Promise<readonly At<HourKey, HourTotal>[]>;
  /**
   * Attempts of a vendor with posted records, or of a tenant with sales, that were booked into a period; also those that a
   * later period has corrected.
   */
  bookedAttempts(pair: PairId, booking: string): Promise<bigint>;
  /** What was used from included to excluded, wherever it was booked. */
  account(pair: PairId, period: Pick<Period, "fromUs" | "toUs">): Promise<PairAccount>;
  /** Posted records by attempt and revision, from after the given one on. */
  recordsAfter(
    after: Pick<StoredRecord, "attempt" | "rev"> | undefined,
    limit: number,
  ): Promise<PostedRecord[]>;
  /** Entries in the order of posting, from after that many on. */
  entriesAfter(count: bigint, limit: number): Promise<LedgerEntry[]>;
  /** All of them, by `balanceText`. */
  balances(): Promise<ReadonlyMap<string, Balance>>;
  /** Those of these accounts that were ever moved, by `balanceText`. */
  balancesOf(accounts: readonly AccountKey[]): Promise<ReadonlyMap<string, Balance>>;
  /** Newest revision first. */
  salesOf(attempts: readonly AttemptId[]): Promise<SaleRow[]>;
  /** Billed and waiting ones of these requests, in force: a request is billed once. */
  salesOfRequests(requests: readonly RequestId[]): Promise<SaleRow[]>;
  /** Sales that wait, by attempt, from after the given one on. */
  salesWaiting(after: AttemptId | undefined, limit: number): Promise<SaleRow[]>;
  salesWaitingCount(): Promise<number>;
  /** Billed sales of a tenant that were booked into a day, by attempt, from after the given one on. */
  salesBooked(
    tenant: TenantId,
    booking: string,
    after: AttemptId | undefined,
    limit: number,
  ): Promise<SaleRow[]>;
  consumptionOf(
    keys: readonly ConsumptionKey[],
  ): Promise<readonly At<ConsumptionKey, Consumption>[]>;
  /** Of a tenant, or of all; hours from included to excluded. */
  consumption(
    tenant: TenantId | undefined,
    fromUs: InstantUs,
    toUs: InstantUs,
  ): Promise<readonly At<ConsumptionKey, Consumption>[]>;
  /** In order of `seq`, from after that one on. */
  documents(
    filter: { readonly kind?: string; readonly pair?: PairId | "internal" },
    page: { readonly afterSeq: bigint; readonly limit: number },
  ): Promise<LedgerDocument[]>;
  document(kind: string, id: string): Promise<LedgerDocument | undefined>;
  logs(): Promise<ReadonlyMap<PairId | "internal", bigint>>;
  /** Leaves from an index on, at most `limit`. */
  leaves(log: PairId | "internal", fromIndex: bigint, limit: number): Promise<Leaf[]>;
  /** Their hashes alone. */
  leafHashes(log: PairId | "internal", fromIndex: bigint, limit: number): Promise<string[]>;
  /** Those of these that are there. */
  leavesOf(refs: readonly LeafRef[]): Promise<Leaf[]>;
  leafOf(log: PairId | "internal", kind: string, ref: string): Promise<Leaf | undefined>;
  tile(log: PairId | "internal", level: number, index: bigint): Promise<LogTile | undefined>;
  hold(id: string): Promise<HoldRow | undefined>;
  /** Open ones that end at an instant or before, oldest first. */
  holdsEnding(byUs: InstantUs, limit: number): Promise<HoldRow[]>;
  /** By id, from after the given one on. */
  holdsOpen(after: string | undefined, limit: number): Promise<HoldRow[]>;
  /** Claims of a pair by attempt and revision, opened from included to excluded, from after the given one on. */
  claims(
    pair: PairId,
    period: { readonly fromUs: InstantUs; readonly toUs: InstantUs },
    after: Pick<ClaimRow, "attempt" | "rev"> | undefined,
    limit: number,
  ): Promise<ClaimRow[]>;
  /** All revisions of these attempts. */
  claimsOf(pair: PairId, attempts: readonly AttemptId[]): Promise<ClaimRow[]>;
  /** Posted records of a vendor by attempt and revision, opened from included to excluded. */
  recordsIn(
    vendor: VendorId,
    period: { readonly fromUs: InstantUs; readonly toUs: InstantUs },
    after: Pick<StoredRecord, "attempt" | "rev"> | undefined,
    limit: number,
  ): Promise<PostedRecord[]>;
  counts(): Promise<Readonly<Record<"records" | "entries" | "documents", RowCount>>>;
  /** The same records with what a sum of them needs and no more: a fifth of the work. */
  chargesIn(
    vendor: VendorId,
    period: { readonly fromUs: InstantUs; readonly toUs: InstantUs },
    after: Pick<StoredRecord, "attempt" | "rev"> | undefined,
    limit: number,
  ): Promise<ChargedRow[]>;
  cumulatives(): Promise<readonly At<RatingKey, Cumulative>[]>;
  /** Keys of one pair and rating period. */
  cumulativesOf(pair: PairId, period: string): Promise<readonly At<RatingKey, Cumulative>[]>;
  hours(): Promise<readonly At<HourKey, HourTotal>[]>;
  close(): Promise<void>;
}

/** Another process has opened the ledger to write: this one must stop. */
export class LedgerFencedError extends Error {
  override name = "LedgerFencedError";
}

/** A commit failed, or the thread is gone: what is on disk is not known, and nothing is tried again. */
export class LedgerStoppedError extends Error {
  override name = "LedgerStoppedError";
}

import type { HourKey, RatingKey } from "../core/settlement/charge.ts";
import type { AccountId, Balance, LedgerEntry } from "../core/settlement/ledger.ts";
import type { Period } from "../core/settlement/period.ts";
import type {
  At,
  Changes,
  HourTotal,
  PostedRecord,
  StoredRecord,
  WaitingRecord,
} from "../core/settlement/posting.ts";
import type { Cumulative } from "../core/settlement/rate.ts";
import type { Statement } from "../core/settlement/statement.ts";
import type {
  AttemptId,
  BookId,
  GatewayId,
  InstantUs,
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

/** What one transaction writes. */
export interface LedgerBatch extends Omit<Changes, "released"> {
  /** Were in quarantine and are among `posted` now. */
  readonly released: readonly Pick<StoredRecord, "attempt" | "rev">[];
  readonly versions: readonly ChargedVersion[];
  readonly producers: readonly ProducerState[];
}

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

/** What the books say of a vendor and a period. */
export interface VendorAccount {
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
  account(vendor: VendorId, period: Period): Promise<VendorAccount>;
  /** The same bytes again change nothing; other bytes under its id are refused. */
  saveStatement(statement: Statement): Promise<void>;
  latestStatement(vendor: VendorId, period: Period): Promise<Statement | undefined>;
  statement(id: string): Promise<Statement | undefined>;
  /** Newest first. */
  statements(vendor: VendorId | undefined, limit: number): Promise<Statement[]>;
  /** Posted records by attempt and revision, from after the given one on. */
  recordsAfter(
    after: Pick<StoredRecord, "attempt" | "rev"> | undefined,
    limit: number,
  ): Promise<PostedRecord[]>;
  /** Entries in the order of posting, from after that many on. */
  entriesAfter(count: bigint, limit: number): Promise<LedgerEntry[]>;
  balances(): Promise<ReadonlyMap<AccountId, Balance>>;
  cumulatives(): Promise<readonly At<RatingKey, Cumulative>[]>;
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

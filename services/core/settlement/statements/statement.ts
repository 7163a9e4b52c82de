import type {
  BookId,
  GatewayId,
  ModelId,
  Nano,
  PairId,
  Pico,
  PoolId,
  RegionId,
} from "../../units.ts";
import type { Period } from "./period.ts";
import type { HourTotal } from "../ledger/posting.ts";
import type { SplitPartName } from "../packages/split.ts";
import type { Tokens } from "../counting/usage.ts";

/**
 * - `daily` and `monthly` are closed: kept for ever, chained, signed.
 * - `interim` is of a period that is not closed: it may change, is not kept and binds nobody.
 */
export type StatementKind = "daily" | "monthly" | "interim";

/** What was booked of one line at one pool. */
export interface StatementLine {
  readonly line: string;
  readonly pool: PoolId;
  readonly region: RegionId;
  readonly model: ModelId;
  /** A token class, or `request`, which counts requests. */
  readonly tokenClass: HourTotal["tokenClass"];
  readonly slot: string;
  readonly book: BookId;
  readonly version: bigint;
  /** The day on which it was used, where that is outside the period: it came, or was corrected, too late for its own. */
  readonly usagePeriod: string | undefined;
  readonly attempts: bigint;
  readonly tokens: bigint;
  /** Exact. */
  readonly pico: Pico;
  /** What the ledger holds. */
  readonly amountNano: Nano;
}

/** A share of what was sold, or a package that was bought or given back. */
export type FeePart = SplitPartName | "purchase" | "refund";

/** A share of what was sold, for a party that has no price book; or what a tenant owes for a package. */
export interface StatementFee {
  readonly part: FeePart;
  /** Who has the share, or `package:<id>`. */
  readonly party: PairId | `package:${string}`;
  /** Of a package: `<sku>@<version>`; undefined for a share. */
  readonly sku: string | undefined;
  /** Below 0 for a refund. */
  readonly amountNano: Nano;
}

/** What a rating key owes beyond its records when its period ends: a minimum, a volume tier, a split. */
export interface TrueUp {
  /** `<book>:<version>:<line>`, or what else it is owed on, such as `minimum`. */
  readonly line: string;
  readonly scope: string;
  /** Of the key; an earlier one where a correction came after its close. */
  readonly period: string;
  readonly amountNano: Nano;
}

/** Where in the pair's log the leaves of the period stand; those of other bookings are among them. */
export interface StatementLog {
  readonly origin: string;
  readonly size: bigint;
  /** Of the tree of that size, lower-case hex. */
  readonly root: string;
  readonly firstIndex: bigint;
  /** Excluded. */
  readonly endIndex: bigint;
}

export interface StatementProducer {
  readonly gateway: GatewayId;
  readonly epoch: bigint;
  readonly firstSeq: bigint;
  /** Excluded. */
  readonly endSeq: bigint;
}

/** Numbers of a gateway that never came. */
export interface StatementGap {
  readonly gateway: GatewayId;
  readonly epoch: bigint;
  readonly lost: bigint;
}

export const reconKinds = [
  "matched",
  "in_tolerance",
  "quantity",
  "missing_vendor",
  "missing_operator",
  "duplicate",
  "price",
  "period",
] as const;

/** How the vendor's claims compared, in attempts. */
export type ReconCounts = Readonly<Record<(typeof reconKinds)[number], bigint>>;

/** What is true at the moment of closing and cannot be worked out again later. */
export interface Frozen {
  readonly log: StatementLog;
  /** SHA-256 of the contract's canonical text. */
  readonly contractHash: string;
  readonly calendars: readonly {
    readonly id: string;
    readonly version: bigint;
    readonly hash: string;
  }[];
  readonly producers: readonly StatementProducer[];
  readonly gaps: readonly StatementGap[];
  /** Undefined: no claims were compared. */
  readonly recon: ReconCounts | undefined;
  /** Merkle root over the pair's accounts; undefined in an interim statement. */
  readonly seal: string | undefined;
  /** What stood in dispute. */
  readonly disputedNano: Nano;
  /** Records that wait and are not in the lines. */
  readonly quarantined: bigint;
}

export interface StatementTotals {
  /** Undefined: the pair has shares alone, and no attempts of its own. */
  readonly attempts: bigint | undefined;
  readonly tokens: Tokens;
  /** Lines of the period and fees. */
  readonly grossNano: Nano;
  /** Paid otherwise, such as by packages: 0 or less. */
  readonly creditsNano: Nano;
  /** Lines of earlier periods. */
  readonly adjustmentsNano: Nano;
  readonly trueUpNano: Nano;
  /** Stood in dispute at closing; not part of the net. */
  readonly disputedNano: Nano;
  /** Gross, credits, adjustments and true-up. */
  readonly netNano: Nano;
  /** Fen, rounded half up once. Undefined: it is paid with another statement, which rounds. */
  readonly minorUnits: bigint | undefined;
  /** What that adds. */
  readonly roundingNano: Nano;
  readonly quarantined: bigint;
}

/** What is owed between the operator and a counterparty for a period. */
export interface Statement {
  /** `<pair>:<kind>:<period>:<rev>`. */
  readonly id: string;
  readonly pair: PairId;
  readonly kind: StatementKind;
  readonly period: Period;
  /** A closed period has one statement: 0. */
  readonly rev: number;
  readonly currency: "CNY";
  /** It is what is approved and paid; otherwise a monthly one is, or were the daily ones. */
  readonly isPayable: boolean;
  readonly lines: readonly StatementLine[];
  readonly fees: readonly StatementFee[];
  readonly trueUps: readonly TrueUp[];
  /** The daily statements that a monthly one adds up. */
  readonly days: readonly { readonly id: string; readonly digest: string }[];
  readonly versions: readonly {
    readonly book: BookId;
    readonly version: bigint;
    readonly hash: string | undefined;
  }[];
  readonly frozen: Frozen;
  readonly log: StatementLog;
  readonly totals: StatementTotals;
  /** Canonical: the bytes that are hashed and signed. */
  readonly text: string;
  /** SHA-256 of the text, lower-case hex. */
  readonly digest: string;
  /** Of the statement of the same kind before; empty for the first. */
  readonly prevDigest: string;
}

/** What the books say of a pair and a period. */
export interface Account {
  readonly pair: PairId;
  readonly kind: StatementKind;
  readonly period: Period;
  readonly isPayable: boolean;
  readonly lines: readonly StatementLine[];
  readonly fees: readonly StatementFee[];
  readonly trueUps: readonly TrueUp[];
  readonly creditsNano: Nano;
  readonly attempts: bigint | undefined;
  readonly days: Statement["days"];
  /** Of days that were rounded by themselves; undefined: this statement rounds, if it is payable. */
  readonly rounded: { readonly minorUnits: bigint; readonly roundingNano: Nano } | undefined;
  /** SHA-256 of `bookText` of the versions that were charged, by `<book>@<version>`. */
  readonly hashByVersion: ReadonlyMap<string, string>;
  readonly frozen: Frozen;
  readonly prevDigest: string;
}

/** 1 fen. */
export const nanoPerMinorUnit = 10_000_000n;

/** What is paid with a statement, whole fen; 0 if another one is paid instead. */
export function payableNano({ isPayable, totals }: Pick<Statement, "isPayable" | "totals">): Nano {
  return isPayable ? (totals.minorUnits ?? 0n) * nanoPerMinorUnit : 0n;
}

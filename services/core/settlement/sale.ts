import type {
  AttemptId,
  InstantUs,
  ModelId,
  Nano,
  PackageId,
  PairId,
  RequestId,
  TenantId,
} from "../units.ts";
import type { Charge } from "./posting.ts";
import type { PriceBook } from "./price-book.ts";
import type { Unit } from "./ledger.ts";
import type { Tokens } from "./usage.ts";

/** What one token sold is divided into. */
export const splitParts = ["platform", "computing", "model", "channel"] as const;
export type SplitPartName = (typeof splitParts)[number];

/**
 * By contract and model. `rate` is owed by a book of its own, whatever the sale was; `share` is a part of what remains, in
 * millionths that add up to 1,000,000 over the shares, the platform's included.
 */
export interface SplitPart {
  readonly part: SplitPartName;
  /** `vendor:…`, `model:…`, `channel:…`; for `platform` the operator: `internal`. For computing `*` is the pool's vendor. */
  readonly party: PairId | "internal" | "*";
  readonly way: "rate" | "share";
  /** 0 for `rate`. */
  readonly ppm: bigint;
}

export interface SplitRule {
  readonly id: string;
  readonly version: bigint;
  /** `*` is every model without a rule of its own. */
  readonly model: ModelId | "*";
  readonly effectiveFromUs: InstantUs;
  readonly parts: readonly SplitPart[];
}

/** A package of a tenant as it stands. */
export interface PackageState {
  readonly id: PackageId;
  readonly tenant: TenantId;
  readonly unit: Unit;
  /** Burn rates: side `quota`, micro-units per token. */
  readonly burnBook: PriceBook;
  /** What it was sold for. */
  readonly priceNano: Nano;
  /** What it was sold with, in the grain of the unit. */
  readonly quantity: bigint;
  /** Drawn so far, from all its wallets. */
  readonly drawn: bigint;
  /** Wallets in the order in which a record of this key may use them: its department's first, then the shared one. */
  readonly wallets: readonly { readonly department: string; readonly available: bigint }[];
  readonly priority: number;
  readonly expiresUs: InstantUs;
}

/** What a record took from one wallet of one package. */
export interface Draw {
  readonly package: PackageId;
  readonly unit: Unit;
  readonly department: string;
  readonly amount: bigint;
  /** Of the package before this draw: what it released is a difference of two rounded totals. */
  readonly drawnBefore: bigint;
  readonly releasedNano: Nano;
}

/** A part of the split as it came out. */
export interface SplitAmount {
  readonly part: SplitPartName;
  readonly party: PairId | "internal";
  readonly way: "rate" | "share";
  readonly amountNano: Nano;
}

/** What a tenant owes for a record, how it is paid, and who gets it. Parts always add up to what was earned. */
export interface Sale {
  readonly record: string;
  readonly attempt: AttemptId;
  readonly rev: bigint;
  readonly request: RequestId;
  readonly tenant: TenantId;
  readonly tokens: Tokens;
  readonly charges: readonly Charge[];
  /** By the sell book: the sum of the charges. */
  readonly saleNano: Nano;
  /** Of it, paid by packages. */
  readonly coveredNano: Nano;
  /** Of it, to be paid: sale less covered. */
  readonly billedNano: Nano;
  readonly draws: readonly Draw[];
  /** Billed and released: what there is to divide. */
  readonly earnedNano: Nano;
  readonly parts: readonly SplitAmount[];
}

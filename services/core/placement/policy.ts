import type { DataClass, EngineProfile, PowerModel } from "../pool.ts";
import type { PolicyRole, Side } from "../region.ts";
import type { ModelId, RegionId, RowId, TenantId, VendorId } from "../units.ts";
import type { Budget } from "./budget.ts";
import type { ClassTable } from "./class-table.ts";
import type { ServiceClass } from "./request.ts";

/** The operator's rules, as data. A new policy is a new revision, never an edit in place. */
export interface Policy {
  readonly revision: number;
  readonly name: string;
  readonly objectives: Readonly<Record<ServiceClass, Objectives>>;
  /** In order. All rows whose `when` holds apply, but for those that an exemption takes out. */
  readonly rows: readonly PolicyRow[];
  /** One account for all candidates of a decision; both are shown, never mixed. */
  readonly carbonAccount: "location-based" | "market-based";
  readonly carbonNanoPerGram: number;
  /** Part of the power bill that the operator pays, 0..1; the joules are shown all the same. */
  readonly powerShare: number;
  readonly congestion: CongestionPrice;
  readonly leaseMs: number;
  /** Said of a request whose output length nobody knows yet. */
  readonly outputTokensDefault: number;
  /** Requests waiting in the engine per slot beyond which a pool takes no more. */
  readonly queuedPerSlotMax: number;
  /** Part of the KV cache in use beyond which a pool takes no more, 0..1. */
  readonly kvUsedRatioMax: number;
  /** Said of a pool that declares no profile and of which no times are known. A house default. */
  readonly engineAssumed: EngineProfile;
  /** Said of a pool that declares no power model and measures no power. A house default. */
  readonly powerAssumed: PowerModel;
  /** Rolling budgets, each kept per tenant. Absent: none. */
  readonly budgets?: readonly Budget[];
  /** How the class of a request is found that states none. Absent: the house's table. */
  readonly classTable?: ClassTable;
  /** Sources that rows name by key: the document and where it can be read. */
  readonly sources: Readonly<Record<string, string>>;
  /** Laid over the rest for the requests that they name, in order. Absent: none. */
  readonly overrides?: readonly PolicyOverride[];
}

/** What a class promises, and what missing it costs. */
export interface Objectives {
  readonly ttftMsMax: number;
  readonly tpotMsMax: number;
  /** Value of time of the whole answer. */
  readonly waitNanoPerMs: number;
  /** Cost of missing an objective once. */
  readonly missNano: number;
  /**
   * Part of a pool's slots in use, 0..1, from which on the class takes no more of them: the rest is kept for classes
   * that cannot wait or go elsewhere. 1 keeps nothing.
   */
  readonly slotsUsedRatioMax: number;
  /** Most that one request may emit, in grams, by the account of the policy. Undefined: no cap. */
  readonly gramsCo2Max: number | undefined;
}

/** Shadow price of a slot and of a KV token at utilisation u: full price × u^exponent. */
export interface CongestionPrice {
  readonly fullNanoPerSlotMs: number;
  readonly fullNanoPerKvTokenMs: number;
  readonly exponent: number;
}

export type Basis = "policy text" | "general knowledge" | "house default";

interface RowHead {
  /** Of no other row, and of no override. */
  readonly id: RowId;
  readonly textEn: string;
  readonly textZh: string;
  readonly basis: Basis;
  /** Keys of `Policy.sources`. */
  readonly sources: readonly string[];
  readonly when: RequestCondition;
}

/**
 * A decision is filed under the first row that applies and names its class.
 *
 * - `require` keeps only pools that match; `reason` is the filter it speaks through.
 * - `exempt` lifts the requirement `of` for pools that match.
 * - `tariff` is a wish in money: below 0 attracts, above 0 repels.
 * - `warn` only marks: it changes no decision.
 */
export type PolicyRow = RowHead &
  (
    | { readonly kind: "require"; readonly reason: RowReason; readonly pool: PoolCondition }
    | { readonly kind: "exempt"; readonly of: RowId; readonly pool: PoolCondition }
    | { readonly kind: "tariff"; readonly pool: PoolCondition; readonly tariff: Tariff }
    | { readonly kind: "warn"; readonly pool: PoolCondition }
  );

/**
 * What holds instead for some requests. Of each setting, the last override that applies and names it counts; a list or
 * a row is one setting. Who may serve becomes a row with the override's id and basis, so that a rejection names it.
 */
export interface PolicyOverride extends RowHead {
  readonly objectives?: { readonly [Name in keyof Objectives]?: number };
  readonly carbonAccount?: Policy["carbonAccount"];
  readonly carbonNanoPerGram?: number;
  readonly powerShare?: number;
  /** Most that the price term of one request may be. */
  readonly priceNanoMax?: number;
  /** Most that a pool may ask for a token of input that is in no cache, and of output. */
  readonly inputNanoPerTokenMax?: number;
  readonly outputNanoPerTokenMax?: number;
  readonly vendorsAllowed?: ReadonlySet<VendorId>;
  readonly vendorsDenied?: ReadonlySet<VendorId>;
  readonly regionsAllowed?: ReadonlySet<RegionId>;
  readonly regionsDenied?: ReadonlySet<RegionId>;
  /** Rows that do not hold. */
  readonly rowsOff?: ReadonlySet<RowId>;
  /** Each in the place of the row that has its id. */
  readonly rowsInstead?: readonly PolicyRow[];
}

/** Filters that a row may speak through. */
export const rowReasons = [
  "latency-circle",
  "region-not-allowed",
  "data-class",
  "mlps-level",
  "vendor-not-allowed",
] as const;

export type RowReason = (typeof rowReasons)[number];

/** All that are named must hold. An absent one holds always. */
export interface RequestCondition {
  readonly classes?: ReadonlySet<ServiceClass>;
  readonly demandAreas?: ReadonlySet<string>;
  readonly dataClasses?: ReadonlySet<DataClass>;
  readonly tenants?: ReadonlySet<TenantId>;
  readonly models?: ReadonlySet<ModelId>;
}

export interface PoolCondition {
  readonly policyRoles?: ReadonlySet<PolicyRole>;
  readonly sides?: ReadonlySet<Side>;
  readonly regions?: ReadonlySet<RegionId>;
  readonly regionsExcept?: ReadonlySet<RegionId>;
  readonly vendors?: ReadonlySet<VendorId>;
  readonly vendorsExcept?: ReadonlySet<VendorId>;
  readonly tags?: ReadonlySet<string>;
  /** True: the pool's region serves the demand area of the origin. */
  readonly isLocal?: boolean;
  readonly isMainland?: boolean;
  /** The pool admits the request's data class. */
  readonly admitsDataClass?: boolean;
  /** The pool's 等保 level is at least the request's. */
  readonly meetsMlpsLevel?: boolean;
  /** Measured one-way latency from the origin, half the round trip. */
  readonly oneWayMsMax?: number;
  readonly oneWayMsAbove?: number;
  /** Measured one-way latency over that of light in fibre along the great circle. */
  readonly routeFactorAbove?: number;
  readonly pueAbove?: number;
}

export interface Tariff {
  readonly nanoPerToken: number;
  /** Scaled by the missing part up to this green share: (target − share) / target, at least 0. */
  readonly greenShareTarget?: number;
  /** Scaled by the free part below this utilisation of the pool's slots. */
  readonly utilisationTarget?: number;
}

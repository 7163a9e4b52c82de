import type { UnplaceableReason } from "../lease.ts";
import type { DataClass } from "../pool.ts";
import type {
  AttemptId,
  ModelId,
  OriginId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../units.ts";
import type { BudgetView } from "./budget.ts";

/** Kinds of service: rows W0 to W4 of the shipped policy. */
export const serviceClasses = [
  "metro-realtime",
  "realtime-interactive",
  "llm-interactive",
  "batch-offline",
  "archival",
] as const;

export type ServiceClass = (typeof serviceClasses)[number];

/** What is shed last to first. */
export const criticalities = ["critical-plus", "critical", "sheddable-plus", "sheddable"] as const;

export type Criticality = (typeof criticalities)[number];

/** What a gateway wants placed: one attempt at one request. */
export interface PlacementRequest {
  readonly request: RequestId;
  readonly attempt: AttemptId;
  readonly tenant: TenantId;
  readonly model: ModelId;
  readonly class: ServiceClass;
  readonly criticality: Criticality;
  readonly origin: OriginId;
  /** Where the data may go. Empty means anywhere. */
  readonly regions: ReadonlySet<RegionId>;
  readonly dataClass: DataClass;
  /** Least 等保 level of the pool; 0 asks for none. */
  readonly mlpsLevelMin: number;
  /** Empty means any. */
  readonly vendorsAllowed: ReadonlySet<VendorId>;
  readonly vendorsDenied: ReadonlySet<VendorId>;
  /** Pools that were tried already. */
  readonly excluded: ReadonlySet<PoolId>;
  readonly inputTokens: number;
  /** The part of the input each pool is expected to have in its prefix cache. */
  readonly cachedTokensAt: ReadonlyMap<PoolId, number>;
  /**
   * Hashes of the prompt's blocks, each over all text up to its end: whole numbers below 2^53. Salted per tenant.
   * Absent means that nothing is known to be shared.
   */
  readonly prefixBlocks?: readonly number[];
  /** Undefined means unknown: predicted per tenant, model and class. */
  readonly outputTokensExpected: number | undefined;
  /** How far lengths scatter about the one expected, in tokens: a standard deviation. Absent means unknown. */
  readonly outputTokensDeviation?: number;
  readonly outputTokensMax: number | undefined;
  /** Since its caller first asked, in ms: attempts and refusals before this one. Absent means none. */
  readonly waitedMs?: number | undefined;
  /** Time left for the whole request. */
  readonly deadlineMs: number | undefined;
  /** Most that the price term may be. */
  readonly priceNanoMax: number | undefined;
  /** What is left of the tenant's budget. */
  readonly budgetNanoLeft: number | undefined;
  /** What the class was taken from, such as `header` or `service_tier=flex`. Absent: it was stated as it is. */
  readonly classSource?: string | undefined;
  /** The name that was asked for, where it stands for the models of `choices`. */
  readonly alias?: string | undefined;
  /** In order of preference; the first that is allowed, fits its cap and has room serves. Absent: `model` alone. */
  readonly choices?: readonly ModelChoice[] | undefined;
  /** What the model that is being tried must keep to. Set by who tries the choices. */
  readonly choice?: ModelChoice | undefined;
  /** Models that were wanted more, and why they do not serve. Set by who tries the choices. */
  readonly passedOver?: readonly PassedOver[] | undefined;
  /** The tenant's rolling budgets as they stood. Set by who keeps them; absent: none applies. */
  readonly budgets?: BudgetView | undefined;
}

/** A model that may stand for an alias. */
export interface ModelChoice {
  readonly model: ModelId;
  /** Only pools that serve this version of it. Undefined: any. */
  readonly version: string | undefined;
  /** Most that a token may cost, in nano-CNY, at the price in force. Undefined: no cap. */
  readonly inputNanoPerTokenMax: number | undefined;
  readonly outputNanoPerTokenMax: number | undefined;
  /** False: the key's list of models does not have it. It is never tried, and that is said. */
  readonly isAllowed: boolean;
}

/** A model that does not serve although it was wanted more. */
export interface PassedOver {
  readonly model: ModelId;
  readonly version: string | undefined;
  readonly reason: UnplaceableReason | "not-allowed";
  /** Number of its pools by the filter that rejected them; pools that do not serve it are not counted. */
  readonly poolsByReason: ReadonlyMap<string, number>;
}

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
  /** Undefined means unknown: predicted per tenant, model and class. */
  readonly outputTokensExpected: number | undefined;
  readonly outputTokensMax: number | undefined;
  /** Time left for the whole request. */
  readonly deadlineMs: number | undefined;
  /** Most that the price term may be. */
  readonly priceNanoMax: number | undefined;
  /** What is left of the tenant's budget. */
  readonly budgetNanoLeft: number | undefined;
}

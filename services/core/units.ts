/**
 * Ids are branded, so that a region cannot be passed where a pool is wanted. Quantities are plain
 * numbers whose unit is the last part of their name: `ttftMs`, `powerWatts`, `picoPerToken`.
 */
declare const brand: unique symbol;
type Id<Name extends string> = string & { readonly [brand]: Name };

export type PoolId = Id<"Pool">;
export type RegionId = Id<"Region">;
export type HubId = Id<"Hub">;
/** Where demand arises: a city of the preset, or the place of a gateway. */
export type OriginId = Id<"Origin">;
export type VendorId = Id<"Vendor">;
export type TenantId = Id<"Tenant">;
export type ModelId = Id<"Model">;
export type RequestId = Id<"Request">;
export type AttemptId = Id<"Attempt">;
export type LeaseId = Id<"Lease">;
export type ReplicaId = Id<"Replica">;
export type GatewayId = Id<"Gateway">;
export type BookId = Id<"Book">;
/** A counterparty of the operator, with one log and one contract: `vendor:northgrid`, `tenant:acme`, `model:deepseek`, `channel:west`. */
export type PairId = Id<"Pair">;
/** A package of tokens or quota points that a tenant bought. */
export type PackageId = Id<"Package">;
/** Row of a policy's decision table, such as `W2`. */
export type RowId = Id<"Row">;

/** Milliseconds since the Unix epoch, never going back. The core is told the time. */
export type Instant = number;

/** Microseconds since the Unix epoch, UTC, as records keep it. */
export type InstantUs = bigint;

/** 10^-9 of a currency unit, owed. A bigint: a month of one vendor overflows 2^53. */
export type Nano = bigint;

/** 10^-12 of a currency unit: prices per token, and products before they are rounded. */
export type Pico = bigint;

import type {
  AttemptId,
  BookId,
  Instant,
  LeaseId,
  ModelId,
  PoolId,
  RowId,
  VendorId,
} from "./units.ts";

/** The right to one slot of a pool for one model until an instant. */
export interface Lease {
  readonly id: LeaseId;
  readonly pool: PoolId;
  readonly model: ModelId;
  readonly attempt: AttemptId;
  /** Only grows. A holder that shows an older fence is refused. */
  readonly fence: number;
  readonly grantedAt: Instant;
  readonly expiresAt: Instant;
}

/** A granted placement as a gateway holds it: no instants of the control plane in it. */
export interface Placement {
  readonly lease: LeaseId;
  readonly fence: number;
  readonly ttlMs: number;
  readonly pool: PoolId;
  readonly vendor: VendorId;
  /** Where an alias stands for several models. Undefined: the one that was asked for. */
  readonly model?: ModelId | undefined;
  readonly engineModelName: string;
  readonly priceBook: BookId;
  readonly priceVersion: number;
  readonly costNano: number;
  readonly ttftMsExpected: number;
  readonly policyRow: RowId;
  readonly snapshotRevision: number;
  readonly policyRevision: number;
  readonly joulesExpected: number;
  readonly gramsCo2Expected: number;
}

export type UnplaceableReason =
  | "no-eligible-pool"
  | "budget-exhausted"
  | "unsatisfiable"
  | "model-not-found"
  | "context-too-long";

export type PlaceOutcome =
  | { readonly kind: "placed"; readonly placement: Placement }
  | {
      readonly kind: "unplaceable";
      readonly reason: UnplaceableReason;
      readonly poolsByFilter: ReadonlyMap<string, number>;
      /** 0 means that waiting does not help. */
      readonly retryAfterMs: number;
      readonly policyRow: RowId | undefined;
      /** What more there is to say: which budget, and which models were tried. */
      readonly detail?: string | undefined;
    };

export type AttemptResult =
  "ok" | "connect-error" | "timeout" | "upstream-4xx" | "upstream-5xx" | "reset" | "cancelled";

/** How an attempt went, as the gateway saw it. Undefined is unknown, not 0. */
export interface AttemptOutcome {
  readonly result: AttemptResult;
  readonly ttftMs: number | undefined;
  readonly itlMsMean: number | undefined;
  /** Dispatch to response headers: an upper bound of the round trip. */
  readonly headersMs: number | undefined;
  readonly inputTokens: number | undefined;
  readonly cachedTokens: number | undefined;
  readonly outputTokens: number | undefined;
  readonly durationMs: number | undefined;
}

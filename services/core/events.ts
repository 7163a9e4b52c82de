import type { AccountImage } from "./budgets.ts";
import type { PlacementDigest } from "./elsewhere.ts";
import type { AttemptOutcome, Lease } from "./lease.ts";
import type { Decision } from "./placement/decide.ts";
import type { Policy } from "./placement/policy.ts";
import type { PlacementRequest } from "./placement/request.ts";
import type { PoolRegistration, PoolReport, PoolStatus } from "./pool.ts";
import type { Geography } from "./region.ts";
import type { PriceBook } from "./settlement/pricing/price-book.ts";
import type { Figure } from "./figure.ts";
import type { Instant, LeaseId, OriginId, PoolId, VendorId } from "./units.ts";

/**
 * Everything that can happen to a control replica. Its journal is a list of these, and replay is
 * stepping them again. What changes the registry is durable there before it is an event here.
 */
export type Event = { readonly at: Instant } & (
  | { readonly kind: "geography-set"; readonly geography: Geography }
  | { readonly kind: "pool-registered"; readonly registration: PoolRegistration }
  | { readonly kind: "pool-reported"; readonly vendor: VendorId; readonly report: PoolReport }
  | { readonly kind: "pool-marked"; readonly pool: PoolId; readonly status: PoolStatus }
  | { readonly kind: "pool-cut"; readonly pool: PoolId }
  | { readonly kind: "share-set"; readonly pool: PoolId; readonly share: number }
  | { readonly kind: "prices-published"; readonly book: PriceBook }
  | { readonly kind: "policy-set"; readonly policy: Policy }
  | {
      readonly kind: "paths-observed";
      readonly origin: OriginId;
      readonly roundTripMsByPool: ReadonlyMap<PoolId, Figure>;
    }
  | { readonly kind: "placement-requested"; readonly request: PlacementRequest }
  | { readonly kind: "lease-renewed"; readonly lease: LeaseId; readonly fence: number }
  | {
      readonly kind: "lease-released";
      readonly lease: LeaseId;
      readonly fence: number;
      readonly outcome: AttemptOutcome | undefined;
    }
  | { readonly kind: "placements-elsewhere"; readonly digest: PlacementDigest }
  /** At the start, from the replica that was here before. */
  | { readonly kind: "budgets-inherited"; readonly accounts: readonly AccountImage[] }
  | { readonly kind: "time-passed" }
);

export type ReportResult =
  "accepted" | "rejected-identity" | "rejected-schema" | "out-of-order" | "stale-generation";

/** Everything a control replica asks of the world. Performed by `services/control`, in order. */
export type Effect =
  | { readonly kind: "answer"; readonly decision: Decision; readonly lease: Lease | undefined }
  | { readonly kind: "renewed"; readonly lease: Lease }
  | { readonly kind: "refused"; readonly lease: LeaseId; readonly reason: "lease-gone" }
  | {
      readonly kind: "report-answered";
      readonly pool: PoolId;
      readonly result: ReportResult;
      /** What was expected and what was found; empty if it was accepted. */
      readonly detail: string;
    }
  /** `expired` is a leak by its holder, `cut` is a drain's deadline. */
  | { readonly kind: "revoke"; readonly lease: Lease; readonly reason: "expired" | "cut" };

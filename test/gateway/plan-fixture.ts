import type { AttemptPlan } from "../../services/gateway/attempt-record.ts";
import type {
  AttemptId,
  BookId,
  LeaseId,
  ModelId,
  OriginId,
  PoolId,
  RegionId,
  RequestId,
  RowId,
  TenantId,
  VendorId,
} from "../../services/core/units.ts";

/** An attempt that could be sent. */
export function plan(attempt: AttemptId): AttemptPlan {
  const model = "model-1" as ModelId;
  const pool = "pool-1" as PoolId;
  const vendor = "vendor-1" as VendorId;
  const region = "zhongwei" as RegionId;
  return {
    use: { department: "", project: "", scenario: "", keyPrefix: "" },
    digests: undefined,
    request: {
      request: `request-of-${attempt}` as RequestId,
      attempt,
      tenant: "acme" as TenantId,
      model,
      class: "llm-interactive",
      criticality: "critical",
      origin: "shanghai" as OriginId,
      regions: new Set(),
      dataClass: "general",
      mlpsLevelMin: 0,
      vendorsAllowed: new Set(),
      vendorsDenied: new Set(),
      excluded: new Set(),
      inputTokens: 12,
      cachedTokensAt: new Map(),
      outputTokensExpected: undefined,
      outputTokensMax: 100,
      deadlineMs: undefined,
      priceNanoMax: undefined,
      budgetNanoLeft: undefined,
    },
    placement: {
      lease: "lease-1" as LeaseId,
      fence: 1,
      ttlMs: 5_000,
      pool,
      vendor,
      engineModelName: "engine/model",
      priceBook: "book-1" as BookId,
      priceVersion: 3,
      costNano: 1_000,
      ttftMsExpected: 20,
      policyRow: "W2" as RowId,
      snapshotRevision: 1,
      policyRevision: 1,
      joulesExpected: 5,
      gramsCo2Expected: 1,
    },
    pool: {
      id: pool,
      vendor,
      region,
      side: "west",
      endpoint: "http://127.0.0.1:1",
      engine: "vllm",
      status: "ready",
      models: new Map(),
    },
    poolModel: { version: "r1", capabilities: new Set(["cache-report"]) },
    role: "primary",
    openedAt: 1_000,
  };
}

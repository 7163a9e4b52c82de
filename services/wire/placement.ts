import { create } from "@bufbuild/protobuf";
import type {
  AttemptOutcome,
  AttemptResult,
  PlaceOutcome,
  Placement,
  UnplaceableReason,
} from "../core/lease.ts";
import type { Criticality, PlacementRequest, ServiceClass } from "../core/placement/request.ts";
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
} from "../core/units.ts";
import { toConnectError } from "./errors.ts";
import { fromMap, required, toMap, words } from "./field.ts";
import { fromDerived, toDerived } from "./model-choice.ts";
import * as gen from "./gen/tokengrid/v1/placement_pb.js";
import { DataClass } from "./gen/tokengrid/v1/pool_pb.js";
import { dataClasses } from "./pool.ts";

export const serviceClassWords = words<ServiceClass, gen.ServiceClass>({
  "metro-realtime": gen.ServiceClass.METRO_REALTIME,
  "realtime-interactive": gen.ServiceClass.REALTIME_INTERACTIVE,
  "llm-interactive": gen.ServiceClass.LLM_INTERACTIVE,
  "batch-offline": gen.ServiceClass.BATCH_OFFLINE,
  archival: gen.ServiceClass.ARCHIVAL,
});

export const criticalityWords = words<Criticality, gen.Criticality>({
  "critical-plus": gen.Criticality.CRITICAL_PLUS,
  critical: gen.Criticality.CRITICAL,
  "sheddable-plus": gen.Criticality.SHEDDABLE_PLUS,
  sheddable: gen.Criticality.SHEDDABLE,
});

export const attemptResultWords = words<AttemptResult, gen.AttemptResult>({
  ok: gen.AttemptResult.OK,
  "connect-error": gen.AttemptResult.CONNECT_ERROR,
  timeout: gen.AttemptResult.TIMEOUT,
  "upstream-4xx": gen.AttemptResult.UPSTREAM_4XX,
  "upstream-5xx": gen.AttemptResult.UPSTREAM_5XX,
  reset: gen.AttemptResult.RESET,
  cancelled: gen.AttemptResult.CANCELLED,
});

export const unplaceableReasonWords = words<UnplaceableReason, gen.UnplaceableReason>({
  "no-eligible-pool": gen.UnplaceableReason.NO_ELIGIBLE_POOL,
  "budget-exhausted": gen.UnplaceableReason.BUDGET_EXHAUSTED,
  unsatisfiable: gen.UnplaceableReason.UNSATISFIABLE,
  "model-not-found": gen.UnplaceableReason.MODEL_NOT_FOUND,
  "context-too-long": gen.UnplaceableReason.CONTEXT_TOO_LONG,
});

/**
 * The only way into the core: what comes out is valid, so the core checks nothing twice. Prefix hashes are turned into
 * `cachedTokensAt` by the dispatcher, which knows what was placed where.
 */
export function toPlacementRequest(
  message: gen.PlaceRequest,
  cachedTokensAt: ReadonlyMap<PoolId, number> = new Map(),
): PlacementRequest {
  return {
    request: required("request_id", message.requestId) as RequestId,
    attempt: required("attempt_id", message.attemptId) as AttemptId,
    tenant: required("tenant_id", message.tenantId) as TenantId,
    model: required("model_id", message.modelId) as ModelId,
    class: serviceClassWords.toWord("service_class", message.serviceClass),
    criticality: criticalityWords.toWord("criticality", message.criticality),
    origin: required("origin_id", message.originId) as OriginId,
    regions: new Set(message.regionIds as RegionId[]),
    dataClass:
      message.dataClass === DataClass.UNSPECIFIED
        ? "general"
        : dataClasses.toWord("data_class", message.dataClass),
    mlpsLevelMin: message.mlpsLevelMin,
    vendorsAllowed: new Set(message.vendorIdsAllowed as VendorId[]),
    vendorsDenied: new Set(message.vendorIdsDenied as VendorId[]),
    excluded: new Set(message.poolIdsExcluded as PoolId[]),
    inputTokens: message.inputTokens,
    cachedTokensAt,
    ...(message.prefixBlockHashes.length > 0 && {
      prefixBlocks: message.prefixBlockHashes.map(toBlock),
    }),
    outputTokensExpected: message.outputTokensExpected,
    outputTokensMax: message.outputTokensMax,
    waitedMs: message.waitedMs,
    deadlineMs: message.deadlineMs,
    priceNanoMax: toEstimate(message.priceNanoMax),
    budgetNanoLeft: toEstimate(message.budgetNanoLeft),
    ...toDerived(message),
  };
}

export function fromPlacementRequest(request: PlacementRequest): gen.PlaceRequest {
  return create(gen.PlaceRequestSchema, {
    requestId: request.request,
    attemptId: request.attempt,
    tenantId: request.tenant,
    modelId: request.model,
    serviceClass: serviceClassWords.fromWord(request.class),
    criticality: criticalityWords.fromWord(request.criticality),
    originId: request.origin,
    regionIds: [...request.regions],
    dataClass: dataClasses.fromWord(request.dataClass),
    mlpsLevelMin: request.mlpsLevelMin,
    vendorIdsAllowed: [...request.vendorsAllowed],
    vendorIdsDenied: [...request.vendorsDenied],
    poolIdsExcluded: [...request.excluded],
    inputTokens: request.inputTokens,
    prefixBlockHashes: (request.prefixBlocks ?? []).map(BigInt),
    ...fromDerived(request),
    ...known({
      outputTokensExpected: request.outputTokensExpected,
      outputTokensMax: request.outputTokensMax,
      waitedMs: request.waitedMs,
      deadlineMs: request.deadlineMs,
      priceNanoMax: fromEstimate(request.priceNanoMax),
      budgetNanoLeft: fromEstimate(request.budgetNanoLeft),
    }),
  });
}

/** As many bits as a number holds exactly: enough, they only tell prompts apart. */
function toBlock(hash: bigint): number {
  return Number(BigInt.asUintN(53, hash));
}

/** Costs are whole nanos that a number holds exactly; what is owed never comes this way. */
function toEstimate(nano: bigint | undefined): number | undefined {
  return nano === undefined ? undefined : Number(nano);
}

function fromEstimate(nano: number | undefined): bigint | undefined {
  return nano === undefined ? undefined : BigInt(Math.round(nano));
}

/** Leaves out what is unknown. */
function known<Fields extends Readonly<Record<string, unknown>>>(
  fields: Fields,
): { [Name in keyof Fields]?: NonNullable<Fields[Name]> } {
  const there: { [Name in keyof Fields]?: NonNullable<Fields[Name]> } = {};
  for (const name of Object.keys(fields) as (keyof Fields)[]) {
    const value = fields[name];
    if (value !== undefined && value !== null) there[name] = value;
  }
  return there;
}

/** Throws INTERNAL if the answer has no outcome: the other side speaks a newer protocol. */
export function toPlaceOutcome(message: gen.PlaceResponse): PlaceOutcome {
  const { outcome } = message;
  switch (outcome.case) {
    case "placement":
      return { kind: "placed", placement: toPlacement(outcome.value) };
    case "unplaceable":
      return {
        kind: "unplaceable",
        reason: unplaceableReasonWords.toWord("reason", outcome.value.reason),
        poolsByFilter: toMap(outcome.value.poolsByFilter, (count) => count),
        retryAfterMs: outcome.value.retryAfterMs,
        policyRow: outcome.value.policyRow === "" ? undefined : (outcome.value.policyRow as RowId),
        ...(outcome.value.detail !== "" && { detail: outcome.value.detail }),
      };
    case undefined:
      throw toConnectError("INTERNAL", "expected a placement or why there is none, found neither");
  }
}

export function fromPlaceOutcome(outcome: PlaceOutcome): gen.PlaceResponse {
  if (outcome.kind === "placed") {
    return create(gen.PlaceResponseSchema, {
      outcome: { case: "placement", value: fromPlacement(outcome.placement) },
    });
  }
  const value = create(gen.UnplaceableSchema, {
    reason: unplaceableReasonWords.fromWord(outcome.reason),
    poolsByFilter: fromMap(outcome.poolsByFilter, (count) => count),
    retryAfterMs: outcome.retryAfterMs,
    policyRow: outcome.policyRow ?? "",
    detail: outcome.detail ?? "",
  });
  return create(gen.PlaceResponseSchema, { outcome: { case: "unplaceable", value } });
}

function toPlacement(message: gen.Placement): Placement {
  const lease = required("lease", message.lease);
  return {
    lease: required("lease_id", lease.leaseId) as LeaseId,
    fence: Number(lease.fence),
    ttlMs: lease.ttlMs,
    pool: required("pool_id", lease.poolId) as PoolId,
    vendor: required("vendor_id", message.vendorId) as VendorId,
    ...(message.modelId !== "" && { model: message.modelId as ModelId }),
    engineModelName: message.engineModelName,
    priceBook: message.priceBookId as BookId,
    priceVersion: Number(message.priceVersion),
    costNano: Number(message.costNano),
    ttftMsExpected: message.ttftMsExpected,
    policyRow: message.policyRow as RowId,
    snapshotRevision: Number(message.snapshotRevision),
    policyRevision: Number(message.policyRevision),
    joulesExpected: message.joulesExpected,
    gramsCo2Expected: message.gramsCo2Expected,
  };
}

function fromPlacement(placement: Placement): gen.Placement {
  return create(gen.PlacementSchema, {
    lease: {
      leaseId: placement.lease,
      poolId: placement.pool,
      fence: BigInt(placement.fence),
      ttlMs: placement.ttlMs,
    },
    vendorId: placement.vendor,
    engineModelName: placement.engineModelName,
    priceBookId: placement.priceBook,
    priceVersion: BigInt(placement.priceVersion),
    costNano: BigInt(placement.costNano),
    ttftMsExpected: placement.ttftMsExpected,
    policyRow: placement.policyRow,
    snapshotRevision: BigInt(placement.snapshotRevision),
    policyRevision: BigInt(placement.policyRevision),
    joulesExpected: placement.joulesExpected,
    gramsCo2Expected: placement.gramsCo2Expected,
    modelId: placement.model ?? "",
  });
}

/** Undefined numbers are unknown, not 0. */
export function toAttemptOutcome(message: gen.AttemptOutcome): AttemptOutcome {
  return {
    result: attemptResultWords.toWord("result", message.result),
    ttftMs: message.ttftMs,
    itlMsMean: message.itlMsMean,
    headersMs: message.headersMs,
    inputTokens: message.inputTokens,
    cachedTokens: message.cachedTokens,
    outputTokens: message.outputTokens,
    durationMs: message.durationMs,
  };
}

export function fromAttemptOutcome(outcome: AttemptOutcome): gen.AttemptOutcome {
  const { result, inputTokens, cachedTokens, outputTokens, ...times } = outcome;
  return create(gen.AttemptOutcomeSchema, {
    result: attemptResultWords.fromWord(result),
    ...known(times),
    ...known({
      inputTokens: toCount(inputTokens),
      cachedTokens: toCount(cachedTokens),
      outputTokens: toCount(outputTokens),
    }),
  });
}

const countMax = 2 ** 32 - 1;

/** An engine may say anything: what no answer can have is as good as unknown. */
function toCount(tokens: number | undefined): number | undefined {
  return tokens === undefined || tokens > countMax ? undefined : tokens;
}

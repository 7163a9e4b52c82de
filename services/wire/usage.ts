import { create } from "@bufbuild/protobuf";
import type { EngineCapability, EngineKind } from "../core/pool.ts";
import type {
  AttemptEnd,
  AttemptRole,
  CancelCause,
  EngineCounts,
  GatewayCounts,
  UsageFlag,
  UsageRecord,
} from "../core/settlement/usage.ts";
import { entries } from "../core/table.ts";
import type {
  AttemptId,
  BookId,
  GatewayId,
  ModelId,
  OriginId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../core/units.ts";
import { toConnectError } from "./errors.ts";
import {
  EngineCapability as WireCapability,
  EngineKind as WireEngine,
} from "./gen/tokengrid/v1/pool_pb.js";
import {
  AttemptEnd as WireEnd,
  AttemptRole as WireRole,
  CancelCause as WireCause,
  EngineCountSource as WireEngineSource,
  GatewayCountSource as WireGatewaySource,
  UsageRecordSchema,
  type UsageRecord as WireUsageRecord,
} from "./gen/tokengrid/v1/usage_pb.js";

const engines: Readonly<Record<EngineKind, WireEngine>> = {
  vllm: WireEngine.VLLM,
  sglang: WireEngine.SGLANG,
  trtllm: WireEngine.TRTLLM,
  llamacpp: WireEngine.LLAMACPP,
  openai: WireEngine.OPENAI,
  anthropic: WireEngine.ANTHROPIC,
  other: WireEngine.OTHER,
};

const capabilities: Readonly<Record<EngineCapability, WireCapability>> = {
  "continuous-usage": WireCapability.CONTINUOUS_USAGE,
  "cache-report": WireCapability.CACHE_REPORT,
  "reasoning-count": WireCapability.REASONING_COUNT,
  "token-ids": WireCapability.TOKEN_IDS,
  "usage-query": WireCapability.USAGE_QUERY,
};

const roles: Readonly<Record<AttemptRole, WireRole>> = {
  primary: WireRole.PRIMARY,
  retry: WireRole.RETRY,
  hedge: WireRole.HEDGE,
  audit: WireRole.AUDIT,
  canary: WireRole.CANARY,
};

const ends: Readonly<Record<AttemptEnd, WireEnd>> = {
  complete: WireEnd.COMPLETE,
  "client-cancel": WireEnd.CLIENT_CANCEL,
  "gateway-cancel": WireEnd.GATEWAY_CANCEL,
  "upstream-error": WireEnd.UPSTREAM_ERROR,
  "upstream-cut": WireEnd.UPSTREAM_CUT,
  "gateway-crash": WireEnd.GATEWAY_CRASH,
  "not-dispatched": WireEnd.NOT_DISPATCHED,
};

const causes: Readonly<Record<CancelCause, WireCause>> = {
  "hedge-lost": WireCause.HEDGE_LOST,
  quota: WireCause.QUOTA,
  deadline: WireCause.DEADLINE,
  "drain-limit": WireCause.DRAIN_LIMIT,
  "slow-reader": WireCause.SLOW_READER,
};

const engineSources: Readonly<Record<EngineCounts["source"], WireEngineSource>> = {
  final: WireEngineSource.FINAL,
  continuous: WireEngineSource.CONTINUOUS,
  "non-stream": WireEngineSource.NON_STREAM,
  query: WireEngineSource.QUERY,
  none: WireEngineSource.NONE,
};

const gatewaySources: Readonly<Record<GatewayCounts["source"], WireGatewaySource>> = {
  tokenizer: WireGatewaySource.TOKENIZER,
  heuristic: WireGatewaySource.HEURISTIC,
  none: WireGatewaySource.NONE,
};

const flags: Readonly<Record<UsageFlag, string>> = {
  "usage-decreased": "usage_decreased",
  "double-final": "double_final",
  "total-mismatch": "total_mismatch",
  "cache-unknown": "cache_unknown",
  "reasoning-unknown": "reasoning_unknown",
};

const endpoints: Readonly<Record<UsageRecord["endpoint"], string>> = {
  chat: "chat",
  completions: "completions",
  responses: "responses",
  messages: "messages",
  embeddings: "embeddings",
};

const engineByWire = inverse(engines);
const capabilityByWire = inverse(capabilities);
const roleByWire = inverse(roles);
const endByWire = inverse(ends);
const causeByWire = inverse(causes);
const engineSourceByWire = inverse(engineSources);
const gatewaySourceByWire = inverse(gatewaySources);
const flagByWire = inverse(flags);
const endpointByWire = inverse(endpoints);

/** Checks what the constraints of single fields cannot, and names what is wrong. Throws `ConnectError`. */
export function toUsageRecord(message: WireUsageRecord): UsageRecord {
  const { outcome, cancelCause } = message;
  return {
    ...partiesOf(message),
    ...instantsOf(message),
    role: known("role", roleByWire, message.role),
    isWinner: message.winner,
    end: known("outcome", endByWire, outcome),
    cancelCause:
      cancelCause === undefined ? undefined : known("cancel_cause", causeByWire, cancelCause),
    httpStatus: message.httpStatus,
    finishReason: message.finishReason,
    outputTokensMax: count("max_output", message.maxOutput),
    ...countsOf(message),
    evidence: {
      outBytes: size("out_bytes", message.outBytes),
      reasoningBytes: size("reasoning_bytes", message.reasoningBytes),
      toolBytes: size("tool_bytes", message.toolBytes),
      deliveredBytes: size("delivered_bytes", message.deliveredBytes),
      chunks: size("chunks", message.chunks),
      outDigest: message.outDigest,
    },
    flags: message.flags.map((flag) => known("flags", flagByWire, flag)).toSorted(),
    priceBook: message.priceBookId as BookId,
    priceVersion: message.priceVersion,
    origin: message.originId as OriginId,
    serviceClass: message.serviceClass,
    joulesExpected: message.joulesExpected,
    gramsCo2Expected: message.gramsCo2Expected,
  };
}

function partiesOf(message: WireUsageRecord) {
  return {
    id: message.recordId,
    attempt: message.attemptId as AttemptId,
    request: message.requestId as RequestId,
    tenant: message.tenantId as TenantId,
    vendor: message.vendorId as VendorId,
    pool: message.poolId as PoolId,
    region: message.regionId as RegionId,
    model: message.modelId as ModelId,
    modelVersion: message.modelRev,
    engine: known("engine", engineByWire, message.engine),
    capabilities: new Set(
      message.capabilities.map((each) => known("capabilities", capabilityByWire, each)),
    ),
    endpoint: known("endpoint", endpointByWire, message.endpoint),
    gateway: message.gatewayId as GatewayId,
    epoch: message.epoch,
    producerSeq: message.producerSeq,
  };
}

/** Named alike on both sides. */
type Instants = Pick<
  UsageRecord,
  | "openedUs"
  | "dispatchedUs"
  | "firstByteUs"
  | "lastByteUs"
  | "cancelUs"
  | "closedUs"
  | "clockErrUs"
>;

function instantsOf(from: Instants | WireUsageRecord): Instants {
  return {
    openedUs: from.openedUs,
    dispatchedUs: from.dispatchedUs,
    firstByteUs: from.firstByteUs,
    lastByteUs: from.lastByteUs,
    cancelUs: from.cancelUs,
    closedUs: from.closedUs,
    clockErrUs: from.clockErrUs,
  };
}

function countsOf(message: WireUsageRecord) {
  return {
    engineCounts: {
      source: known("eng_source", engineSourceByWire, message.engSource),
      input: count("eng_input", message.engInput),
      cacheRead: count("eng_cache_read", message.engCacheRead),
      cacheWrite: count("eng_cache_write", message.engCacheWrite),
      output: count("eng_output", message.engOutput),
      reasoning: count("eng_reasoning", message.engReasoning),
    },
    idsInput: count("ids_input", message.idsInput),
    idsOutput: count("ids_output", message.idsOutput),
    gatewayCounts: {
      source: known("gw_source", gatewaySourceByWire, message.gwSource),
      input: count("gw_input", message.gwInput),
      output: count("gw_output", message.gwOutput),
    },
  };
}

/** Everything of the record is in the message: `toUsageRecord` gives the same one back. */
export function fromUsageRecord(record: UsageRecord): WireUsageRecord {
  const { engineCounts, gatewayCounts, evidence } = record;
  return create(UsageRecordSchema, {
    recordId: record.id,
    attemptId: record.attempt,
    requestId: record.request,
    tenantId: record.tenant,
    vendorId: record.vendor,
    poolId: record.pool,
    regionId: record.region,
    modelId: record.model,
    modelRev: record.modelVersion,
    engine: engines[record.engine],
    endpoint: endpoints[record.endpoint],
    gatewayId: record.gateway,
    epoch: record.epoch,
    producerSeq: record.producerSeq,
    role: roles[record.role],
    winner: record.isWinner,
    ...instantsOf(record),
    outcome: ends[record.end],
    cancelCause: record.cancelCause === undefined ? undefined : causes[record.cancelCause],
    httpStatus: record.httpStatus,
    finishReason: record.finishReason,
    maxOutput: record.outputTokensMax,
    engInput: engineCounts.input,
    engCacheRead: engineCounts.cacheRead,
    engCacheWrite: engineCounts.cacheWrite,
    engOutput: engineCounts.output,
    engReasoning: engineCounts.reasoning,
    engSource: engineSources[engineCounts.source],
    idsInput: record.idsInput,
    idsOutput: record.idsOutput,
    gwInput: gatewayCounts.input,
    gwOutput: gatewayCounts.output,
    gwSource: gatewaySources[gatewayCounts.source],
    ...evidence,
    flags: record.flags.map((flag) => flags[flag]),
    priceBookId: record.priceBook,
    priceVersion: record.priceVersion,
    originId: record.origin,
    serviceClass: record.serviceClass,
    joulesExpected: record.joulesExpected,
    gramsCo2Expected: record.gramsCo2Expected,
    capabilities: [...record.capabilities].map((each) => capabilities[each]),
  });
}

function known<Wire, Core>(field: string, table: ReadonlyMap<Wire, Core>, value: Wire): Core {
  const found = table.get(value);
  if (found !== undefined) return found;
  const names = [...table.values()].join(", ");
  throw toConnectError("BAD_REQUEST", `${field}: expected one of ${names}, found ${String(value)}`);
}

/** An absent count is unknown, never 0. */
function count(field: string, value: bigint | undefined): bigint | undefined {
  return value === undefined ? undefined : size(field, value);
}

function size(field: string, value: bigint): bigint {
  if (value >= 0n) return value;
  throw toConnectError("BAD_REQUEST", `${field}: expected 0 or more, found ${value}`);
}

function inverse<Core extends string, Wire>(
  table: Readonly<Record<Core, Wire>>,
): ReadonlyMap<Wire, Core> {
  return new Map(entries(table).map(([core, wire]) => [wire, core]));
}

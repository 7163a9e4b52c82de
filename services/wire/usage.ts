import { create } from "@bufbuild/protobuf";
import {
  endpoints,
  tokenClasses,
  tokenClassNames,
  tokenVariantKinds,
  type AttemptEnd,
  type AttemptRole,
  type CancelCause,
  type Endpoint,
  type EngineCounts,
  type GatewayCounts,
  type TokenVariant,
  type UsageFlag,
  type UsageRecord,
} from "../core/settlement/counting/usage.ts";
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
import { words } from "./field.ts";
import {
  AttemptEnd as WireEnd,
  AttemptRole as WireRole,
  CancelCause as WireCause,
  EngineCountSource as WireEngineSource,
  GatewayCountSource as WireGatewaySource,
  UsageRecordSchema,
  type UsageRecord as WireUsageRecord,
  type UsageVariant,
} from "./gen/tokengrid/v1/usage_pb.js";
import { engineCapabilities, engineKinds } from "./pool.ts";

export const attemptRoles = words<AttemptRole, WireRole>({
  primary: WireRole.PRIMARY,
  retry: WireRole.RETRY,
  hedge: WireRole.HEDGE,
  audit: WireRole.AUDIT,
  canary: WireRole.CANARY,
});

export const attemptEnds = words<AttemptEnd, WireEnd>({
  complete: WireEnd.COMPLETE,
  "client-cancel": WireEnd.CLIENT_CANCEL,
  "gateway-cancel": WireEnd.GATEWAY_CANCEL,
  "upstream-error": WireEnd.UPSTREAM_ERROR,
  "upstream-cut": WireEnd.UPSTREAM_CUT,
  "gateway-crash": WireEnd.GATEWAY_CRASH,
  "not-dispatched": WireEnd.NOT_DISPATCHED,
});

export const cancelCauses = words<CancelCause, WireCause>({
  "hedge-lost": WireCause.HEDGE_LOST,
  quota: WireCause.QUOTA,
  deadline: WireCause.DEADLINE,
  "drain-limit": WireCause.DRAIN_LIMIT,
  "slow-reader": WireCause.SLOW_READER,
});

export const engineSources = words<EngineCounts["source"], WireEngineSource>({
  final: WireEngineSource.FINAL,
  continuous: WireEngineSource.CONTINUOUS,
  "non-stream": WireEngineSource.NON_STREAM,
  query: WireEngineSource.QUERY,
  none: WireEngineSource.NONE,
});

export const gatewaySources = words<GatewayCounts["source"], WireGatewaySource>({
  tokenizer: WireGatewaySource.TOKENIZER,
  heuristic: WireGatewaySource.HEURISTIC,
  none: WireGatewaySource.NONE,
});

export const usageFlags: Readonly<Record<UsageFlag, string>> = {
  "usage-decreased": "usage_decreased",
  "double-final": "double_final",
  "total-mismatch": "total_mismatch",
  "cache-unknown": "cache_unknown",
  "reasoning-unknown": "reasoning_unknown",
  "usage-malformed": "usage_malformed",
  "template-unknown": "template_unknown",
  overage: "overage",
};

const flagByName = new Map(entries(usageFlags).map(([flag, name]) => [name, flag]));
const classByName = new Map(tokenClasses.map((each) => [tokenClassNames[each], each]));

/** 2100-01-01: an instant from there on was given in another unit. */
const instantUsEnd = 4_102_444_800_000_000n;

/** Checks what the constraints of single fields cannot, and names what is wrong. Throws `ConnectError`. */
export function toUsageRecord(message: WireUsageRecord): UsageRecord {
  const { outcome, cancelCause } = message;
  return {
    ...partiesOf(message),
    ...checkedInstants(message),
    role: attemptRoles.toWord("role", message.role),
    isWinner: message.winner,
    end: attemptEnds.toWord("outcome", outcome),
    cancelCause:
      cancelCause === undefined ? undefined : cancelCauses.toWord("cancel_cause", cancelCause),
    httpStatus: message.httpStatus,
    finishReason: message.finishReason,
    outputTokensMax: count("max_output", message.maxOutput),
    reservedTokens: count("reserved", message.reserved),
    promptBytes: count("prompt_bytes", message.promptBytes),
    ...countsOf(message),
    variants: message.variants.map(variantOf),
    evidence: {
      outBytes: size("out_bytes", message.outBytes),
      reasoningBytes: size("reasoning_bytes", message.reasoningBytes),
      toolBytes: size("tool_bytes", message.toolBytes),
      deliveredBytes: size("delivered_bytes", message.deliveredBytes),
      chunks: size("chunks", message.chunks),
      outDigest: message.outDigest,
    },
    idsDigest: message.idsDigest,
    sentBytes: count("sent_bytes", message.sentBytes),
    bytesAtCancel: count("bytes_at_cancel", message.bytesAtCancel),
    watermarkOutput: count("wm_output", message.wmOutput),
    watermarkUs: optionalInstant("wm_us", message.wmUs),
    flags: message.flags.map(flagOf).toSorted(),
    priceBook: message.priceBookId as BookId,
    priceVersion: stored("price_version", message.priceVersion),
    origin: message.originId as OriginId,
    serviceClass: message.serviceClass,
    joulesExpected: quantity("joules_expected", message.joulesExpected),
    gramsCo2Expected: quantity("grams_co2_expected", message.gramsCo2Expected),
  };
}

function partiesOf(message: WireUsageRecord) {
  return {
    id: message.recordId,
    attempt: message.attemptId as AttemptId,
    request: message.requestId as RequestId,
    tenant: message.tenantId as TenantId,
    department: message.department,
    project: message.project,
    scenario: message.scenario,
    keyPrefix: message.keyPrefix,
    vendor: message.vendorId as VendorId,
    pool: message.poolId as PoolId,
    region: message.regionId as RegionId,
    model: message.modelId as ModelId,
    modelVersion: message.modelRev,
    tokenizerDigest: message.tokenizerDigest,
    chatTemplateDigest: message.chatTemplateDigest,
    engine: engineKinds.toWord("engine", message.engine),
    engineVersion: message.engineVersion,
    capabilities: new Set(
      message.capabilities.map((each) => engineCapabilities.toWord("capabilities", each)),
    ),
    endpoint: endpointOf(message.endpoint),
    gateway: message.gatewayId as GatewayId,
    epoch: stored("epoch", message.epoch),
    producerSeq: stored("producer_seq", message.producerSeq),
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

/** Throws for what no clock says. The order of the instants is for settlement to judge. */
function checkedInstants(message: WireUsageRecord): Instants {
  const { openedUs, dispatchedUs, firstByteUs, lastByteUs, cancelUs, closedUs } = message;
  instant("opened_us", openedUs);
  instant("closed_us", closedUs);
  if (dispatchedUs !== undefined) instant("dispatched_us", dispatchedUs);
  if (firstByteUs !== undefined) instant("first_byte_us", firstByteUs);
  if (lastByteUs !== undefined) instant("last_byte_us", lastByteUs);
  if (cancelUs !== undefined) instant("cancel_us", cancelUs);
  size("clock_err_us", message.clockErrUs);
  return instantsOf(message);
}

function countsOf(message: WireUsageRecord) {
  return {
    engineCounts: {
      source: engineSources.toWord("eng_source", message.engSource),
      input: count("eng_input", message.engInput),
      cacheRead: count("eng_cache_read", message.engCacheRead),
      cacheWrite: count("eng_cache_write", message.engCacheWrite),
      output: count("eng_output", message.engOutput),
      reasoning: count("eng_reasoning", message.engReasoning),
    },
    idsInput: count("ids_input", message.idsInput),
    idsOutput: count("ids_output", message.idsOutput),
    gatewayCounts: {
      source: gatewaySources.toWord("gw_source", message.gwSource),
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
    department: record.department,
    project: record.project,
    scenario: record.scenario,
    keyPrefix: record.keyPrefix,
    vendorId: record.vendor,
    poolId: record.pool,
    regionId: record.region,
    modelId: record.model,
    modelRev: record.modelVersion,
    tokenizerDigest: record.tokenizerDigest,
    chatTemplateDigest: record.chatTemplateDigest,
    engine: engineKinds.fromWord(record.engine),
    engineVersion: record.engineVersion,
    endpoint: record.endpoint,
    gatewayId: record.gateway,
    epoch: record.epoch,
    producerSeq: record.producerSeq,
    role: attemptRoles.fromWord(record.role),
    winner: record.isWinner,
    ...instantsOf(record),
    outcome: attemptEnds.fromWord(record.end),
    cancelCause:
      record.cancelCause === undefined ? undefined : cancelCauses.fromWord(record.cancelCause),
    httpStatus: record.httpStatus,
    finishReason: record.finishReason,
    maxOutput: record.outputTokensMax,
    reserved: record.reservedTokens,
    promptBytes: record.promptBytes,
    engInput: engineCounts.input,
    engCacheRead: engineCounts.cacheRead,
    engCacheWrite: engineCounts.cacheWrite,
    engOutput: engineCounts.output,
    engReasoning: engineCounts.reasoning,
    engSource: engineSources.fromWord(engineCounts.source),
    idsInput: record.idsInput,
    idsOutput: record.idsOutput,
    gwInput: gatewayCounts.input,
    gwOutput: gatewayCounts.output,
    gwSource: gatewaySources.fromWord(gatewayCounts.source),
    ...evidence,
    variants: record.variants.map(({ tokenClass, variant, tokens }) => ({
      tokenClass: tokenClassNames[tokenClass],
      variant,
      tokens,
    })),
    idsDigest: record.idsDigest,
    sentBytes: record.sentBytes,
    bytesAtCancel: record.bytesAtCancel,
    wmOutput: record.watermarkOutput,
    wmUs: record.watermarkUs,
    flags: record.flags.map((flag) => usageFlags[flag]),
    priceBookId: record.priceBook,
    priceVersion: record.priceVersion,
    originId: record.origin,
    serviceClass: record.serviceClass,
    joulesExpected: record.joulesExpected,
    gramsCo2Expected: record.gramsCo2Expected,
    capabilities: [...record.capabilities].map((each) => engineCapabilities.fromWord(each)),
  });
}

function endpointOf(name: string): Endpoint {
  const endpoint = endpoints.find((each) => each === name);
  if (endpoint !== undefined) return endpoint;
  throw expectedOneOf("endpoint", endpoints, name);
}

function variantOf({ tokenClass: className, variant: name, tokens }: UsageVariant): TokenVariant {
  const tokenClass = classByName.get(className);
  if (tokenClass === undefined) {
    throw expectedOneOf("variants.token_class", classByName.keys(), className);
  }
  const variant = tokenVariantKinds.find((each) => each === name);
  if (variant === undefined) throw expectedOneOf("variants.variant", tokenVariantKinds, name);
  return { tokenClass, variant, tokens: size("variants.tokens", tokens) };
}

function flagOf(name: string): UsageFlag {
  const flag = flagByName.get(name);
  if (flag !== undefined) return flag;
  throw expectedOneOf("flags", flagByName.keys(), name);
}

function expectedOneOf(field: string, names: Iterable<string>, found: string): Error {
  const expected = [...names].join(", ");
  return toConnectError("BAD_REQUEST", `${field}: expected one of ${expected}, found ${found}`);
}

/** An absent count is unknown, never 0. */
function count(field: string, value: bigint | undefined): bigint | undefined {
  return value === undefined ? undefined : size(field, value);
}

function size(field: string, value: bigint): bigint {
  if (value >= 0n) return value;
  throw toConnectError("BAD_REQUEST", `${field}: expected 0 or more, found ${value}`);
}

function optionalInstant(field: string, us: bigint | undefined): bigint | undefined {
  if (us !== undefined) instant(field, us);
  return us;
}

function instant(field: string, us: bigint): void {
  if (us >= 0n && us < instantUsEnd) return;
  throw toConnectError("BAD_REQUEST", `${field}: expected an instant before 2100, found ${us}`);
}

/** Numbers that the ledger keeps in 64 bits with a sign. */
function stored(field: string, value: bigint): bigint {
  if (value < 2n ** 63n) return value;
  throw toConnectError("BAD_REQUEST", `${field}: expected less than 2^63, found ${value}`);
}

function quantity(field: string, value: number): number {
  if (Number.isFinite(value) && value >= 0) return value;
  throw toConnectError("BAD_REQUEST", `${field}: expected a number from 0 on, found ${value}`);
}

import type { EngineCapability, EngineKind } from "../pool.ts";
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
} from "../units.ts";
import { canonicalJson } from "./canonical.ts";
import type {
  AnswerEvidence,
  AttemptEnd,
  AttemptRole,
  CancelCause,
  EngineCounts,
  GatewayCounts,
  UsageFlag,
  UsageRecord,
} from "./usage.ts";

/**
 * A record as canonical JSON: the bytes that are hashed, compared and kept for ever. Unknown is `null` and
 * never left out; integers and telemetry are strings.
 */
export function toRecordText(record: UsageRecord): string {
  const { engineCounts: engine, gatewayCounts: gateway, evidence } = record;
  return canonicalJson({
    type: "usage",
    v: "1",
    record_id: record.id,
    attempt_id: record.attempt,
    request_id: record.request,
    tenant_id: record.tenant,
    vendor_id: record.vendor,
    pool_id: record.pool,
    region_id: record.region,
    model_id: record.model,
    model_rev: record.modelVersion,
    engine: record.engine,
    capabilities: [...record.capabilities].map(snake).toSorted(),
    endpoint: record.endpoint,
    gateway_id: record.gateway,
    epoch: record.epoch,
    producer_seq: record.producerSeq,
    role: record.role,
    winner: record.isWinner,
    opened_us: record.openedUs,
    dispatched_us: record.dispatchedUs ?? null,
    first_byte_us: record.firstByteUs ?? null,
    last_byte_us: record.lastByteUs ?? null,
    cancel_us: record.cancelUs ?? null,
    closed_us: record.closedUs,
    clock_err_us: record.clockErrUs,
    outcome: snake(record.end),
    cancel_cause: record.cancelCause === undefined ? null : snake(record.cancelCause),
    http_status: record.httpStatus === undefined ? null : String(record.httpStatus),
    finish_reason: record.finishReason ?? null,
    max_output: record.outputTokensMax ?? null,
    eng_source: snake(engine.source),
    eng_input: engine.input ?? null,
    eng_cache_read: engine.cacheRead ?? null,
    eng_cache_write: engine.cacheWrite ?? null,
    eng_output: engine.output ?? null,
    eng_reasoning: engine.reasoning ?? null,
    ids_input: record.idsInput ?? null,
    ids_output: record.idsOutput ?? null,
    gw_source: gateway.source,
    gw_input: gateway.input ?? null,
    gw_output: gateway.output ?? null,
    out_bytes: evidence.outBytes,
    reasoning_bytes: evidence.reasoningBytes,
    tool_bytes: evidence.toolBytes,
    delivered_bytes: evidence.deliveredBytes,
    chunks: evidence.chunks,
    out_digest: evidence.outDigest,
    flags: record.flags.map(snake),
    book_id: record.priceBook,
    price_version: record.priceVersion,
    origin_id: record.origin,
    service_class: record.serviceClass,
    joules_expected: String(record.joulesExpected),
    grams_co2_expected: String(record.gramsCo2Expected),
  });
}

/** Members of a text that `toRecordText` wrote: strings, but for the lists and the flag. */
type Members = Readonly<Record<string, string | null>> & {
  readonly capabilities: readonly string[];
  readonly flags: readonly string[];
  readonly winner: boolean;
};

/** The record again; only for texts that `toRecordText` wrote. */
export function fromRecordText(text: string): UsageRecord {
  const members = JSON.parse(text) as Members;
  const known = (name: string): string => members[name] ?? "";
  return {
    id: known("record_id"),
    attempt: known("attempt_id") as AttemptId,
    request: known("request_id") as RequestId,
    tenant: known("tenant_id") as TenantId,
    vendor: known("vendor_id") as VendorId,
    pool: known("pool_id") as PoolId,
    region: known("region_id") as RegionId,
    model: known("model_id") as ModelId,
    modelVersion: known("model_rev"),
    engine: known("engine") as EngineKind,
    capabilities: new Set(members.capabilities.map(kebab) as EngineCapability[]),
    endpoint: known("endpoint") as UsageRecord["endpoint"],
    gateway: known("gateway_id") as GatewayId,
    epoch: BigInt(known("epoch")),
    producerSeq: BigInt(known("producer_seq")),
    role: known("role") as AttemptRole,
    isWinner: members.winner,
    ...instants(members),
    end: kebab(known("outcome")) as AttemptEnd,
    cancelCause: maybe(members["cancel_cause"], (cause) => kebab(cause) as CancelCause),
    httpStatus: maybe(members["http_status"], Number),
    finishReason: members["finish_reason"] ?? undefined,
    outputTokensMax: count(members["max_output"]),
    engineCounts: engineCounts(members),
    idsInput: count(members["ids_input"]),
    idsOutput: count(members["ids_output"]),
    gatewayCounts: {
      source: known("gw_source") as GatewayCounts["source"],
      input: count(members["gw_input"]),
      output: count(members["gw_output"]),
    },
    evidence: evidence(members),
    flags: members.flags.map(kebab) as UsageFlag[],
    priceBook: known("book_id") as BookId,
    priceVersion: BigInt(known("price_version")),
    origin: known("origin_id") as OriginId,
    serviceClass: known("service_class"),
    joulesExpected: Number(known("joules_expected")),
    gramsCo2Expected: Number(known("grams_co2_expected")),
  };
}

function instants(members: Members) {
  return {
    openedUs: BigInt(members["opened_us"] ?? ""),
    dispatchedUs: count(members["dispatched_us"]),
    firstByteUs: count(members["first_byte_us"]),
    lastByteUs: count(members["last_byte_us"]),
    cancelUs: count(members["cancel_us"]),
    closedUs: BigInt(members["closed_us"] ?? ""),
    clockErrUs: BigInt(members["clock_err_us"] ?? ""),
  };
}

function engineCounts(members: Members): EngineCounts {
  return {
    source: kebab(members["eng_source"] ?? "") as EngineCounts["source"],
    input: count(members["eng_input"]),
    cacheRead: count(members["eng_cache_read"]),
    cacheWrite: count(members["eng_cache_write"]),
    output: count(members["eng_output"]),
    reasoning: count(members["eng_reasoning"]),
  };
}

function evidence(members: Members): AnswerEvidence {
  return {
    outBytes: BigInt(members["out_bytes"] ?? ""),
    reasoningBytes: BigInt(members["reasoning_bytes"] ?? ""),
    toolBytes: BigInt(members["tool_bytes"] ?? ""),
    deliveredBytes: BigInt(members["delivered_bytes"] ?? ""),
    chunks: BigInt(members["chunks"] ?? ""),
    outDigest: members["out_digest"] ?? "",
  };
}

function count(text: string | null | undefined): bigint | undefined {
  return maybe(text, BigInt);
}

function maybe<Value>(
  text: string | null | undefined,
  read: (text: string) => Value,
): Value | undefined {
  return text === null || text === undefined ? undefined : read(text);
}

function snake(word: string): string {
  return word.replaceAll("-", "_");
}

function kebab(word: string): string {
  return word.replaceAll("_", "-");
}

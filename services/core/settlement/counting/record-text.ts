import { assert } from "../../assert.ts";
import type { EngineCapability, EngineKind } from "../../pool.ts";
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
} from "../../units.ts";
import { canonicalJson, type Canonical } from "../canonical.ts";
import {
  tokenClasses,
  tokenClassNames,
  type AnswerEvidence,
  type AttemptEnd,
  type AttemptRole,
  type CancelCause,
  type Endpoint,
  type EngineCounts,
  type GatewayCounts,
  type TokenVariant,
  type TokenVariantKind,
  type UsageFlag,
  type UsageRecord,
} from "./usage.ts";

/**
 * A record as canonical JSON: the bytes that are hashed, compared and kept for ever. Unknown is `null` and
 * never left out; integers and telemetry are strings.
 */
export function toRecordText(record: UsageRecord): string {
  let text = "";
  for (const [name, read] of written) text += `${name}${canonicalJson(read(record))}`;
  return `{${text}}`;
}

type Field = readonly [name: string, read: (r: UsageRecord) => Canonical];

/** In the order of their names, which is the order of the bytes. */
const fields: readonly Field[] = [
  ["attempt_id", (r) => r.attempt],
  ["book_id", (r) => r.priceBook],
  ["bytes_at_cancel", (r) => r.bytesAtCancel ?? null],
  ["cancel_cause", (r) => (r.cancelCause === undefined ? null : snake(r.cancelCause))],
  ["cancel_us", (r) => r.cancelUs ?? null],
  ["capabilities", (r) => [...r.capabilities].map(snake).toSorted()],
  ["chat_template_digest", (r) => r.chatTemplateDigest ?? null],
  ["chunks", (r) => r.evidence.chunks],
  ["clock_err_us", (r) => r.clockErrUs],
  ["closed_us", (r) => r.closedUs],
  ["delivered_bytes", (r) => r.evidence.deliveredBytes],
  ["department", (r) => r.department],
  ["dispatched_us", (r) => r.dispatchedUs ?? null],
  ["endpoint", (r) => r.endpoint],
  ["eng_cache_read", (r) => r.engineCounts.cacheRead ?? null],
  ["eng_cache_write", (r) => r.engineCounts.cacheWrite ?? null],
  ["eng_input", (r) => r.engineCounts.input ?? null],
  ["eng_output", (r) => r.engineCounts.output ?? null],
  ["eng_reasoning", (r) => r.engineCounts.reasoning ?? null],
  ["eng_source", (r) => snake(r.engineCounts.source)],
  ["engine", (r) => r.engine],
  ["engine_version", (r) => r.engineVersion ?? null],
  ["epoch", (r) => r.epoch],
  ["finish_reason", (r) => r.finishReason ?? null],
  ["first_byte_us", (r) => r.firstByteUs ?? null],
  ["flags", (r) => r.flags.map(snake)],
  ["gateway_id", (r) => r.gateway],
  ["grams_co2_expected", (r) => String(r.gramsCo2Expected)],
  ["gw_input", (r) => r.gatewayCounts.input ?? null],
  ["gw_output", (r) => r.gatewayCounts.output ?? null],
  ["gw_source", (r) => r.gatewayCounts.source],
  ["http_status", (r) => (r.httpStatus === undefined ? null : String(r.httpStatus))],
  ["ids_digest", (r) => r.idsDigest ?? null],
  ["ids_input", (r) => r.idsInput ?? null],
  ["ids_output", (r) => r.idsOutput ?? null],
  ["joules_expected", (r) => String(r.joulesExpected)],
  ["key_prefix", (r) => r.keyPrefix],
  ["last_byte_us", (r) => r.lastByteUs ?? null],
  ["max_output", (r) => r.outputTokensMax ?? null],
  ["model_id", (r) => r.model],
  ["model_rev", (r) => r.modelVersion],
  ["opened_us", (r) => r.openedUs],
  ["origin_id", (r) => r.origin],
  ["out_bytes", (r) => r.evidence.outBytes],
  ["out_digest", (r) => r.evidence.outDigest],
  ["outcome", (r) => snake(r.end)],
  ["pool_id", (r) => r.pool],
  ["price_version", (r) => r.priceVersion],
  ["producer_seq", (r) => r.producerSeq],
  ["project", (r) => r.project],
  ["prompt_bytes", (r) => r.promptBytes ?? null],
  ["reasoning_bytes", (r) => r.evidence.reasoningBytes],
  ["record_id", (r) => r.id],
  ["region_id", (r) => r.region],
  ["request_id", (r) => r.request],
  ["reserved", (r) => r.reservedTokens ?? null],
  ["role", (r) => r.role],
  ["scenario", (r) => r.scenario],
  ["sent_bytes", (r) => r.sentBytes ?? null],
  ["service_class", (r) => r.serviceClass],
  ["tenant_id", (r) => r.tenant],
  ["tokenizer_digest", (r) => r.tokenizerDigest ?? null],
  ["tool_bytes", (r) => r.evidence.toolBytes],
  ["type", () => "usage"],
  ["v", () => "1"],
  ["variants", (r) => r.variants.map(variantText)],
  ["vendor_id", (r) => r.vendor],
  ["winner", (r) => r.isWinner],
  ["wm_output", (r) => r.watermarkOutput ?? null],
  ["wm_us", (r) => r.watermarkUs ?? null],
];

/** Names as they stand in the text: a record is written for every attempt. */
const written = fields.map(([name, read], index): Field => {
  return [`${index === 0 ? "" : ","}"${name}":`, read];
});

function variantText({ tokenClass, variant, tokens }: TokenVariant): Canonical {
  return { class: tokenClassNames[tokenClass], tokens, variant };
}

/** Members of a text that `toRecordText` wrote: strings, but for the lists and the flag. */
type Members = Readonly<Record<string, string | null>> & {
  readonly capabilities: readonly string[];
  readonly flags: readonly string[];
  readonly variants: readonly Readonly<Record<"class" | "tokens" | "variant", string>>[];
  readonly winner: boolean;
};

/** The record again; only for texts that `toRecordText` wrote. */
export function fromRecordText(text: string): UsageRecord {
  const members = JSON.parse(text) as Members;
  const known = (name: string): string => members[name] ?? "";
  return {
    ...parties(members),
    ...instants(members),
    epoch: BigInt(known("epoch")),
    producerSeq: BigInt(known("producer_seq")),
    role: known("role") as AttemptRole,
    isWinner: members.winner,
    end: kebab(known("outcome")) as AttemptEnd,
    cancelCause: maybe(members["cancel_cause"], (cause) => kebab(cause) as CancelCause),
    httpStatus: maybe(members["http_status"], Number),
    finishReason: members["finish_reason"] ?? undefined,
    outputTokensMax: count(members["max_output"]),
    reservedTokens: count(members["reserved"]),
    promptBytes: count(members["prompt_bytes"]),
    engineCounts: engineCounts(members),
    idsInput: count(members["ids_input"]),
    idsOutput: count(members["ids_output"]),
    gatewayCounts: {
      source: known("gw_source") as GatewayCounts["source"],
      input: count(members["gw_input"]),
      output: count(members["gw_output"]),
    },
    variants: members.variants.map(variantOf),
    evidence: evidence(members),
    idsDigest: members["ids_digest"] ?? undefined,
    sentBytes: count(members["sent_bytes"]),
    bytesAtCancel: count(members["bytes_at_cancel"]),
    watermarkOutput: count(members["wm_output"]),
    watermarkUs: count(members["wm_us"]),
    flags: members.flags.map(kebab) as UsageFlag[],
    priceBook: known("book_id") as BookId,
    priceVersion: BigInt(known("price_version")),
    origin: known("origin_id") as OriginId,
    serviceClass: known("service_class"),
    joulesExpected: Number(known("joules_expected")),
    gramsCo2Expected: Number(known("grams_co2_expected")),
  };
}

function parties(members: Members) {
  const known = (name: string): string => members[name] ?? "";
  return {
    id: known("record_id"),
    attempt: known("attempt_id") as AttemptId,
    request: known("request_id") as RequestId,
    tenant: known("tenant_id") as TenantId,
    department: known("department"),
    project: known("project"),
    scenario: known("scenario"),
    keyPrefix: known("key_prefix"),
    vendor: known("vendor_id") as VendorId,
    pool: known("pool_id") as PoolId,
    region: known("region_id") as RegionId,
    model: known("model_id") as ModelId,
    modelVersion: known("model_rev"),
    tokenizerDigest: members["tokenizer_digest"] ?? undefined,
    chatTemplateDigest: members["chat_template_digest"] ?? undefined,
    engine: known("engine") as EngineKind,
    engineVersion: members["engine_version"] ?? undefined,
    capabilities: new Set(members.capabilities.map(kebab) as EngineCapability[]),
    endpoint: known("endpoint") as Endpoint,
    gateway: known("gateway_id") as GatewayId,
  };
}

function variantOf(member: Members["variants"][number]): TokenVariant {
  const tokenClass = tokenClasses.find((each) => tokenClassNames[each] === member.class);
  assert(tokenClass !== undefined, "a text that was written names classes");
  const variant = member.variant as TokenVariantKind;
  return { tokenClass, variant, tokens: BigInt(member.tokens) };
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

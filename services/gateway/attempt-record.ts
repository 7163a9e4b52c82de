import type { Placement } from "../core/lease.ts";
import type { PlacementRequest } from "../core/placement/request.ts";
import {
  unsaid,
  type AttemptEnd,
  type AttemptRole,
  type CancelCause,
  type UsageRecord,
} from "../core/settlement/counting/usage.ts";
import type { Instant, InstantUs } from "../core/units.ts";
import type { AnswerMeter } from "./meter.ts";
import type { PoolEntry, PoolModel } from "./pools.ts";
import type { UnnumberedRecord } from "./spool.ts";
import type { Watermark } from "./spooled.ts";
import type { TokenizerDigests } from "./tokenizer-files.ts";

/** What is known before an attempt is sent. */
export interface AttemptPlan {
  readonly request: PlacementRequest;
  readonly placement: Placement;
  readonly pool: PoolEntry;
  readonly poolModel: PoolModel;
  readonly role: AttemptRole;
  readonly openedAt: Instant;
  readonly use: UseDimensions;
  /** What the gateway could count with. */
  readonly digests: TokenizerDigests | undefined;
}

/** Whose use it is within the tenant. Empty: nobody's in particular. */
export type UseDimensions = Pick<UsageRecord, "department" | "project" | "scenario" | "keyPrefix">;

/** When things happened, on the gateway's clock. */
export interface AttemptTimes {
  dispatchedAt: Instant | undefined;
  firstByteAt: Instant | undefined;
  lastByteAt: Instant | undefined;
  cancelledAt: Instant | undefined;
}

/** The gateway's clock is set by the host: this is what hosts that are looked after keep to. */
const clockErrUs = 50_000n;

/** SHA-256 of nothing. */
const emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/**
 * The record that stands if nothing more is ever written of the attempt. `promptBytes` is undefined where they bound no
 * tokens.
 */
export function draftOf(plan: AttemptPlan, promptBytes: number | undefined): UnnumberedRecord {
  const { request, placement, pool, poolModel, role, use, digests } = plan;
  const openedUs = toUs(plan.openedAt);
  return {
    ...unsaid,
    id: `${request.attempt}:0`,
    attempt: request.attempt,
    request: request.request,
    tenant: request.tenant,
    ...use,
    tokenizerDigest: digests?.tokenizer,
    chatTemplateDigest: digests?.chatTemplate,
    vendor: placement.vendor,
    pool: placement.pool,
    region: pool.region,
    model: request.model,
    modelVersion: poolModel.version,
    engine: pool.engine,
    capabilities: poolModel.capabilities,
    endpoint: "chat",
    role,
    isWinner: false,
    openedUs,
    dispatchedUs: undefined,
    firstByteUs: undefined,
    lastByteUs: undefined,
    cancelUs: undefined,
    closedUs: openedUs,
    clockErrUs,
    end: "gateway-crash",
    cancelCause: undefined,
    httpStatus: undefined,
    finishReason: undefined,
    outputTokensMax:
      request.outputTokensMax === undefined ? undefined : BigInt(request.outputTokensMax),
    promptBytes: promptBytes === undefined ? undefined : BigInt(promptBytes),
    engineCounts: {
      source: "none",
      input: undefined,
      cacheRead: undefined,
      cacheWrite: undefined,
      output: undefined,
      reasoning: undefined,
    },
    gatewayCounts: { source: "heuristic", input: BigInt(request.inputTokens), output: undefined },
    evidence: {
      outBytes: 0n,
      reasoningBytes: 0n,
      toolBytes: 0n,
      deliveredBytes: 0n,
      chunks: 0n,
      outDigest: emptyDigest,
    },
    flags: [],
    priceBook: placement.priceBook,
    priceVersion: BigInt(placement.priceVersion),
    origin: request.origin,
    serviceClass: request.class,
    joulesExpected: telemetry(placement.joulesExpected),
    gramsCo2Expected: telemetry(placement.gramsCo2Expected),
  };
}

/** The record of an attempt that is over. Ends the meter's count. */
export function closedRecord(
  draft: UnnumberedRecord,
  outcome: {
    readonly end: AttemptEnd;
    readonly cancelCause: CancelCause | undefined;
    readonly httpStatus: number | undefined;
    readonly isWinner: boolean;
    readonly times: Readonly<AttemptTimes>;
    readonly closedAt: Instant;
    readonly meter: AnswerMeter;
    readonly deliveredBytes: number;
    readonly sentBytes: number;
    readonly bytesAtCancel: number | undefined;
    readonly watermark: Watermark | undefined;
    /** Output tokens that were reserved in the end. */
    readonly reservedOutput: bigint | undefined;
  },
): UnnumberedRecord {
  const { meter, times, end, cancelCause, httpStatus, isWinner, closedAt, watermark } = outcome;
  const { reservedOutput } = outcome;
  const promptTokens = draft.gatewayCounts.input ?? 0n;
  return {
    ...draft,
    dispatchedUs: optionalUs(times.dispatchedAt),
    firstByteUs: optionalUs(times.firstByteAt),
    lastByteUs: optionalUs(times.lastByteAt),
    cancelUs: optionalUs(times.cancelledAt),
    end,
    cancelCause,
    httpStatus,
    isWinner,
    closedUs: toUs(closedAt),
    finishReason: meter.finishReason ?? (cancelCause === "quota" ? "quota" : undefined),
    engineCounts: meter.usage.counts,
    engineVersion: meter.engineVersion,
    idsInput: meter.ids?.input,
    idsOutput: meter.ids?.output,
    idsDigest: meter.ids?.digest(),
    variants: meter.usage.variants,
    gatewayCounts: { ...draft.gatewayCounts, output: BigInt(meter.deltas) },
    evidence: meter.evidence(outcome.deliveredBytes),
    sentBytes: BigInt(outcome.sentBytes),
    bytesAtCancel: outcome.bytesAtCancel === undefined ? undefined : BigInt(outcome.bytesAtCancel),
    watermarkOutput: watermark?.output === undefined ? undefined : BigInt(watermark.output),
    watermarkUs: watermark === undefined ? undefined : BigInt(watermark.atUs),
    reservedTokens: reservedOutput === undefined ? undefined : promptTokens + reservedOutput,
    flags: isOverage(meter, reservedOutput)
      ? [...meter.usage.flags, "overage" as const].toSorted()
      : meter.usage.flags,
  };
}

/** Bytes of text that a token has at least, if an engine is to be believed that it made more than was reserved. */
const bytesPerTokenMin = 2n;

/** While an answer goes on its tokens are known about, so it may outgrow its reservation. Its bytes show that it did. */
function isOverage(meter: AnswerMeter, reservedOutput: bigint | undefined): boolean {
  const { output } = meter.usage.counts;
  if (reservedOutput === undefined || output === undefined || output <= reservedOutput)
    return false;
  return output * bytesPerTokenMin <= BigInt(meter.textBytes);
}

export function watermarkOf(
  draft: UnnumberedRecord,
  meter: AnswerMeter,
  options: {
    readonly at: Instant;
    readonly times: Readonly<AttemptTimes>;
    readonly deliveredBytes: number;
    readonly sentBytes: number;
  },
): Watermark {
  const { input, cacheRead, output, reasoning } = meter.usage.counts;
  const { times, at, deliveredBytes, sentBytes } = options;
  return {
    attempt: draft.attempt,
    atUs: String(toUs(at)),
    dispatchedUs: optionalUs(times.dispatchedAt)?.toString(),
    firstByteUs: optionalUs(times.firstByteAt)?.toString(),
    input: input?.toString(),
    cacheRead: cacheRead?.toString(),
    output: output?.toString(),
    reasoning: reasoning?.toString(),
    deltas: meter.deltas,
    outBytes: meter.textBytes,
    deliveredBytes,
    sentBytes,
    chunks: meter.chunks,
  };
}

/** An expectation that is no number must not keep a record of money out of the ledger. */
function telemetry(expected: number): number {
  return Number.isFinite(expected) && expected >= 0 ? expected : 0;
}

function toUs(at: Instant): InstantUs {
  return BigInt(Math.round(at * 1_000));
}

function optionalUs(at: Instant | undefined): InstantUs | undefined {
  return at === undefined ? undefined : toUs(at);
}

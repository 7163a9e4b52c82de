import { createHash } from "node:crypto";
import {
  defaultContract,
  type Contract,
} from "../../../services/core/settlement/terms/contract.ts";
import type {
  Calendar,
  PriceBook,
  PriceLine,
} from "../../../services/core/settlement/pricing/price-book.ts";
import {
  tokenClasses,
  unsaid,
  type AnswerEvidence,
  type EngineCounts,
  type TokenClass,
  type UsageRecord,
} from "../../../services/core/settlement/counting/usage.ts";
import type {
  AttemptId,
  BookId,
  GatewayId,
  InstantUs,
  ModelId,
  OriginId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../../../services/core/units.ts";

export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** 2026-11-20 14:00 in Shanghai, a Friday. */
export const friday: InstantUs = us("2026-11-20T14:00:00+08:00");

export function us(iso: string): InstantUs {
  return BigInt(Date.parse(iso)) * 1_000n;
}

export function contract(changes: Partial<Contract> = {}): Contract {
  return { ...defaultContract, ...changes };
}

export function engineCounts(changes: Partial<EngineCounts> = {}): EngineCounts {
  return {
    source: "final",
    input: 100n,
    cacheRead: 40n,
    cacheWrite: undefined,
    output: 50n,
    reasoning: 0n,
    ...changes,
  };
}

export function evidence(changes: Partial<AnswerEvidence> = {}): AnswerEvidence {
  return {
    outBytes: 200n,
    reasoningBytes: 0n,
    toolBytes: 0n,
    deliveredBytes: 400n,
    chunks: 50n,
    outDigest: "ab".repeat(32),
    ...changes,
  };
}

/** A complete streamed attempt of which everything is known. A test names only what it is about. */
export function usageRecord(changes: Partial<UsageRecord> = {}): UsageRecord {
  const attempt = changes.attempt ?? ("a1" as AttemptId);
  const openedUs = changes.openedUs ?? friday;
  return {
    ...unsaid,
    id: `${attempt}:0`,
    attempt,
    request: "r1" as RequestId,
    tenant: "acme" as TenantId,
    vendor: "northgrid" as VendorId,
    pool: "p1" as PoolId,
    region: "zhongwei" as RegionId,
    model: "qwen3-32b" as ModelId,
    modelVersion: "1",
    engine: "vllm",
    capabilities: new Set(["cache-report", "reasoning-count"]),
    endpoint: "chat",
    gateway: "gateway-1" as GatewayId,
    epoch: 1n,
    producerSeq: 1n,
    role: "primary",
    isWinner: true,
    openedUs,
    dispatchedUs: openedUs + 1_000n,
    firstByteUs: openedUs + 200_000n,
    lastByteUs: openedUs + 2_000_000n,
    cancelUs: undefined,
    closedUs: openedUs + 2_100_000n,
    clockErrUs: 0n,
    end: "complete",
    cancelCause: undefined,
    httpStatus: 200,
    finishReason: "stop",
    outputTokensMax: 1_000n,
    promptBytes: 400n,
    engineCounts: engineCounts(),
    gatewayCounts: { source: "heuristic", input: 96n, output: 45n },
    evidence: evidence(),
    flags: [],
    priceBook: "northgrid-list" as BookId,
    priceVersion: 1n,
    origin: "shanghai" as OriginId,
    serviceClass: "interactive",
    joulesExpected: 12.5,
    gramsCo2Expected: 0.25,
    ...changes,
  };
}

export const calendar: Calendar = {
  id: "cn-2026",
  offsetMinutes: 480,
  kindByDate: new Map([
    ["2026-10-01", "holiday"],
    ["2026-10-10", "makeup"],
  ]),
  coversToUs: us("2027-01-01T00:00:00+08:00"),
};

const anyLength = { from: 0n, to: undefined };

export function priceLine(
  tokenClass: TokenClass,
  pico: bigint,
  changes: Partial<PriceLine> = {},
): PriceLine {
  return {
    id: tokenClass,
    model: "qwen3-32b" as ModelId,
    tokenClass,
    slot: "any",
    input: anyLength,
    output: anyLength,
    tiers: [{ fromTokens: 0n, pricePicoPerToken: pico }],
    ...changes,
  };
}

const picoByClass: Readonly<Record<TokenClass, bigint>> = {
  uncachedInput: 1_999_500n,
  cacheRead: 200_250n,
  cacheWrite: 2_500_001n,
  response: 8_000_000n,
  reasoning: 4_000_333n,
};

/** One line per class; without slots. */
export function priceBook(changes: Partial<PriceBook> = {}): PriceBook {
  return {
    id: "northgrid-list" as BookId,
    vendor: "northgrid" as VendorId,
    version: 1n,
    currency: "CNY",
    effectiveFromUs: us("2026-01-01T00:00:00+08:00"),
    effectiveToUs: undefined,
    slots: [],
    calendar,
    lines: tokenClasses.map((each) => priceLine(each, picoByClass[each])),
    source: "a test",
    ...changes,
  };
}

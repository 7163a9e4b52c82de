import {
  tokenClasses,
  unsaid,
  type UsageRecord,
} from "../services/core/settlement/counting/usage.ts";
import { defaultContract } from "../services/core/settlement/terms/contract.ts";
import { defaultPairTerms } from "../services/core/settlement/terms/pair-terms.ts";
import { operatorSplitRule, type Agreements } from "../services/settlement/terms/agreements.ts";
import type { Calendar, PriceBook } from "../services/core/settlement/pricing/price-book.ts";
import type {
  AttemptId,
  BookId,
  GatewayId,
  ModelId,
  OriginId,
  PairId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../services/core/units.ts";

/** Record n is of vendor n modulo so many. */
export const loadVendors = 8;
const poolsPerVendor = 5;
const tenants = 50;
const models = ["deepseek-v3.2", "qwen3-32b", "glm-5"] as ModelId[];
/** 2026-11-20 14:00 in Shanghai. */
const startUs = 1_795_154_400_000_000n;
const usBetween = 2_000n;

/** One book per vendor: every model, every class, peak and off-peak, two tiers. */
export function loadBooks(calendar: Calendar): PriceBook[] {
  const everyDay = new Set(["workday", "weekend", "holiday", "makeup"] as const);
  return Array.from({ length: loadVendors }, (_, vendor) => ({
    id: `book-${vendor}` as BookId,
    vendor: `vendor-${vendor}` as VendorId,
    version: 1n,
    currency: "CNY",
    effectiveFromUs: 1n,
    effectiveToUs: undefined,
    slots: [
      { slot: "peak", dayKinds: everyDay, startMin: 480, endMin: 1_320 },
      { slot: "off-peak", dayKinds: everyDay, startMin: 1_320, endMin: 480 },
    ],
    calendar,
    lines: models.flatMap((model) =>
      tokenClasses.flatMap((tokenClass) =>
        ["peak", "off-peak"].map((slot) => ({
          id: `${model}/${tokenClass}/${slot}`,
          model,
          tokenClass,
          slot,
          input: { from: 0n, to: undefined },
          output: { from: 0n, to: undefined },
          tiers: [
            { fromTokens: 0n, pricePicoPerToken: 1_999_501n },
            { fromTokens: 1_000_000n, pricePicoPerToken: 1_777_777n },
          ],
        })),
      ),
    ),
    source: "a benchmark",
  }));
}

/** What tenants pay: every model, every class, one list; divided among platform, vendor and channel. */
export function loadTerms(calendar: Calendar, agreements: Agreements): void {
  const [list] = loadBooks(calendar);
  if (list === undefined) throw new Error("expected a book, found none");
  const sellBook = "list" as BookId;
  agreements.addBook({
    ...list,
    ...{ id: sellBook, side: "sell", vendor: "" as VendorId, pair: "tenant:*" as PairId },
    lines: list.lines.map((line) => ({ ...line, scope: "contract" })),
  });
  agreements.addSplitRule({
    ...{ id: operatorSplitRule, version: 1n, model: "*", effectiveFromUs: 0n },
    parts: [
      { part: "platform", party: "internal", way: "share", ppm: 900_000n },
      { part: "computing", party: "*", way: "rate", ppm: 0n },
      { part: "channel", party: "*", way: "share", ppm: 100_000n },
    ],
  });
  const { touBasis, touGraceUs, attemptNanoMax } = defaultContract;
  for (let tenant = 0; tenant < tenants; tenant++) {
    agreements.addContract({
      ...defaultPairTerms,
      ...{ touBasis, touGraceUs, attemptNanoMax, sellBook, creditNano: undefined },
      ...{ id: `tenant-${tenant}`, pair: `tenant:tenant-${tenant}` as PairId },
      ...{ channel: "channel:west" as PairId, splitRule: undefined },
    });
  }
}

/** The record with a number: always the same one. */
export function loadRecord(number: number): UsageRecord {
  const vendor = number % loadVendors;
  const attempt = `0199f3a0-${String(number).padStart(12, "0")}` as AttemptId;
  const openedUs = startUs + BigInt(number) * usBetween;
  const output = BigInt(100 + (number % 400));
  return {
    ...unsaid,
    id: `${attempt}:0`,
    attempt,
    request: `request-${number}` as RequestId,
    tenant: `tenant-${number % tenants}` as TenantId,
    vendor: `vendor-${vendor}` as VendorId,
    pool: `vendor-${vendor}-pool-${number % poolsPerVendor}` as PoolId,
    region: "zhongwei" as RegionId,
    model: models[number % models.length] ?? ("glm-5" as ModelId),
    modelVersion: "1",
    engine: "vllm",
    capabilities: new Set(["cache-report", "reasoning-count"]),
    endpoint: "chat",
    gateway: "gateway-1" as GatewayId,
    epoch: 1n,
    producerSeq: BigInt(number + 1),
    role: "primary",
    isWinner: true,
    openedUs,
    dispatchedUs: openedUs + 900n,
    firstByteUs: openedUs + 180_000n,
    lastByteUs: openedUs + 4_000_000n,
    cancelUs: undefined,
    closedUs: openedUs + 4_000_500n,
    clockErrUs: 1_000n,
    end: "complete",
    cancelCause: undefined,
    httpStatus: 200,
    finishReason: "stop",
    outputTokensMax: 2_048n,
    promptBytes: 14_000n,
    engineCounts: {
      source: "final",
      input: BigInt(500 + (number % 3_000)),
      cacheRead: BigInt(number % 480),
      cacheWrite: undefined,
      output,
      reasoning: BigInt(number % 90),
    },
    gatewayCounts: { source: "heuristic", input: 700n, output: 210n },
    evidence: {
      outBytes: output * 4n,
      reasoningBytes: 0n,
      toolBytes: 0n,
      deliveredBytes: output * 60n,
      chunks: output,
      outDigest: "3f".repeat(32),
    },
    flags: [],
    priceBook: `book-${vendor}` as BookId,
    priceVersion: 1n,
    origin: "shanghai" as OriginId,
    serviceClass: "interactive",
    joulesExpected: 812.5,
    gramsCo2Expected: 0.0675,
  };
}

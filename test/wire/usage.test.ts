import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  endpoints,
  tokenClasses,
  tokenVariantKinds,
  type CancelCause,
  type EngineCounts,
  type GatewayCounts,
  type UsageFlag,
  type UsageRecord,
} from "../../services/core/settlement/counting/usage.ts";
import type { AttemptId, GatewayId } from "../../services/core/units.ts";
import { draftOf } from "../../services/gateway/attempt-record.ts";
import {
  UsageRecordSchema,
  UsageVariantSchema,
  type UsageRecord as WireUsageRecord,
} from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { encodeUsageRecord } from "../../services/wire/usage-codec.ts";
import { fromUsageRecord, toUsageRecord } from "../../services/wire/usage.ts";
import { plan } from "../gateway/plan-fixture.ts";

const anyCount = fc.bigInt({ min: 0n, max: 2n ** 62n });
const usualCount = fc.bigInt({ min: 0n, max: 2n ** 40n });
const instant = fc.bigInt({ min: 0n, max: 4_102_444_799_999_999n });
const unknownOr = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });

function recordsOf(count: fc.Arbitrary<bigint>): fc.Arbitrary<UsageRecord> {
  return fc
    .record({
      gateway: fc.constant("gateway-1" as GatewayId),
      epoch: count,
      producerSeq: count,
      end: fc.constantFrom<UsageRecord["end"][]>(
        "complete",
        "client-cancel",
        "gateway-cancel",
        "upstream-error",
        "upstream-cut",
        "gateway-crash",
        "not-dispatched",
      ),
      role: fc.constantFrom<UsageRecord["role"][]>("primary", "retry", "hedge", "audit", "canary"),
      cancelCause: unknownOr(
        fc.constantFrom<CancelCause[]>(
          "hedge-lost",
          "quota",
          "deadline",
          "drain-limit",
          "slow-reader",
        ),
      ),
      dispatchedUs: unknownOr(instant),
      firstByteUs: unknownOr(instant),
      lastByteUs: unknownOr(instant),
      cancelUs: unknownOr(instant),
      httpStatus: unknownOr(fc.nat(599)),
      finishReason: unknownOr(fc.constantFrom("stop", "length", "", "é".repeat(100))),
      outputTokensMax: unknownOr(count),
      promptBytes: unknownOr(count),
      idsOutput: unknownOr(count),
      engineCounts: fc.record({
        source: fc.constantFrom<EngineCounts["source"][]>(
          "final",
          "continuous",
          "non-stream",
          "query",
          "none",
        ),
        input: unknownOr(count),
        cacheRead: unknownOr(count),
        cacheWrite: unknownOr(count),
        output: unknownOr(count),
        reasoning: unknownOr(count),
      }),
      gatewayCounts: fc.record({
        source: fc.constantFrom<GatewayCounts["source"][]>("tokenizer", "heuristic", "none"),
        input: unknownOr(count),
        output: unknownOr(count),
      }),
      flags: fc.subarray<UsageFlag>([
        "cache-unknown",
        "double-final",
        "overage",
        "reasoning-unknown",
        "template-unknown",
        "total-mismatch",
        "usage-decreased",
        "usage-malformed",
      ]),
      department: fc.string(),
      project: fc.string(),
      scenario: fc.string(),
      keyPrefix: fc.constantFrom("", "sk-tg-0123456789ab"),
      tokenizerDigest: unknownOr(fc.constantFrom("", "ab".repeat(32))),
      chatTemplateDigest: unknownOr(fc.constantFrom("", "cd".repeat(32))),
      engineVersion: unknownOr(fc.string()),
      endpoint: fc.constantFrom<UsageRecord["endpoint"][]>(...endpoints),
      reservedTokens: unknownOr(count),
      sentBytes: unknownOr(count),
      bytesAtCancel: unknownOr(count),
      watermarkOutput: unknownOr(count),
      watermarkUs: unknownOr(instant),
      idsInput: unknownOr(count),
      idsDigest: unknownOr(fc.constantFrom("", "ef".repeat(32))),
      variants: fc.oneof(
        fc.constant([]),
        fc.array(
          fc.record({
            tokenClass: fc.constantFrom(...tokenClasses),
            variant: fc.constantFrom(...tokenVariantKinds),
            tokens: count,
          }),
          { maxLength: 3 },
        ),
      ),
      joulesExpected: fc.double({ noNaN: true, noDefaultInfinity: true, min: 0 }),
    })
    .map((parts): UsageRecord => ({ ...draftOf(plan("a1" as AttemptId), 120), ...parts }));
}

const records = recordsOf(anyCount);
const usualRecords = recordsOf(usualCount);

test("a usage record goes over the wire and comes back the same: unknown stays unknown, 0 stays 0", () => {
  fc.assert(
    fc.property(records, (record) => {
      const bytes = toBinary(UsageRecordSchema, fromUsageRecord(record));
      expect(toUsageRecord(fromBinary(UsageRecordSchema, bytes))).toEqual(record);
    }),
  );
});

test("encodeUsageRecord() writes what the generated code writes, byte for byte", () => {
  fc.assert(
    fc.property(fc.oneof(records, usualRecords), (record) => {
      const bytes = toBinary(UsageRecordSchema, fromUsageRecord(record));
      expect(Buffer.from(encodeUsageRecord(record)).toString("hex")).toBe(
        Buffer.from(bytes).toString("hex"),
      );
    }),
  );
});

const good = fromUsageRecord({
  ...draftOf(plan("a1" as AttemptId), 120),
  gateway: "gateway-1" as GatewayId,
  epoch: 1n,
  producerSeq: 1n,
});

function variantOf(tokenClass: string, variant: string, tokens: bigint): Partial<WireUsageRecord> {
  return { variants: [create(UsageVariantSchema, { tokenClass, variant, tokens })] };
}

const bad: readonly [Partial<WireUsageRecord>, string][] = [
  [{ engOutput: -1n }, "eng_output: expected 0 or more, found -1"],
  [{ promptBytes: -1n }, "prompt_bytes: expected 0 or more, found -1"],
  [{ outBytes: -5n }, "out_bytes: expected 0 or more, found -5"],
  [{ endpoint: "video" }, "endpoint: expected one of chat, completions"],
  [{ reserved: -1n }, "reserved: expected 0 or more, found -1"],
  [{ sentBytes: -1n }, "sent_bytes: expected 0 or more, found -1"],
  [{ bytesAtCancel: -1n }, "bytes_at_cancel: expected 0 or more, found -1"],
  [{ wmOutput: -1n }, "wm_output: expected 0 or more, found -1"],
  [{ wmUs: -1n }, "wm_us: expected an instant before 2100, found -1"],
  [variantOf("cache", "explicit", 1n), "variants.token_class: expected one of uncached_input"],
  [variantOf("cache_read", "odd", 1n), "variants.variant: expected one of implicit, explicit"],
  [variantOf("cache_read", "explicit", -1n), "variants.tokens: expected 0 or more, found -1"],
  [{ flags: ["odd"] }, "flags: expected one of usage_decreased"],
  [{ epoch: 2n ** 63n }, "epoch: expected less than 2^63, found 9223372036854775808"],
  [{ producerSeq: 2n ** 64n - 1n }, "producer_seq: expected less than 2^63"],
  [{ priceVersion: 2n ** 63n }, "price_version: expected less than 2^63"],
  [{ openedUs: -1n }, "opened_us: expected an instant before 2100, found -1"],
  [{ closedUs: 9_000_000_000_000_000_000n }, "closed_us: expected an instant before 2100"],
  [{ firstByteUs: -2n }, "first_byte_us: expected an instant before 2100, found -2"],
  [{ clockErrUs: -1n }, "clock_err_us: expected 0 or more, found -1"],
  [{ joulesExpected: NaN }, "joules_expected: expected a number from 0 on, found NaN"],
  [{ gramsCo2Expected: -1 }, "grams_co2_expected: expected a number from 0 on, found -1"],
  [{ outcome: 0 }, "outcome: expected one of complete"],
];

for (const [change, message] of bad) {
  test(`toUsageRecord() says: ${message}`, () => {
    expect(() => toUsageRecord({ ...good, ...change })).toThrow(message);
  });
}

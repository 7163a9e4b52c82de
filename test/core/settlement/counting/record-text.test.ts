import canonicalize from "canonicalize";
import fc from "fast-check";
import { expect, test } from "vitest";
import { canonicalJson, type Canonical } from "../../../../services/core/settlement/canonical.ts";
import {
  fromRecordText,
  toRecordText,
} from "../../../../services/core/settlement/counting/record-text.ts";
import type {
  AttemptEnd,
  EngineCounts,
  UsageRecord,
} from "../../../../services/core/settlement/counting/usage.ts";
import { engineCounts, usageRecord } from "../fixtures.ts";

test("a record's text is golden: it is hashed and kept for ever", async () => {
  const text = toRecordText(usageRecord());
  await expect(`${text}\n`).toMatchFileSnapshot("../../../golden/usage-record.json");
});

const count = fc.option(fc.bigInt(0n, 2n ** 63n - 1n), { nil: undefined });
const changes: fc.Arbitrary<Partial<UsageRecord>> = fc.record(
  {
    request: fc.string({ unit: "binary" }).map((text) => text as UsageRecord["request"]),
    finishReason: fc.option(fc.string(), { nil: undefined }),
    httpStatus: fc.option(fc.nat(599), { nil: undefined }),
    end: fc.constantFrom<AttemptEnd[]>("client-cancel", "not-dispatched", "complete"),
    cancelCause: fc.constantFrom("hedge-lost" as const, undefined),
    engineCounts: fc.record({
      source: fc.constantFrom<EngineCounts["source"][]>("non-stream", "none", "final"),
      input: count,
      cacheRead: count,
      cacheWrite: count,
      output: count,
      reasoning: count,
    }),
    idsOutput: count,
    promptBytes: count,
    firstByteUs: count,
    isWinner: fc.boolean(),
    department: fc.string({ unit: "binary" }),
    scenario: fc.string(),
    engineVersion: fc.option(fc.string(), { nil: undefined }),
    tokenizerDigest: fc.option(fc.string(), { nil: undefined }),
    reservedTokens: count,
    sentBytes: count,
    bytesAtCancel: count,
    watermarkOutput: count,
    watermarkUs: count,
    variants: fc.subarray([
      { tokenClass: "cacheRead", variant: "implicit", tokens: 0n } as const,
      { tokenClass: "cacheWrite", variant: "write_1h", tokens: 2n ** 60n } as const,
    ]),
    joulesExpected: fc.double({ noNaN: true, noDefaultInfinity: true, min: 0 }),
    flags: fc.subarray(["cache-unknown", "double-final"] as const),
  },
  { requiredKeys: [] },
);

test("a record comes back from its text as it was", () => {
  fc.assert(
    fc.property(changes, (each) => {
      const record = usageRecord(each);
      const text = toRecordText(record);
      expect(fromRecordText(text)).toEqual(record);
      expect(canonicalize(JSON.parse(text))).toBe(text);
    }),
  );
});

test("0 and unknown are two texts", () => {
  const zero = toRecordText(usageRecord({ engineCounts: engineCounts({ reasoning: 0n }) }));
  const unknown = toRecordText(
    usageRecord({ engineCounts: engineCounts({ reasoning: undefined }) }),
  );
  expect(zero).toContain('"eng_reasoning":"0"');
  expect(unknown).toContain('"eng_reasoning":null');
});

test("canonicalJson() writes what another implementation of RFC 8785 writes", () => {
  const { value } = fc.letrec<{ value: Canonical }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      fc.string({ unit: "binary" }),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(fc.string({ unit: "binary" }), tie("value"), { maxKeys: 4 }),
    ),
  }));
  fc.assert(
    fc.property(value, (each) => {
      expect(canonicalJson(each)).toBe(canonicalize(each));
    }),
  );
});

test("canonicalJson() writes integers as strings: no double holds them", () => {
  expect(canonicalJson({ b: 9_007_199_254_740_993n, a: [-1n] })).toBe(
    '{"a":["-1"],"b":"9007199254740993"}',
  );
});

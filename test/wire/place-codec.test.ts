import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { AttemptId, LeaseId } from "../../services/core/units.ts";
import { validate } from "../../services/io/grpc-validation.ts";
import {
  PlaceRequestSchema,
  PlaceResponseSchema,
  PlaceStreamRequestSchema,
  PlaceStreamResponseSchema,
  ReleaseRequestSchema,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import {
  writePlaceOutcome,
  writePlaceResult,
  writeRenewal,
} from "../../services/wire/place-answer.ts";
import { readPlaceBatch, readPlacementRequest } from "../../services/wire/place-codec.ts";
import {
  fromAttemptOutcome,
  fromPlaceOutcome,
  fromPlacementRequest,
  toPlacementRequest,
} from "../../services/wire/placement.ts";
import { BytesReader, BytesWriter, TooUnusual } from "../../services/wire/protobuf-bytes.ts";
import * as any from "./arbitraries.ts";

type Verdict<Value> = { readonly value: Value } | "unusual" | "refused";

function verdict<Value>(read: () => Value): Verdict<Value> {
  try {
    return { value: read() };
  } catch (error) {
    if (error instanceof TooUnusual) return "unusual";
    if (error instanceof ConnectError || error instanceof Error) return "refused";
    throw error;
  }
}

const fast = (bytes: Uint8Array) =>
  verdict(() => readPlacementRequest(new BytesReader(Buffer.from(bytes))));

const slow = (bytes: Uint8Array) =>
  verdict(() => {
    const message = fromBinary(PlaceRequestSchema, bytes);
    validate(PlaceRequestSchema, message);
    return toPlacementRequest(message);
  });

test("the fast way reads what the generated code wrote", () => {
  const usual = any.request.filter(({ budgetNanoLeft }) => (budgetNanoLeft ?? 0) >= 0);
  fc.assert(
    fc.property(usual, (request) => {
      const bytes = toBinary(PlaceRequestSchema, fromPlacementRequest(request));
      expect(fast(bytes)).toEqual({ value: request });
    }),
  );
});

test("what the fast way reads, the long way reads the same, whatever the message", () => {
  const text = fc.oneof(
    fc.string(),
    fc.string({ minLength: 100, maxLength: 200 }),
    fc.string({ unit: "grapheme" }),
  );
  const message = fc.record({
    requestId: text,
    attemptId: text,
    tenantId: text,
    modelId: text,
    serviceClass: fc.integer({ min: -1, max: 7 }),
    criticality: fc.integer({ min: -1, max: 6 }),
    originId: text,
    regionIds: fc.array(text, { maxLength: 3 }),
    dataClass: fc.integer({ min: -1, max: 6 }),
    mlpsLevelMin: fc.nat({ max: 7 }),
    vendorIdsAllowed: fc.array(text, { maxLength: 3 }),
    vendorIdsDenied: fc.array(text, { maxLength: 3 }),
    poolIdsExcluded: fc.array(text, { maxLength: 20 }),
    inputTokens: fc.nat({ max: 100_000_001 }),
    priceNanoMax: fc.bigInt({ min: -2n, max: 2n ** 63n - 1n }),
    budgetNanoLeft: fc.bigInt({ min: -2n, max: 2n ** 63n - 1n }),
    classSource: text,
    modelAlias: text,
    modelChoices: fc.array(
      fc.record(
        {
          modelId: text,
          version: text,
          inputNanoPerTokenMax: fc.double(),
          outputNanoPerTokenMax: fc.double({ min: -1 }),
          isForbidden: fc.boolean(),
        },
        { requiredKeys: ["modelId"] },
      ),
      { maxLength: 18 },
    ),
    prefixBlockHashes: fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(message, (fields) => {
      const bytes = toBinary(PlaceRequestSchema, create(PlaceRequestSchema, fields as object));
      const read = fast(bytes);
      expect(read === "unusual" ? slow(bytes) : read).toEqual(slow(bytes));
    }),
  );
});

test("what the fast way reads, the long way reads the same, whatever the bytes", () => {
  const good = any.request.map((request) =>
    toBinary(PlaceRequestSchema, fromPlacementRequest(request)),
  );
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 3 });
  fc.assert(
    fc.property(good, changes, (bytes, flips) => {
      const broken = Uint8Array.from(bytes);
      for (const [at, byte] of flips) broken[at % broken.length] = byte;
      const read = fast(broken);
      expect(read === "unusual" ? slow(broken) : read).toEqual(slow(broken));
    }),
    { numRuns: 2_000 },
  );
});

/** Behind a good message, each of which the format does not allow. */
const impossibleTags: Readonly<Record<string, readonly number[]>> = {
  "a field number of more than 29 bits": [0x80, 0x80, 0x80, 0x80, 0x20, 0x05],
  "a field number of more than 32 bits": [0x88, 0x80, 0x80, 0x80, 0x80, 0x01, 0x05],
  "field 0": [0x05, 0x01, 0x02, 0x03, 0x04],
};

for (const [what, tail] of Object.entries(impossibleTags)) {
  test(`the fast way leaves ${what} to the long way`, () => {
    const good = fc.sample(any.request, 1)[0] ?? expect.unreachable();
    const bytes = toBinary(PlaceRequestSchema, fromPlacementRequest(good));
    const broken = Buffer.concat([bytes, Buffer.from(tail)]);
    expect(fast(broken)).toBe("unusual");
    expect(slow(broken)).toBe("refused");
  });
}

test("the fast way passes over fields of the future", () => {
  const request = { ...fc.sample(any.request, 1)[0], budgetNanoLeft: undefined };
  const bytes = toBinary(PlaceRequestSchema, fromPlacementRequest(request as never));
  const future = Buffer.from([0xf8, 0x01, 0x05, 0xfa, 0x01, 0x02, 0x68, 0x69]);
  expect(fast(Buffer.concat([bytes, future]))).toEqual({ value: request });
});

test("the fast way writes answers that the generated code writes too, to the byte", () => {
  const writer = new BytesWriter();
  fc.assert(
    fc.property(any.outcome, (outcome) => {
      const bytes = writer.message(() => writePlaceOutcome(writer, outcome));
      expect(bytes).toEqual(Buffer.from(toBinary(PlaceResponseSchema, fromPlaceOutcome(outcome))));
    }),
  );
});

test("a batch is read and answered as by the generated code", () => {
  const hold = fc.record({
    lease: fc.string({ minLength: 1, maxLength: 40 }).map((id) => id as LeaseId),
    fence: fc.maxSafeNat(),
  });
  const batch = fc.record({
    places: fc.array(
      any.request.filter(({ budgetNanoLeft }) => (budgetNanoLeft ?? 0) >= 0),
      { maxLength: 4 },
    ),
    renewals: fc.array(hold, { maxLength: 4 }),
    releases: fc.array(
      fc.tuple(hold, fc.option(any.attemptOutcome, { nil: undefined })).map(([each, outcome]) => ({
        ...each,
        outcome,
      })),
      { maxLength: 4 },
    ),
  });
  fc.assert(
    fc.property(batch, ({ places, renewals, releases }) => {
      const message = create(PlaceStreamRequestSchema, {
        places: places.map(fromPlacementRequest),
        renewals: renewals.map(({ lease, fence }) => ({ leaseId: lease, fence: BigInt(fence) })),
        releases: releases.map(({ lease, fence, outcome }) =>
          create(ReleaseRequestSchema, {
            leaseId: lease,
            fence: BigInt(fence),
            ...(outcome === undefined ? {} : { outcome: fromAttemptOutcome(outcome) }),
          }),
        ),
      });
      const bytes = Buffer.from(toBinary(PlaceStreamRequestSchema, message));
      expect(readPlaceBatch(new BytesReader(bytes))).toEqual({ places, renewals, releases });
    }),
  );
});

test("answers of a batch are what the generated code reads", () => {
  const writer = new BytesWriter();
  const outcomes = fc.array(any.outcome, { maxLength: 200 });
  fc.assert(
    fc.property(outcomes, (all) => {
      const bytes = writer.message(() => {
        writeRenewal(writer, "asked" as LeaseId, undefined);
        for (const outcome of all) writePlaceResult(writer, "r1/1" as AttemptId, outcome);
      });
      const expected = create(PlaceStreamResponseSchema, {
        places: all.map((outcome) => ({
          attemptId: "r1/1",
          result: { case: "response" as const, value: fromPlaceOutcome(outcome) },
        })),
        renewals: [{ outcome: { case: "gone" as const, value: { leaseId: "asked" } } }],
      });
      expect(fromBinary(PlaceStreamResponseSchema, bytes)).toEqual(expected);
    }),
    { numRuns: 20 },
  );
});

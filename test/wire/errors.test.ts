import { readFileSync } from "node:fs";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { entries, keys } from "../../services/core/table.ts";
import {
  outcomes,
  reasonOf,
  reasonOfUnplaceable,
  toConnectError,
  type Outcome,
} from "../../services/wire/errors.ts";
import {
  ErrorInfoSchema,
  RetryInfoSchema,
} from "../../services/wire/gen/google/rpc/error_details_pb.js";

test("every reason is UPPER_SNAKE of at most 63 characters", () => {
  for (const reason of keys(outcomes)) expect(reason).toMatch(/^[A-Z][A-Z_]{0,62}$/);
});

/** HTTP follows the gRPC code, but where the OpenAI surface has a better word. */
const httpOfCode: Readonly<Partial<Record<Code, readonly number[]>>> = {
  [Code.InvalidArgument]: [400],
  [Code.Unauthenticated]: [401],
  [Code.PermissionDenied]: [403],
  [Code.NotFound]: [404],
  [Code.Aborted]: [409],
  [Code.ResourceExhausted]: [413, 429],
  [Code.FailedPrecondition]: [400],
  [Code.Unavailable]: [200, 502, 503],
  [Code.DeadlineExceeded]: [504],
  [Code.Canceled]: [499],
  [Code.Unimplemented]: [501],
  [Code.Internal]: [500],
};

for (const [reason, outcome] of entries<string, Outcome>(outcomes)) {
  test(`${reason} has an HTTP status that fits ${Code[outcome.code]}`, () => {
    expect(httpOfCode[outcome.code]).toContain(outcome.httpStatus);
  });
}

test("toConnectError() carries the reason and when to ask again", () => {
  const error = toConnectError("NO_ELIGIBLE_POOL", "expected a pool, found none", {
    retryAfterMs: 1_500,
    metadata: { model: "m" },
  });
  expect(error.code).toBe(Code.Unavailable);
  const sent = new ConnectError(error.rawMessage, error.code, undefined, [
    { desc: ErrorInfoSchema, value: { reason: "NO_ELIGIBLE_POOL", domain: "tokengrid" } },
  ]);
  expect(reasonOf(sent)).toBe("NO_ELIGIBLE_POOL");
  expect(error.findDetails(ErrorInfoSchema)).toMatchObject([
    { reason: "NO_ELIGIBLE_POOL", domain: "tokengrid", metadata: { model: "m" } },
  ]);
  expect(error.findDetails(RetryInfoSchema)).toMatchObject([
    { retryDelay: { seconds: 1n, nanos: 500_000_000 } },
  ]);
});

test("reasonOf() knows no reason of others", () => {
  expect(reasonOf(new ConnectError("x", Code.Internal))).toBeUndefined();
  const other = new ConnectError("x", Code.Internal, undefined, [
    { desc: ErrorInfoSchema, value: { reason: "INTERNAL", domain: "example.com" } },
  ]);
  expect(reasonOf(other)).toBeUndefined();
});

test("every way of not being placed has a reason of its own", () => {
  const reasons = Object.values(reasonOfUnplaceable);
  expect(reasons.length).toBeGreaterThan(4);
  expect(new Set(reasons).size).toBe(reasons.length);
});

test("the contract names the reasons of an unplaceable request as the table does", () => {
  const contract = readFileSync("proto/tokengrid/v1/placement.proto", "utf8");
  for (const reason of Object.values(reasonOfUnplaceable)) {
    expect(contract).toContain(`UNPLACEABLE_REASON_${reason}`);
  }
});

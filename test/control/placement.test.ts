import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "vitest";
import type {
  AttemptId,
  ModelId,
  OriginId,
  RequestId,
  RegionId,
} from "../../services/core/units.ts";
import {
  AttemptResult,
  PlacementService,
  PlaceStreamRequestSchema,
  UnplaceableReason,
  type PlaceResponse,
  type PlaceStreamRequest,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import { PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { collected } from "../collected.ts";
import { messages, openTestControl, operator, vendor, type TestControl } from "./fixtures.ts";

let control: TestControl;

beforeEach(async () => {
  control = await openTestControl();
  const pools = createClient(PoolService, control.as(vendor));
  await pools.publishPrices({ book: messages.prices() });
  await pools.register({ pool: messages.registration("a") });
  await collected(pools.report(streamOf(messages.report("a"))));
});
afterEach(() => control.close());

const placement = () => createClient(PlacementService, control.as(operator));

async function* streamOf<Value>(...values: Value[]): AsyncGenerator<Value> {
  yield* values;
}

function attempt(number: number, changes: Parameters<typeof messages.place>[0] = {}) {
  const id = `r${number}/1` as AttemptId;
  return messages.place({ request: `r${number}` as RequestId, attempt: id, ...changes });
}

function leaseIn({ outcome }: PlaceResponse) {
  expect(outcome.case).toBe("placement");
  const lease = outcome.case === "placement" ? outcome.value.lease : undefined;
  return { leaseId: lease?.leaseId ?? "", fence: lease?.fence ?? 0n };
}

async function leased(): Promise<number | undefined> {
  const { pool } = await createClient(PoolService, control.as(operator)).get({ poolId: "a" });
  return pool?.models[0]?.slotsLeased;
}

test("place() grants a lease, with price, cost and the row that applied", async () => {
  const { outcome } = await placement().place(attempt(1));
  expect(outcome).toMatchObject({
    case: "placement",
    value: {
      lease: { poolId: "a", ttlMs: 30_000 },
      vendorId: "northgrid",
      engineModelName: "qwen3-32b",
      priceBookId: "northgrid-2026",
      priceVersion: 1n,
      policyRow: "W2",
    },
  });
  expect(await leased()).toBe(1);
});

test("place() of the same attempt again gives the same lease", async () => {
  const first = leaseIn(await placement().place(attempt(1)));
  expect(leaseIn(await placement().place(attempt(1)))).toEqual(first);
  expect(await leased()).toBe(1);
});

test("place() beyond the slots is unplaceable now, and says when to ask again", async () => {
  for (let number = 0; number < 8; number++) await placement().place(attempt(number));
  const { outcome } = await placement().place(attempt(9));
  expect(outcome).toMatchObject({
    case: "unplaceable",
    value: {
      reason: UnplaceableReason.NO_ELIGIBLE_POOL,
      poolsByFilter: { "no-capacity": 1 },
      retryAfterMs: 1_000,
    },
  });
});

const hopeless: Readonly<
  Record<string, readonly [Parameters<typeof messages.place>[0], UnplaceableReason]>
> = {
  "a model that nobody serves": [{ model: "other" as ModelId }, UnplaceableReason.MODEL_NOT_FOUND],
  "more context than any pool has": [
    { inputTokens: 1_000_000 },
    UnplaceableReason.CONTEXT_TOO_LONG,
  ],
  "a region without pools": [
    { regions: new Set(["wuhu" as RegionId]) },
    UnplaceableReason.UNSATISFIABLE,
  ],
};

for (const [title, [changes, reason]] of Object.entries(hopeless)) {
  test(`place() for ${title} says that waiting does not help`, async () => {
    const { outcome } = await placement().place(attempt(1, changes));
    expect(outcome).toMatchObject({ case: "unplaceable", value: { reason, retryAfterMs: 0 } });
  });
}

test("a request that breaks a rule of the contract is refused, and the field is named", async () => {
  await expect(placement().place({ ...attempt(1), tenantId: "" })).rejects.toThrow(
    "[invalid_argument] tenant_id",
  );
});

test("a place that is not on the map is refused and named, by place() and by plan()", async () => {
  const message = "[invalid_argument] origin_id: expected one of shanghai, found atlantis";
  const request = attempt(1, { origin: "atlantis" as OriginId });
  await expect(placement().place(request)).rejects.toThrow(message);
  await expect(placement().plan({ request })).rejects.toThrow(message);
  expect(await leased()).toBe(0);
});

test("renew() keeps a lease, release() ends it, and then it is gone", async () => {
  const lease = leaseIn(await placement().place(attempt(1)));
  control.clock.advance(20_000);
  const renewed = await placement().renew(lease);
  expect(renewed.outcome).toMatchObject({ case: "lease", value: { ttlMs: 30_000 } });
  await placement().release(lease);
  expect(await leased()).toBe(0);
  expect((await placement().renew(lease)).outcome.case).toBe("gone");
  await placement().release(lease);
});

test("a lease with a wrong fence is neither renewed nor released", async () => {
  const lease = leaseIn(await placement().place(attempt(1)));
  const wrong = { ...lease, fence: lease.fence - 1n };
  expect((await placement().renew(wrong)).outcome.case).toBe("gone");
  await placement().release(wrong);
  expect(await leased()).toBe(1);
});

test("a lease that nobody renews expires, and is counted as a leak", async () => {
  await placement().place(attempt(1));
  control.clock.advance(31_000);
  await expect.poll(leased).toBe(0);
  expect(await control.metrics.metrics()).toContain("tokengrid_leases_expired_total 1");
});

test("placeStream() answers a batch with a batch, in order, and a bad request by itself", async () => {
  const batch = create(PlaceStreamRequestSchema, {
    places: [
      attempt(1),
      { ...attempt(2), modelId: "" },
      attempt(3),
      attempt(4, { origin: "atlantis" as OriginId }),
    ],
  });
  const [answer, ...others] = await collected(placement().placeStream(streamOf(batch)));
  expect(others).toEqual([]);
  expect(answer?.places.map(({ attemptId, result }) => [attemptId, result.case])).toEqual([
    ["r1/1", "response"],
    ["r2/1", "invalid"],
    ["r3/1", "response"],
    ["r4/1", "invalid"],
  ]);
  expect(answer?.places[1]?.result.value).toContain("model_id");
  expect(answer?.places[3]?.result.value).toContain("found atlantis");
});

test("placeStream() frees slots before it takes them", async () => {
  const leases = [];
  for (let number = 0; number < 8; number++) {
    leases.push(leaseIn(await placement().place(attempt(number))));
  }
  const [first, second] = leases;
  expect(first).toBeDefined();
  const batch: PlaceStreamRequest = create(PlaceStreamRequestSchema, {
    places: [attempt(8)],
    renewals: [second ?? {}, { leaseId: "none", fence: 1n }],
    releases: [first ?? {}],
  });
  const [answer] = await collected(placement().placeStream(streamOf(batch)));
  expect(answer?.places[0]?.result).toMatchObject({
    case: "response",
    value: { outcome: { case: "placement" } },
  });
  expect(answer?.renewals.map(({ outcome }) => outcome.case)).toEqual(["lease", "gone"]);
});

test("plan() decides and explains, and grants nothing", async () => {
  const { decision, stateVersion } = await placement().plan({ request: attempt(1) });
  expect(decision).toMatchObject({ poolId: "a", evaluated: 1, policyRow: { rowId: "W2" } });
  expect(stateVersion).toBe(decision?.snapshotRevision);
  const [candidate] = decision?.candidates ?? [];
  const terms = Object.values(candidate?.nanoByTerm ?? {});
  expect(terms.reduce((sum, nano) => sum + nano, 0n)).toBe(candidate?.costNano);
  expect(candidate?.inputs.map(({ figure }) => figure)).toContain("round_trip_ms");
  expect(await leased()).toBe(0);
});

test("explain() finds decisions by request, by attempt, and the last", async () => {
  await placement().place(attempt(1));
  await placement().place(attempt(2, { model: "other" as ModelId }));
  control.clock.advance(1_500);
  const by = async (which: Parameters<ReturnType<typeof placement>["explain"]>[0]["which"]) =>
    (await placement().explain({ which: which as never })).decisions;
  expect(await by({ case: "requestId", value: "r1" })).toMatchObject([
    { attemptId: "r1/1", poolId: "a", decidedBy: "control", ageMs: 1_500 },
  ]);
  expect(await by({ case: "attemptId", value: "r2/1" })).toMatchObject([
    { poolId: "", unplaceableReason: UnplaceableReason.MODEL_NOT_FOUND },
  ]);
  expect(await by({ case: "last", value: true })).toMatchObject([{ attemptId: "r2/1" }]);
  await expect(by({ case: "requestId", value: "r9" })).rejects.toThrow("[not_found]");
});

test("watchDecisions() begins with the newest, and goes on as they happen", async () => {
  for (const number of [1, 2, 3]) await placement().place(attempt(number));
  const stop = new AbortController();
  const seen = placement()
    .watchDecisions({ backlog: 2 }, { signal: stop.signal })
    [Symbol.asyncIterator]();
  const idsOf = async (): Promise<string[]> =>
    (await seen.next()).value.decisions.map(({ attemptId }: { attemptId: string }) => attemptId);
  expect(await idsOf()).toEqual(["r2/1", "r3/1"]);
  await placement().place(attempt(4));
  expect(await idsOf()).toEqual(["r4/1"]);
  stop.abort();
});

test("watchDecisions() counts what it leaves out", async () => {
  await placement().place(attempt(0));
  const stop = new AbortController();
  const seen = placement()
    .watchDecisions({ backlog: 1, perSecondMax: 10 }, { signal: stop.signal })
    [Symbol.asyncIterator]();
  await seen.next();
  const places = Array.from({ length: 7 }, (_, index) => attempt(index + 1));
  await collected(placement().placeStream(streamOf(create(PlaceStreamRequestSchema, { places }))));
  const { decisions, skipped } = (await seen.next()).value;
  expect([decisions.length, skipped]).toEqual([2, 5n]);
  stop.abort();
});

test("how attempts went is counted by pool, and told as observed", async () => {
  const lease = leaseIn(await placement().place(attempt(1)));
  await placement().release({
    ...lease,
    outcome: { result: AttemptResult.OK, ttftMs: 120, itlMsMean: 20, outputTokens: 50 },
  });
  expect(await control.metrics.metrics()).toContain(
    'tokengrid_pool_attempts_total{pool="a",result="ok"} 1',
  );
  const { pool } = await createClient(PoolService, control.as(operator)).get({ poolId: "a" });
  expect(pool?.models[0]?.observed).toMatchObject({ attempts: 1n, ttftMs: 120 });
});

import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "vitest";
import { vendorLimits } from "../../services/control/pool-registry.ts";
import type { VendorId } from "../../services/core/units.ts";
import type { Identity } from "../../services/io/grpc-identity.ts";
import { PlacementService } from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import {
  DrainState,
  FigureSchema,
  FigureSource,
  PoolHealth,
  PoolService,
  PoolServiceListResponseSchema,
  PoolStatus,
  ReportResult,
  type ReportRequest,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import {
  messages,
  openTestControl,
  operator,
  otherVendor,
  tenant,
  vendor,
  type TestControl,
} from "./fixtures.ts";
import { collected } from "../collected.ts";

let control: TestControl;

beforeEach(async () => {
  control = await openTestControl();
});
afterEach(() => control.close());

const pools = (caller: Identity | undefined = operator) =>
  createClient(PoolService, control.as(caller));

async function registered(): Promise<void> {
  await pools(vendor).publishPrices({ book: messages.prices() });
  await pools(vendor).register({ pool: messages.registration("a") });
}

async function reported(caller: Identity, ...reports: readonly ReportRequest[]) {
  async function* sent() {
    yield* reports;
  }
  return collected(pools(caller).report(sent()));
}

async function countOf(name: string, labels: Readonly<Record<string, string>>): Promise<number> {
  const metric = await control.metrics.getSingleMetric(name)?.get();
  const found = metric?.values.find((each) =>
    Object.entries(labels).every(([label, value]) => each.labels[label] === value),
  );
  return found?.value ?? NaN;
}

test("a pool that is registered is listed, lost until it reports, and fresh then", async () => {
  await registered();
  expect((await pools().list({})).pools).toMatchObject([
    { registration: { poolId: "a" }, status: PoolStatus.READY, health: PoolHealth.LOST },
  ]);
  expect(await reported(vendor, messages.report("a"))).toMatchObject([
    { sequence: 1n, result: ReportResult.ACCEPTED, status: PoolStatus.READY, detail: "" },
  ]);
  const { pool } = await pools().get({ poolId: "a" });
  expect(pool).toMatchObject({
    health: PoolHealth.FRESH,
    confidence: 1,
    reportAgeMs: 0,
    region: { regionId: "zhongwei", policyRole: "supply-hub" },
    models: [{ modelId: "qwen3-32b", slotsTotal: 8, slotsGrantable: 8, priceVersion: 1n }],
  });
});

test("list() keeps what was asked for", async () => {
  await registered();
  const ids = async (filter: object) =>
    (await pools().list(filter)).pools.map(({ registration }) => registration?.poolId);
  expect(await ids({ vendorId: "northgrid", regionId: "zhongwei", modelId: "qwen3-32b" })).toEqual([
    "a",
  ]);
  expect(await ids({ vendorId: "southgrid" })).toEqual([]);
  expect(await ids({ regionId: "wuhu" })).toEqual([]);
  expect(await ids({ modelId: "other" })).toEqual([]);
});

test("watch() sends all pools at once, and again after a change", async () => {
  await registered();
  const stop = new AbortController();
  const seen = pools().watch({ intervalMs: 1 }, { signal: stop.signal })[Symbol.asyncIterator]();
  expect((await seen.next()).value.pools).toHaveLength(1);
  await pools(vendor).register({ pool: messages.registration("b") });
  let count = 1;
  while (count < 2) count = (await seen.next()).value.pools.length;
  expect(count).toBe(2);
  stop.abort();
});

test("a vendor sees its own pools alone", async () => {
  await registered();
  expect((await pools(vendor).list({})).pools).toHaveLength(1);
  expect((await pools(otherVendor).list({})).pools).toEqual([]);
  await expect(pools(otherVendor).get({ poolId: "a" })).rejects.toThrow("[not_found]");
});

test("a report for somebody else's pool is refused, counted, and changes nothing", async () => {
  await registered();
  const labels = { pool: "a", result: "rejected_identity" };
  expect(await countOf("tokengrid_pool_reports_total", labels)).toBe(0);
  expect(await reported(otherVendor, messages.report("a"))).toMatchObject([
    {
      result: ReportResult.REJECTED_IDENTITY,
      status: PoolStatus.UNSPECIFIED,
      detail: "pool a belongs to another vendor",
    },
  ]);
  expect(await countOf("tokengrid_pool_reports_total", labels)).toBe(1);
  expect((await pools().get({ poolId: "a" })).pool?.health).toBe(PoolHealth.LOST);
});

test("a report for a pool that nobody registered makes no series of its own", async () => {
  await reported(vendor, messages.report("b"));
  const labels = { pool: "unregistered", result: "rejected_identity" };
  expect(await countOf("tokengrid_pool_reports_total", labels)).toBe(1);
  expect(await control.metrics.metrics()).not.toContain('pool="b"');
});

const oldReports: Readonly<Record<string, readonly [ReportRequest, ReportResult]>> = {
  "comes twice": [messages.report("a", { sequence: 5 }), ReportResult.OUT_OF_ORDER],
  "is older": [messages.report("a", { sequence: 4 }), ReportResult.OUT_OF_ORDER],
  "is of an older agent": [
    messages.report("a", { sequence: 6, generation: 0 }),
    ReportResult.STALE_GENERATION,
  ],
};

for (const [title, [message, result]] of Object.entries(oldReports)) {
  test(`a report that ${title} is refused, and those behind it are taken`, async () => {
    await registered();
    const first = messages.report("a", { sequence: 5 });
    const last = messages.report("a", { sequence: 7 });
    const answers = await reported(vendor, first, message, last);
    expect(answers.map((each) => each.result)).toEqual([
      ReportResult.ACCEPTED,
      result,
      ReportResult.ACCEPTED,
    ]);
  });
}

const badFigures: Readonly<Record<string, readonly [object, string]>> = {
  NaN: [{ value: NaN }, "power_watts.value"],
  infinite: [{ value: Infinity }, "power_watts.value"],
  negative: [{ value: -1 }, "power_watts.value"],
  "without a source": [{ source: FigureSource.UNSPECIFIED }, "power_watts.source"],
  "never valid": [{ validMs: 0 }, "power_watts.valid_ms"],
};

for (const [title, [changes, place]] of Object.entries(badFigures)) {
  test(`a report with a figure that is ${title} is refused and named, and the next is taken`, async () => {
    await registered();
    const bad = messages.report("a");
    const good = { value: 1, source: FigureSource.MEASURED, ageMs: 0, validMs: 1_000 };
    const answers = await reported(
      vendor,
      { ...bad, powerWatts: create(FigureSchema, { ...good, ...changes }) },
      messages.report("a", { sequence: 2 }),
    );
    expect(answers).toMatchObject([
      { result: ReportResult.REJECTED_SCHEMA },
      { result: ReportResult.ACCEPTED },
    ]);
    expect(answers[0]?.detail).toContain(place);
    const labels = { pool: "a", result: "rejected_schema" };
    expect(await countOf("tokengrid_pool_reports_total", labels)).toBe(1);
  });
}

const forbidden: Readonly<Record<string, () => Promise<unknown>>> = {
  "a vendor that registers another's pool": () =>
    pools(otherVendor).register({ pool: messages.registration("a") }),
  "a vendor that publishes another's prices": () =>
    pools(otherVendor).publishPrices({ book: messages.prices() }),
  "an operator that reports": () => reported(operator, messages.report("a")),
  "a vendor that cordons": () => pools(vendor).cordon({ poolId: "a" }),
  "a vendor that drains": async () => collected(pools(vendor).drain({ poolId: "a" })),
  "a tenant that lists": () => pools(tenant).list({}),
  "a tenant that places": () =>
    createClient(PlacementService, control.as(tenant)).place(messages.place()),
  "a vendor that explains": () =>
    createClient(PlacementService, control.as(vendor)).explain({
      which: { case: "last", value: true },
    }),
};

for (const [title, call] of Object.entries(forbidden)) {
  test(`${title} is refused`, async () => {
    await expect(call()).rejects.toThrow("[permission_denied]");
  });
}

test("a call that nobody vouches for is refused", async () => {
  await expect(createClient(PoolService, control.as(undefined)).list({})).rejects.toThrow(
    "[unauthenticated]",
  );
});

const badRegistrations: Readonly<Record<string, readonly [object, string]>> = {
  "a region that the map lacks": [{ regionId: "atlantis" }, "region_id: expected one of zhongwei"],
  "an address that is none": [{ endpoint: "not a url" }, "pool.endpoint"],
  "an address of another kind": [{ endpoint: "ftp://pool.example/" }, "endpoint: expected an http"],
  "a port that is none": [{ endpoint: "http://pool.example:99999" }, "endpoint: expected an http"],
  "a user in its address": [{ endpoint: "http://a:b@pool.example" }, "endpoint: expected an http"],
  "a generation that no number holds": [
    { generation: 2n ** 64n - 1n },
    "generation: expected at most",
  ],
  "a PUE beyond all reason": [
    {
      powerUsageEffectiveness: create(FigureSchema, {
        value: 1e300,
        source: FigureSource.DECLARED,
        validMs: 1,
      }),
    },
    "value: expected at most 1000000000000",
  ],
  "a query in its address": [{ endpoint: "http://pool.example/?a" }, "endpoint: expected an http"],
  "no models": [{ models: [] }, "pool.models"],
  "an MLPS level of 6": [{ mlpsLevel: 6 }, "pool.mlps_level"],
  "a name with spaces": [{ poolId: "a b" }, "pool.pool_id"],
};

for (const [title, [changes, message]] of Object.entries(badRegistrations)) {
  test(`a registration with ${title} is refused, and the place is named`, async () => {
    const pool = { ...messages.registration("a"), ...changes };
    await expect(pools(vendor).register({ pool })).rejects.toThrow("[invalid_argument]");
    await expect(pools(vendor).register({ pool })).rejects.toThrow(message);
    expect((await pools().list({})).pools).toEqual([]);
  });
}

test("a report with a sequence that no number holds is refused, and the next one is heard", async () => {
  await registered();
  const odd = { ...messages.report("a"), sequence: 2n ** 64n - 1n };
  const results = await reported(vendor, odd, messages.report("a"));
  expect(results.map(({ result }) => result)).toEqual([
    ReportResult.REJECTED_SCHEMA,
    ReportResult.ACCEPTED,
  ]);
});

test("a pool is listed over the wire whatever its price, and however long it was silent", async () => {
  const book = messages.prices();
  for (const tier of book.lines.flatMap(({ tiers }) => tiers)) {
    tier.pricePicoPerToken = 2n ** 63n - 1n;
  }
  await pools(vendor).publishPrices({ book });
  await pools(vendor).register({ pool: messages.registration("a") });
  await reported(vendor, messages.report("a"));
  control.clock.advance(100 * 86_400_000);
  const listed = await pools().list({});
  expect(listed.pools).toMatchObject([{ health: PoolHealth.LOST, reportAgeMs: 2 ** 32 - 1 }]);
  expect(toBinary(PoolServiceListResponseSchema, listed).length).toBeGreaterThan(0);
});

test("an older agent does not undo what a newer one registered", async () => {
  await pools(vendor).register({ pool: messages.registration("a", { generation: 7 }) });
  await expect(
    pools(vendor).register({ pool: messages.registration("a", { generation: 6 }) }),
  ).rejects.toThrow("[aborted] generation: expected at least 7, found 6");
});

test("a pool does not pass to another vendor", async () => {
  await registered();
  const stolen = messages.registration("a", { vendor: otherVendor.subject as VendorId });
  await expect(pools(otherVendor).register({ pool: stolen })).rejects.toThrow("another vendor");
});

test("cordon() and uncordon() answer with the pool as it then is", async () => {
  await registered();
  expect((await pools().cordon({ poolId: "a" })).pool?.status).toBe(PoolStatus.CORDONED);
  expect((await pools().uncordon({ poolId: "a" })).pool?.status).toBe(PoolStatus.READY);
  await expect(pools().cordon({ poolId: "b" })).rejects.toThrow("[not_found]");
});

async function placedOnA(): Promise<void> {
  await registered();
  await reported(vendor, messages.report("a"));
  const client = createClient(PlacementService, control.as(operator));
  expect((await client.place(messages.place())).outcome.case).toBe("placement");
}

test("drain() of a pool without leases is over at once", async () => {
  await registered();
  const states = (await collected(pools().drain({ poolId: "a" }))).map(({ state }) => state);
  expect(states.at(-1)).toBe(DrainState.DRAINED);
  expect((await pools().get({ poolId: "a" })).pool?.status).toBe(PoolStatus.DRAINING);
});

test("drain() waits for leases, and cuts what is left at its deadline", async () => {
  await placedOnA();
  const progress = pools().drain({ poolId: "a", deadlineMs: 10_000 })[Symbol.asyncIterator]();
  expect((await progress.next()).value).toMatchObject({
    state: DrainState.DRAINING,
    leasesLeft: 1,
  });
  control.clock.advance(10_000);
  expect((await progress.next()).value).toMatchObject({
    state: DrainState.CUT,
    leasesLeft: 0,
    leasesCut: 1,
  });
  expect((await progress.next()).done).toBe(true);
});

test("drain() goes on when its caller leaves, and uncordon() cancels it", async () => {
  await placedOnA();
  const leaving = new AbortController();
  const first = pools().drain({ poolId: "a" }, { signal: leaving.signal })[Symbol.asyncIterator]();
  await first.next();
  leaving.abort();
  expect((await pools().get({ poolId: "a" })).pool?.status).toBe(PoolStatus.DRAINING);
  const second = pools().drain({ poolId: "a" })[Symbol.asyncIterator]();
  await second.next();
  await pools().uncordon({ poolId: "a" });
  expect((await second.next()).value).toMatchObject({ state: DrainState.CANCELLED });
});

test("observePaths() refuses a place that is not on the map", async () => {
  await registered();
  await expect(
    pools().observePaths({ originId: "atlantis", roundTripMsByPool: {} }),
  ).rejects.toThrow("[invalid_argument] origin_id: expected one of shanghai, found atlantis");
});

test("observePaths() replaces the prior round trip by the measured one", async () => {
  await registered();
  await pools().observePaths({
    originId: "shanghai",
    roundTripMsByPool: {
      a: { value: 31, source: FigureSource.MEASURED, ageMs: 0, validMs: 60_000 },
    },
  });
  expect((await pools().get({ poolId: "a" })).pool?.roundTripMsByOrigin["shanghai"]?.value).toBe(
    31,
  );
});

test("the pools of a vendor are bounded, also of those that come at once; one that is there may come again", async () => {
  const one = (number: number) =>
    pools(vendor).register({ pool: messages.registration(`pool-${number}`) });
  const bound = vendorLimits.pools;
  const settled = await Promise.allSettled(Array.from({ length: bound + 20 }, (_, at) => one(at)));
  const refused = settled.filter(({ status }) => status === "rejected");
  expect([refused.length, (await pools().list({})).pools.length]).toEqual([20, bound]);
  await expect(one(bound)).rejects.toThrow("[resource_exhausted]");
  await expect(one(bound)).rejects.toThrow(`expected at most ${bound} pools of a vendor`);
  await one(0);
  const other = messages.registration("other", { vendor: otherVendor.subject as VendorId });
  await pools(otherVendor).register({ pool: other });
});

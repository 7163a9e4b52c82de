import { create, toJson } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { WatchDecisionsResponseSchema } from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import {
  FigureSource,
  PoolHealth,
  PoolStatus,
  WatchResponseSchema,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";

interface Served {
  readonly running: number | undefined;
  readonly waiting: number | undefined;
  readonly ttftMs: number | undefined;
  readonly priceByClass: Readonly<Record<string, number>>;
}

interface Grid {
  readonly pools: ReadonlyMap<
    string,
    {
      readonly status: string;
      readonly health: string;
      readonly reportAgeMs: number | undefined;
      readonly models: readonly Served[];
      readonly powerWatts: number | undefined;
    }
  >;
  readonly flows: ReadonlyMap<string, { readonly perSecond: number }>;
  readonly placed: readonly { readonly attempt: string; readonly costNano: bigint }[];
  readonly series: { readonly values: Readonly<Record<string, readonly (number | null)[]>> };
  applyPools(message: unknown, now: number): void;
  applyDecisions(message: unknown, now: number): { readonly fresh: readonly unknown[] };
  tokensPerSecond(now: number): { readonly east: number; readonly west: number };
  tick(now: number): void;
}

// The page's modules are plain JavaScript, checked against the browser's types and not against Node's.
const source = new URL("../../services/console/grid.js", import.meta.url).href;
const { Grid } = (await import(source)) as { readonly Grid: new () => Grid };

test("Grid reads a pool as the contract's JSON has it; what is absent is unknown and what is 0 is 0", () => {
  const grid = new Grid();
  grid.applyPools(pools(0, { running: 0 }), 10_000);
  expect(grid.pools.get("guian-1")).toMatchObject({
    status: "cordoned",
    health: "stale",
    reportAgeMs: undefined,
    powerWatts: undefined,
    models: [
      { running: 0, waiting: undefined, ttftMs: undefined, priceByClass: { response: 6_400_000 } },
    ],
  });
});

test("Grid makes tokens per second of two counters, on the side where the pool is", () => {
  const grid = new Grid();
  grid.applyPools(pools(1_000), 10_000);
  expect(grid.tokensPerSecond(10_000)).toEqual({ east: 0, west: 0 });
  grid.applyPools(pools(1_500), 12_000);
  expect(grid.tokensPerSecond(12_000)).toEqual({ east: 0, west: 250 });
});

test("Grid makes no negative rate of a counter that began again", () => {
  const grid = new Grid();
  grid.applyPools(pools(1_000), 10_000);
  grid.applyPools(pools(20), 12_000);
  expect(grid.tokensPerSecond(12_000)).toEqual({ east: 0, west: 0 });
});

test("Grid forgets the rate of a pool that says nothing any more", () => {
  const grid = new Grid();
  grid.applyPools(pools(1_000), 10_000);
  grid.applyPools(pools(1_500), 12_000);
  expect(grid.tokensPerSecond(30_000)).toEqual({ east: 0, west: 0 });
});

test("Grid counts what the server skipped as if it were like what it showed", () => {
  const grid = new Grid();
  grid.applyPools(pools(0), 10_000);
  grid.applyDecisions(decisions({ count: 4, skipped: 12n }), 10_000);
  grid.tick(11_000);
  expect(grid.series.values["placements"]).toEqual([16]);
  expect(grid.series.values["westShare"]).toEqual([1]);
});

test("Grid lists an old placement, and does not count it as of now", () => {
  const grid = new Grid();
  const { fresh } = grid.applyDecisions(decisions({ count: 3, ageMs: 60_000 }), 100_000);
  grid.tick(101_000);
  expect(fresh).toEqual([]);
  expect(grid.placed.map(({ attempt }) => attempt)).toEqual(["r2/1", "r1/1", "r0/1"]);
  expect(grid.placed[0]?.costNano).toBe(3_728_798n);
  expect(grid.series.values["placements"]).toEqual([0]);
});

test("Grid lets a flow fade by half in its half-life, and drops it at last", () => {
  const grid = new Grid();
  grid.applyDecisions(decisions({ count: 8 }), 10_000);
  grid.tick(10_000);
  const before = grid.flows.get("shanghai guian")?.perSecond ?? 0;
  grid.tick(18_000);
  expect(grid.flows.get("shanghai guian")?.perSecond).toBeCloseTo(before / 2);
  grid.tick(1_000_000);
  expect(grid.flows.size).toBe(0);
});

function pools(outputTokens: number, report: { readonly running?: number } = {}) {
  const figure = (value: number) => ({ value, source: FigureSource.MEASURED, validMs: 5_000 });
  const { running = 3 } = report;
  const message = create(WatchResponseSchema, {
    pools: [
      {
        registration: { poolId: "guian-1", vendorId: "v", regionId: "guian" },
        region: { regionId: "guian", side: "west", policyRole: "supply-hub" },
        status: PoolStatus.CORDONED,
        health: PoolHealth.STALE,
        models: [
          {
            modelId: "m",
            report: {
              runningRequests: figure(running),
              outputTokensTotal: figure(outputTokens),
            },
            pricePicoPerTokenByClass: { response: 6_400_000n },
          },
        ],
      },
    ],
  });
  return toJson(WatchResponseSchema, message);
}

function decisions(options: {
  readonly count: number;
  readonly skipped?: bigint;
  readonly ageMs?: number;
}) {
  const { count, skipped = 0n, ageMs = 0 } = options;
  const message = create(WatchDecisionsResponseSchema, {
    skipped,
    decisions: Array.from({ length: count }, (_, index) => ({
      attemptId: `r${index}/1`,
      originId: "shanghai",
      poolId: "guian-1",
      regionId: "guian",
      costNano: 3_728_798n,
      ageMs,
    })),
  });
  return toJson(WatchDecisionsResponseSchema, message);
}

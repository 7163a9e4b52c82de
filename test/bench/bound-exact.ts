/** Small worlds, and what is the least that they can cost: every way to serve a few requests, step by step. */

import fc from "fast-check";
import { boundOf, type Bound } from "../../bench/bound/bound.ts";
import type { BoundOptions } from "../../bench/bound/problem.ts";
import { powerNanoPerJoule } from "../../services/core/energy.ts";
import { EngineReplica, type EngineJob } from "../../services/core/engine-replica.ts";
import type { ServiceClass } from "../../services/core/placement/request.ts";
import type { EngineProfile } from "../../services/core/pool.ts";
import { PREFIX_BLOCK_TOKENS } from "../../services/core/prefix.ts";
import { PricesInForce } from "../../services/core/prices-in-force.ts";
import type { Region } from "../../services/core/region.ts";
import { chargePico } from "../../services/core/run-cost.ts";
import type { ModelId, OriginId } from "../../services/core/units.ts";
import { sharedBlocks, type Arrival } from "../../services/core/workload.ts";
import { loadGeography } from "../../services/io/preset.ts";
import { loadFleet, type Fleet, type FleetPool } from "../../services/sim/fleet.ts";
import { objectives, policy } from "../core/fixtures.ts";

/** Ten to eleven in the morning: an hour begins within the first seconds. */
export const startAt = Date.parse("2026-11-20T10:59:58+08:00");
export const chat = "qwen3.6-plus" as ModelId;
const geography = loadGeography();
const preset = loadFleet(undefined, startAt);

/** How long a request may be kept back in a small world. */
const DELAYS_MS = [0, 150] as const;
const PATIENCE_MS = 200;

export interface SmallWorld {
  readonly profiles: readonly EngineProfile[];
  readonly replicas: readonly number[];
  readonly arrivals: readonly Arrival[];
  readonly waitNanoPerMs: number;
  readonly missNano: number;
  readonly carbonNanoPerGram: number;
  readonly mayWait: boolean;
}

const profile = fc.record({
  stepBaseMs: fc.double({ min: 1, max: 40, noNaN: true }),
  stepMsPerSequence: fc.double({ min: 0, max: 4, noNaN: true }),
  stepMsPerKvToken: fc.double({ min: 0, max: 0.02, noNaN: true }),
  prefillMsPerToken: fc.double({ min: 0.01, max: 1, noNaN: true }),
  prefillChunkTokens: fc.integer({ min: 16, max: 512 }),
  kvTokensTotal: fc.integer({ min: 400, max: 2_000 }),
  sequencesMax: fc.integer({ min: 1, max: 4 }),
});

const arrival = fc.record({
  atMs: fc.double({ min: 0, max: 2_500, noNaN: true }),
  inputTokens: fc.integer({ min: 1, max: 300 }),
  outputTokens: fc.integer({ min: 1, max: 40 }),
  origin: fc.constantFrom("shanghai", "chengdu", "urumqi").map((each) => each as OriginId),
  class: fc.constantFrom<ServiceClass>("llm-interactive", "batch-offline"),
  /** Of three conversations that share their beginnings, or none. */
  blocks: fc.constantFrom([], [], [1], [1, 2], [3]),
});

export const smallWorld: fc.Arbitrary<SmallWorld> = fc.record({
  profiles: fc.array(profile, { minLength: 2, maxLength: 2 }),
  replicas: fc.constantFrom([1, 1], [2, 1]),
  arrivals: fc
    .array(arrival, { minLength: 1, maxLength: 4 })
    .map((all) =>
      all
        .toSorted((a, b) => a.atMs - b.atMs)
        .map((each, index): Arrival => ({ ...each, index, model: chat })),
    ),
  waitNanoPerMs: fc.constantFrom(0, 100, 2_000),
  missNano: fc.constantFrom(0, 2_000_000, 50_000_000),
  carbonNanoPerGram: fc.constantFrom(0, 100_000),
  mayWait: fc.boolean(),
});

/** Pools of the preset, with other engines: an eastern and a western one, of vendors with and without peak hours. */
function fleetOf({ profiles, replicas }: SmallWorld): Fleet {
  const places = ["west-ningxia-1", "east-yrd-1"];
  const pools = places.flatMap((id, index): FleetPool[] => {
    const pool = preset.pools.find(({ registration }) => registration.id === id);
    const engine = pool?.engines.get(chat);
    const own = profiles[index];
    const count = replicas[index];
    if (pool === undefined || engine === undefined || own === undefined || count === undefined) {
      throw new Error(`expected a pool ${id} that serves ${chat}`);
    }
    const models = pool.registration.models
      .filter(({ model }) => model === chat)
      .map((model) => ({
        ...model,
        replicas: count,
        slotsTotal: count * own.sequencesMax,
        engineProfile: own,
      }));
    return [
      {
        registration: { ...pool.registration, models },
        engines: new Map([[chat, { ...engine, profile: own, replicas: count }]]),
      },
    ];
  });
  return { ...preset, pools };
}

export function optionsOf(world: SmallWorld): BoundOptions {
  const { waitNanoPerMs, missNano, carbonNanoPerGram, arrivals, mayWait } = world;
  const all = objectives({ waitNanoPerMs, missNano, ttftMsMax: 150, tpotMsMax: 30 }).objectives;
  const waitMsMax = {
    "metro-realtime": PATIENCE_MS,
    "realtime-interactive": PATIENCE_MS,
    "llm-interactive": PATIENCE_MS,
    "batch-offline": PATIENCE_MS,
    archival: PATIENCE_MS,
  };
  return {
    arrivals,
    fleet: fleetOf(world),
    geography,
    policy: policy({
      objectives: {
        ...all,
        "batch-offline": { ...all["batch-offline"], waitNanoPerMs: waitNanoPerMs / 10 },
      },
      carbonNanoPerGram,
      powerShare: 1,
    }),
    model: chat,
    startAt,
    faults: [],
    binMs: 700,
    ...(mayWait ? { patience: { retryMs: 50, waitMsMax } } : {}),
  };
}

export function boundIn(world: SmallWorld, rounds: number): Promise<Bound> {
  return boundOf({ ...optionsOf(world), rounds, timeLimitSeconds: 5 });
}

interface Server {
  readonly pool: FleetPool;
  readonly region: Region;
}

interface Sent {
  readonly arrival: Arrival;
  readonly delayMs: number;
}

/** The least cost over all ways to send each request to a replica, at once or a little later, or to refuse it. */
export function leastCostNano(world: SmallWorld): number {
  const options = optionsOf(world);
  const servers = options.fleet.pools.flatMap((pool, index): Server[] => {
    const region = geography.regions.get(pool.registration.region);
    if (region === undefined) throw new Error(`expected a region of ${pool.registration.id}`);
    return Array.from({ length: world.replicas[index] ?? 0 }, () => ({ pool, region }));
  });
  const known = new Map<string, number>();
  const costOf = (server: number, sent: readonly Sent[]): number => {
    const key = `${server}:${sent.map(({ arrival: { index }, delayMs }) => `${index}+${delayMs}`).join()}`;
    const before = known.get(key);
    const at = servers[server];
    if (before !== undefined || at === undefined) return before ?? Infinity;
    const cost = servedNano(at, sent, options);
    known.set(key, cost);
    return cost;
  };
  const delays = world.mayWait ? DELAYS_MS : DELAYS_MS.slice(0, 1);
  const least = (
    index: number,
    sent: readonly (readonly Sent[])[],
    refusedNano: number,
  ): number => {
    const arrival = world.arrivals[index];
    if (arrival === undefined) {
      return sent.reduce((sum, each, server) => sum + costOf(server, each), refusedNano);
    }
    const ways = servers.flatMap((_, server) =>
      delays.map((delayMs) =>
        least(
          index + 1,
          sent.map((each, at) => (at === server ? [...each, { arrival, delayMs }] : each)),
          refusedNano,
        ),
      ),
    );
    return Math.min(...ways, least(index + 1, sent, refusedNano + refusalNano(arrival, options)));
  };
  return least(
    0,
    servers.map(() => []),
    0,
  );
}

function priceAt({ registration: { vendor } }: FleetPool, { fleet }: BoundOptions, atMs: number) {
  const prices = new PricesInForce();
  for (const book of fleet.priceBooks) prices.publish(book, startAt);
  const price = prices.estimate(vendor, chat, startAt + atMs);
  if (price === undefined) throw new Error(`expected a price of ${vendor}`);
  return price;
}

function refusalNano(arrival: Arrival, options: BoundOptions): number {
  const nano = options.fleet.pools.map((pool) =>
    chargePico(priceAt(pool, options, arrival.atMs), { ...arrival, cachedTokens: 0 }),
  );
  return 2 * options.policy.objectives[arrival.class].missNano + (2 * Math.max(...nano)) / 1_000;
}

interface Job extends EngineJob, Sent {
  readonly submitMs: number;
  readonly roundTripMs: number;
  firstMs: number;
  cachedTokens: number;
}

/** What the requests of one replica come to, as a run's cost has it. Infinite if one of them does not fit. */
function servedNano({ pool, region }: Server, all: readonly Sent[], options: BoundOptions): number {
  const engine = pool.engines.get(chat);
  if (engine === undefined) throw new Error(`expected a pool that serves ${chat}`);
  const { profile, power } = engine;
  const replica = new EngineReplica<Job>(profile, {
    power,
    prefixBlockTokens: PREFIX_BLOCK_TOKENS,
  });
  const coming = all
    .map((sent): Job => {
      const { arrival, delayMs } = sent;
      const trips = geography.roundTripMsPrior.get(arrival.origin);
      const roundTripMs = trips?.get(pool.registration.region) ?? 0;
      const submitMs = arrival.atMs + delayMs + roundTripMs / 2;
      const { inputTokens: promptTokens, outputTokens } = arrival;
      const blocks = sharedBlocks(arrival);
      const job = { promptTokens, outputTokens, outputTokensMax: outputTokens, blocks };
      return { ...sent, ...job, submitMs, roundTripMs, firstMs: 0, cachedTokens: 0 };
    })
    .toSorted((a, b) => a.submitMs - b.submitMs);
  if (coming.some((job) => !replica.fits(job))) return Infinity;
  const site = { ...pool.registration, region, greenShare: undefined };
  const pue = site.pue?.value ?? region.pueTarget;
  const grams = region.gridGramsPerKwh / 3_600_000;
  let nano = 0;
  let nowMs = 0;
  while (coming.length > 0 || replica.runningRequests + replica.waitingRequests > 0) {
    while (coming[0] !== undefined && coming[0].submitMs <= nowMs) {
      const job = coming.shift();
      if (job !== undefined) replica.submit(job);
    }
    const ms = replica.begin();
    if (ms === undefined) {
      nowMs = coming[0]?.submitMs ?? nowMs;
      continue;
    }
    for (const job of replica.admitted) job.cachedTokens = replica.cachedTokens(job);
    const { joules, started, finished } = replica.end();
    // An hour may begin within the step: all of it at the cheaper price is the least.
    const power = [nowMs, nowMs + ms].map((at) => powerNanoPerJoule(region, startAt + at) ?? 0);
    const aboveRest = pue * (joules - (replica.restWatts * ms) / 1_000);
    nano += aboveRest * (Math.min(...power) + grams * options.policy.carbonNanoPerGram);
    nowMs += ms;
    for (const job of started) job.firstMs = nowMs;
    for (const job of finished) nano += answeredNano(job, nowMs, { pool, options });
  }
  return nano;
}

function answeredNano(
  job: Job,
  nowMs: number,
  { pool, options }: { readonly pool: FleetPool; readonly options: BoundOptions },
): number {
  const { arrival, delayMs, roundTripMs, firstMs, cachedTokens, outputTokens } = job;
  const terms = options.policy.objectives[arrival.class];
  const price = priceAt(pool, options, arrival.atMs + delayMs);
  const ttftMs = firstMs + roundTripMs / 2 - arrival.atMs;
  const tpotMs = outputTokens < 2 ? 0 : (nowMs - firstMs) / (outputTokens - 1);
  const missed = Number(ttftMs > terms.ttftMsMax) + Number(tpotMs > terms.tpotMsMax);
  const finishMs = nowMs + roundTripMs / 2 - arrival.atMs;
  return (
    chargePico(price, { ...arrival, cachedTokens }) / 1_000 +
    finishMs * terms.waitNanoPerMs +
    missed * terms.missNano
  );
}

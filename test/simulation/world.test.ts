import { expect, test } from "vitest";
import { randomFromSeed } from "../../services/core/random.ts";
import { tokensOf, type Report } from "../../services/core/report.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import type { PoolId } from "../../services/core/units.ts";
import type { Arrival } from "../../services/core/workload.ts";
import { arrivalsOf } from "../../services/sim/arrivals.ts";
import { loadFleet } from "../../services/sim/fleet.ts";
import { changedPrices, scaled } from "../../services/sim/fleets.ts";
import type { WorldFault, WorldResult } from "../../services/sim/world-options.ts";
import { runWorld } from "../../services/sim/world.ts";
import { drawn, fleet, options, startAt } from "./world-fixtures.ts";

const seeds = process.env.SEED
  ? [Number(process.env.SEED)]
  : Array.from({ length: 25 }, (_, index) => index + 1);

const azure = "bench/traces/azure-llm-2023/AzureLLMInferenceTrace_conv.csv";
const mooncake = "bench/traces/mooncake-fast25/synthetic_trace.jsonl";

/** Two pools die, reports stay away for a while, and a vendor changes its prices. */
function drawnFaults(seed: number): WorldFault[] {
  const random = randomFromSeed(seed + 1_000);
  const between = (low: number, high: number): number => low + Math.floor((high - low) * random());
  const dying = [between(0, fleet.pools.length), between(0, fleet.pools.length)];
  const deaths = [...new Set(dying)].flatMap((at): WorldFault[] => {
    const pool = fleet.pools[at]?.registration.id;
    const [atMs, forMs] = [between(1_000, 60_000), between(1_000, 30_000)];
    return pool === undefined ? [] : [{ kind: "pool-dies", pool, atMs, forMs }];
  });
  const changedMs = between(5_000, 50_000);
  const [book] = fleet.priceBooks;
  const change: WorldFault[] =
    book === undefined
      ? []
      : [{ kind: "prices-change", book: doubled(book, changedMs), atMs: changedMs }];
  const silence = { atMs: between(0, 60_000), forMs: between(1_000, 20_000) };
  return [...deaths, ...change, { kind: "reports-lost", ...silence }];
}

function doubled(book: PriceBook, atMs: number): PriceBook {
  return changedPrices(book, { startsAt: startAt + atMs, percent: 200n });
}

function faulty(seed: number): Promise<WorldResult> {
  return runWorld(drawn(seed), options(seed, { faults: drawnFaults(seed) }));
}

function sumOf(arrivals: readonly Arrival[]): { input: bigint; output: bigint } {
  return {
    input: BigInt(arrivals.reduce((sum, { inputTokens }) => sum + inputTokens, 0)),
    output: BigInt(arrivals.reduce((sum, { outputTokens }) => sum + outputTokens, 0)),
  };
}

async function read(path: string, limit: number): Promise<Arrival[]> {
  const arrivals: Arrival[] = [];
  const all = { path, seed: 1, class: "llm-interactive", limit, durationMs: Infinity } as const;
  for await (const arrival of arrivalsOf(all)) arrivals.push(arrival);
  return arrivals;
}

for (const seed of seeds) {
  test(`a fleet whose pools die, fall silent and change prices loses and doubles nothing (SEED=${seed})`, async () => {
    const { report } = await faulty(seed);
    expect(report.requests.due).toBe(400);
    expect(report.attempts.quarantined).toBe(0);
    expect(report.attempts.byEnd.complete).toBe(report.requests.ok);
  });
}

test("runWorld() with the same seed makes the same decisions and records, with another others", async () => {
  const [first, again, other] = await Promise.all([faulty(7), faulty(7), faulty(8)]);
  expect(again).toEqual(first);
  expect(other.digest).not.toBe(first.digest);
});

test("runWorld() settles exactly the tokens of a trace when nothing fails", async () => {
  const arrivals = await read(azure, 500);
  const { report } = await runWorld(arrivals, options(1, { reportLoss: 0 }));
  const { input, output } = sumOf(arrivals);
  expect(report.requests).toEqual({
    due: 500,
    sent: 500,
    ok: 500,
    failed: 0,
    byOutcome: { ok: 500 },
  });
  expect(report.tokens.uncachedInput + report.tokens.cacheRead).toBe(input);
  expect(report.tokens.response).toBe(output);
  expect(report.itlMs?.count).toBe(Number(output) - 500);
  expect(stated(report)).toEqual([report.amountNano, tokensOf(report)]);
});

test("runWorld() serves shared prefixes from the caches of its engines", async () => {
  const arrivals = await read(mooncake, 150);
  // One replica in each pool, with room: a request can go where its beginning is.
  const roomy = scaled(loadFleet(undefined, startAt), 0.1);
  const { report } = await runWorld(arrivals, options(1, { fleet: roomy, reportLoss: 0 }));
  const { input } = sumOf(arrivals);
  expect(report.tokens.uncachedInput + report.tokens.cacheRead).toBe(input);
  expect(report.tokens.cacheRead).toBeGreaterThan(0n);
});

test("runWorld() says what it does not send when too many are open", async () => {
  const { report } = await runWorld(drawn(3), options(3, { inFlightMax: 5 }));
  const { due, sent, byOutcome } = report.requests;
  expect(byOutcome["not-sent"]).toBe(due - sent);
  expect(sent).toBeLessThan(due);
});

test("runWorld() tries another pool when one dies before the first byte, and bills what was cut", async () => {
  const seedsWithCuts = await Promise.all([1, 2, 3, 4, 5].map(faulty));
  const ends = seedsWithCuts.map(({ report }) => report.attempts.byEnd);
  expect(ends.some((byEnd) => (byEnd["upstream-error"] ?? 0) > 0)).toBe(true);
  expect(ends.some((byEnd) => (byEnd["upstream-cut"] ?? 0) > 0)).toBe(true);
});

test("runWorld() answers every request that another pool can still begin when one dies", async () => {
  const [busiest] = (await runWorld(drawn(6), options(6))).report.byPool;
  const pool = busiest?.name as PoolId;
  const faults: WorldFault[] = [{ kind: "pool-dies", pool, atMs: 10_000, forMs: 60_000 }];
  const { report } = await runWorld(drawn(6), options(6, { faults, reportLoss: 0 }));
  expect(report.attempts.byEnd["upstream-error"]).toBeGreaterThan(0);
  expect(Object.keys(report.requests.byOutcome)).not.toContain("http-502 upstream_error");
});

test("runWorld() answers every request without a pool when no report ever arrives", async () => {
  const faults: WorldFault[] = [{ kind: "reports-lost", atMs: -3_000, forMs: 10_000_000 }];
  const { report } = await runWorld(drawn(4), options(4, { faults }));
  expect(report.requests.byOutcome).toEqual({ "http-503 no_eligible_pool": 400 });
  expect(report.amountNano).toBe(0n);
});

test("runWorld() charges the version that was in force when the attempt was opened", async () => {
  const faults = fleet.priceBooks.map((book): WorldFault => ({
    kind: "prices-change",
    book: doubled(book, 10_000),
    atMs: 10_000,
  }));
  const arrivals = drawn(5);
  const { report: plain } = await runWorld(arrivals, options(5));
  const { report: changed } = await runWorld(arrivals, options(5, { faults }));
  const lines = changed.statements.flatMap((statement) => statement.lines);
  expect(changed.amountNano).toBeGreaterThan(plain.amountNano);
  expect(lines.length).toBeGreaterThan(plain.statements.flatMap((each) => each.lines).length);
});

function stated({ statements }: Report): [amountNano: bigint, tokens: bigint] {
  return [
    statements.reduce((sum, { amountNano }) => sum + amountNano, 0n),
    statements.reduce((sum, { tokens }) => sum + tokens, 0n),
  ];
}

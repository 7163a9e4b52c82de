import { expect, test } from "vitest";
import { chooser } from "../../services/core/placement/chooser.ts";
import { randomFromSeed } from "../../services/core/random.ts";
import type { PoolId, VendorId } from "../../services/core/units.ts";
import type { Arrival } from "../../services/core/workload.ts";
import { defaultPolicyYaml, parsePolicy } from "../../services/io/policy-file.ts";
import { arrivalsOf } from "../../services/sim/arrivals.ts";
import { testedFleet } from "../../services/sim/fleets.ts";
import { capacityOf } from "../../services/sim/load.ts";
import { mixedArrivals, operatorMix } from "../../services/sim/mix.ts";
import type { Rival, WorldFault, WorldOptions } from "../../services/sim/world-options.ts";
import { runWorld } from "../../services/sim/world.ts";

/** What foresight is worth in the whole fleet: prompts found in caches, and vendors who say what is not so. */

const startAt = Date.parse("2026-11-20T10:00:00+08:00");
const parsed = parsePolicy(defaultPolicyYaml(), 1);
const shipped = "policy" in parsed ? parsed.policy : expect.unreachable();
/** What decides is what is counted. */
const policy = {
  ...shipped,
  rows: shipped.rows.filter(({ kind }) => kind !== "tariff"),
  powerShare: 1,
};
const mooncake = "bench/traces/mooncake-fast25/synthetic_trace.jsonl";

function options(scale: number, changes: Partial<WorldOptions> = {}): WorldOptions {
  return {
    run: { id: "w", mode: "virtual", trace: "drawn", speed: 1, seed: 1, class: "llm-interactive" },
    ...testedFleet("east-west", { startAt, scale }),
    policy,
    model: "sim-chat",
    startAt,
    inFlightMax: 100_000,
    reportLoss: 0,
    onAnswer: () => undefined,
    books: false,
    ...changes,
    faults: changes.faults ?? [],
  };
}

/** The same requests as a fleet is offered at 80 % of what it can do. */
function drawn(count: number): Arrival[] {
  const random = randomFromSeed(5);
  const lengths = Array.from({ length: count }, () => ({
    inputTokens: 1 + Math.floor(3_000 * random() ** 2),
    outputTokens: 1 + Math.floor(500 * random() ** 1.5),
    blocks: [],
  }));
  const mean = (of: (each: (typeof lengths)[number]) => number): number =>
    lengths.reduce((sum, each) => sum + of(each), 0) / count;
  const shape = {
    inputTokensMean: mean(({ inputTokens }) => inputTokens),
    outputTokensMean: mean(({ outputTokens }) => outputTokens),
  };
  const perSecond = 0.8 * capacityOf(options(0.1).fleet, shape, operatorMix.models);
  let atMs = 0;
  const rows = lengths.map((each) => {
    atMs += (-Math.log(1 - random()) * 1_000) / perSecond;
    return { ...each, atMs };
  });
  return [...mixedArrivals(rows, operatorMix, 1)];
}

test("on a recorded workload with shared prompts, the index finds at least twice as many cached tokens, at no higher cost", async () => {
  const arrivals: Arrival[] = [];
  for await (const each of arrivalsOf({
    path: mooncake,
    seed: 1,
    class: "llm-interactive",
    durationMs: Infinity,
    limit: 1_100,
  })) {
    arrivals.push(each);
  }
  const withoutIndex = (): Rival => {
    const choose = chooser();
    return {
      choose: (request, snapshot, rules) =>
        choose({ ...request, cachedTokensAt: new Map() }, snapshot, rules),
    };
  };
  const plain = await runWorld(arrivals, options(0.25, { makeRival: withoutIndex }));
  const found = await runWorld(arrivals, options(0.25));
  expect(found.report.tokens.cacheRead).toBeGreaterThan(2n * plain.report.tokens.cacheRead);
  expect(found.cost.totalNano).toBeLessThan(1.01 * plain.cost.totalNano);
  expect(found.prediction.ttftMs?.meanRelativeError).toBeLessThan(0.6);
});

const vendor = "qilian" as VendorId;

const lies: Readonly<Record<string, readonly WorldFault[]>> = {
  "ten times its slots": [{ kind: "vendor-lies", vendor, about: "capacity", factor: 10 }],
  "no time at all": [{ kind: "vendor-lies", vendor, about: "speed", factor: 1e9 }],
  "half its load": [{ kind: "vendor-lies", vendor, about: "load", factor: 0.5 }],
  "no load at all": [{ kind: "vendor-lies", vendor, about: "load", factor: 0 }],
  "all of it": [
    { kind: "vendor-lies", vendor, about: "capacity", factor: 10 },
    { kind: "vendor-lies", vendor, about: "speed", factor: 10 },
    { kind: "vendor-lies", vendor, about: "load", factor: 0.5 },
  ],
};

const arrivals = drawn(2_000);
const { fleet } = options(0.1);
const pools = new Set<PoolId>(
  fleet.pools
    .map(({ registration }) => registration)
    .filter((each) => each.vendor === vendor)
    .map(({ id }) => id),
);

async function run(faults: readonly WorldFault[]) {
  const { cost, report, prediction } = await runWorld(arrivals, options(0.1, { faults }));
  const own = report.byPool.filter(({ name }) => pools.has(name as PoolId));
  const tokens = own.reduce((sum, each) => sum + Number(each.tokens), 0);
  return { costNano: cost.totalNano, tokens, prediction, requests: cost.requests };
}

test("a vendor that tells the truth is foretold: TPOT within 15 %, TTFT within 40 %", async () => {
  const { prediction, tokens } = await run([]);
  expect(tokens).toBeGreaterThan(0);
  expect(prediction.tpotMs?.meanRelativeError).toBeLessThan(0.15);
  expect(prediction.ttftMs?.meanRelativeError).toBeLessThan(0.4);
});

for (const [advertised, faults] of Object.entries(lies)) {
  test(`a vendor that advertises ${advertised} wins little more than one that tells the truth, and the fleet costs at most 5 % more`, async () => {
    const [honest, lying] = [await run([]), await run(faults)];
    expect(lying.tokens).toBeLessThan(1.1 * honest.tokens);
    expect(lying.costNano).toBeLessThan(1.05 * honest.costNano);
  });
}

import { expect, test } from "vitest";
import type { Effect, Event } from "../../services/core/events.ts";
import { eligible, placedAt } from "../../services/core/placement/chooser.ts";
import { decide, type Choose } from "../../services/core/placement/decide.ts";
import { randomFromSeed, seedFromText } from "../../services/core/random.ts";
import { costParts } from "../../services/core/run-cost.ts";
import type { ModelId, TenantId, VendorId } from "../../services/core/units.ts";
import type { Arrival } from "../../services/core/workload.ts";
import { mixedArrivals, operatorMix } from "../../services/sim/mix.ts";
import {
  lies,
  type Lie,
  type Rival,
  type WorldOptions,
  type WorldResult,
} from "../../services/sim/world-options.ts";
import { runWorld } from "../../services/sim/world.ts";
import { objectives, policy } from "../core/fixtures.ts";
import { drawn, fleet, options, startAt } from "./world-fixtures.ts";

const everything = policy({
  ...objectives({ waitNanoPerMs: 100, missNano: 2_000_000 }),
  carbonNanoPerGram: 80_000,
  powerShare: 1,
});

function run(seed: number, changes: Partial<WorldOptions> = {}): Promise<WorldResult> {
  const all = { policy: everything, reportLoss: 0, ...changes };
  return runWorld(mixed(seed), options(seed, all));
}

/** More than the fleet can hold. */
function overrun(seed: number, changes: Partial<WorldOptions> = {}): Promise<WorldResult> {
  const { run: plain } = options(seed);
  return run(seed, { run: { ...plain, speed: 20 }, ...changes });
}

function mixed(seed: number): Arrival[] {
  return [...mixedArrivals(drawn(seed), operatorMix, seed)];
}

/** Any pool that the filters admit. */
function randomly(seed: number): Choose {
  const random = randomFromSeed(seed);
  return (request, snapshot, rules) => {
    const { ask, prospects } = eligible(request, snapshot, rules);
    const at = prospects[Math.floor(random() * prospects.length)];
    return at === undefined ? decide(request, snapshot, rules) : placedAt(at, ask, snapshot);
  };
}

const patience = {
  retryMs: 250,
  waitMsMax: {
    "metro-realtime": 1_000,
    "realtime-interactive": 2_000,
    "llm-interactive": 8_000,
    "batch-offline": 60_000,
    archival: 60_000,
  },
};

function waitingIn({ report }: WorldResult): number {
  return report.requests.byOutcome["http-503 no_eligible_pool"] ?? 0;
}

test("runWorld() without books decides and costs as with them, to the rounding of a nano", async () => {
  const [kept, unkept] = await Promise.all([run(1), run(1, { books: false })]);
  expect(unkept.cost).toEqual(kept.cost);
  expect(unkept.prediction).toEqual(kept.prediction);
  expect(unkept.report.requests).toEqual(kept.report.requests);
  expect(unkept.report.tokens).toEqual(kept.report.tokens);
  expect(unkept.report.statements).toEqual([]);
  // Books round once per vendor, model, kind of token and day, costs once per class.
  const rounded = Number(kept.report.amountNano) - kept.cost.nanoByPart.money;
  expect(Math.abs(rounded)).toBeLessThan(100);
});

test("runWorld() costs add up: parts over classes are the total, and a request is in one class", async () => {
  const { cost } = await overrun(2);
  const byClass = Object.values(cost.nanoByClass);
  for (const part of costParts) {
    expect(byClass.reduce((sum, nano) => sum + nano[part], 0)).toBe(cost.nanoByPart[part]);
    expect(cost.nanoByPart[part]).toBeGreaterThan(0);
  }
  expect(costParts.reduce((sum, part) => sum + cost.nanoByPart[part], 0)).toBe(cost.totalNano);
  expect(Object.values(cost.byClass).reduce((sum, { requests }) => sum + requests, 0)).toBe(400);
});

test("runWorld() costs the joules that the pools' counters say, but for what they draw at rest", async () => {
  const { cost, report } = await run(3);
  const pueByPool = new Map(
    fleet.pools.map(({ registration }) => [registration.id, registration.pue?.value]),
  );
  const restWatts = fleet.pools.reduce((sum, { registration, engines }) => {
    const each = [...engines.values()].reduce(
      (watts, { replicas, power }) =>
        watts + replicas * (power.accelerators * 95 + power.hostWatts),
      0,
    );
    // The only pool that declares no effectiveness stands in Guizhou, whose target is 1.2.
    return sum + each * (pueByPool.get(registration.id) ?? 1.2);
  }, 0);
  const metered = report.energyMetered?.joules ?? 0;
  const restSeconds = (metered - cost.joules) / restWatts;
  // From the first report to the tick after the last answer.
  expect(restSeconds).toBeGreaterThanOrEqual(report.elapsedMs / 1_000 + 3 - 1e-6);
  expect(restSeconds).toBeLessThan(report.elapsedMs / 1_000 + 4);
  expect(report.energyMetered?.gramsCo2Location).toBeGreaterThan(cost.gramsCo2Location);
});

test("runWorld() with another way to choose tells it all that happens to its dispatcher", async () => {
  const seen: { event: Event; effects: readonly Effect[] }[] = [];
  const makeRival = (): Rival => {
    return { choose: randomly(1), see: (event, effects) => seen.push({ event, effects }) };
  };
  const [rival, ours] = await Promise.all([run(4, { makeRival }), run(4)]);
  const granted = seen.flatMap(({ effects }) =>
    effects.filter((effect) => effect.kind === "answer" && effect.lease !== undefined),
  );
  const ended = seen.filter(({ event }) => event.kind === "lease-released");
  expect(granted.length).toBe(rival.report.attempts.ledgered);
  expect(ended.length).toBe(granted.length);
  expect(seen.some(({ event }) => event.kind === "pool-reported")).toBe(true);
  expect(rival.digest).not.toBe(ours.digest);
  expect(rival.cost.totalNano).toBeGreaterThan(ours.cost.totalNano);
});

test("runWorld() with four dispatchers tells each of its own requests and of all reports", async () => {
  const requests = new Map<string, Set<string>>();
  const reports = new Map<string, number>();
  const makeRival = (replica: string): Rival => ({
    choose: randomly(seedFromText(replica)),
    see: (event) => {
      const own = requests.get(replica) ?? new Set();
      requests.set(replica, own);
      if (event.kind === "placement-requested") own.add(event.request.request);
      const count = reports.get(replica) ?? 0;
      reports.set(replica, count + (event.kind === "pool-reported" ? 1 : 0));
    },
  });
  const changes = { makeRival, dispatchers: 4 };
  const [four, again] = await Promise.all([run(5, { dispatchers: 4 }), run(5, changes)]);
  expect(four.report.requests.due).toBe(again.report.requests.due);
  const sizes = [...requests.values()].map(({ size }) => size);
  expect(sizes.length).toBe(4);
  expect(Math.min(...sizes)).toBeGreaterThan(50);
  expect(new Set([...requests.values()].flatMap((own) => [...own])).size).toBe(400);
  expect(new Set(reports.values()).size).toBe(1);
});

test("runWorld() lets callers wait for a pool, which counts in their times, and refuses who waited too long", async () => {
  const [refused, waited] = await Promise.all([overrun(8), overrun(8, { patience })]);
  expect(waitingIn(refused)).toBeGreaterThan(waitingIn(waited));
  expect(waited.cost.ttftMs?.p99).toBeGreaterThan(500 + (refused.cost.ttftMs?.p99 ?? Infinity));
  expect(waited.cost.byClass["batch-offline"].refused).toBe(0);
  expect(waited.report.requests.due).toBe(400);
});

test("runWorld() refuses nobody before the patience of his class is nearly over, and nobody after it", async () => {
  const asksByRequest = new Map<string, number>();
  const makeRival = (): Rival => ({
    choose: (request, snapshot, rules) => {
      asksByRequest.set(request.request, (asksByRequest.get(request.request) ?? 0) + 1);
      // The pools are there, and full.
      const pools = snapshot.pools.map((pool) => ({ ...pool, share: 0 }));
      return decide(request, { ...snapshot, pools }, rules);
    },
  });
  const arrivals = drawn(8).slice(0, 100);
  const { cost } = await runWorld(
    arrivals,
    options(8, { policy: everything, patience, makeRival, reportLoss: 0 }),
  );
  const { requests, refused } = cost.byClass["llm-interactive"];
  const meanWaitMs = cost.nanoByClass["llm-interactive"].time / 100 / requests;
  expect(refused).toBe(100);
  expect(meanWaitMs).toBeLessThanOrEqual(8_000);
  expect(meanWaitMs).toBeGreaterThan(8_000 - 1.5 * 250);
  // Pauses are drawn from 125 to 375 ms.
  const asks = [...asksByRequest.values()];
  expect(Math.min(...asks)).toBeGreaterThanOrEqual(8_000 / 375);
  expect(Math.max(...asks)).toBeLessThanOrEqual(8_000 / 125);
  expect(new Set(asks).size).toBeGreaterThan(3);
});

const vendor = "qilian" as VendorId;

/** What the dispatcher is led to believe of the vendor's pools. */
const believed: Record<Lie, { factor: number; changes: (told: Told, truth: Told) => boolean }> = {
  capacity: { factor: 10, changes: (told, truth) => told.slots > 5 * truth.slots },
  speed: { factor: 10, changes: (told, truth) => told.stepMs < truth.stepMs / 5 },
  load: { factor: 0.5, changes: (told, truth) => told.running < truth.running },
  waiting: { factor: 0, changes: (told) => told.waiting === 0 },
};

interface Told {
  readonly slots: number;
  readonly stepMs: number;
  readonly running: number;
  readonly waiting: number;
}

async function told(lie: { about: Lie; factor: number } | undefined): Promise<Told> {
  const sum = { slots: 0, stepMs: 0, running: 0, waiting: 0 };
  const makeRival = (): Rival => ({
    choose: randomly(1),
    see: (event) => {
      if (event.kind === "pool-registered" && event.registration.vendor === vendor) {
        for (const model of event.registration.models) {
          sum.slots += model.slotsTotal;
          sum.stepMs += model.engineProfile?.stepBaseMs ?? 0;
        }
      }
      if (event.kind !== "pool-reported" || event.vendor !== vendor) return;
      for (const model of event.report.models) {
        sum.running += model.runningRequests?.value ?? 0;
        sum.waiting += model.waitingRequests?.value ?? 0;
      }
    },
  });
  const faults = lie === undefined ? [] : [{ kind: "vendor-lies", vendor, ...lie } as const];
  const { report } = await run(6, { makeRival, faults });
  expect(report.attempts.quarantined).toBe(0);
  return sum;
}

for (const [about, { factor, changes }] of Object.entries(believed) as [
  Lie,
  (typeof believed)[Lie],
][]) {
  test(`runWorld() with a vendor who says ${factor} ${lies[about]} has it believed`, async () => {
    const [truth, lie] = [await told(undefined), await told({ about, factor })];
    expect(changes(lie, truth)).toBe(true);
  });
}

test("every lie has a case above", () => {
  expect(Object.keys(believed)).toEqual(Object.keys(lies));
});

test("runWorld() hands out what a pool claims to have, and requests wait in its engines", async () => {
  const faults = [{ kind: "vendor-lies", vendor, about: "capacity", factor: 10 }] as const;
  const makeRival = (): Rival => ({ choose: randomly(1) });
  const [honest, lying] = await Promise.all([
    overrun(8, { makeRival }),
    overrun(8, { makeRival, faults }),
  ]);
  expect(waitingIn(lying)).toBeLessThan(waitingIn(honest));
  expect(lying.cost.ttftMs?.p99).toBeGreaterThan(honest.cost.ttftMs?.p99 ?? Infinity);
});

test("runWorld() places on figures that are 10 s late, of which a fifth never come", async () => {
  const late = { reportDelayMs: { least: 9_000, most: 10_000 }, reportLoss: 0.2 };
  const ages: number[] = [];
  const makeRival = (): Rival => ({
    choose: randomly(1),
    see: (event) => {
      if (event.kind !== "pool-reported") return;
      ages.push(event.at - (event.report.energyJoulesTotal?.observedAt ?? 0));
    },
  });
  const [ours] = await Promise.all([run(4, late), run(4, { ...late, makeRival })]);
  expect(ours.cost.byClass["llm-interactive"].ok).toBeGreaterThan(250);
  expect(Math.min(...ages)).toBeGreaterThanOrEqual(9_000);
  expect(Math.max(...ages)).toBeLessThanOrEqual(10_000);
});

for (const reportIntervalMs of [50, 10_000]) {
  test(`runWorld() hears of each pool every ${reportIntervalMs} ms`, async () => {
    let reports = 0;
    const see = (event: Event): void => {
      if (event.kind === "pool-reported") reports += 1;
    };
    const makeRival = (): Rival => ({ choose: randomly(1), see });
    const { report } = await run(4, { reportIntervalMs, makeRival });
    const wanted = (fleet.pools.length * report.elapsedMs) / reportIntervalMs;
    expect(reports / wanted).toBeGreaterThan(0.9);
    expect(reports / wanted).toBeLessThan(reportIntervalMs === 50 ? 1.1 : 2);
    expect(report.requests.ok).toBeGreaterThan(300);
  });
}

test("runWorld() serves each request with its own model, for its own tenant, and keeps what it says it may have", async () => {
  const asked = new Set<string>();
  const makeRival = (): Rival => ({
    choose: (request, snapshot, rules) => {
      asked.add(`${request.tenant} ${request.model}`);
      expect(request.outputTokensMax).toBe(512);
      return decide(request, snapshot, rules);
    },
  });
  const arrivals: Arrival[] = drawn(1)
    .slice(0, 40)
    .map((each) => ({
      ...each,
      model: (each.index % 2 === 0 ? "deepseek-v3.2" : "qwen3.6-plus") as ModelId,
      tenant: `t${each.index % 2}` as TenantId,
    }));
  const { report } = await runWorld(
    arrivals,
    options(1, { makeRival, reportLoss: 0, outputTokensMaxOf: () => 512 }),
  );
  expect([...asked].toSorted()).toEqual(["t0 deepseek-v3.2", "t1 qwen3.6-plus"]);
  const models = report.statements.flatMap(({ lines }) => lines.map(({ model }) => model));
  expect(new Set(models)).toEqual(new Set(["deepseek-v3.2", "qwen3.6-plus"]));
  expect(report.tokens.response).toBe(
    BigInt(arrivals.reduce((sum, { outputTokens }) => sum + outputTokens, 0)),
  );
});

test("runWorld() says how far predictions were off, and which side of the country served by the hour", async () => {
  const arrivals = mixed(4).map((each) => ({ ...each, atMs: each.atMs * 120 }));
  const { cost, prediction, report } = await runWorld(
    arrivals,
    options(4, { policy: everything, reportLoss: 0, books: false }),
  );
  for (const error of Object.values(prediction)) {
    expect(error?.count).toBeGreaterThan(300);
    expect(error?.meanRelativeError).toBeGreaterThan(0);
  }
  const hours = cost.sidesByHour.map(({ at }) => (at - startAt) / 3_600_000);
  expect(hours.slice(0, 2)).toEqual([0, 1]);
  const tokens = cost.sidesByHour.reduce(
    (sum, { tokensBySide: { east, west } }) => sum + east + west,
    0,
  );
  expect(BigInt(tokens)).toBe(
    report.tokens.uncachedInput + report.tokens.cacheRead + report.tokens.response,
  );
});

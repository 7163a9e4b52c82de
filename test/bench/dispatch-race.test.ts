import { expect, test } from "vitest";
import { keys } from "../../services/core/table.ts";
import { serviceClasses } from "../../services/core/placement/request.ts";
import { costParts } from "../../services/core/run-cost.ts";
import { runWorld } from "../../services/sim/world.ts";
import { fleetNames, testedFleet } from "../../services/sim/fleets.ts";
import { everybody } from "../../bench/dispatch/campaign.ts";
import { cellFrom, type CellSpec } from "../../bench/dispatch/cell.ts";
import { Crew, type Failure } from "../../bench/dispatch/crew.ts";
import {
  contestants,
  ours,
  reserving,
  rivalsOf,
  type Setting,
} from "../../bench/dispatch/contestants.ts";
import { liar, modest } from "../../bench/dispatch/figures.ts";
import { Racer } from "../../bench/dispatch/race.ts";
import { bound, keyOf, type Row, type RunRow, type Task } from "../../bench/dispatch/rows.ts";
import { traceRows } from "../../bench/dispatch/traces.ts";

const spec: CellSpec = {
  trace: "azure",
  fleet: "east-west",
  load: 0.5,
  seed: 1,
  durationMs: 4_000,
  at: "2026-11-20T20:00+08:00",
  scale: 1,
};

const racer = new Racer("test");

function settingsOf(policy: string): readonly Setting[] {
  if (policy !== bound) return contestants.get(policy)?.settings ?? [];
  return [{ policy, variant: "–", reportIntervalMs: 1_000, dispatchers: 1 }];
}

function taskOf(setting: Setting, changes: Partial<Task> = {}): Task {
  return { ...spec, suite: "main", figures: "usual", ...setting, ...changes };
}

async function run(policy: string, changes: Partial<Task> = {}): Promise<Row> {
  const [setting] = settingsOf(policy);
  if (setting === undefined) throw new Error(`expected a policy, found ${policy}`);
  return racer.row(taskOf(setting, changes));
}

/** What a machine does differently each time. */
const timed = { wallMs: 0, endedAt: "", picksPerSecond: 0 };

for (const policy of [ours, "random", "prequal", bound]) {
  test(`${policy}: the same task leaves the same row`, async () => {
    const task = { ...(await run(policy)), ...timed };
    expect({ ...(await run(policy)), ...timed }).toEqual(task);
  });
}

test("another seed is another run, a new racer is not", async () => {
  const one = await run(ours);
  const other = await run(ours, { seed: 2 });
  const again = await new Racer("test").row(taskOf(settingsOf(ours)[0] ?? raise()));
  expect(digestOf(other)).not.toBe(digestOf(one));
  expect(digestOf(again)).toBe(digestOf(one));
});

test("a row knows its task", async () => {
  const task = taskOf(settingsOf("smg-least-load")[1] ?? raise(), { figures: "late-boast" });
  expect(keyOf(await racer.row(task))).toBe(keyOf(task));
});

test("a row has what a run costs, and it adds up", async () => {
  const row = await run(ours);
  if (row.kind !== "run") throw new Error("expected a run");
  const parts = costParts.map((part) => row.nanoByPart[part]);
  expect(parts.reduce((sum, part) => sum + part, 0)).toBe(row.totalNano);
  expect(row.nanoPerRequest * row.requests).toBeCloseTo(row.totalNano, 0);
  const classes = serviceClasses.flatMap((each) => row.byClass[each] ?? []);
  expect(classes.reduce((sum, { requests }) => sum + requests, 0)).toBe(row.requests);
  expect(row.sidesByHour.map(({ localHour }) => localHour)).toEqual([20]);
  expect(undefinedIn(row)).toEqual([]);
});

/** Says which fields have nothing in them; the compiler keeps the list whole. */
function undefinedIn(row: RunRow): string[] {
  const known: Record<keyof RunRow, true> = {
    ...{ kind: true, suite: true, trace: true, fleet: true, load: true, seed: true },
    ...{ durationMs: true, at: true, scale: true, policy: true, variant: true, figures: true },
    ...{ reportIntervalMs: true, dispatchers: true, name: true, source: true, commit: true },
    ...{ endedAt: true, capacityPerSecond: true, offeredPerSecond: true, leftOut: true },
    ...{ requests: true, wallMs: true, totalNano: true, nanoPerRequest: true, nanoByPart: true },
    ...{ byClass: true, refused: true, goodputPerSecond: true, ttftMs: true, tpotMs: true },
    ...{ utilisation: true, gini: true, oscillation: true, sidesByHour: true, joules: true },
    ...{ gramsCo2Location: true, gramsCo2Market: true, prediction: true, picksPerSecond: true },
    digest: true,
  };
  return keys(known).filter((field) => row[field] === undefined);
}

test("threads give the rows that one gives alone, and a run that fails stops no other", async () => {
  const crew = new Crew("test", 2);
  const rows: Row[] = [];
  const failures: Failure[] = [];
  const good = [ours, "random"].map((policy) => taskOf(settingsOf(policy)[0] ?? raise()));
  const bad = { ...(good[0] ?? raise()), policy: "nobody" };
  try {
    await crew.run([bad, ...good], {
      onRow: (row) => rows.push(row),
      onFailure: (failure) => failures.push(failure),
    });
  } finally {
    await crew.end();
  }
  const alone = await Promise.all([run(ours), run("random")]);
  expect(rows.map(digestOf).sort()).toEqual(alone.map(digestOf).sort());
  expect(failures.map(({ task }) => task)).toEqual([bad]);
  expect(failures[0]?.mistake).toContain("expected a policy and variant, found nobody");
});

test("nobody is below the bound, and all had the same requests", async () => {
  const low = await run(bound);
  if (low.kind !== "bound") throw new Error("expected a bound");
  expect(low.boundNano).toBeGreaterThan(0);
  for (const policy of everybody) {
    const row = await run(policy);
    if (row.kind !== "run") continue;
    expect(row.requests, policy).toBe(low.requests);
    expect(row.totalNano, policy).toBeGreaterThanOrEqual(low.boundNano);
  }
});

/** Of a run under the bench's policy with other reserves for batches. */
async function digestWith(policy: string, slotsUsedRatioMax: number): Promise<string> {
  const [setting = raise()] = settingsOf(policy);
  const { arrivals, world } = cellFrom(await traceRows("azure"), { ...spec, load: 1.05 });
  const batch = { ...world.policy.objectives["batch-offline"], slotsUsedRatioMax };
  const objectives = { ...world.policy.objectives, "batch-offline": batch };
  const { digest } = await runWorld(arrivals, {
    ...world,
    policy: { ...world.policy, objectives },
    makeRival: rivalsOf(setting, { seed: 1, picks: { count: 0, busyMs: 0 } }),
    onAnswer: () => undefined,
    run: { id: "r", mode: "virtual", trace: "azure", speed: 1, seed: 1, class: "llm-interactive" },
  });
  return digest;
}

const minds: Readonly<Record<string, boolean>> = {
  [ours]: true,
  [reserving]: true,
  "cheapest-meeting": false,
  "cheapest-first": false,
  "smg-least-load": false,
};

for (const [policy, isMinded] of Object.entries(minds)) {
  test(`${policy} ${isMinded ? "keeps" : "knows nothing of"} the reserves of our policy`, async () => {
    const isSame = (await digestWith(policy, 0.1)) === (await digestWith(policy, 1));
    expect(isSame).toBe(!isMinded);
  });
}

const twins: readonly (readonly [string, string])[] = [
  ["litellm-simple-shuffle", "random"],
  ["litellm-lowest-cost", "cheapest-first"],
];

for (const [twin, shown] of twins) {
  test(`${twin} is left out because it does what ${shown} does`, async () => {
    expect(contestants.has(twin)).toBe(false);
    for (const setting of settingsOf(shown)) {
      const one = await racer.row(taskOf(setting));
      const other = await racer.row(taskOf({ ...setting, policy: twin }));
      expect(digestOf(other)).toBe(digestOf(one));
    }
  });
}

for (const fleet of fleetNames) {
  test(`${fleet}: load and requests are what was asked for`, async () => {
    const cell = cellFrom(await traceRows("azure"), { ...spec, fleet, load: 0.8 });
    const load = cell.offeredPerSecond / cell.capacityPerSecond;
    expect(Math.abs(load - 0.8)).toBeLessThan(0.02);
    const came = (cell.offeredPerSecond * spec.durationMs) / 1_000;
    expect(cell.arrivals.length + cell.leftOut).toBeCloseTo(came, 6);
    expect(cell.arrivals.every(({ atMs }) => atMs < spec.durationMs)).toBe(true);
  });
}

test("on the homogeneous fleet, which is near to everybody, nobody is left out", async () => {
  const cell = cellFrom(await traceRows("azure"), { ...spec, fleet: "homogeneous" });
  expect(cell.leftOut).toBe(0);
});

test("who lies has as many pools as the page says", () => {
  const { fleet } = testedFleet("east-west", { startAt: Date.parse(spec.at) });
  const poolsOf = (vendor: string): number =>
    fleet.pools.filter(({ registration }) => registration.vendor === vendor).length;
  expect([poolsOf(liar), poolsOf(modest), fleet.pools.length]).toEqual([2, 2, 14]);
});

function digestOf(row: Row): string {
  return row.kind === "run" ? row.digest : "";
}

function raise(): never {
  throw new Error("expected a setting");
}

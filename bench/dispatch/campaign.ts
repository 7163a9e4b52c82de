/** Which runs a campaign is made of. Later ones depend on what the first came to. */

import { fleetNames, type FleetName } from "../../services/sim/fleets.ts";
import type { CellSpec } from "./cell.ts";
import { contestants, ours, OUR_REPORTS_MS, type Setting } from "./contestants.ts";
import { DAY_MS } from "./day.ts";
import { figureKinds, type FiguresName } from "./figures.ts";
import { bound, comparable, keyOf, type Row, type Suite, type Task } from "./rows.ts";
import { bestSetting, rivalsIn, scoresOf, type Field } from "./scores.ts";
import { traceNames, traces, type TraceName } from "./traces.ts";
import { keys } from "../../services/core/table.ts";

export interface Campaign {
  readonly traces: readonly TraceName[];
  readonly fleets: readonly FleetName[];
  readonly loads: readonly number[];
  readonly seeds: readonly number[];
  /** In which requests come; times the trace's `stretch`. */
  readonly durationMs: number;
  /** When the first is due. */
  readonly at: string;
  /** Names of policies, `bound` among them. */
  readonly policies: readonly string[];
  readonly suites: readonly Suite[];
}

export const everybody: readonly string[] = [bound, ...contestants.keys()];

export const usual: Campaign = {
  traces: traceNames,
  fleets: fleetNames,
  loads: [0.5, 0.8, 1.05],
  seeds: [1, 2, 3],
  durationMs: 60_000,
  at: "2026-11-20T20:00+08:00",
  policies: everybody,
  suites: ["main", "figures", "day", "speed"],
};

/** Enough to see that everything works. */
export const quick: Campaign = {
  ...usual,
  traces: ["azure"],
  fleets: ["east-west"],
  loads: [0.8],
  seeds: [1],
  durationMs: 15_000,
  suites: ["main", "figures"],
};

/** Each waits for the rows of those before it. */
export const phases: readonly ((campaign: Campaign, rows: readonly Row[]) => readonly Task[])[] = [
  settingTasks,
  bestTasks,
  (campaign, rows) => [
    ...dayTasks(campaign),
    ...speedTasks(campaign),
    ...figureTasks(campaign, rows),
  ],
];

/** All settings of everybody, at the load in the middle with the first seed. */
function settingTasks(campaign: Campaign): Task[] {
  const { loads, seeds } = campaign;
  const middle = Math.floor(loads.length / 2);
  const trial = { ...campaign, loads: loads.slice(middle, middle + 1), seeds: seeds.slice(0, 1) };
  return cellsOf(trial).flatMap((cell) =>
    campaign.policies.flatMap((policy) =>
      settingsOf(policy).map((setting) => taskOf("main", cell, setting)),
    ),
  );
}

/** The best setting of everybody, wherever it has not run yet. */
function bestTasks(campaign: Campaign, rows: readonly Row[]): Task[] {
  const done = new Set(rows.map(keyOf));
  const shown = comparable(rows);
  const bests = new Map(
    campaign.fleets.flatMap((fleet) =>
      campaign.policies.map((policy) => [
        `${fleet} ${policy}`,
        policy === bound ? boundSetting : bestSetting(shown, fleet, policy),
      ]),
    ),
  );
  return cellsOf(campaign)
    .flatMap((cell) =>
      campaign.policies.flatMap((policy) => {
        const setting = bests.get(`${cell.fleet} ${policy}`);
        return setting === undefined ? [] : [taskOf("main", cell, setting)];
      }),
    )
    .filter((task) => !done.has(keyOf(task)));
}

/** Where figures get worse, and who is compared: ours on all traces, the best baselines on the first. */
const worseField: Field = { fleet: "east-west", load: 0.8 };
const RIVALS_MAX = 3;

function figureTasks(campaign: Campaign, rows: readonly Row[]): Task[] {
  const {
    fleets,
    loads,
    policies,
    suites,
    traces: [firstTrace],
  } = campaign;
  const isHere = fleets.includes(worseField.fleet) && loads.includes(worseField.load);
  if (!isHere || !suites.includes("figures")) return [];
  const best = rivalsIn(scoresOf(comparable(rows), worseField)).slice(0, RIVALS_MAX);
  const rivals = best.flatMap(({ runs }) => runs.slice(0, 1));
  const own = policies.includes(ours) ? settingsOf(ours) : [];
  const cells = cellsOf({ ...campaign, fleets: [worseField.fleet], loads: [worseField.load] });
  return cells.flatMap((cell) =>
    [...own, ...(cell.trace === firstTrace ? rivals : [])].flatMap((setting) =>
      keys(figureKinds).map((figures) => ({ ...taskOf("figures", cell, setting), figures })),
    ),
  );
}

/** Mean over the day; its busiest ten minutes are 2.7 times as busy. */
const DAY_LOAD = 0.3;

/** A working day, from midnight. */
const DAY_AT = "2026-11-20T00:00+08:00";

function dayTasks({ suites, policies }: Campaign): Task[] {
  if (!suites.includes("day")) return [];
  const cell: CellSpec = {
    trace: "servegen",
    fleet: "east-west",
    load: DAY_LOAD,
    seed: 1,
    durationMs: DAY_MS,
    at: DAY_AT,
    scale: 1,
  };
  return [ours, "nearest-first"]
    .filter((policy) => policies.includes(policy))
    .flatMap((policy) => settingsOf(policy).slice(0, 1))
    .map((setting) => taskOf("day", cell, setting));
}

/** An hour at 100 requests/s: so many times the preset, at so much of what it then can do for this trace. */
const SPEED_SCALE = 2;
const SPEED_LOAD = 0.6374;

function speedTasks({ suites, policies, at }: Campaign): Task[] {
  if (!suites.includes("speed") || !policies.includes(ours)) return [];
  const cell: CellSpec = {
    trace: "azure",
    fleet: "east-west",
    load: SPEED_LOAD,
    seed: 1,
    durationMs: 3_600_000,
    at,
    scale: SPEED_SCALE,
  };
  return settingsOf(ours).map((setting) => taskOf("speed", cell, setting));
}

function cellsOf(campaign: Campaign): CellSpec[] {
  const { traces: names, fleets, loads, seeds, durationMs, at } = campaign;
  return fleets.flatMap((fleet) =>
    loads.flatMap((load) =>
      names.flatMap((trace) =>
        seeds.map((seed) => ({
          trace,
          fleet,
          load,
          seed,
          durationMs: durationMs * traces[trace].stretch,
          at,
          scale: 1,
        })),
      ),
    ),
  );
}

const boundSetting: Setting = {
  policy: bound,
  variant: "–",
  reportIntervalMs: OUR_REPORTS_MS,
  dispatchers: 1,
};

function settingsOf(policy: string): readonly Setting[] {
  return policy === bound ? [boundSetting] : (contestants.get(policy)?.settings ?? []);
}

function taskOf(
  suite: Suite,
  cell: CellSpec,
  { policy, variant, reportIntervalMs, dispatchers }: Setting,
  figures: FiguresName = "usual",
): Task {
  const { trace, fleet, load, seed, durationMs, at, scale } = cell;
  const setting = { policy, variant, reportIntervalMs, dispatchers };
  return { suite, trace, fleet, load, seed, durationMs, at, scale, ...setting, figures };
}

/** From rows to what a policy comes to on a fleet at a load: means over traces and seeds, and which setting is its best. */

import { costParts, type CostPart } from "../../services/core/run-cost.ts";
import type { FleetName } from "../../services/sim/fleets.ts";
import { contestants, ours, type Family, type Setting } from "./contestants.ts";
import type { BoundRow, Row, RunRow } from "./rows.ts";
import { estimate, mean, type Estimate } from "./statistics.ts";

/** A fleet at a load, over all its traces and seeds. */
export interface Field {
  readonly fleet: FleetName;
  readonly load: number;
}

/** How requests fared: parts of all, 0..1. */
export interface Fared {
  /** Not served with every objective met. */
  readonly failed: Estimate;
  readonly refused: number;
  /** Of its requests, by class, those that were not served with every objective met. */
  readonly failedByClass: ReadonlyMap<string, number>;
}

export interface Score {
  readonly policy: string;
  readonly name: string;
  readonly source: string;
  readonly family: Family;
  readonly setting: string;
  readonly runs: readonly RunRow[];
  /** All per request, in nano-CNY. */
  readonly nanoPerRequest: Estimate;
  readonly nanoByPart: Readonly<Record<CostPart, number>>;
  /** Cost / bound − 1. Undefined: no bound of its cells is known. */
  readonly aboveBound: Estimate | undefined;
  readonly aboveFluid: Estimate | undefined;
  readonly goodputPerSecond: number;
  readonly fared: Fared;
  readonly gini: number;
  readonly oscillation: number;
  readonly picksPerSecond: number;
  readonly joulesPerRequest: number;
}

/**
 * Every policy in its best setting, cheapest first: by the mean over cells of its cost over the least that anybody had
 * there, so that a trace whose requests cost more does not decide alone.
 */
export function scoresOf(rows: readonly Row[], field: Field): Score[] {
  const here = inField(rows, field);
  const runs = here.filter(isRun);
  const bounds = boundsByCell(here);
  const least = leastByCell(runs);
  return [...Map.groupBy(runs, ({ policy }) => policy)]
    .flatMap(([policy, all]) => {
      const best = bestSetting(rows, field.fleet, policy);
      const chosen = best === undefined ? [] : all.filter(isOf(best));
      return chosen.length === 0 ? [] : [{ score: scoreOf(chosen, bounds), chosen }];
    })
    .map(({ score, chosen }) => ({ score, ratio: ratioTo(least, chosen) }))
    .toSorted((a, b) => a.ratio - b.ratio)
    .map(({ score }) => score);
}

/**
 * The setting of a policy that is the cheapest in the runs that try all of them: mean over traces of its cost over the
 * least that any policy had there. That they count among the others is to its advantage.
 */
export function bestSetting(
  rows: readonly Row[],
  fleet: FleetName,
  policy: string,
): Setting | undefined {
  const trials = trialsOn(rows, fleet);
  const least = leastByCell(trials);
  const mine = trials.filter((run) => run.policy === policy);
  const bySetting = [...Map.groupBy(mine, settingKey).values()];
  const tracesMost = Math.max(0, ...bySetting.map(({ length }) => length));
  return bySetting
    .filter(({ length }) => length === tracesMost)
    .map((each) => ({ setting: each[0], ratio: ratioTo(least, each) }))
    .toSorted((a, b) => a.ratio - b.ratio)[0]?.setting;
}

function leastByCell(runs: readonly RunRow[]): ReadonlyMap<string, number> {
  return new Map(
    [...Map.groupBy(runs, cellKey)].map(([key, each]) => [
      key,
      Math.min(...each.map(({ totalNano }) => totalNano)),
    ]),
  );
}

function ratioTo(least: ReadonlyMap<string, number>, runs: readonly RunRow[]): number {
  return mean(runs.map((run) => run.totalNano / (least.get(cellKey(run)) ?? run.totalNano)));
}

/** Of a fleet the runs at the load and with the seed that most settings ran with. */
export function trialsOn(rows: readonly Row[], fleet: FleetName): readonly RunRow[] {
  const runs = rows.filter(isRun).filter((run) => run.suite === "main" && run.fleet === fleet);
  const groups = [...Map.groupBy(runs, ({ load, seed }) => `${load} ${seed}`).values()];
  const settings = (group: readonly RunRow[]): number =>
    new Set(group.map((run) => `${run.policy} ${settingKey(run)}`)).size;
  return groups.toSorted((a, b) => settings(b) - settings(a))[0] ?? [];
}

function scoreOf(runs: readonly RunRow[], bounds: ReadonlyMap<string, BoundRow>): Score {
  const first = runs[0];
  if (first === undefined) throw new Error("expected runs of a setting, found none");
  const contestant = contestants.get(first.policy);
  const over = (valueOf: (run: RunRow) => number): Estimate => estimate(byTrace(runs, valueOf));
  const against = (nanoOf: (row: BoundRow) => number | undefined): Estimate | undefined => {
    const isKnown = runs.every((run) => isAbove0(nanoOf, bounds.get(cellKey(run))));
    if (!isKnown) return undefined;
    return over((run) => run.totalNano / (valueIn(nanoOf, bounds.get(cellKey(run))) ?? 1) - 1);
  };
  return {
    policy: first.policy,
    name: first.name,
    source: first.source,
    family: contestant?.family ?? "references",
    setting: settingText(first),
    runs,
    nanoPerRequest: over(({ nanoPerRequest }) => nanoPerRequest),
    nanoByPart: partsOf(
      (part) => over(({ nanoByPart, requests }) => nanoByPart[part] / requests).mean,
    ),
    aboveBound: against(({ boundNano }) => boundNano),
    aboveFluid: against(({ fluidNano }) => fluidNano),
    goodputPerSecond: over((run) => run.goodputPerSecond).mean,
    fared: faredOf(runs),
    gini: over(({ gini }) => gini).mean,
    oscillation: over(({ oscillation }) => oscillation).mean,
    picksPerSecond: over(({ picksPerSecond }) => picksPerSecond).mean,
    joulesPerRequest: over(({ joules, requests }) => joules / requests).mean,
  };
}

function faredOf(runs: readonly RunRow[]): Fared {
  const classes = new Set(runs.flatMap(({ byClass }) => Object.keys(byClass)));
  const ofClass = (name: string): number =>
    estimate(
      byTrace(runs, ({ byClass }) => {
        const found = Object.entries(byClass).find(([each]) => each === name)?.[1];
        return found === undefined ? 0 : 1 - found.good / found.requests;
      }),
    ).mean;
  return {
    failed: estimate(byTrace(runs, failedShare)),
    refused: estimate(byTrace(runs, ({ refused, requests }) => refused / requests)).mean,
    failedByClass: new Map([...classes].map((name) => [name, ofClass(name)])),
  };
}

/** Part of all requests that were not served with every objective met. */
export function failedShare({ byClass, requests }: RunRow): number {
  const good = Object.values(byClass).reduce((sum, each) => sum + each.good, 0);
  return 1 - good / requests;
}

/** What a pair of policies has in the same cells: the first's cost / the second's − 1. */
export function comparedTo(one: readonly RunRow[], other: readonly RunRow[]): Estimate | undefined {
  const others = new Map(other.map((run) => [cellKey(run), run]));
  const both = one.filter((run) => others.has(cellKey(run)));
  if (both.length === 0) return undefined;
  return estimate(
    byTrace(both, (run) => run.totalNano / (others.get(cellKey(run))?.totalNano ?? 1) - 1),
  );
}

/** The baselines of a list of scores: ours are left out, and what has a part of ours. */
export function rivalsIn(scores: readonly Score[]): readonly Score[] {
  return scores.filter(({ family }) => family !== "ours" && family !== "mixed");
}

export function oursIn(scores: readonly Score[]): Score | undefined {
  return scores.find(({ policy }) => policy === ours);
}

export function byTrace(
  runs: readonly RunRow[],
  valueOf: (run: RunRow) => number,
): readonly (readonly number[])[] {
  return [...Map.groupBy(runs, ({ trace }) => trace).values()].map((each) => each.map(valueOf));
}

export function inField(rows: readonly Row[], { fleet, load }: Field): readonly Row[] {
  return rows.filter((row) => row.suite === "main" && row.fleet === fleet && row.load === load);
}

export function fieldsOf(rows: readonly Row[]): readonly Field[] {
  const main = rows.filter(({ suite }) => suite === "main");
  const fleets = [...new Set(main.map(({ fleet }) => fleet))];
  const loads = [...new Set(main.map(({ load }) => load))].sort((a, b) => a - b);
  return fleets
    .flatMap((fleet) => loads.map((load) => ({ fleet, load })))
    .filter((field) => inField(main, field).length > 0);
}

export function isRun(row: Row): row is RunRow {
  return row.kind === "run";
}

export function boundsByCell(rows: readonly Row[]): ReadonlyMap<string, BoundRow> {
  return new Map(
    rows.flatMap((row) => (row.kind === "bound" ? [[cellKey(row), row] as const] : [])),
  );
}

export function cellKey(row: Row): string {
  const { suite, trace, fleet, load, seed } = row;
  return [suite, trace, fleet, load, seed].join(" ");
}

/** Who has no figures to look at has no interval to name. */
export function settingText({ policy, variant, reportIntervalMs }: Setting): string {
  const settings = contestants.get(policy)?.settings ?? [];
  const hasIntervals = settings.some((each) => each.reportIntervalMs !== reportIntervalMs);
  return hasIntervals ? `${variant}, figures every ${reportIntervalMs / 1_000} s` : variant;
}

function settingKey({ variant, reportIntervalMs }: Setting): string {
  return `${variant} ${reportIntervalMs}`;
}

function isOf(setting: Setting): (run: RunRow) => boolean {
  return (run) => settingKey(run) === settingKey(setting);
}

function valueIn<Of>(
  read: (row: Of) => number | undefined,
  row: Of | undefined,
): number | undefined {
  return row === undefined ? undefined : read(row);
}

function isAbove0<Of>(read: (row: Of) => number | undefined, row: Of | undefined): boolean {
  return (valueIn(read, row) ?? 0) > 0;
}

function partsOf(nanoOf: (part: CostPart) => number): Record<CostPart, number> {
  const pairs = costParts.map((part) => [part, nanoOf(part)] as const);
  return Object.fromEntries(pairs) as Record<CostPart, number>;
}

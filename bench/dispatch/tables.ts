/** Tables of the page, as Markdown. */

import { predictedTimes } from "../../services/core/prediction-check.ts";
import { costParts } from "../../services/core/run-cost.ts";
import type { FleetName } from "../../services/sim/fleets.ts";
import { entries } from "../../services/core/table.ts";
import { duelsIn, percent, placeOf, verdictsOn, withFigures, type Verdict } from "./aims.ts";
import { ours } from "./contestants.ts";
import { figureKinds, perfectFigures } from "./figures.ts";
import type { Row, RunRow } from "./rows.ts";
import {
  boundsByCell,
  byTrace,
  cellKey,
  comparedTo,
  failedShare,
  fieldsOf,
  inField,
  isRun,
  scoresOf,
  settingText,
  trialsOn,
  type Field,
} from "./scores.ts";
import { estimate, mean, type Estimate } from "./statistics.ts";

/** What a nano per request is in CNY per 1,000 requests. */
export const CNY_PER_THOUSAND = 1e-6;

const classTitles = {
  "metro-realtime": "metro",
  "realtime-interactive": "real time",
  "llm-interactive": "chat",
  "batch-offline": "batch",
  archival: "archival",
} as const;

/** The most of what a campaign came to, for a terminal. */
export function digestOf(rows: readonly Row[]): string {
  const lines = fieldsOf(rows).flatMap((field) => {
    const scores = scoresOf(rows, field);
    const width = Math.max(...scores.map(({ name }) => name.length));
    return [
      `\n${placeOf(field)}: CNY per 1,000 requests, above the bound, missed or refused`,
      ...scores.map(
        ({ name, nanoPerRequest, aboveBound, fared }) =>
          `  ${name.padEnd(width)}  ${cny(nanoPerRequest.mean).padStart(8)}` +
          `  ${(aboveBound === undefined ? "–" : percent(aboveBound.mean)).padStart(8)}` +
          `  ${percent(fared.failed.mean).padStart(8)}`,
      ),
    ];
  });
  const aims = verdictsOn(rows).map(
    ({ aim, where, isMet, found }) =>
      `  ${metText(isMet).padEnd(6)}  ${where}: ${aim}; found ${found === undefined ? "–" : percent(found.mean)}`,
  );
  return [...lines, ...(aims.length > 0 ? ["\naims", ...aims] : [])].join("\n");
}

export function aimsTable(rows: readonly Row[]): string {
  const head = ["aim", "where", "found", "met", "missed by", ""];
  return table(head, verdictsOn(rows).map(verdictCells));
}

function verdictCells({ aim, where, found, isMet, missedBy, note }: Verdict): string[] {
  const by =
    missedBy === undefined || missedBy === 0 ? "–" : `${(missedBy * 100).toFixed(1)} points`;
  return [aim, where, percents(found), metText(isMet), by, note];
}

function metText(isMet: boolean | undefined): string {
  if (isMet === undefined) return "–";
  return isMet ? "met" : "missed";
}

/** Ours against the cheapest baseline, wherever both ran. */
export function duelTable(rows: readonly Row[]): string {
  const head = [
    "where",
    "best baseline, its best setting",
    "its cost",
    "our cost",
    "ours / its − 1",
    "its requests that missed or were refused",
    "ours",
    "our objectives",
  ];
  const body = duelsIn(rows).map(({ field, ours: own, best, difference, isAsGood }) => [
    placeOf(field),
    `${best.name} (${best.source}), ${best.setting}`,
    cnys(best.nanoPerRequest),
    cnys(own.nanoPerRequest),
    percents(difference),
    percents(best.fared.failed),
    percents(own.fared.failed),
    isAsGood ? "as good or better" : "worse",
  ]);
  return table(head, body);
}

/** Everybody in a field, cheapest first, and what the bound is. */
export function fieldTable(rows: readonly Row[], field: Field): string {
  const scores = scoresOf(rows, field);
  const classes = entries(classTitles).filter(([name]) =>
    scores.some(({ fared }) => fared.failedByClass.has(name)),
  );
  const head = [
    ...["policy", "§", "setting", "runs", "cost", "above bound", ...costParts],
    ...[
      "within objectives /s",
      `missed or refused: ${classes.map(([, title]) => title).join(" / ")}`,
    ],
    ...["refused", "Gini", "oscillation", "picks/s"],
  ];
  const body = scores.map((score) => [
    score.name,
    score.source,
    score.setting,
    String(score.runs.length),
    cnys(score.nanoPerRequest),
    percents(score.aboveBound),
    ...costParts.map((part) => cny(score.nanoByPart[part])),
    score.goodputPerSecond.toFixed(2),
    classes.map(([name]) => percent(score.fared.failedByClass.get(name) ?? 0)).join(" / "),
    percent(score.fared.refused),
    score.gini.toFixed(3),
    score.oscillation.toFixed(3),
    Math.round(score.picksPerSecond).toLocaleString("en-US"),
  ]);
  return [table(head, body), "", boundText(rows, field)].join("\n");
}

function boundText(rows: readonly Row[], field: Field): string {
  const bounds = [...boundsByCell(inField(rows, field)).values()];
  if (bounds.length === 0) return "No bound was worked out here.";
  const over = (nanoOf: (row: (typeof bounds)[number]) => number): number =>
    mean(
      [...Map.groupBy(bounds, ({ trace }) => trace).values()].map((each) => mean(each.map(nanoOf))),
    );
  const low = over(({ boundNano, requests }) => boundNano / requests);
  const isEstimated = bounds.every(({ fluidNano }) => fluidNano !== undefined);
  const fluid = over(({ fluidNano = 0, requests }) => fluidNano / requests);
  return (
    `The bound is ${cny(low)}` +
    (isEstimated ? `; the fluid estimate, which is no bound, ${cny(fluid)}.` : ".")
  );
}

/** Ours by trace: what the means are made of. */
export function traceTable(rows: readonly Row[]): string {
  const head = ["where", "trace", "requests/s", "cost", "above bound", "missed or refused"];
  const body = fieldsOf(rows).flatMap((field) => {
    const own = scoresOf(rows, field).find(({ policy }) => policy === ours);
    const bounds = boundsByCell(inField(rows, field));
    return [...Map.groupBy(own?.runs ?? [], ({ trace }) => trace)].map(([trace, runs]) => {
      const above = runs.map((run) => {
        const nano = bounds.get(cellKey(run))?.boundNano;
        return nano === undefined ? undefined : run.totalNano / nano - 1;
      });
      const known = above.filter((each) => each !== undefined);
      return [
        placeOf(field),
        trace,
        mean(runs.map(({ offeredPerSecond }) => offeredPerSecond)).toFixed(1),
        cnys(estimate([runs.map(({ nanoPerRequest }) => nanoPerRequest)])),
        known.length < above.length ? "–" : percents(estimate([known])),
        percent(mean(runs.map(failedShare))),
      ];
    });
  });
  return table(head, body);
}

/** Each policy against itself with perfect figures. */
export function figuresTable(rows: readonly Row[]): string {
  const runs = rows.filter(isRun).filter(({ suite }) => suite === "figures");
  const firstTrace = runs[0]?.trace;
  const contests = [
    ...[...Map.groupBy(runs, ({ policy }) => policy)].map(([, each]) => ({
      title: `${each[0]?.name}, ${firstTrace}`,
      runs: each.filter(({ trace }) => trace === firstTrace),
    })),
    ...(new Set(runs.map(({ trace }) => trace)).size > 1
      ? [{ title: "tokengrid, all traces", runs: runs.filter(({ policy }) => policy === ours) }]
      : []),
  ];
  const head = ["figures", ...contests.map(({ title }) => title)];
  const body = entries(figureKinds).map(([figures, { title }]) => [
    title,
    ...contests.map(({ runs: all }) => {
      const here = withFigures(all, figures);
      if (here.length === 0) return "–";
      const cost = estimate(byTrace(here, ({ nanoPerRequest }) => nanoPerRequest));
      const change = comparedTo(here, withFigures(all, perfectFigures));
      return figures === perfectFigures ? cnys(cost) : `${cny(cost.mean)} (${signed(change)})`;
    }),
  ]);
  return table(head, body);
}

/** Every setting that was tried on a fleet, and what it came to there. */
export function settingsTable(rows: readonly Row[], fleet: FleetName): string {
  const groups = Map.groupBy(trialsOn(rows, fleet), (run) => `${run.name}\n${settingText(run)}`);
  const body = [...groups.values()].map((each) => [
    each[0]?.name ?? "",
    each[0] === undefined ? "" : settingText(each[0]),
    cny(mean(each.map(({ nanoPerRequest }) => nanoPerRequest))),
    percent(mean(each.map(failedShare))),
  ]);
  return table(["policy", "setting", "cost", "missed or refused"], body);
}

/** How far our own predictions were off. */
export function predictionTable(rows: readonly Row[]): string {
  const head = ["where", "time to first token", "time per token", "finish time"];
  const body = fieldsOf(rows).flatMap((field) => {
    const own = scoresOf(rows, field).find(({ policy }) => policy === ours);
    if (own === undefined) return [];
    const cells = predictedTimes.map((figure) => {
      const errors = own.runs.flatMap(({ prediction }) => prediction[figure] ?? []);
      if (errors.length === 0) return "–";
      const bias = mean(errors.map((each) => each.bias));
      return `${percent(mean(errors.map((each) => each.meanRelativeError)))} (${bias > 0 ? "+" : ""}${percent(bias)})`;
    });
    return [[placeOf(field), ...cells]];
  });
  return table(head, body);
}

/** Where the tokens of a day went. */
export function dayTable(rows: readonly Row[]): string {
  const days = rows.filter(isRun).filter(({ suite }) => suite === "day");
  const head = [
    "policy",
    "requests",
    "cost",
    "energy",
    "west's part of the tokens",
    "kWh",
    "wall time",
  ];
  const body = days.map((run) => [
    run.name,
    run.requests.toLocaleString("en-US"),
    cny(run.nanoPerRequest),
    cny(run.nanoByPart.energy / run.requests),
    percent(westShare(run.sidesByHour)),
    (run.joules / 3.6e6).toFixed(1),
    `${(run.wallMs / 1_000).toFixed(0)} s`,
  ]);
  return table(head, body);
}

export function westShare(hours: RunRow["sidesByHour"]): number {
  const west = hours.reduce((sum, { tokensBySide }) => sum + tokensBySide.west, 0);
  const east = hours.reduce((sum, { tokensBySide }) => sum + tokensBySide.east, 0);
  return west / Math.max(1, west + east);
}

/** CNY per 1,000 requests. */
function cny(nanoPerRequest: number): string {
  return (nanoPerRequest * CNY_PER_THOUSAND).toFixed(3);
}

function cnys({ mean: middle, plusMinus }: Estimate): string {
  return plusMinus === undefined ? cny(middle) : `${cny(middle)} ± ${cny(plusMinus)}`;
}

function percents(each: Estimate | undefined): string {
  if (each === undefined) return "–";
  const { mean: middle, plusMinus } = each;
  if (plusMinus === undefined) return percent(middle);
  return `${percent(middle)} ± ${percent(plusMinus)}`;
}

function signed(each: Estimate | undefined): string {
  if (each === undefined) return "–";
  return `${each.mean >= 0.0005 ? "+" : ""}${percents(each)}`;
}

function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  if (body.length === 0) return "No runs yet.";
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...body.map(line)].join("\n");
}

import type { TopLevelSpec } from "vega-lite";
import { entries } from "../../services/core/table.ts";
import { fleetNames } from "../../services/sim/fleets.ts";
import { percent, withFigures } from "./aims.ts";
import { ours } from "./contestants.ts";
import { figureKinds } from "./figures.ts";
import { baselineFamilies, colours, costTitle, ownSeries, plotConfig } from "./plot-style.ts";
import type { BoundRow, Row, RunRow } from "./rows.ts";
import {
  boundsByCell,
  cellKey,
  fieldsOf,
  isRun,
  oursIn,
  scoresOf,
  type Field,
  type Score,
} from "./scores.ts";
import { mean } from "./statistics.ts";
import { CNY_PER_THOUSAND } from "./tables.ts";
import { traceNames } from "./traces.ts";

interface Point {
  readonly fleet: string;
  readonly trace: string;
  readonly load: number;
  readonly cost: number;
  readonly series: string;
}

const boundSeries = "clairvoyant bound";
const fluidSeries = "fluid estimate (no bound)";

/** Ours, the bounds, and of each family of baselines the cheapest at each load: a panel per fleet and trace. */
export function costByLoad(rows: readonly Row[]): TopLevelSpec | undefined {
  const points = fieldsOf(rows).flatMap((field) => pointsIn(rows, field));
  if (points.length === 0) return undefined;
  const series: readonly (readonly [string, string])[] = [
    [ownSeries, colours.ours],
    [boundSeries, colours.bound],
    [fluidSeries, colours.fluid],
    ...baselineFamilies.map((family) => [`best by ${family}`, colours[family]] as const),
  ];
  const there = series.filter(([name]) => points.some((point) => point.series === name));
  return {
    title: {
      text: "Total cost against load",
      subtitle: [
        "Money, energy, carbon, time, objectives missed and refusals, mean over seeds. A column is a fleet, a row a trace.",
        "Of each family of baselines the one that is the cheapest at that load. Axes of cost do not begin at 0.",
      ],
    },
    config: plotConfig,
    data: { values: points },
    facet: {
      column: { field: "fleet", type: "nominal", title: null, sort: [...fleetNames] },
      row: { field: "trace", type: "nominal", title: null, sort: [...traceNames] },
    },
    spec: {
      width: 230,
      height: 210,
      mark: { type: "line", point: { size: 40 }, strokeWidth: 2 },
      encoding: {
        x: {
          field: "load",
          type: "quantitative",
          title: "load, % of capacity",
          scale: { zero: false, nice: false, padding: 14 },
          axis: { values: [...new Set(points.map(({ load }) => load))] },
        },
        y: {
          field: "cost",
          type: "quantitative",
          title: costTitle,
          scale: { zero: false, padding: 8 },
        },
        color: {
          field: "series",
          type: "nominal",
          title: null,
          scale: { domain: there.map(([name]) => name), range: there.map(([, colour]) => colour) },
        },
        strokeDash: {
          condition: { test: `datum.series === '${fluidSeries}'`, value: [5, 4] },
          value: [1, 0],
        },
      },
    },
    resolve: { scale: { y: "independent" } },
  };
}

function pointsIn(rows: readonly Row[], field: Field): Point[] {
  const scores = scoresOf(rows, field);
  const bounds = boundsByCell(rows);
  const traces = [...new Set(scores.flatMap(({ runs }) => runs.map(({ trace }) => trace)))];
  return traces.flatMap((trace): Point[] => {
    const runsOf = (score: Score | undefined): readonly RunRow[] =>
      (score?.runs ?? []).filter((run) => run.trace === trace);
    const at = (series: string, nanos: readonly number[]): Point[] => {
      if (nanos.length === 0) return [];
      const cost = mean(nanos) * CNY_PER_THOUSAND;
      return [{ fleet: field.fleet, trace, load: field.load * 100, cost, series }];
    };
    const costs = (score: Score | undefined): readonly number[] =>
      runsOf(score).map(({ nanoPerRequest }) => nanoPerRequest);
    const limits = (nanoOf: (row: BoundRow) => number | undefined): readonly number[] =>
      runsOf(oursIn(scores)).flatMap((run) => {
        const row = bounds.get(cellKey(run));
        const nano = row === undefined ? undefined : nanoOf(row);
        return nano === undefined ? [] : [nano / run.requests];
      });
    return [
      ...at(ownSeries, costs(oursIn(scores))),
      ...at(
        boundSeries,
        limits(({ boundNano }) => boundNano),
      ),
      ...at(
        fluidSeries,
        limits(({ fluidNano }) => fluidNano),
      ),
      ...baselineFamilies.flatMap((family) => {
        const members = scores.filter((score) => score.family === family).map(costs);
        const [best = []] = members
          .filter(({ length }) => length > 0)
          .toSorted((one, other) => mean(one) - mean(other));
        return at(`best by ${family}`, best);
      }),
    ];
  });
}

export function costByAge(rows: readonly Row[]): TopLevelSpec | undefined {
  const all = rows.filter(isRun).filter(({ suite }) => suite === "figures");
  const runs = all.filter(({ trace }) => trace === all[0]?.trace);
  const [first] = runs;
  if (first === undefined) return undefined;
  const points = [...Map.groupBy(runs, ({ policy }) => policy)].flatMap(([policy, each]) =>
    entries(figureKinds).flatMap(([figures, { ageSeconds }]) => {
      const here = withFigures(each, figures);
      if (ageSeconds === undefined || here.length === 0) return [];
      const cost = mean(here.map(({ nanoPerRequest }) => nanoPerRequest)) * CNY_PER_THOUSAND;
      return [
        { age: ageSeconds, cost, series: policy === ours ? ownSeries : (here[0]?.name ?? "") },
      ];
    }),
  );
  const names = [...new Set(points.map(({ series }) => series))];
  const range = [
    colours.ours,
    colours.counting,
    colours["reported load"],
    colours["prefix and region"],
  ];
  return {
    title: {
      text: "Cost against the age of figures",
      subtitle: `${first.trace}, fleet ${first.fleet}, ${percent(first.load)} load, mean over seeds; ours and the three best baselines. The axis does not begin at 0.`,
    },
    config: plotConfig,
    width: 620,
    height: 320,
    data: { values: points },
    mark: { type: "line", point: { size: 50 }, strokeWidth: 2 },
    encoding: {
      x: {
        field: "age",
        type: "ordinal",
        title: "age of figures when they arrive, s",
        axis: { labelAngle: 0 },
      },
      y: { field: "cost", type: "quantitative", title: costTitle, scale: { zero: false } },
      color: {
        field: "series",
        type: "nominal",
        title: null,
        scale: { domain: names, range: range.slice(0, names.length) },
      },
    },
  };
}

/** The page's plots: Vega-Lite to SVG, without a browser. */

import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { percent, withFigures } from "./aims.ts";
import { ours } from "./contestants.ts";
import { hourPrices } from "./day.ts";
import { figureKinds } from "./figures.ts";
import type { Row, RunRow } from "./rows.ts";
import { boundsByCell, cellKey, fieldsOf, isRun, oursIn, scoresOf, type Score } from "./scores.ts";
import { CNY_PER_THOUSAND, westShare } from "./tables.ts";
import { byTrace } from "./scores.ts";
import { estimate, mean } from "./statistics.ts";
import { entries } from "../../services/core/table.ts";

/** A figure of the page. Undefined: there is nothing to show yet. */
export interface Plot {
  readonly file: string;
  readonly title: string;
  readonly spec: (rows: readonly Row[]) => TopLevelSpec | undefined;
}

export const plots: readonly Plot[] = [
  { file: "cost-by-load.svg", title: "Total cost against load", spec: costByLoad },
  { file: "energy-and-lateness.svg", title: "Energy against lateness", spec: energyAndLateness },
  { file: "day.svg", title: "Where a day's tokens go", spec: dayBySide },
  { file: "cost-by-age.svg", title: "Cost against the age of figures", spec: costByAge },
];

export async function svgOf(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile(spec).spec), { renderer: "none" });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}

/** Okabe and Ito: told apart by the colour-blind too. */
const colours = {
  ours: "#D55E00",
  bound: "#000000",
  fluid: "#7F7F7F",
  counting: "#56B4E9",
  "reported load": "#0072B2",
  "prefix and region": "#009E73",
  "price and latency": "#CC79A7",
  references: "#E69F00",
} as const;

const config = {
  background: "white",
  font: "sans-serif",
  axis: { labelFontSize: 11, titleFontSize: 12, gridColor: "#e5e5e5" },
  legend: { labelFontSize: 11, titleFontSize: 12, labelLimit: 400 },
  header: { labelFontSize: 12, titleFontSize: 12 },
  title: { fontSize: 14, subtitleFontSize: 11, subtitleColor: "#444444", anchor: "start" },
} as const;

const costTitle = "CNY per 1,000 requests";

interface Point {
  readonly fleet: string;
  readonly load: number;
  readonly cost: number;
  readonly series: string;
}

const ownSeries = "tokengrid";
const boundSeries = "clairvoyant bound";
const fluidSeries = "fluid estimate (no bound)";

/** Ours, the bounds, and of each family of baselines the cheapest at each load. */
function costByLoad(rows: readonly Row[]): TopLevelSpec | undefined {
  const points = fieldsOf(rows).flatMap(({ fleet, load }): Point[] => {
    const scores = scoresOf(rows, { fleet, load });
    const at = (series: string, nano: number): Point => ({
      fleet,
      load: load * 100,
      cost: nano * CNY_PER_THOUSAND,
      series,
    });
    const own = oursIn(scores);
    const families = Map.groupBy(
      scores.filter(({ family }) => family !== "ours"),
      ({ family }) => family,
    );
    return [
      ...(own === undefined ? [] : [at(ownSeries, own.nanoPerRequest.mean)]),
      ...limitsOf(rows, own, at),
      ...[...families].flatMap(([family, [best]]) =>
        best === undefined ? [] : [at(`best by ${family}`, best.nanoPerRequest.mean)],
      ),
    ];
  });
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
      subtitle: `${costTitle}: money, energy, carbon, time, objectives missed and refusals. Mean over traces and seeds.`,
    },
    config,
    data: { values: points },
    facet: { column: { field: "fleet", type: "nominal", title: "fleet", sort: null } },
    spec: {
      width: 230,
      height: 300,
      mark: { type: "line", point: { size: 45 }, strokeWidth: 2 },
      encoding: {
        x: {
          field: "load",
          type: "quantitative",
          title: "load, % of capacity",
          scale: { zero: false },
        },
        y: { field: "cost", type: "quantitative", title: costTitle, scale: { zero: false } },
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

const baselineFamilies = [
  "counting",
  "reported load",
  "prefix and region",
  "price and latency",
  "references",
] as const;

/** In the cells that ours ran in. */
function limitsOf(
  rows: readonly Row[],
  own: Score | undefined,
  at: (series: string, nano: number) => Point,
): Point[] {
  const bounds = boundsByCell(rows);
  const runs = own?.runs ?? [];
  const known = runs.filter((run) => bounds.has(cellKey(run)));
  if (known.length === 0 || known.length < runs.length) return [];
  const over = (nanoOf: (run: RunRow) => number): number => estimate(byTrace(known, nanoOf)).mean;
  const low = over((run) => (bounds.get(cellKey(run))?.boundNano ?? 0) / run.requests);
  const fluid = over((run) => (bounds.get(cellKey(run))?.fluidNano ?? 0) / run.requests);
  return [at(boundSeries, low), ...(fluid > 0 ? [at(fluidSeries, fluid)] : [])];
}

/** The field of the frontier. */
const frontierField = { fleet: "east-west", load: 0.8 } as const;

function energyAndLateness(rows: readonly Row[]): TopLevelSpec | undefined {
  const scores = scoresOf(rows, frontierField);
  const points = scores.map(({ name, family, nanoByPart }) => ({
    name,
    series: family === "ours" ? ownSeries : family,
    energy: nanoByPart.energy * CNY_PER_THOUSAND,
    late: (nanoByPart.time + nanoByPart.missed + nanoByPart.refused) * CNY_PER_THOUSAND,
  }));
  if (points.length === 0) return undefined;
  // Nobody is better in both.
  const frontier = points
    .filter((one) => !points.some((two) => two.energy < one.energy && two.late < one.late))
    .toSorted((a, b) => a.energy - b.energy);
  const series = [ownSeries, ...baselineFamilies];
  const x = {
    field: "energy",
    type: "quantitative",
    title: "energy, CNY per 1,000 requests",
    scale: { zero: false },
  } as const;
  const y = {
    field: "late",
    type: "quantitative",
    title: "time, missed objectives and refusals, CNY per 1,000 requests",
    scale: { type: "log" },
  } as const;
  return {
    title: {
      text: "Energy against lateness",
      subtitle: [
        `Fleet ${frontierField.fleet}, ${percent(frontierField.load)} load, mean over traces and seeds; each policy in its best setting.`,
        "The line joins those that nobody beats in both.",
      ],
    },
    config,
    width: 620,
    height: 400,
    layer: [
      {
        data: { values: frontier },
        mark: { type: "line", color: "#999999", strokeDash: [4, 3] },
        encoding: { x, y, order: { field: "energy", type: "quantitative" } },
      },
      {
        data: { values: points },
        mark: { type: "point", filled: true, size: 90, opacity: 0.9 },
        encoding: {
          x,
          y,
          color: {
            field: "series",
            type: "nominal",
            title: null,
            scale: {
              domain: series,
              range: [colours.ours, ...baselineFamilies.map((family) => colours[family])],
            },
          },
          shape: { field: "series", type: "nominal", title: null, scale: { domain: series } },
        },
      },
      {
        data: { values: frontier },
        mark: { type: "text", align: "left", dx: 8, dy: -7, fontSize: 11 },
        encoding: { x, y, text: { field: "name", type: "nominal" } },
      },
    ],
  };
}

/** The west's part of the tokens by the hour, above what power costs in it. */
function dayBySide(rows: readonly Row[]): TopLevelSpec | undefined {
  const days = rows.filter(isRun).filter(({ suite }) => suite === "day");
  const [first] = days;
  if (first === undefined) return undefined;
  const parts = days.flatMap(({ name, policy, sidesByHour }) =>
    sidesByHour.map((hour) => ({
      hour: hour.localHour,
      west: westShare([hour]) * 100,
      series: policy === ours ? ownSeries : name,
    })),
  );
  const names = [...new Set(parts.map(({ series }) => series))];
  const prices = hourPrices(first.at).map(({ localHour, side, powerCnyPerKwh }) => ({
    hour: localHour,
    price: powerCnyPerKwh,
    side: `power in the ${side}`,
  }));
  const x = {
    field: "hour" as const,
    type: "quantitative" as const,
    title: "local hour",
    scale: { domain: [0, 24], nice: false },
    axis: { values: [0, 3, 6, 9, 12, 15, 18, 21, 24] },
  };
  return {
    title: {
      text: "Where a day's tokens go",
      subtitle: `ServeGen's day on the fleet east-west, ${first.at.slice(0, 10)}, mean load ${percent(first.load)}.`,
    },
    config,
    vconcat: [
      {
        width: 620,
        height: 220,
        data: { values: parts },
        mark: { type: "line", interpolate: "step-after", strokeWidth: 2 },
        encoding: {
          x,
          y: {
            field: "west",
            type: "quantitative",
            title: "west's part of the tokens, %",
            scale: { domain: [0, 100] },
          },
          color: {
            field: "series",
            type: "nominal",
            title: null,
            scale: {
              domain: names,
              range: [colours.ours, colours.counting].slice(0, names.length),
            },
          },
        },
      },
      {
        width: 620,
        height: 140,
        data: { values: prices },
        mark: { type: "line", interpolate: "step-after", strokeWidth: 2 },
        encoding: {
          x,
          y: { field: "price", type: "quantitative", title: "power, CNY per kWh" },
          color: {
            field: "side",
            type: "nominal",
            title: null,
            scale: {
              domain: ["power in the east", "power in the west"],
              range: [colours["price and latency"], colours["prefix and region"]],
            },
          },
          strokeDash: {
            condition: { test: "datum.side === 'power in the west'", value: [5, 3] },
            value: [1, 0],
          },
        },
      },
    ],
    resolve: { scale: { color: "independent", strokeDash: "independent" } },
  };
}

function costByAge(rows: readonly Row[]): TopLevelSpec | undefined {
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
      subtitle: `${first.trace}, fleet ${first.fleet}, ${percent(first.load)} load, mean over seeds; ours and the three best baselines.`,
    },
    config,
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
      y: { field: "cost", type: "quantitative", title: costTitle, scale: { type: "log" } },
      color: {
        field: "series",
        type: "nominal",
        title: null,
        scale: { domain: names, range: range.slice(0, names.length) },
      },
    },
  };
}

import type { TopLevelSpec } from "vega-lite";
import type { CostPart } from "../../services/core/run-cost.ts";
import { percent } from "./aims.ts";
import { ours } from "./contestants.ts";
import { hourPrices } from "./day.ts";
import { baselineFamilies, colours, ownSeries, plotConfig } from "./plot-style.ts";
import type { Row } from "./rows.ts";
import { isRun, scoresOf } from "./scores.ts";
import { mean } from "./statistics.ts";
import { CNY_PER_THOUSAND, westShare } from "./tables.ts";
import { traceNames } from "./traces.ts";

/** The field of the frontier. */
const frontierField = { fleet: "east-west", load: 0.8 } as const;

export function energyAndLateness(rows: readonly Row[]): TopLevelSpec | undefined {
  const scores = scoresOf(rows, frontierField);
  const shown = scores.filter(({ family }) => family !== "mixed");
  const all = shown.flatMap(({ name, family, runs }) =>
    [...Map.groupBy(runs, ({ trace }) => trace)].map(([trace, each]) => {
      const per = (parts: readonly CostPart[]): number =>
        CNY_PER_THOUSAND *
        mean(
          each.map(({ nanoByPart, requests }) =>
            parts.reduce((sum, part) => sum + nanoByPart[part] / requests, 0),
          ),
        );
      const series = family === "ours" ? ownSeries : family;
      return { trace, name, series, energy: per(["energy"]), late: per(lateParts) };
    }),
  );
  if (all.length === 0) return undefined;
  // Nobody in the same panel is better in both.
  const points = all.map((one) => ({
    ...one,
    isBest: !all.some(
      (two) => two.trace === one.trace && two.energy < one.energy && two.late < one.late,
    ),
  }));
  const series = [ownSeries, ...baselineFamilies];
  const x = {
    field: "energy",
    type: "quantitative" as const,
    title: "energy, CNY per 1,000 requests",
    scale: { zero: false, nice: false, padding: 24 },
  };
  const y = {
    field: "late",
    type: "quantitative" as const,
    title: "lateness, CNY per 1,000 requests",
    scale: { type: "log" as const, nice: false, padding: 16 },
  };
  const bestOnly = [{ filter: "datum.isBest" }];
  return {
    title: {
      text: "Energy against lateness",
      subtitle: [
        `Fleet ${frontierField.fleet}, ${percent(frontierField.load)} load, mean over seeds; each policy in its best setting; a panel per trace.`,
        "Lateness is time, missed objectives and refusals. The line joins those that nobody beats in both; they are named.",
      ],
    },
    config: plotConfig,
    data: { values: points },
    facet: { column: { field: "trace", type: "nominal", title: null, sort: [...traceNames] } },
    spec: {
      width: 300,
      height: 300,
      layer: [
        {
          transform: bestOnly,
          mark: { type: "line", color: "#999999", strokeDash: [4, 3] },
          encoding: { x, y, order: { field: "energy", type: "quantitative" } },
        },
        {
          mark: { type: "point", filled: true, size: 80, opacity: 0.9 },
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
          transform: bestOnly,
          mark: { type: "text", align: "left", dx: 7, dy: -7, fontSize: 10, limit: 300 },
          encoding: { x, y, text: { field: "name", type: "nominal" } },
        },
      ],
    },
    resolve: { scale: { x: "independent", y: "independent" } },
  };
}

const lateParts: readonly CostPart[] = ["time", "missed", "refused"];

/** The west's part of the tokens by the hour, above what power costs in it. */
export function dayBySide(rows: readonly Row[]): TopLevelSpec | undefined {
  const days = rows.filter(isRun).filter(({ suite }) => suite === "day");
  const [first] = days;
  if (first === undefined) return undefined;
  const parts = days.flatMap(({ name, policy, sidesByHour }) =>
    sidesByHour.flatMap((hour) =>
      steps(hour.localHour).map((at) => ({
        hour: at,
        west: westShare([hour]) * 100,
        series: policy === ours ? ownSeries : name,
      })),
    ),
  );
  const names = [...new Set(parts.map(({ series }) => series))];
  const prices = hourPrices(first.at).flatMap(({ localHour, side, powerCnyPerKwh: price }) =>
    steps(localHour).map((hour) => ({ hour, price, side: `power in the ${side}` })),
  );
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
    config: plotConfig,
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

/** Where an hour begins, and the last one also where it ends. */
function steps(localHour: number): number[] {
  return localHour === 23 ? [23, 24] : [localHour];
}

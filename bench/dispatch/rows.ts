/** What runs leave: one JSON line each. */

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import type { CostPart } from "../../services/core/run-cost.ts";
import type { ServiceClass } from "../../services/core/placement/request.ts";
import type { PredictionQuality } from "../../services/core/prediction-check.ts";
import type { Percentiles } from "../../services/core/spread.ts";
import type { Side } from "../../services/core/region.ts";
import type { CellSpec } from "./cell.ts";
import type { Setting } from "./contestants.ts";
import type { FiguresName } from "./figures.ts";

export const rowsPath = "bench/dispatch/results.jsonl";

/** - `main`: all policies in a cell. - `figures`: some, with worse figures. - `day`: 24 h. - `speed`: how long it takes. */
export const suites = ["main", "figures", "day", "speed"] as const;

export type Suite = (typeof suites)[number];

/** One run to do. `bound` in place of a policy: the clairvoyant bound of the cell. */
export type Task = CellSpec & Setting & { readonly suite: Suite; readonly figures: FiguresName };

export const bound = "bound";

/** Of a run or of a bound. Costs in nano-CNY over all requests. */
interface Head extends Task {
  readonly name: string;
  readonly source: string;
  /** Of the sources that ran. */
  readonly commit: string;
  readonly endedAt: string;
  readonly capacityPerSecond: number;
  readonly offeredPerSecond: number;
  readonly leftOut: number;
  readonly requests: number;
  readonly wallMs: number;
}

export interface BoundRow extends Head {
  readonly kind: "bound";
  /** Nobody can do better. */
  readonly boundNano: number;
  /** An estimate of what could be reached. Undefined: none was made. */
  readonly fluidNano?: number;
}

export interface ClassRow {
  readonly requests: number;
  readonly refused: number;
  readonly missedTtft: number;
  readonly missedTpot: number;
  /** Served with every objective met. */
  readonly good: number;
}

export interface RunRow extends Head {
  readonly kind: "run";
  readonly totalNano: number;
  readonly nanoPerRequest: number;
  readonly nanoByPart: Readonly<Record<CostPart, number>>;
  /** Classes that nobody asked for are left out. */
  readonly byClass: { readonly [Class in ServiceClass]?: ClassRow };
  readonly refused: number;
  readonly goodputPerSecond: number;
  readonly ttftMs?: Percentiles | undefined;
  readonly tpotMs?: Percentiles | undefined;
  readonly utilisation: number;
  readonly gini: number;
  readonly oscillation: number;
  readonly sidesByHour: readonly {
    readonly localHour: number;
    readonly tokensBySide: Readonly<Record<Side, number>>;
  }[];
  readonly joules: number;
  readonly gramsCo2Location: number;
  readonly gramsCo2Market: number;
  readonly prediction: PredictionQuality;
  /** One core, our rules' filters included. */
  readonly picksPerSecond: number;
  readonly digest: string;
}

export type Row = RunRow | BoundRow;

const ofCell = ["suite", "trace", "fleet", "load", "seed", "durationMs", "at", "scale"] as const;
const ofSetting = ["policy", "variant", "reportIntervalMs", "dispatchers", "figures"] as const;

/** The same for a task and for the row that it left. */
export function keyOf(task: Task): string {
  return JSON.stringify([...ofCell, ...ofSetting].map((key) => task[key]));
}

export function appendRow(row: Row, path: string): void {
  appendFileSync(path, `${JSON.stringify(row, rounded)}\n`);
}

/** All runs so far, oldest first; none yet: an empty list. */
export function readRows(path: string = rowsPath): readonly Row[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Row);
}

/** Of runs that were done again the last. */
export function newest(rows: readonly Row[]): readonly Row[] {
  return [...new Map(rows.map((row) => [keyOf(row), row])).values()];
}

/** Of those the ones that may stand beside each other: a trace for as long, and at the hour, of its last run. */
export function comparable(rows: readonly Row[]): readonly Row[] {
  const lasts = new Map(rows.map((row) => [`${row.suite} ${row.trace}`, row]));
  return newest(rows).filter((row) => {
    const last = lasts.get(`${row.suite} ${row.trace}`);
    return row.durationMs === last?.durationMs && row.at === last.at && row.scale === last.scale;
  });
}

/** Six digits are more than seeds agree in; counts stay whole. */
function rounded(_key: string, value: unknown): unknown {
  const isFraction = typeof value === "number" && !Number.isInteger(value);
  return isFraction ? Number(value.toPrecision(6)) : value;
}

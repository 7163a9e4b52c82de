import {
  moneyNano,
  type Bucket,
  type Compared,
  type Totals,
} from "../../core/placement/compare.ts";
import { brief, percent } from "../print.ts";
import { at } from "./proof-text.ts";

/** What is drawn over time; undefined where nothing was placed. */
export interface Curve {
  readonly title: string;
  readonly unit: string;
  readonly of: (totals: Totals) => number | undefined;
  /** The largest value that there can be. Undefined: the largest that there is. */
  readonly most: number | undefined;
  readonly text: (value: number) => string;
}

export const curves: readonly Curve[] = [
  {
    title: "served in the west, of all tokens",
    unit: "",
    of: ({ tokens, tokensWest }) => (tokens === 0 ? undefined : tokensWest / tokens),
    most: 1,
    text: percent,
  },
  {
    title: "CNY per million tokens, power included",
    unit: "CNY",
    of: (totals) => (totals.tokens === 0 ? undefined : moneyNano(totals) / 1_000 / totals.tokens),
    most: undefined,
    text: brief,
  },
];

const bars = "▁▂▃▄▅▆▇█";

/** Two rows for each curve, one cell per stretch of time. No colour and no cursor: fit for a file. */
export function plotText({ buckets, bucketMs }: Compared): string {
  const [first] = buckets;
  const last = buckets.at(-1);
  if (first === undefined || last === undefined) return "";
  const head = `OVER TIME, ${at(first.at)} to ${at(last.at + bucketMs)}, ${brief(bucketMs / 1_000)} s each\n`;
  const cells = cellsOf(buckets, bucketMs);
  return `${head}${curves.map((curve) => curveText(curve, cells)).join("")}`;
}

/** With the stretches in which nothing happened. */
export function cellsOf(
  buckets: readonly Bucket[],
  bucketMs: number,
): readonly (Bucket | undefined)[] {
  const [first] = buckets;
  const last = buckets.at(-1);
  if (first === undefined || last === undefined) return [];
  const byAt = new Map(buckets.map((bucket) => [bucket.at, bucket]));
  const count = Math.round((last.at - first.at) / bucketMs) + 1;
  return Array.from({ length: count }, (_, index) => byAt.get(first.at + index * bucketMs));
}

function curveText(curve: Curve, cells: readonly (Bucket | undefined)[]): string {
  const recorded = cells.map((cell) => cell && curve.of(cell.recorded));
  const other = cells.map((cell) => cell && curve.of(cell.other));
  const most = curve.most ?? mostOf([...recorded, ...other]);
  return [
    `  ${curve.title}\n`,
    `    recorded  ${row(recorded, most)}  ${span(recorded, curve)}\n`,
    `    what if   ${row(other, most)}  ${span(other, curve)}\n`,
  ].join("");
}

export function mostOf(values: readonly (number | undefined)[]): number {
  return Math.max(0, ...values.map((value) => value ?? 0));
}

function row(values: readonly (number | undefined)[], most: number): string {
  return values
    .map((value) => {
      if (value === undefined) return " ";
      const level = most === 0 ? 0 : Math.round((value / most) * (bars.length - 1));
      return bars[Math.max(0, Math.min(bars.length - 1, level))] ?? " ";
    })
    .join("");
}

function span(values: readonly (number | undefined)[], { text }: Curve): string {
  const known = values.filter((value) => value !== undefined);
  if (known.length === 0) return "-";
  const [least, most] = [Math.min(...known), Math.max(...known)];
  return least === most ? text(least) : `${text(least)} to ${text(most)}`;
}

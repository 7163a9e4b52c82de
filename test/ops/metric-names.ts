/** Which metrics an expression asks for, and which the code has. */

import { handWritten } from "../tidy/source.ts";

const source = handWritten()
  .filter(({ path }) => /^services\/.*\.ts$/.test(path))
  .map(({ text }) => text)
  .join("\n");

/** Series of a histogram have the name of the metric and one of these. */
const histogramEnds = /_(bucket|sum|count)$/;

/** Names of our own metrics in an expression, as they are registered. */
export function ourMetricsIn(expr: string): readonly string[] {
  const names = [...expr.matchAll(/(?<![:\w])tokengrid_\w+/g)].map(([name]) => name);
  return [...new Set(names.map(registeredName))];
}

/** Whether the code registers it: by its whole name, or in a table without the prefix that all have. */
export function isInCode(metric: string): boolean {
  const short = metric.replace(/^tokengrid_/, "");
  return new RegExp(`["'\`](tokengrid_)?${short}["'\`]|^ +${short}: \\{`, "m").test(source);
}

function registeredName(series: string): string {
  const base = series.replace(histogramEnds, "");
  return base !== series && !isInCode(series) ? base : series;
}

/** The page's plots: Vega-Lite to SVG, without a browser. */

import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { costByAge, costByLoad } from "./plot-cost.ts";
import { dayBySide, energyAndLateness } from "./plot-energy.ts";
import type { Row } from "./rows.ts";

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

/** Writes the newest result of each benchmark into bench/README.md: `node bench/table.ts`. */

import { readFileSync, writeFileSync } from "node:fs";
import { readResults, toText, type Result } from "./report.ts";

export const pagePath = "bench/README.md";
const marks = /<!-- results -->\n[^]*<!-- \/results -->/;

/** The page with its table made anew from these results, and nothing else changed. */
export function withTable(page: string, results: readonly Result[]): string {
  if (!marks.test(page)) throw new Error(`expected marks for the results in ${pagePath}`);
  return page.replace(marks, () => `<!-- results -->\n\n${tables(results)}\n<!-- /results -->`);
}

/** One table per benchmark: the part of the name before the first `/`. */
function tables(results: readonly Result[]): string {
  const newest = new Map(results.map((result) => [result.name, result]));
  const groups = Map.groupBy(newest.values(), ({ name }) => name.split("/")[0] ?? name);
  if (groups.size === 0) return "No results yet.\n";
  return [...groups]
    .map(([group, rows]) => `**${group}**\n\n${table(rows)}\n\n${machineOf(rows)}\n`)
    .join("\n");
}

function table(results: readonly Result[]): string {
  const rows = results.map(({ name, value, unit, conditions }) => {
    const shown = Object.entries(conditions).map(([key, each]) => `${key} ${each}`);
    return [name.replace(/^[^/]*\//, ""), toText(value), unit, shown.join(", ")];
  });
  return aligned([["case", "median", "unit", "conditions"], ...rows]);
}

/** In columns, as Prettier writes them. */
function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_cell, column) =>
    Math.max(3, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const [head = [], ...body] = rows;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...body.map(line)].join("\n");
}

/** Under what the newest of them was measured. */
function machineOf(results: readonly Result[]): string {
  const last = results.toSorted((one, other) => (one.at < other.at ? -1 : 1)).at(-1);
  if (last === undefined) return "";
  const { at, commit, node, cores, cpu, load } = last;
  return `${at.slice(0, 10)}, commit ${commit}, Node ${node}, ${cores} cores of ${cpu}, load ${load}`;
}

if (import.meta.main) {
  writeFileSync(pagePath, withTable(readFileSync(pagePath, "utf8"), readResults()));
}

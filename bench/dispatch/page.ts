/** bench/dispatch/README.md, made from the rows: `npm run bench:dispatch` writes it, `node bench/dispatch/page.ts` again. */

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { format, resolveConfig } from "prettier";
import { percent, placeOf } from "./aims.ts";
import { patience } from "./cell.ts";
import { hourPrices } from "./day.ts";
import { plots, svgOf } from "./plots.ts";
import { comparable, readRows, type Row } from "./rows.ts";
import { fieldsOf, isRun, trialsOn } from "./scores.ts";
import {
  aimsTable,
  dayTable,
  duelTable,
  fieldTable,
  figuresTable,
  predictionTable,
  settingsTable,
  traceTable,
} from "./tables.ts";
import { traces } from "./traces.ts";
import { entries } from "../../services/core/table.ts";

const folder = "bench/dispatch";
export const pagePath: string = `${folder}/README.md`;
const marks = /<!-- results -->\n[^]*<!-- \/results -->/;

/** The page with its results made anew from these rows, and nothing else changed. */
export async function withResults(page: string, rows: readonly Row[]): Promise<string> {
  if (!marks.test(page)) throw new Error(`expected marks for the results in ${pagePath}`);
  const results = resultsOf(comparable(rows));
  const text = page.replace(marks, () => `<!-- results -->\n\n${results}\n\n<!-- /results -->`);
  const settings = (await resolveConfig(pagePath)) ?? {};
  return format(text, { ...settings, parser: "markdown" });
}

/** Page and plots; a plot that has nothing to show is not there. */
export async function writePage(rows: readonly Row[]): Promise<void> {
  writeFileSync(pagePath, await withResults(readFileSync(pagePath, "utf8"), rows));
  const shown = comparable(rows);
  for (const { file, spec } of plots) {
    const plot = spec(shown);
    if (plot === undefined) rmSync(`${folder}/${file}`, { force: true });
    else writeFileSync(`${folder}/${file}`, await svgOf(plot));
  }
}

function resultsOf(rows: readonly Row[]): string {
  if (rows.length === 0) return "No results yet.";
  return [
    ranText(rows),
    ...section("Aims", aimsTable(rows)),
    ...section("Ours against the best baseline", duelTable(rows)),
    ...plots.flatMap(({ file, title, spec }) =>
      spec(rows) === undefined ? [] : [`![${title}](${file})`],
    ),
    ...section("Worse figures", figuresTable(rows)),
    ...section("A day", dayTable(rows)),
    tokenPriceText(rows),
    speedText(rows),
    ...section("Ours by trace", traceTable(rows)),
    ...section("Our predictions, mean error and bias", predictionTable(rows)),
    "### Everybody",
    ...fieldsOf(rows).flatMap((field) => [`**${placeOf(field)}**`, fieldTable(rows, field)]),
    ...[...new Set(fieldsOf(rows).map(({ fleet }) => fleet))].flatMap((fleet) => {
      const [trial] = trialsOn(rows, fleet);
      const where = trial === undefined ? fleet : `${placeOf(trial)}, seed ${trial.seed}`;
      return section(`All settings: ${where}`, settingsTable(rows, fleet));
    }),
  ].join("\n\n");
}

function section(title: string, text: string): string[] {
  return [`### ${title}`, text];
}

/** Under what the rows came about. */
function ranText(rows: readonly Row[]): string {
  const main = rows.filter(({ suite }) => suite === "main");
  const shown = main.length > 0 ? main : rows;
  const seeds = [...new Set(shown.map(({ seed }) => seed))].sort((a, b) => a - b);
  const days = shown.map(({ endedAt }) => endedAt.slice(0, 10)).sort();
  const commits = [...new Set(rows.map(({ commit }) => commit))];
  const lines = [...Map.groupBy(shown, ({ trace }) => trace)].map(([trace, each]) => {
    const rates = each.map(({ offeredPerSecond }) => offeredPerSecond);
    const out = each.map(({ leftOut, requests }) => leftOut / (leftOut + requests));
    const seconds = (each[0]?.durationMs ?? 0) / 1_000;
    return (
      `- ${traces[trace].title}: ${seconds} s of arrivals, ${Math.min(...rates).toFixed(1)} to ` +
      `${Math.max(...rates).toFixed(1)} requests/s; at most ${percent(Math.max(...out))} of them left out.`
    );
  });
  const waits = entries(patience.waitMsMax).map(([name, ms]) => `${name} ${ms / 1_000} s`);
  return [
    `${rows.length} rows, ${days[0]} to ${days.at(-1)}, commit ${commits.join(", ")}. Seeds ${seeds.join(", ")}. ` +
      `The first request is due at ${shown[0]?.at}.`,
    lines.join("\n"),
    `Who finds no room asks again about every ${patience.retryMs} ms, at most for: ${waits.join(", ")}.`,
  ].join("\n\n");
}

/** The plot shows what power costs by the hour; of tokens there may be nothing to show. */
function tokenPriceText(rows: readonly Row[]): string {
  const day = rows.find(({ suite }) => suite === "day");
  if (day === undefined) return "";
  const prices = Map.groupBy(hourPrices(day.at), ({ side }) => side);
  const ranges = [...prices].map(([side, hours]) => {
    const all = hours.map(({ answerCny }) => answerCny * 1_000);
    const [least, most] = [Math.min(...all).toFixed(2), Math.max(...all).toFixed(2)];
    return `${side} ${least === most ? least : `${least} to ${most}`}`;
  });
  return (
    "Tokens, list prices of the mix's models over the day, mean over pools, in CNY per 1,000 answers of 1,000 tokens in " +
    `and 300 out: ${ranges.join(", ")}.`
  );
}

function speedText(rows: readonly Row[]): string {
  const run = rows.filter(isRun).findLast(({ suite }) => suite === "speed");
  if (run === undefined) return "";
  const hours = run.durationMs / 3_600_000;
  return (
    `Speed: ${hours} h at ${run.offeredPerSecond.toFixed(1)} requests/s (${run.trace}, fleet ${run.fleet} × ${run.scale}, ` +
    `${run.requests.toLocaleString("en-US")} requests) took ${(run.wallMs / 1_000).toFixed(0)} s on one core.`
  );
}

if (import.meta.main) await writePage(readRows());

import {
  moneyNano,
  termNames,
  totalNano,
  type Compared,
  type Realised,
  type Totals,
} from "../../core/placement/compare.ts";
import {
  bold,
  brief,
  type Column,
  grouped,
  percent,
  span,
  textCard,
  textTable,
  yuan,
} from "../print.ts";
import { plotText } from "./plot.ts";

/** What is told of a change, besides its numbers. */
export interface Asked {
  readonly policy: string | undefined;
  readonly prices: string | undefined;
  readonly drained: readonly string[];
}

const flowsShown = 10;
const flowsInJson = 100;

/** What no replay can know, in so many words: it belongs to the answer. */
export const limits: readonly string[] = [
  "Costs, times and energy are expectations of each decision's own bill, in both worlds.",
  "A request that goes elsewhere holds its slot as long as the engine model predicts; nothing of the pool is learned from it.",
  "Reports are corrected by what moved. Outcomes, retries, paths and power of the pools stay as they were recorded.",
];

/** Field names are API. Amounts are whole nano-CNY as text. */
export function whatIfJson(comparison: Compared, asked: Asked): Readonly<Record<string, unknown>> {
  return {
    change: asked,
    decisions: comparison.recorded.decisions,
    changed: comparison.changed,
    recorded: totalsJson(comparison.recorded),
    whatIf: totalsJson(comparison.other),
    flows: comparison.flows.slice(0, flowsInJson),
    objectivesRealised: { samePool: comparison.realisedSame, moved: comparison.realisedMoved },
    bucketMs: comparison.bucketMs,
    buckets: comparison.buckets.map(({ at, recorded, other }) => ({
      atMs: at,
      recorded: totalsJson(recorded),
      whatIf: totalsJson(other),
    })),
    limits,
  };
}

function totalsJson(totals: Totals): unknown {
  const { costNano, ...counts } = totals;
  return {
    ...counts,
    nanoByTerm: Object.fromEntries(termNames.map((term) => [term, whole(costNano[term])])),
    totalNano: whole(totalNano(totals)),
  };
}

/** Terms are whole; so are their sums below 2^53. */
function whole(nano: number): string {
  return BigInt(Math.round(nano)).toString();
}

export function whatIfText(comparison: Compared, asked: Asked, isWide: boolean): string {
  const { recorded, other, changed } = comparison;
  const share = recorded.decisions === 0 ? 0 : changed / recorded.decisions;
  return [
    `${bold("WHAT IF")}\n`,
    textCard([
      ...askedLines(asked),
      ["decided", `${grouped(recorded.decisions)} requests, for each world by itself`],
      ["changed", `${grouped(changed)} (${percent(share)})`],
    ]),
    "\n",
    textTable(columns, rows(recorded, other)),
    "\n",
    flowTable(comparison, isWide),
    realisedText(comparison),
    `\n${plotText(comparison)}\n`,
    ...limits.map((each) => `- ${each}\n`),
  ].join("");
}

function askedLines({ policy, prices, drained }: Asked): [string, string][] {
  return [
    ...(policy === undefined ? [] : [["policy", policy] as [string, string]]),
    ...(prices === undefined ? [] : [["prices", prices] as [string, string]]),
    ...(drained.length === 0 ? [] : [["drained", drained.join(" and ")] as [string, string]]),
  ];
}

const columns: readonly Column[] = [
  { name: "" },
  { name: "RECORDED", align: "right" },
  { name: "WHAT IF", align: "right" },
  { name: "DIFFERENCE", align: "right" },
];

function rows(recorded: Totals, other: Totals): string[][] {
  const amount = (name: string, of: (totals: Totals) => number): string[] => {
    const [a, b] = [Math.round(of(recorded)), Math.round(of(other))];
    return [name, cny(a), cny(b), signed(b - a, cny)];
  };
  const figure = (
    name: string,
    of: (totals: Totals) => number,
    text: (value: number) => string = brief,
  ): string[] => {
    const [a, b] = [of(recorded), of(other)];
    return [name, text(a), text(b), signed(b - a, text)];
  };
  return [
    amount("money, CNY", moneyNano),
    ...termNames.map((term) => amount(`  ${term}, CNY`, ({ costNano }) => costNano[term])),
    amount("total cost, CNY", totalNano),
    amount("  of each that was placed, CNY", (totals) => mean(totalNano(totals), totals.placed)),
    figure("kWh at the sites", ({ kwh }) => kwh),
    figure("kgCO2e by location", ({ gramsCo2Location }) => gramsCo2Location / 1_000),
    figure("kgCO2e by market", ({ gramsCo2Market }) => gramsCo2Market / 1_000),
    figure("first token, mean", ({ ttftMs, placed }) => mean(ttftMs, placed), span),
    figure("done, mean", ({ finishMs, placed }) => mean(finishMs, placed), span),
    figure("objectives expected to be missed", ({ missesExpected }) => missesExpected),
    figure("west, of tokens", ({ tokensWest, tokens }) => mean(tokensWest, tokens), percent),
    figure("not placed", ({ unplaceable }) => unplaceable, grouped),
  ];
}

function cny(nano: number): string {
  return yuan(BigInt(nano));
}

function signed(difference: number, text: (value: number) => string): string {
  if (difference === 0) return "0";
  return difference > 0 ? `+${text(difference)}` : `-${text(-difference)}`;
}

function mean(sum: number, count: number): number {
  return count === 0 ? 0 : sum / count;
}

function flowTable({ flows }: Compared, isWide: boolean): string {
  if (flows.length === 0) return "No decision changed.\n";
  const shown = isWide ? flows : flows.slice(0, flowsShown);
  const table = textTable(
    [{ name: "FROM" }, { name: "TO" }, { name: "DECISIONS", align: "right" }],
    shown.map(({ from, to, decisions }) => [from, to, grouped(decisions)]),
  );
  const more = flows.length - shown.length;
  return more === 0 ? table : `${table}and ${grouped(more)} more; -o wide has them\n`;
}

function realisedText({ realisedSame, realisedMoved }: Compared): string {
  return [
    "\n",
    textCard([
      ["outcomes, same pool", `${realised(realisedSame)}: so in both worlds`],
      ["outcomes, moved", `${realised(realisedMoved)} as recorded: unknown at the other pool`],
    ]),
  ].join("");
}

function realised({ outcomes, ttftMissed, tpotMissed, failed }: Realised): string {
  return `of ${grouped(outcomes)} missed ${grouped(ttftMissed)} TTFT, ${grouped(tpotMissed)} time per token, ${grouped(failed)} failed`;
}

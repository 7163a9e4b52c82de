import { tokenClasses } from "../../core/settlement/counting/usage.ts";
import type { Percentiles } from "../../core/spread.ts";
import type { Energy, Report, Share, StatementSummary } from "../../core/report.ts";
import {
  bold,
  brief,
  type Column,
  grouped,
  percent,
  type Printable,
  span,
  textCard,
  textTable,
  yuan,
} from "../print.ts";

const joulesPerKwh = 3_600_000;
const gramsPerKilogram = 1_000;

/** What a replay ends with, in every form that it may be asked for. */
export function printable(report: Report): Printable {
  return {
    json: jsonable(report),
    names: report.statements.map(({ statement }) => statement),
    text: (isWide) => reportText(report, isWide),
  };
}

export function reportText(report: Report, isWide: boolean): string {
  const sections: readonly (readonly [title: string, body: string])[] = [
    [headline(report), textCard(totals(report))],
    ["LATENCY as the caller saw it", latency(report)],
    ["SHARE PER HUB", shares(report.byHub, "HUB")],
    ["SHARE PER SIDE", shares(report.bySide, "SIDE")],
    ["SHARE PER POOL", shares(report.byPool, "POOL")],
    ["ENERGY at the site, and carbon by two accounts that are never added", energy(report)],
    [statementTitle(report), statements(report.statements)],
    ...(isWide
      ? report.statements.filter(({ lines }) => lines.length > 0).map(statementLines)
      : []),
  ];
  return sections.map(([title, body]) => `${bold(title)}\n${body}`).join("\n");
}

function headline({ run, isEndedEarly }: Report): string {
  const how = run.mode === "real" ? `at speed ${brief(run.speed)}` : "in virtual time";
  return `Replay ${run.id} of ${run.trace} ${how}${isEndedEarly ? ", ended early" : ""}`;
}

function totals(report: Report): [string, string][] {
  const { run, requests, attempts, tokens, missed } = report;
  const outcomes = listed(requests.byOutcome, "ok");
  return [
    [
      "requests",
      `${grouped(requests.due)} due, ${grouped(requests.sent)} sent, ${grouped(requests.ok)} ok, ${grouped(requests.failed)} failed${outcomes}`,
    ],
    [
      "attempts",
      `${grouped(attempts.ledgered)} in the ledger, ${grouped(attempts.quarantined)} in quarantine${listed(attempts.byEnd, "complete")}`,
    ],
    ["class, seed", `${run.class}, ${run.seed}`],
    ["time", `${span(report.elapsedMs)} for ${span(report.traceMs)} of the recording`],
    ...tokenClasses.map((each): [string, string] => [
      `tokens ${words(each)}`,
      grouped(tokens[each]),
    ]),
    [
      "objectives missed",
      `${grouped(missed.any)} requests (${percent(ratio(missed.any, requests.due))}): TTFT ${grouped(missed.ttft)}, time per token ${grouped(missed.tpot)}, failed ${grouped(missed.failed)}`,
    ],
    ["CNY", yuan(report.amountNano)],
  ];
}

/** ` (upstream-cut 2, http-429 1)`, without the one that needs no mention. */
function listed(counts: Readonly<Record<string, number>>, except: string): string {
  const rest = Object.entries(counts).filter(([name]) => name !== except);
  if (rest.length === 0) return "";
  return ` (${rest.map(([name, count]) => `${name} ${grouped(count)}`).join(", ")})`;
}

/** `uncachedInput` → `uncached input`. */
function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

const latencyColumns: readonly Column[] = [
  { name: "" },
  ...["p50", "p90", "p95", "p99", "COUNT"].map((name) => ({ name, align: "right" as const })),
];

function latency({ ttftMs, itlMs }: Report): string {
  return textTable(latencyColumns, [latencyRow("TTFT", ttftMs), latencyRow("ITL", itlMs)]);
}

function latencyRow(name: string, percentiles: Percentiles | undefined): string[] {
  if (percentiles === undefined) return [name, "-", "-", "-", "-", "0"];
  const { p50, p90, p95, p99, count } = percentiles;
  return [name, ...[p50, p90, p95, p99].map(span), grouped(count)];
}

function shares(all: readonly Share[], name: string): string {
  return textTable(
    [
      { name },
      { name: "ATTEMPTS", align: "right" },
      { name: "TOKENS", align: "right" },
      { name: "OF TOKENS", align: "right" },
    ],
    all.map((share) => [
      share.name,
      grouped(share.attempts),
      grouped(share.tokens),
      percent(share.tokenShare),
    ]),
  );
}

function energy({ energyAttributed, energyMetered, poolsUnmetered }: Report): string {
  const unmetered = poolsUnmetered === 0 ? "" : `, unknown at ${poolsUnmetered}`;
  const metered = `counted by the pools meanwhile, idle draw and others' work included${unmetered}`;
  return textTable(
    [
      { name: "" },
      { name: "kWh", align: "right" },
      { name: "kgCO2e LOCATION", align: "right" },
      { name: "kgCO2e MARKET", align: "right" },
    ],
    [
      energyRow("expected of these attempts when they were placed", energyAttributed),
      energyRow(metered, energyMetered),
    ],
  );
}

function energyRow(name: string, amount: Energy | undefined): string[] {
  if (amount === undefined) return [name, "-", "-", "-"];
  return [
    name,
    brief(amount.joules / joulesPerKwh),
    brief(amount.gramsCo2Location / gramsPerKilogram),
    brief(amount.gramsCo2Market / gramsPerKilogram),
  ];
}

function statementTitle({ run }: Report): string {
  return run.mode === "real"
    ? "STATEMENT PER VENDOR, of the whole day: other work of the day is in it"
    : "STATEMENT PER VENDOR";
}

function statements(all: readonly StatementSummary[]): string {
  return textTable(
    [
      { name: "VENDOR" },
      { name: "STATEMENT" },
      { name: "LINES", align: "right" },
      { name: "ATTEMPTS", align: "right" },
      { name: "TOKENS", align: "right" },
      { name: "CNY", align: "right" },
      { name: "QUARANTINED", align: "right" },
    ],
    all.map(({ vendor, statement, lines, attempts, tokens, amountNano, quarantined }) => [
      vendor,
      statement,
      grouped(lines.length),
      grouped(attempts),
      grouped(tokens),
      yuan(amountNano),
      grouped(quarantined),
    ]),
  );
}

function statementLines({ vendor, statement, lines }: StatementSummary): [string, string] {
  const body = textTable(
    [
      { name: "POOL" },
      { name: "MODEL" },
      { name: "CLASS" },
      { name: "SLOT" },
      { name: "ATTEMPTS", align: "right" },
      { name: "TOKENS", align: "right" },
      { name: "CNY", align: "right" },
    ],
    lines.map((line) => [
      line.pool,
      line.model,
      line.tokenClass,
      line.slot,
      grouped(line.attempts),
      grouped(line.tokens),
      yuan(line.amountNano),
    ]),
  );
  return [`LINES of ${vendor}, ${statement}`, body];
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

/** Counts and amounts that may pass 2^53 as text, as protobuf JSON has them; what is unknown is absent. */
function jsonable(value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return value.map(jsonable);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, jsonable(each)]));
}

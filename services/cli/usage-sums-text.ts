import {
  type QueryUsageResponse,
  QueryUsageResponseSchema,
  type UsageSum,
} from "../wire/gen/tokengrid/v1/settlement_pb.js";
import { type Column, type Format, grouped, jsonOf, print, textTable, yuan } from "./print.ts";

/** In the order of the protocol's numbers, from 1 on. */
export const dimensionNames = [
  "tenant",
  "department",
  "project",
  "scenario",
  "model",
  "pool",
  "region",
  "hub",
  "vendor",
  "hour",
  "day",
  "month",
] as const;

export type DimensionName = (typeof dimensionNames)[number];

interface Money {
  readonly name: string;
  readonly isShown: (answer: QueryUsageResponse) => boolean;
  readonly of: (sum: UsageSum) => bigint;
}

const money: readonly Money[] = [
  { name: "SALE", isShown: ({ hasSale }) => hasSale, of: ({ saleNano }) => saleNano },
  { name: "COVERED", isShown: ({ hasSale }) => hasSale, of: ({ coveredNano }) => coveredNano },
  { name: "BILLED", isShown: ({ hasSale }) => hasSale, of: ({ billedNano }) => billedNano },
  { name: "RELEASED", isShown: ({ hasSale }) => hasSale, of: ({ releasedNano }) => releasedNano },
  { name: "COST", isShown: ({ hasCost }) => hasCost, of: ({ costNano }) => costNano },
  {
    name: "MARGIN",
    isShown: ({ hasSale, hasCost }) => hasSale && hasCost,
    of: ({ marginNano }) => marginNano,
  },
];

interface Asked {
  readonly by: readonly DimensionName[];
  readonly output: Format;
  readonly isCsv: boolean;
}

export function printSums(answer: QueryUsageResponse, { by, output, isCsv }: Asked): void {
  if (isCsv) {
    process.stdout.write(sumsCsv(answer, by));
    return;
  }
  print(output, {
    json: jsonOf(QueryUsageResponseSchema, answer),
    names: answer.rows.map(({ keys }) => keys.join(" ")),
    text: () => sumsTable(answer, by),
  });
}

/** What was used, added up; the last line has all of it. */
export function sumsTable(answer: QueryUsageResponse, by: readonly DimensionName[]): string {
  if (answer.rows.length === 0) return "no usage\n";
  const shown = money.filter(({ isShown }) => isShown(answer));
  const right = (name: string): Column => ({ name, align: "right" });
  const columns: Column[] = [
    ...by.map((name) => ({ name: name.toUpperCase() })),
    ...["REQUESTS", "IN", "OUT", ...shown.map(({ name }) => `${name} CNY`)].map(right),
  ];
  const cells = (sum: UsageSum): string[] => [
    grouped(sum.requests),
    grouped(inputOf(sum)),
    grouped(outputOf(sum)),
    ...shown.map(({ of }) => yuan(of(sum))),
  ];
  const rows = answer.rows.map((sum) => [...sum.keys.map((key) => key || "-"), ...cells(sum)]);
  const total = answer.rows.reduce(added);
  return textTable(columns, [
    ...rows,
    [...by.map((_, at) => (at === 0 ? "all" : "")), ...cells(total)],
  ]);
}

/** RFC 4180; money in nano, so that nothing is lost where it is read. */
export function sumsCsv(answer: QueryUsageResponse, by: readonly DimensionName[]): string {
  const shown = money.filter(({ isShown }) => isShown(answer));
  const classes = [...new Set(answer.rows.flatMap((sum) => Object.keys(sum.tokensByClass)))];
  const header = [
    ...by,
    "requests",
    ...classes,
    ...shown.map(({ name }) => `${name.toLowerCase()}_nano`),
  ];
  const lines = answer.rows.map((sum) => [
    ...sum.keys,
    String(sum.requests),
    ...classes.map((name) => String(sum.tokensByClass[name] ?? 0n)),
    ...shown.map(({ of }) => String(of(sum))),
  ]);
  return [header, ...lines].map((cells) => `${cells.map(quoted).join(",")}\r\n`).join("");
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function inputOf({ tokensByClass: tokens }: UsageSum): bigint {
  const { uncached_input = 0n, cache_read = 0n, cache_write = 0n } = tokens;
  return uncached_input + cache_read + cache_write;
}

function outputOf({ tokensByClass: tokens }: UsageSum): bigint {
  const { response = 0n, reasoning = 0n } = tokens;
  return response + reasoning;
}

function added(a: UsageSum, b: UsageSum): UsageSum {
  const names = Object.keys({ ...a.tokensByClass, ...b.tokensByClass });
  const tokens = names.map((name) => [
    name,
    (a.tokensByClass[name] ?? 0n) + (b.tokensByClass[name] ?? 0n),
  ]);
  return {
    ...a,
    requests: a.requests + b.requests,
    tokensByClass: Object.fromEntries(tokens) as Record<string, bigint>,
    saleNano: a.saleNano + b.saleNano,
    coveredNano: a.coveredNano + b.coveredNano,
    billedNano: a.billedNano + b.billedNano,
    releasedNano: a.releasedNano + b.releasedNano,
    costNano: a.costNano + b.costNano,
    marginNano: a.marginNano + b.marginNano,
  };
}

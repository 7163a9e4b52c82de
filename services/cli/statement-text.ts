import type { Statement, StatementLine } from "../wire/gen/tokengrid/v1/settlement_pb.js";
import { localTime } from "./period.ts";
import { type Column, grouped, textCard, textTable, yuan } from "./print.ts";

const nanoPerFen = 10_000_000n;

const listColumns: readonly Column[] = [
  { name: "STATEMENT" },
  { name: "WITH" },
  { name: "PERIOD" },
  { name: "KIND" },
  { name: "FROM", isWide: true },
  { name: "TO", isWide: true },
  { name: "ATTEMPTS", align: "right" },
  { name: "TOKENS", align: "right" },
  { name: "NET CNY", align: "right" },
  { name: "PAYABLE CNY", align: "right" },
  { name: "QUARANTINED", align: "right" },
  { name: "DIGEST" },
];

/** One line per statement, and the sum of them under it. */
export function statementList(statements: readonly Statement[], isWide: boolean): string {
  if (statements.length === 0) return "no statements\n";
  return textTable(listColumns, statements.map(listRow), isWide);
}

function listRow(statement: Statement): string[] {
  const { statementId, pairId, period, periodName, kind, totals, digest } = statement;
  return [
    statementId,
    pairId,
    periodName,
    kind,
    localTime(period?.fromUs ?? 0n),
    localTime(period?.toUs ?? 0n),
    grouped(totals?.attempts ?? 0n),
    grouped(tokensOf(totals?.tokensByClass ?? {})),
    yuan(totals?.netNano ?? 0n),
    statement.isPayable ? payable(totals?.minorUnits ?? 0n) : "-",
    grouped(totals?.quarantined ?? 0n),
    digest.slice(0, 12),
  ];
}

const lineColumns: readonly Column[] = [
  { name: "POOL" },
  { name: "MODEL" },
  { name: "CLASS" },
  { name: "SLOT" },
  { name: "PRICE" },
  { name: "LINE", isWide: true },
  { name: "USED", isWide: true },
  { name: "ATTEMPTS", align: "right" },
  { name: "TOKENS", align: "right" },
  { name: "PICO", align: "right", isWide: true },
  { name: "NANO", align: "right", isWide: true },
  { name: "CNY", align: "right" },
];

/** What is owed, line by line; the lines add up to the net, to the nano. */
export function statementCard(statement: Statement, isWide: boolean): string {
  const { period, totals } = statement;
  const head = textCard([
    ["statement", statement.statementId],
    ["with", statement.pairId],
    [
      "period",
      `${localTime(period?.fromUs ?? 0n)} to ${localTime(period?.toUs ?? 0n)} ${period?.timeZone ?? ""}`,
    ],
    ["kind", statement.kind === "interim" ? "interim: not closed, may change" : statement.kind],
    ["digest", statement.digest],
    ["before", statement.prevDigest === "" ? "none" : statement.prevDigest],
  ]);
  const lines = textTable(lineColumns, statement.lines.map(lineRow), isWide);
  const foot = textCard([
    ["attempts", grouped(totals?.attempts ?? 0n)],
    ...Object.entries(totals?.tokensByClass ?? {}).map(
      ([name, tokens]) => [name, `${grouped(tokens)} tokens`] as const,
    ),
    ...parts(statement),
    [
      "net",
      `${yuan(totals?.netNano ?? 0n)} ${statement.currency} (${grouped(totals?.netNano ?? 0n)} nano)`,
    ],
    ["payable", payableText(statement)],
    ["quarantined", `${grouped(totals?.quarantined ?? 0n)} records, not in the lines`],
  ]);
  return [head, lines, foot].join("\n");
}

/** What the net is made of, where it is more than lines of the period. */
function parts({ totals, fees }: Statement): [string, string][] {
  const all: readonly [string, bigint][] = [
    ...fees.map(({ part, party, sku, amountNano }): [string, bigint] => [
      sku === "" ? `share ${part}` : `${part} ${party.replace("package:", "")}`,
      amountNano,
    ]),
    ["credits", totals?.creditsNano ?? 0n],
    ["earlier periods", totals?.adjustmentsNano ?? 0n],
    ["true-up", totals?.trueUpNano ?? 0n],
    ["in dispute", totals?.disputedNano ?? 0n],
  ];
  return all.filter(([, nano]) => nano !== 0n).map(([name, nano]) => [name, `${yuan(nano)} CNY`]);
}

function payableText({ isPayable, kind, totals, currency }: Statement): string {
  if (isPayable) return `${payable(totals?.minorUnits ?? 0n)} ${currency}`;
  return kind === "monthly" ? "with its days" : "with its month";
}

function lineRow(line: StatementLine): string[] {
  return [
    line.poolId,
    line.modelId,
    line.tokenClass,
    line.slot,
    `${line.priceBookId}@${line.priceVersion}`,
    line.lineId,
    line.usagePeriod === "" ? "-" : line.usagePeriod,
    grouped(line.attempts),
    grouped(line.tokens),
    grouped(line.amountPico),
    grouped(line.amountNano),
    yuan(line.amountNano),
  ];
}

/** In fen: two places. */
function payable(minorUnits: bigint): string {
  return yuan(minorUnits * nanoPerFen).slice(0, -7);
}

function tokensOf(tokensByClass: Readonly<Record<string, bigint>>): bigint {
  return Object.values(tokensByClass).reduce((sum, tokens) => sum + tokens, 0n);
}

import { offsetMinutesByZone } from "./period.ts";
import { localTime } from "../pricing/calendar.ts";
import { decimalText } from "./focus-cell.ts";
import { classWord } from "./statement-text.ts";
import { payableNano, type FeePart, type Statement, type StatementLine } from "./statement.ts";

/** Names on the page. */
export interface PageParties {
  readonly operator: string;
  readonly counterparty: string;
}

/** What a signature says of itself, checked or not. */
export interface PageSignature {
  readonly party: string;
  readonly kid: string;
  readonly jws: string;
}

type Pair = readonly [label: string, value: string];

/**
 * A statement to be printed: A4, in English and Chinese, without scripts and without anything from elsewhere. Says what
 * the canonical text says; that alone is signed.
 */
export function statementPage(
  statement: Statement,
  parties: PageParties,
  signatures: readonly PageSignature[],
): string {
  const title = `Statement ${statement.id}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(title)}</title>
<style>${style}</style>
</head>
<body>
${header(statement)}
<main>
<section class="facts">
${definitions(factsOf(statement, parties))}
${totalsOf(statement)}
</section>
${lineTable(statement)}
${feeTable(statement)}
${provenance(statement, signatures)}
</main>
</body>
</html>
`;
}

function header(statement: Statement): string {
  const isInterim = statement.kind === "interim";
  const kind = {
    daily: 'Daily statement <span lang="zh">日结算单</span>',
    monthly: 'Monthly statement <span lang="zh">月结算单</span>',
    interim: 'Interim statement <span lang="zh">中期结算单</span>',
  }[statement.kind];
  const note = isInterim
    ? `<p class="interim">The period is not closed. Figures may change and bind nobody. <span lang="zh">账期未关闭，数据可能变动，不具约束力。</span></p>`
    : "";
  return `<header><h1>${kind}</h1><p class="id">${escaped(statement.id)}</p>${note}</header>`;
}

function factsOf(statement: Statement, { operator, counterparty }: PageParties): Pair[] {
  const { period, pair, totals } = statement;
  return [
    ["Operator 运营方", operator],
    ["Counterparty 对方", `${counterparty} (${pair})`],
    ["From 起", instantIn(period.fromUs, statement)],
    ["To 止 (excluded 不含)", instantIn(period.toUs, statement)],
    ["Attempts 派发次数", totals.attempts === undefined ? "–" : grouped(String(totals.attempts))],
    ["Waiting, not in the lines 待核，未计入", grouped(String(totals.quarantined))],
  ];
}

function totalsOf(statement: Statement): string {
  const { totals } = statement;
  const rows: readonly (readonly [string, bigint, boolean?])[] = [
    ["Gross 总额", totals.grossNano],
    ["Credits 抵扣", totals.creditsNano],
    ["Adjustments of earlier periods 往期调整", totals.adjustmentsNano],
    ["True-up 期末调整", totals.trueUpNano],
    ["Net 净额", totals.netNano, true],
    ["Rounding to fen 舍入至分", totals.roundingNano],
  ];
  const body = rows
    .map(([label, nano, isSum = false]) => {
      return `<tr${isSum ? ` class="sum"` : ""}><th>${label}</th><td>${money(nano)}</td></tr>`;
    })
    .join("\n");
  // Tenants owe the operator, who owes all others.
  const isBill = statement.pair.startsWith("tenant:");
  const payer = isBill ? "by the tenant 由租户支付" : "by the operator 由运营方支付";
  const payable = statement.isPayable
    ? `<tr class="payable"><th>Payable 应付<br><small>${payer}</small></th><td>¥ ${fen(payableNano(statement))}</td></tr>`
    : `<tr class="payable"><th colspan="2">Paid with ${statement.kind === "monthly" ? "the days 按日支付" : "the month 按月支付"}</th></tr>`;
  return `<table class="totals"><caption>CNY 人民币</caption><tbody>\n${body}\n${payable}\n</tbody></table>`;
}

const columns: readonly (readonly [en: string, zh: string, isNumber?: true])[] = [
  ["Model", "模型"],
  ["Class", "类别"],
  ["Pool", "算力池"],
  ["Slot", "时段"],
  ["Price", "价格"],
  ["Used", "使用日"],
  ["Attempts", "派发次数", true],
  ["Tokens", "词元", true],
  ["CNY", "金额", true],
];

function lineTable({ lines }: Statement): string {
  if (lines.length === 0) {
    return `<p class="empty">No usage in this period. <span lang="zh">本期无用量。</span></p>`;
  }
  const head = columns
    .map(([en, zh, isNumber]) => {
      return `<th${isNumber === true ? ` class="number"` : ""}>${en}<br><span lang="zh">${zh}</span></th>`;
    })
    .join("");
  return `<table class="lines"><thead><tr>${head}</tr></thead><tbody>
${lines.map(lineRow).join("\n")}
</tbody></table>`;
}

function lineRow(line: StatementLine): string {
  const cells = [
    line.model,
    classWord(line.tokenClass),
    line.pool === "*" ? "–" : `${line.pool} · ${line.region}`,
    line.slot,
    `${line.book}@${line.version} ${line.line}`,
    line.usagePeriod ?? "–",
  ].map((text) => `<td>${escaped(text)}</td>`);
  const numbers = [
    grouped(String(line.attempts)),
    grouped(String(line.tokens)),
    money(line.amountNano),
  ].map((text) => `<td class="number">${text}</td>`);
  return `<tr>${[...cells, ...numbers].join("")}</tr>`;
}

const shareLabel = "Share of sales 销售分成";

const feeLabels: Readonly<Record<FeePart, string>> = {
  platform: shareLabel,
  computing: shareLabel,
  model: shareLabel,
  channel: shareLabel,
  purchase: "Package bought 购买套餐",
  refund: "Package given back 套餐退款",
};

function feeTable({ fees, trueUps }: Statement): string {
  const rows = [
    ...fees.map(
      ({ part, party, sku, amountNano }) =>
        [
          `${feeLabels[part]}${sku === undefined ? `: ${part}` : `: ${party} ${sku}`}`,
          amountNano,
        ] as const,
    ),
    ...trueUps.map(({ line, scope, amountNano }) => {
      return [`True-up 期末调整: ${line} ${scope}`, amountNano] as const;
    }),
  ];
  if (rows.length === 0) return "";
  const body = rows
    .map(([label, nano]) => `<tr><th>${escaped(label)}</th><td>${money(nano)}</td></tr>`)
    .join("\n");
  return `<table class="fees"><tbody>\n${body}\n</tbody></table>`;
}

function provenance(statement: Statement, signatures: readonly PageSignature[]): string {
  const { log, digest, prevDigest, frozen } = statement;
  const pairs: Pair[] = [
    ["SHA-256 of the canonical text 规范文本摘要", digest],
    ["Statement before 上一份", prevDigest === "" ? "–" : prevDigest],
    ["Contract 合同", frozen.contractHash],
    ["Log 日志", log.origin],
    ["Leaves 叶范围", `${log.firstIndex} – ${log.endIndex} of ${log.size}`],
    ["Root 根", log.root],
    ["Seal 封存", frozen.seal ?? "–"],
    ...signatures.map(({ party, kid, jws }): Pair => [`Signature 签名: ${party}, ${kid}`, jws]),
  ];
  return `<section class="proof"><h2>Proof <span lang="zh">证明</span></h2>
${definitions(pairs)}
<p>The canonical text is what is signed; check it with <code>tokengrid statement verify</code>. <span lang="zh">以规范文本及其签名为准。</span></p>
</section>`;
}

function definitions(pairs: readonly Pair[]): string {
  const body = pairs.map(([label, value]) => `<dt>${label}</dt><dd>${escaped(value)}</dd>`);
  return `<dl>\n${body.join("\n")}\n</dl>`;
}

function instantIn(us: bigint, { period: { timeZone } }: Statement): string {
  const { date, minute } = localTime(us, offsetMinutesByZone[timeZone]);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${date} ${two(Math.floor(minute / 60))}:${two(minute % 60)} ${timeZone}`;
}

/** In yuan, to the nano. */
function money(nano: bigint): string {
  const [whole = "0", part = ""] = decimalText(nano, 9).split(".");
  return `${grouped(whole)}.${part.padEnd(9, "0")}`;
}

function fen(nano: bigint): string {
  const [whole = "0", part = ""] = decimalText(nano, 9).split(".");
  return `${grouped(whole)}.${part.padEnd(2, "0")}`;
}

function grouped(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

const style = `
@page { size: A4; margin: 14mm 12mm 16mm; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 186mm; padding: 8mm 0; color: #16202c; background: #fff;
  font: 9.5pt/1.45 "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", system-ui, sans-serif; }
header { border-bottom: 2px solid #16202c; padding-bottom: 3mm; margin-bottom: 5mm; }
h1 { font-size: 17pt; font-weight: 600; margin: 0; }
h1 span { font-weight: 400; color: #4a5768; margin-left: 2mm; }
h2 { font-size: 10.5pt; margin: 0 0 2mm; }
.id { margin: 1mm 0 0; color: #4a5768; }
.interim { margin: 3mm 0 0; padding: 2mm 3mm; border: 1px solid #b3541e; color: #7a3712; }
.facts { display: grid; grid-template-columns: 1fr 84mm; gap: 8mm; margin-bottom: 6mm; align-items: start; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 1mm 4mm; margin: 0; }
dt { color: #4a5768; max-width: 46mm; overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: right; color: #4a5768; padding-bottom: 1mm; }
th { text-align: left; font-weight: 500; }
td, th { padding: 1.1mm 1.5mm; vertical-align: top; }
.totals td, .fees td, .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.totals tr + tr, .lines tbody tr, .fees tr + tr { border-top: 1px solid #d5dbe3; }
.totals .sum { font-weight: 600; }
.payable { font-size: 12.5pt; border-top: 2px solid #16202c !important; }
.payable th, .payable td { font-weight: 600; padding-top: 2mm; }
.payable small { font-size: 9.5pt; font-weight: 400; color: #4a5768; }
.lines { font-size: 8pt; margin-bottom: 5mm; }
.lines thead { display: table-header-group; border-bottom: 1.5px solid #16202c; }
.lines th { white-space: nowrap; line-height: 1.25; }
.lines th span { color: #4a5768; font-weight: 400; }
.lines td:nth-child(2), .lines td:nth-child(6) { white-space: nowrap; }
.lines td { overflow-wrap: anywhere; }
.lines tr, .proof, .totals tr { break-inside: avoid; }
.fees { margin-bottom: 5mm; }
.empty { padding: 6mm 0; color: #4a5768; }
.proof { border-top: 1px solid #d5dbe3; padding-top: 4mm; font-size: 8pt; }
.proof dd, code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 7.5pt; }
@media print { body { padding: 0; max-width: none; } }
`;

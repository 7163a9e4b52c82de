import type { Statement, StatementLine } from "../wire/gen/tokengrid/v1/settlement_pb.js";
import { yuan } from "./print.ts";

/** Version of the FinOps Open Cost and Usage Specification whose column names these are. */
export const focusVersion = "1.4";

const nanoPerFen = 10_000_000n;
const tokensPerUnit = 1_000_000n;

/** What a row is made of. `line` is undefined for the row that rounds the invoice to fen. */
interface Source {
  readonly statement: Statement;
  readonly line: StatementLine | undefined;
  readonly costNano: bigint;
  readonly regionId: string;
}

type Cell = (source: Source) => string;

/** In the order of the file. Columns of ours start with `x_`. */
const columns: Readonly<Record<string, Cell>> = {
  BilledCost: ({ costNano }) => yuan(costNano),
  BillingAccountId: () => "operator",
  BillingCurrency: ({ statement }) => statement.currency,
  BillingPeriodStart: ({ statement }) => utc(monthOf(statement)[0]),
  BillingPeriodEnd: ({ statement }) => utc(monthOf(statement)[1]),
  ChargeCategory: ({ line }) => (line === undefined ? "Adjustment" : "Usage"),
  ChargeClass: ({ statement }) => (statement.rev > 1 ? "Correction" : ""),
  ChargeDescription: ({ line }) =>
    line === undefined
      ? "Rounding of the invoice to fen"
      : `${line.modelId} ${line.tokenClass} at ${line.poolId} in slot ${line.slot}`,
  ChargeFrequency: () => "Usage-Based",
  ChargePeriodStart: ({ statement }) => utc(statement.period?.fromUs ?? 0n),
  ChargePeriodEnd: ({ statement }) => utc(statement.period?.toUs ?? 0n),
  ConsumedQuantity: ({ line }) => (line === undefined ? "" : `${line.tokens}.0`),
  ConsumedUnit: ({ line }) => (line === undefined ? "" : "Tokens"),
  ContractedCost: ({ costNano }) => yuan(costNano),
  ContractedUnitPrice: ({ line }) => (line === undefined ? "" : unitPrice(line)),
  EffectiveCost: ({ costNano }) => yuan(costNano),
  HostProviderName: ({ statement }) => statement.vendorId,
  InvoiceDetailId: ({ line }) =>
    line === undefined ? "rounding" : `${line.poolId}:${skuPriceOf(line)}:${line.slot}`,
  InvoiceId: ({ statement }) => statement.statementId,
  InvoiceIssuerName: ({ statement }) => statement.vendorId,
  ListCost: ({ costNano }) => yuan(costNano),
  PricingCategory: ({ line }) => (line === undefined ? "" : "Standard"),
  PricingCurrency: ({ statement }) => statement.currency,
  PricingQuantity: ({ line }) => (line === undefined ? "" : decimal(line.tokens, tokensPerUnit)),
  PricingUnit: ({ line }) => (line === undefined ? "" : "1000000 Tokens"),
  RegionId: ({ regionId }) => regionId,
  ResourceId: ({ line }) => line?.poolId ?? "",
  ResourceType: ({ line }) => (line === undefined ? "" : "Pool"),
  ServiceCategory: () => "AI and Machine Learning",
  ServiceName: () => "LLM inference",
  ServiceProviderName: ({ statement }) => statement.vendorId,
  ServiceSubcategory: () => "Generative AI",
  SkuId: ({ line }) => (line === undefined ? "" : `${line.modelId}/${line.tokenClass}`),
  SkuMeter: ({ line }) => line?.tokenClass ?? "",
  SkuPriceId: ({ line }) => (line === undefined ? "" : skuPriceOf(line)),
  x_FocusVersion: () => focusVersion,
  x_StatementDigest: ({ statement }) => statement.digest,
  x_TokenClass: ({ line }) => line?.tokenClass ?? "",
  x_TimeOfUseSlot: ({ line }) => line?.slot ?? "",
  x_Attempts: ({ line }) => (line === undefined ? "" : String(line.attempts)),
  x_AmountPico: ({ line }) => line?.amountPico ?? "",
};

/**
 * CSV with one row per line of each statement, and one that rounds it to fen: a statement's `BilledCost` adds up to
 * what is payable, exactly. Numbers are printed from integers.
 */
export function focusCsv(
  statements: readonly Statement[],
  regionByPool: ReadonlyMap<string, string>,
): string {
  const sources = statements.flatMap((statement) => sourcesOf(statement, regionByPool));
  const rows = sources.map((source) => Object.values(columns).map((cell) => quoted(cell(source))));
  return [Object.keys(columns), ...rows].map((cells) => `${cells.join(",")}\r\n`).join("");
}

function sourcesOf(statement: Statement, regionByPool: ReadonlyMap<string, string>): Source[] {
  const lines = statement.lines.map((line): Source => {
    const regionId = regionByPool.get(line.poolId) ?? "";
    return { statement, line, costNano: line.amountNano, regionId };
  });
  const netNano = statement.lines.reduce((sum, { amountNano }) => sum + amountNano, 0n);
  const roundingNano = (statement.totals?.minorUnits ?? 0n) * nanoPerFen - netNano;
  if (roundingNano === 0n) return lines;
  return [...lines, { statement, line: undefined, costNano: roundingNano, regionId: "" }];
}

function skuPriceOf({ priceBookId, priceVersion, lineId }: StatementLine): string {
  return `${priceBookId}:${priceVersion}:${lineId}`;
}

/** Per million tokens; empty where tiers make it no single price. */
function unitPrice({ amountPico, tokens }: StatementLine): string {
  const pico = BigInt(amountPico);
  if (tokens === 0n || pico % tokens !== 0n) return "";
  return decimal(pico / tokens, 1_000_000n);
}

/** `count / scale`, exact; `scale` is a power of ten. */
function decimal(count: bigint, scale: bigint): string {
  const places = scale.toString().length - 1;
  const digits = count.toString().padStart(places + 1, "0");
  return `${digits.slice(0, -places)}.${digits.slice(-places)}`;
}

/** The month, in the statement's zone, that the charge falls in. */
function monthOf({ period }: Statement): [fromUs: bigint, toUs: bigint] {
  const offsetMs = 8 * 3_600_000;
  const local = new Date(Number((period?.fromUs ?? 0n) / 1_000n) + offsetMs);
  const [year, month] = [local.getUTCFullYear(), local.getUTCMonth()];
  const start = (monthIndex: number): bigint =>
    BigInt(Date.UTC(year, monthIndex, 1) - offsetMs) * 1_000n;
  return [start(month), start(month + 1)];
}

function utc(us: bigint): string {
  return new Date(Number(us / 1_000n)).toISOString().replace(".000Z", "Z");
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

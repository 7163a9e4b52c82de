import type { Nano } from "../units.ts";
import type { Statement, StatementLine } from "./statement.ts";
import { nanoPerMinorUnit } from "./statement.ts";
import { tokenClassNames } from "./usage.ts";

/** Of the FinOps Open Cost and Usage Specification; each row names it. */
export const focusVersion = "1.4";

/** Names that the operator chooses. */
export interface FocusParties {
  /** Who is billed. */
  readonly billingAccount: { readonly id: string; readonly name: string };
  /** How the vendor is called on invoices. */
  readonly vendorName: string;
}

/** One row as the columns have it. Empty is null. */
type Row = Readonly<Record<FocusColumn, string>>;

interface Charged {
  readonly statement: Statement;
  readonly parties: FocusParties;
  readonly line: StatementLine;
}

const tokenUnit = "Tokens";
const pricingTokens = 1_000_000n;
const pricingUnit = "1000000 Tokens";
const nanoDigits = 9;
const picoDigits = 12;

/** Column by column, in the order of the file. Ours start with `x_`. */
const columns = {
  BilledCost: ({ line }) => decimal(line.amountNano, nanoDigits),
  BillingAccountId: ({ parties }) => parties.billingAccount.id,
  BillingAccountName: ({ parties }) => parties.billingAccount.name,
  BillingCurrency: ({ statement }) => statement.currency,
  BillingPeriodEnd: ({ statement }) => instant(statement.period.toUs),
  BillingPeriodStart: ({ statement }) => instant(statement.period.fromUs),
  ChargeCategory: () => "Usage",
  ChargeClass: () => "",
  ChargeDescription: ({ line }) => `${line.model} ${tokenClassNames[line.tokenClass]} tokens`,
  ChargeFrequency: () => "Usage-Based",
  ChargePeriodEnd: ({ statement }) => instant(statement.period.toUs),
  ChargePeriodStart: ({ statement }) => instant(statement.period.fromUs),
  ConsumedQuantity: ({ line }) => decimal(line.tokens, 0),
  ConsumedUnit: () => tokenUnit,
  ContractedCost: ({ line }) => decimal(line.amountNano, nanoDigits),
  ContractedUnitPrice: ({ line }) => unitPrice(line),
  EffectiveCost: ({ line }) => decimal(line.amountNano, nanoDigits),
  HostProviderName: ({ parties }) => parties.vendorName,
  InvoiceDetailId: ({ line }) => `${skuPrice(line)}:${line.pool}`,
  InvoiceId: ({ statement }) => statement.id,
  InvoiceIssuerName: ({ parties }) => parties.vendorName,
  ListCost: ({ line }) => decimal(line.amountNano, nanoDigits),
  ListUnitPrice: ({ line }) => unitPrice(line),
  PricingCategory: () => "Standard",
  PricingCurrency: ({ statement }) => statement.currency,
  PricingQuantity: ({ line }) => decimal(line.tokens, 6),
  PricingUnit: () => pricingUnit,
  RegionId: ({ line }) => line.region,
  ResourceId: ({ line }) => line.pool,
  ServiceCategory: () => "AI and Machine Learning",
  ServiceName: () => "LLM inference",
  ServiceProviderName: ({ parties }) => parties.vendorName,
  ServiceSubcategory: () => "Generative AI",
  SkuId: ({ line }) => `${line.model}/${tokenClassNames[line.tokenClass]}`,
  SkuMeter: ({ line }) => tokenClassNames[line.tokenClass],
  SkuPriceId: ({ line }) => skuPrice(line),
  x_AmountNano: ({ line }) => String(line.amountNano),
  x_AmountPico: ({ line }) => String(line.pico),
  x_Attempts: ({ line }) => String(line.attempts),
  x_FocusVersion: () => focusVersion,
  x_PriceSlot: ({ line }) => line.slot,
  x_StatementDigest: ({ statement }) => statement.digest,
  x_TimeZone: ({ statement }) => statement.period.timeZone,
  x_TokenClass: ({ line }) => tokenClassNames[line.tokenClass],
} as const satisfies Record<string, (charged: Charged) => string>;

export type FocusColumn = keyof typeof columns;

export const focusColumns = Object.keys(columns) as FocusColumn[];

/**
 * One row per line of a statement, and one for the rounding to whole fen: the billed costs add up to what is
 * paid. Depends on the statement alone, so that an issued file can be made again to the byte.
 */
export function focusRows(statement: Statement, parties: FocusParties): Row[] {
  const rows = statement.lines.map((line) => usageRow({ statement, parties, line }));
  const { roundingNano } = statement.totals;
  return roundingNano === 0n ? rows : [...rows, roundingRow(statement, parties)];
}

/** The rows as CSV (RFC 4180) with a header; null is an empty field. */
export function focusCsv(statement: Statement, parties: FocusParties): string {
  const rows = focusRows(statement, parties).map((row) => focusColumns.map((name) => row[name]));
  return [focusColumns, ...rows].map((cells) => `${cells.map(cell).join(",")}\r\n`).join("");
}

function usageRow(charged: Charged): Row {
  return rowOf((name) => columns[name](charged));
}

/** What an adjustment has in common with a usage row. */
const adjusted: Readonly<Partial<Record<FocusColumn, true>>> = {
  BillingAccountId: true,
  BillingAccountName: true,
  BillingCurrency: true,
  BillingPeriodEnd: true,
  BillingPeriodStart: true,
  ChargePeriodEnd: true,
  ChargePeriodStart: true,
  HostProviderName: true,
  InvoiceId: true,
  InvoiceIssuerName: true,
  PricingCurrency: true,
  ServiceCategory: true,
  ServiceName: true,
  ServiceProviderName: true,
  ServiceSubcategory: true,
  x_FocusVersion: true,
  x_StatementDigest: true,
  x_TimeZone: true,
};

function roundingRow(statement: Statement, parties: FocusParties): Row {
  const cost = decimal(statement.totals.roundingNano, nanoDigits);
  const own: Readonly<Partial<Record<FocusColumn, string>>> = {
    BilledCost: cost,
    ChargeCategory: "Adjustment",
    ChargeDescription: "Rounding to whole fen",
    ChargeFrequency: "One-Time",
    ContractedCost: cost,
    EffectiveCost: cost,
    InvoiceDetailId: "rounding",
    ListCost: cost,
    x_AmountNano: String(statement.totals.roundingNano),
  };
  const [line] = statement.lines;
  return rowOf((name) => {
    if (line === undefined || adjusted[name] === undefined) return own[name] ?? "";
    return columns[name]({ statement, parties, line });
  });
}

function rowOf(cellOf: (name: FocusColumn) => string): Row {
  return Object.fromEntries(focusColumns.map((name) => [name, cellOf(name)])) as Row;
}

function skuPrice({ book, version, line }: StatementLine): string {
  return `${book}:${version}:${line}`;
}

/** Per million tokens. Exact as long as the line has one price; over tiers, the mean. */
function unitPrice({ pico, tokens }: StatementLine): string {
  if (tokens === 0n) return "";
  return decimal((pico * pricingTokens) / tokens, picoDigits);
}

/** An integer as fixed point, always with a point: `8400000` and 6 digits give `8.4`. */
export function decimal(value: bigint, digits: number): string {
  const sign = value < 0n ? "-" : "";
  const text = String(value < 0n ? -value : value).padStart(digits + 1, "0");
  const whole = text.slice(0, text.length - digits);
  const part = text.slice(text.length - digits).replace(/0+$/, "");
  return `${sign}${whole}.${part === "" ? "0" : part}`;
}

/** What is paid, in the currency: whole fen. */
export function payable({ totals }: Statement): Nano {
  return totals.minorUnits * nanoPerMinorUnit;
}

function instant(us: bigint): string {
  return new Date(Number(us / 1_000n)).toISOString().replace(".000Z", "Z");
}

function cell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

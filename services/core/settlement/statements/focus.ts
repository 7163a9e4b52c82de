import type { InstantUs, Nano, PairId, PoolId, RegionId } from "../../units.ts";
import {
  decimal,
  decimalText,
  exact,
  instant,
  maybe,
  money,
  nanoDigits,
  nullCell,
  picoDigits,
  text,
  whole,
  type FocusCell,
} from "./focus-cell.ts";
import type { FocusEvidence } from "./focus-evidence.ts";
import { monthOf, usPerHour, type Period } from "./period.ts";
import type { HourTotal } from "../ledger/posting.ts";
import { usagePeriodOf } from "./statement-lines.ts";
import { classWord } from "./statement-text.ts";
import { statementId } from "./make-statement.ts";
import type { Statement, StatementFee } from "./statement.ts";

/** Of the FinOps Open Cost and Usage Specification; each row names it. */
export const focusVersions = ["1.4", "1.3"] as const;
export type FocusVersion = (typeof focusVersions)[number];
export const focusVersionDefault: FocusVersion = "1.4";

/** Names that the operator chooses. */
export interface FocusParties {
  readonly operator: { readonly id: string; readonly name: string };
  /** How the counterparty is called on invoices. */
  readonly counterparty: { readonly id: string; readonly name: string };
}

/** What was booked of a line in an hour of use. */
export interface FocusHour extends Omit<HourTotal, "model"> {
  readonly hourUs: InstantUs;
  /** `<book>:<version>:<line>`. */
  readonly line: string;
  readonly model: string;
  readonly pool: PoolId;
  readonly region: RegionId;
  /** Of a tenant; empty if none. */
  readonly department: string;
  /** Paid by packages. */
  readonly coveredNano: Nano;
  /** What packages let go of for it. */
  readonly releasedNano: Nano;
  readonly draws: readonly FocusDraw[];
  /** Of the records that the row adds up, where it was asked for. */
  readonly evidence?: FocusEvidence | undefined;
}

export interface FocusDraw {
  readonly package: string;
  readonly unit: string;
  readonly amount: bigint;
  readonly releasedNano: Nano;
}

export type FocusRow = Readonly<Record<FocusColumn, FocusCell>>;

interface Invoiced {
  readonly statement: Statement;
  readonly parties: FocusParties;
  readonly version: FocusVersion;
}

interface Charged extends Invoiced {
  readonly hour: FocusHour;
}

/** A row without a unit price: rounding, a share, a true-up. */
interface Other extends Invoiced {
  readonly detail: string;
  readonly description: string;
  readonly category: "Adjustment" | "Credit" | "Purchase";
  readonly amountNano: Nano;
}

interface Package extends Invoiced, Omit<StatementFee, "sku"> {
  readonly sku: string;
}

const tokenUnits = { consumed: "Tokens", pricing: "1000000 Tokens" } as const;
const requestUnits = { consumed: "Requests", pricing: "Requests" } as const;
const pricingTokensDigits = 6;

/** What every row has. */
const common = {
  BillingAccountId: ({ statement, parties }) => text(billed(statement, parties).id),
  BillingAccountName: ({ statement, parties }) => text(billed(statement, parties).name),
  BillingAccountType: ({ statement }) => text(isSell(statement.pair) ? "Tenant" : "Operator"),
  BillingCurrency: ({ statement }) => text(statement.currency),
  BillingPeriodEnd: ({ statement }) => instant(invoiceOf(statement).period.toUs),
  BillingPeriodStart: ({ statement }) => instant(invoiceOf(statement).period.fromUs),
  HostProviderName: ({ statement, parties }) => text(provider(statement, parties)),
  InvoiceId: ({ statement }) => invoiceCell(statement),
  InvoiceIssuerName: ({ statement, parties }) => text(provider(statement, parties)),
  PricingCurrency: ({ statement }) => text(statement.currency),
  ProviderName: ({ statement, parties }) => text(provider(statement, parties)),
  PublisherName: ({ statement, parties }) => text(provider(statement, parties)),
  ServiceCategory: () => text("AI and Machine Learning"),
  ServiceName: () => text("LLM inference"),
  ServiceProviderName: ({ statement, parties }) => text(provider(statement, parties)),
  ServiceSubcategory: () => text("Generative AI"),
  x_FirstIndex: ({ statement }) => whole(statement.log.firstIndex),
  x_FocusVersion: ({ version }) => text(version),
  x_LastIndex: ({ statement }) => lastIndex(statement),
  x_LogOrigin: ({ statement }) => text(statement.log.origin),
  x_Root: ({ statement }) => text(statement.log.root),
  x_StatementDigest: ({ statement }) => text(statement.digest),
  x_StatementId: ({ statement }) => text(statement.id),
  x_TimeZone: ({ statement }) => text(statement.period.timeZone),
} as const satisfies Record<string, (row: Invoiced) => FocusCell>;

/** What a row of usage has besides. */
const usage = {
  BilledCost: ({ hour }) => money(hour.amountNano - hour.coveredNano),
  ChargeCategory: () => text("Usage"),
  ChargeClass: (row) => (isCorrection(row) ? text("Correction") : nullCell),
  ChargeDescription: ({ hour }) => text(`${hour.model} ${classWord(hour.tokenClass)}`),
  ChargeFrequency: () => text("Usage-Based"),
  ChargePeriodEnd: ({ hour }) => instant(hour.hourUs + usPerHour),
  ChargePeriodStart: ({ hour }) => instant(hour.hourUs),
  ConsumedQuantity: ({ hour }) => whole(hour.tokens),
  ConsumedUnit: ({ hour }) => text(unitsOf(hour).consumed),
  ContractApplied: (row) => contractApplied(row),
  ContractedCost: ({ hour }) => exact(hour.pico),
  ContractedUnitPrice: ({ hour }) => unitPrice(hour),
  EffectiveCost: ({ hour }) => money(hour.amountNano - hour.coveredNano + hour.releasedNano),
  InvoiceDetailId: ({ hour }) =>
    text([hour.line, hour.pool, hour.region, hour.department, hour.hourUs].join(":")),
  ListCost: ({ hour }) => exact(hour.pico),
  ListUnitPrice: ({ hour }) => unitPrice(hour),
  PricingCategory: () => text("Standard"),
  PricingQuantity: ({ hour }) => pricingQuantity(hour),
  PricingUnit: ({ hour }) => text(unitsOf(hour).pricing),
  RegionId: ({ hour }) => shown(hour.region),
  RegionName: ({ hour }) => shown(hour.region),
  ResourceId: ({ hour }) => shown(hour.pool),
  ResourceName: ({ hour }) => shown(hour.pool),
  ResourceType: ({ hour }) => (shown(hour.pool) === nullCell ? nullCell : text("Inference Pool")),
  SkuId: ({ hour }) => text(`${hour.model}/${classWord(hour.tokenClass)}`),
  SkuMeter: ({ hour }) => text(classWord(hour.tokenClass)),
  SkuPriceId: ({ hour }) => text(hour.line),
  SubAccountId: ({ hour }) => maybe(hour.department),
  SubAccountName: ({ hour }) => maybe(hour.department),
  SubAccountType: ({ hour }) => (hour.department === "" ? nullCell : text("Department")),
  x_AmountNano: ({ hour }) => whole(hour.amountNano),
  x_AmountPico: ({ hour }) => whole(hour.pico),
  x_Attempts: ({ hour }) => whole(hour.attempts),
  // Null where records differ, and where evidence was not asked for: the log range has it.
  x_CountBasis: ({ hour }) => maybe(hour.evidence?.countBasis ?? ""),
  x_OutputBytes: ({ hour }) => maybeWhole(hour.evidence?.outputBytes),
  x_PriceSlot: ({ hour }) => maybe(hour.slot),
  x_TokenClass: ({ hour }) => text(classWord(hour.tokenClass)),
  x_TokenizerDigest: ({ hour }) => maybe(hour.evidence?.tokenizerDigest ?? ""),
} as const satisfies Record<string, (row: Charged) => FocusCell>;

export type FocusColumn = keyof typeof common | keyof typeof usage;

/** What a row without a unit price has; the rest is null. */
const other: Readonly<Partial<Record<keyof typeof usage, (row: Other) => FocusCell>>> = {
  BilledCost: ({ amountNano }) => money(amountNano),
  ChargeCategory: ({ category }) => text(category),
  ChargeDescription: ({ description }) => text(description),
  ChargeFrequency: () => text("One-Time"),
  ChargePeriodEnd: ({ statement }) => instant(statement.period.toUs),
  ChargePeriodStart: ({ statement }) => instant(statement.period.fromUs),
  ContractedCost: ({ amountNano }) => money(amountNano),
  EffectiveCost: ({ amountNano }) => money(amountNano),
  InvoiceDetailId: ({ detail }) => text(detail),
  ListCost: ({ amountNano }) => money(amountNano),
  x_AmountNano: ({ amountNano }) => whole(amountNano),
};

/** Columns that only some versions have. */
const onlyIn: Readonly<Partial<Record<FocusColumn, FocusVersion>>> = {
  InvoiceDetailId: "1.4",
  // Deprecated by 1.3, which still asks for them.
  ProviderName: "1.3",
  PublisherName: "1.3",
};

/** In the order of the file: those of FOCUS by name, then ours, which start with `x_`. */
export function focusColumns(version: FocusVersion): FocusColumn[] {
  const names = [...Object.keys(common), ...Object.keys(usage)] as FocusColumn[];
  const known = names.filter((name) => onlyIn[name] === undefined || onlyIn[name] === version);
  const isOurs = (name: string): boolean => name.startsWith("x_");
  return [...known.filter((name) => !isOurs(name)).toSorted(), ...known.filter(isOurs).toSorted()];
}

/** One row of what was booked of a line in an hour. */
export function focusUsageRow(row: Charged): FocusRow {
  const { hour } = row;
  // Money that a correction left on a line, without tokens that could have a price.
  if (hour.tokens === 0n) {
    const detail = `rest:${hour.line}:${hour.pool}:${hour.region}:${hour.hourUs}`;
    const description = "Rest of a correction";
    const amountNano = hour.amountNano - hour.coveredNano;
    return otherRow({ ...row, detail, description, category: "Adjustment", amountNano });
  }
  return rowOf(
    (name) => common[name](row),
    (name) => usage[name](row),
  );
}

/**
 * What a statement asks for beside its lines: shares, true-ups, and the rounding to whole fen. With them the billed
 * costs of an invoice add up to what is paid.
 */
export function focusOtherRows(invoiced: Invoiced): FocusRow[] {
  const { statement } = invoiced;
  const { roundingNano } = statement.totals;
  const category = "Adjustment" as const;
  const rounding = {
    detail: "rounding",
    description: "Rounding to whole fen",
    amountNano: roundingNano,
  };
  const others = [
    ...statement.fees
      .filter(({ sku }) => sku === undefined)
      .map(({ part, amountNano }) => ({
        detail: `share:${part}`,
        description: `Share of what was sold: ${part}`,
        amountNano,
      })),
    ...statement.trueUps.map(({ line, scope, period, amountNano }) => ({
      detail: `true-up:${period}:${line}:${scope}`,
      description: `True-up of ${line}`,
      amountNano,
    })),
    ...(statement.isPayable ? [rounding] : []),
  ]
    .filter(({ amountNano }) => amountNano !== 0n)
    .map((row) => otherRow({ ...invoiced, ...row, category }));
  const packages = statement.fees.flatMap(({ sku, ...fee }) =>
    sku === undefined ? [] : [packageRow({ ...invoiced, ...fee, sku })],
  );
  return [...packages, ...others];
}

/**
 * A package costs nothing by itself: what it lets go of is the effective cost of the usage that draws on it. So it is with
 * what was given back.
 */
function packageRow(row: Package): FocusRow {
  const { part, party, sku, amountNano } = row;
  const isBought = part === "purchase";
  const made = otherRow({
    ...row,
    detail: `${part}:${party}`,
    description: `${isBought ? "Bought" : "Given back"}: ${party} of ${sku}`,
    category: isBought ? "Purchase" : "Credit",
  });
  const [skuId = ""] = sku.split("@");
  const priced: Partial<FocusRow> = {
    ContractedUnitPrice: money(amountNano),
    ListUnitPrice: money(amountNano),
    PricingCategory: text("Standard"),
    PricingQuantity: whole(1n),
    PricingUnit: text("Packages"),
    SkuId: text(skuId),
    SkuMeter: text("package"),
    SkuPriceId: text(sku),
  };
  return { ...made, EffectiveCost: money(0n), ...(isBought ? priced : {}) };
}

function otherRow(row: Other): FocusRow {
  return rowOf(
    (name) => common[name](row),
    (name) => other[name]?.(row) ?? nullCell,
  );
}

function rowOf(
  ofCommon: (name: keyof typeof common) => FocusCell,
  ofUsage: (name: keyof typeof usage) => FocusCell,
): FocusRow {
  const cells: Partial<Record<FocusColumn, FocusCell>> = {};
  for (const name of commonNames) cells[name] = ofCommon(name);
  for (const name of usageNames) cells[name] = ofUsage(name);
  return cells as FocusRow;
}

const commonNames = Object.keys(common) as (keyof typeof common)[];
const usageNames = Object.keys(usage) as (keyof typeof usage)[];

/** The statement by which a charge is paid: its own, or that of its month. */
function invoiceOf(statement: Statement): { readonly id: string; readonly period: Period } {
  const { id, pair, period, isPayable } = statement;
  if (isPayable || statement.kind === "monthly") return { id, period };
  const month = monthOf(period.fromUs, period.timeZone);
  return { id: statementId(pair, "monthly", month), period: month };
}

/** What is not closed is on no invoice yet. */
function invoiceCell(statement: Statement): FocusCell {
  return statement.kind === "interim" ? nullCell : text(invoiceOf(statement).id);
}

function isCorrection({ hour, statement }: Charged): boolean {
  return usagePeriodOf(hour.hourUs, statement.period) !== undefined;
}

function isSell(pair: PairId): boolean {
  return pair.startsWith("tenant:");
}

/** Who is billed. */
function billed({ pair }: Statement, { operator, counterparty }: FocusParties) {
  return isSell(pair) ? counterparty : operator;
}

/** Who bills. */
function provider({ pair }: Statement, { operator, counterparty }: FocusParties): string {
  return isSell(pair) ? operator.name : counterparty.name;
}

function unitsOf({ tokenClass }: FocusHour) {
  return tokenClass === "request" ? requestUnits : tokenUnits;
}

function pricingQuantity({ tokenClass, tokens }: FocusHour): FocusCell {
  return decimal(tokens, tokenClass === "request" ? 0 : pricingTokensDigits);
}

/**
 * Per pricing unit. Exact where the hour has one price, so that price times quantity is the cost; where tiers meet,
 * the mean.
 */
function unitPrice({ tokenClass, pico, tokens }: FocusHour): FocusCell {
  const units = tokenClass === "request" ? 1n : 10n ** BigInt(pricingTokensDigits);
  const price = (pico * units) / tokens;
  return decimal(price < 0n ? 0n : price, picoDigits);
}

/** Names and what goes together changed from 1.3 to 1.4; quantities and costs are JSON numbers. */
function contractApplied({ hour, version }: Charged): FocusCell {
  if (hour.draws.length === 0) return nullCell;
  const id = version === "1.3" ? "ID" : "Id";
  const elements = hour.draws.map((draw) => {
    const isPoints = draw.unit === "POINT:milli";
    const name = JSON.stringify(draw.package);
    const cost = `"ContractCommitmentAppliedCost":${decimalText(draw.releasedNano, nanoDigits)},`;
    const members = [
      `"Contract${id}":${name},"ContractCommitment${id}":${name},${version === "1.3" ? cost : ""}`,
      `"ContractCommitmentAppliedQuantity":${decimalText(draw.amount, isPoints ? 3 : 0)},`,
      `"ContractCommitmentAppliedUnit":"${isPoints ? "Points" : tokenUnits.consumed}"`,
    ];
    return `{${members.join("")}}`;
  });
  return text(`{"Elements":[${elements.join(",")}]}`);
}

function lastIndex({ log }: Statement): FocusCell {
  return log.endIndex === log.firstIndex ? nullCell : whole(log.endIndex - 1n);
}

function maybeWhole(value: bigint | undefined): FocusCell {
  return value === undefined ? nullCell : whole(value);
}

/** `*` stands for what the counterparty is not shown. */
function shown(id: string): FocusCell {
  return id === "*" ? nullCell : text(id);
}

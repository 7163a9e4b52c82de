import type { FocusCell } from "./focus-cell.ts";
import type { FocusColumn } from "./focus.ts";

/** Kind of a column's cells that are not null. */
export type FocusKind = Exclude<FocusCell["kind"], "null">;

const decimals: ReadonlySet<FocusColumn> = new Set<FocusColumn>([
  "BilledCost",
  "ConsumedQuantity",
  "ContractedCost",
  "ContractedUnitPrice",
  "EffectiveCost",
  "ListCost",
  "ListUnitPrice",
  "PricingQuantity",
  "x_AmountNano",
  "x_AmountPico",
  "x_Attempts",
  "x_FirstIndex",
  "x_LastIndex",
  "x_OutputBytes",
]);

const instants: ReadonlySet<FocusColumn> = new Set<FocusColumn>([
  "BillingPeriodEnd",
  "BillingPeriodStart",
  "ChargePeriodEnd",
  "ChargePeriodStart",
]);

export function focusKind(column: FocusColumn): FocusKind {
  if (decimals.has(column)) return "decimal";
  return instants.has(column) ? "instant" : "text";
}

/** Digits behind the point where files have one scale for a column: enough for exact products. */
export const focusScale = 12;

/** A decimal at the scale of files. */
export function scaled(value: bigint, digits: number): bigint {
  return value * 10n ** BigInt(focusScale - digits);
}

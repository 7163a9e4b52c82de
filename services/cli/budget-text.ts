import { dualCny, inUnit, type BudgetUnit } from "../core/placement/budget.ts";
import { budgetUnitWords } from "../wire/budget.ts";
import type { BudgetStanding } from "../wire/gen/tokengrid/v1/budget_pb.js";
import { brief, percent, span, textTable, type Column } from "./print.ts";

export const budgetUnitNames: Readonly<Record<BudgetUnit, string>> = {
  cny: "CNY",
  kwh: "kWh",
  gco2e: "gCO2e",
};

const columns: readonly Column[] = [
  { name: "BUDGET" },
  { name: "TENANT" },
  { name: "WINDOW", align: "right" },
  { name: "SPENT", align: "right" },
  { name: "UNDER WAY", align: "right" },
  { name: "LIMIT", align: "right" },
  { name: "UNIT" },
  { name: "USED", align: "right" },
  { name: "DUAL PRICE", align: "right" },
  { name: "STOP" },
  { name: "NEXT ROOM", align: "right" },
];

/** Accounts under each other, as they are used. */
export function budgetTable(budgets: readonly BudgetStanding[]): string {
  const rows = budgets.map((each) => ({ used: usedOf(each), cells: row(each) }));
  return textTable(
    columns,
    rows.toSorted((a, b) => b.used - a.used).map(({ cells }) => cells),
  );
}

function row(standing: BudgetStanding): string[] {
  const unit = budgetUnitWords.toWord("unit", standing.unit);
  const amount = (grains: bigint): string => brief(inUnit(unit, Number(grains)));
  const { dualNano, returnsInMs } = standing;
  return [
    standing.budgetId,
    standing.tenantId,
    span(Number(standing.windowMs)),
    amount(standing.spent),
    amount(standing.held),
    amount(standing.limit),
    budgetUnitNames[unit],
    percent(usedOf(standing)),
    dualNano === 0 ? "0" : `${brief(dualCny(unit, dualNano))} CNY per ${budgetUnitNames[unit]}`,
    standing.isHard ? "hard" : "priced",
    returnsInMs === undefined ? "-" : span(Number(returnsInMs)),
  ];
}

/** `acme-day: 0.2 of 1 kWh in 24 h, dual price 4.5 CNY per kWh`, for a decision. */
export function budgetLine(standing: BudgetStanding): string {
  const unit = budgetUnitWords.toWord("unit", standing.unit);
  const used = brief(inUnit(unit, Number(standing.spent + standing.held)));
  const limit = brief(inUnit(unit, Number(standing.limit)));
  const dual = brief(dualCny(unit, standing.dualNano));
  const stop = standing.isHard ? "hard" : "priced";
  const window = span(Number(standing.windowMs));
  return `${standing.budgetId} (${stop}): ${used} of ${limit} ${budgetUnitNames[unit]} in ${window}, dual price ${dual} CNY per ${budgetUnitNames[unit]}`;
}

function usedOf({ spent, held, limit }: BudgetStanding): number {
  return limit === 0n ? 1 : Number(spent + held) / Number(limit);
}

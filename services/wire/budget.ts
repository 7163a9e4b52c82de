import type { MessageInitShape } from "@bufbuild/protobuf";
import type { BudgetStanding, BudgetUnit } from "../core/placement/budget.ts";
import type { TenantId } from "../core/units.ts";
import { words } from "./field.ts";
import {
  BudgetUnit as UnitValue,
  type BudgetStandingSchema,
} from "./gen/tokengrid/v1/budget_pb.js";

export const budgetUnitWords = words<BudgetUnit, UnitValue>({
  cny: UnitValue.CNY,
  kwh: UnitValue.KWH,
  gco2e: UnitValue.GRAMS_CO2E,
});

/** Amounts are whole numbers of the smallest unit. */
export function fromBudgetStanding(
  standing: BudgetStanding,
  tenant: TenantId | undefined,
): MessageInitShape<typeof BudgetStandingSchema> {
  const { id, unit, isHard, windowMs, limit, spent, held, dualNano, returns } = standing;
  const [next] = returns;
  return {
    budgetId: id,
    tenantId: tenant ?? "",
    unit: budgetUnitWords.fromWord(unit),
    isHard,
    windowMs: BigInt(windowMs),
    limit: BigInt(limit),
    spent: BigInt(spent),
    held: BigInt(held),
    dualNano,
    ...(next && { returnsInMs: BigInt(Math.ceil(next.inMs)) }),
  };
}

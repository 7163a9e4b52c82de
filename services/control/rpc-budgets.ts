import type { ServiceImpl } from "@connectrpc/connect";
import { fromBudgetStanding } from "../wire/budget.ts";
import type { BudgetService } from "../wire/gen/tokengrid/v1/budget_pb.js";
import { requireOperator } from "./caller.ts";
import type { Replica } from "./replica.ts";

/** What tenants have left, as this replica keeps it. */
export function budgetService({ dispatcher, clock }: Replica): ServiceImpl<typeof BudgetService> {
  return {
    listBudgets: ({ tenantId }, { values }) => {
      requireOperator(values);
      const reports = dispatcher.budgets
        .reports(clock.now())
        .filter(({ tenant }) => tenantId === "" || tenant === tenantId);
      return { budgets: reports.map((each) => fromBudgetStanding(each, each.tenant)) };
    },
  };
}

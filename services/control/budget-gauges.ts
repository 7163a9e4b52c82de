import { Gauge, type Registry } from "prom-client";
import type { BudgetReport } from "../core/budgets.ts";
import type { Dispatcher } from "../core/dispatcher.ts";
import { dualCny, inUnit } from "../core/placement/budget.ts";
import type { Instant } from "../core/units.ts";

/** Accounts that are shown, those with the least room first: tenants may be many. */
const SERIES_MAX = 1_000;

interface BudgetGauge {
  readonly help: string;
  readonly value: (report: BudgetReport) => number;
}

const gauges: Readonly<Record<string, BudgetGauge>> = {
  budget_limit: {
    help: "This replica's part of a tenant's rolling budget, in CNY, kWh or gCO2e as the unit says",
    value: ({ unit, limit }) => inUnit(unit, limit),
  },
  budget_spent: {
    help: "Spent in the window of a budget that ends now",
    value: ({ unit, spent }) => inUnit(unit, spent),
  },
  budget_held: {
    help: "Expected of what is under way and not settled yet",
    value: ({ unit, held }) => inUnit(unit, held),
  },
  budget_dual_price_cny: {
    help: "What spending is worth now beyond its own price, in CNY per CNY, per kWh or per gCO2e",
    value: ({ unit, dualNano }) => dualCny(unit, dualNano),
  },
};

/** Series of the accounts that are the shortest, made when somebody scrapes. */
export function openBudgetGauges({
  registry,
  dispatcher,
  now,
}: {
  readonly registry: Registry;
  readonly dispatcher: Dispatcher;
  readonly now: () => Instant;
}): void {
  const labelNames = ["budget", "tenant", "unit"] as const;
  for (const [name, { help, value }] of Object.entries(gauges)) {
    const gauge = new Gauge({
      name: `tokengrid_${name}`,
      help,
      labelNames,
      registers: [],
      collect() {
        this.reset();
        for (const report of shortest(dispatcher.budgets.reports(now()))) {
          const { id, tenant, unit } = report;
          this.set({ budget: id, tenant, unit }, value(report));
        }
      },
    });
    registry.registerMetric(gauge);
  }
}

function shortest(reports: readonly BudgetReport[]): readonly BudgetReport[] {
  if (reports.length <= SERIES_MAX) return reports;
  return reports.toSorted((a, b) => usedOf(b) - usedOf(a)).slice(0, SERIES_MAX);
}

function usedOf({ spent, held, limit }: BudgetReport): number {
  return limit === 0 ? Infinity : (spent + held) / limit;
}

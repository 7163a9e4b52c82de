import type { ModelId, TenantId } from "../units.ts";
import type { Ask, Prospect } from "./prospect.ts";
import type { ServiceClass } from "./request.ts";
import { terms } from "./terms.ts";
import { seconds } from "./wording.ts";

/** What a budget is of: what pools are paid, energy at the site, and carbon by the account of the policy. */
export const budgetUnits = ["cny", "kwh", "gco2e"] as const;

export type BudgetUnit = (typeof budgetUnits)[number];

/**
 * One row of the policy's budgets. Each tenant that it applies to has an account of its own. Amounts are whole numbers
 * of the smallest unit, so that sums are exact: nano-CNY, millijoules, micrograms.
 */
export interface Budget {
  readonly id: string;
  readonly when: BudgetCondition;
  readonly unit: BudgetUnit;
  /** Most that may be spent in any window, over all replicas. */
  readonly limit: number;
  readonly windowMs: number;
  /** What would go beyond the limit is refused. False: it is only priced. */
  readonly isHard: boolean;
  /** Most that the dual price comes to, in nano-CNY per nano-CNY, per joule or per gram. */
  readonly dualNanoMax: number;
}

/** All that are named must hold. An absent one holds always. */
export interface BudgetCondition {
  readonly tenants?: ReadonlySet<TenantId>;
  readonly classes?: ReadonlySet<ServiceClass>;
  readonly models?: ReadonlySet<ModelId>;
}

/** What spending is worth now beyond its price, at least 0 each: what the cost of a candidate is raised by. */
export interface BudgetPrices {
  readonly nanoPerNano: number;
  readonly nanoPerJoule: number;
  readonly nanoPerGram: number;
}

/** What one request spends, in the smallest units: whole numbers of at least 0. */
export interface BudgetAmounts {
  readonly nano: number;
  readonly millijoules: number;
  readonly micrograms: number;
}

/** The budgets that apply to a request as they stood when it came. */
export interface BudgetView {
  readonly prices: BudgetPrices;
  readonly standings: readonly BudgetStanding[];
}

/** One tenant's account of a budget at this replica, in the smallest unit. */
export interface BudgetStanding {
  readonly id: string;
  readonly unit: BudgetUnit;
  readonly isHard: boolean;
  readonly windowMs: number;
  /** This replica's part of the limit. */
  readonly limit: number;
  /** In the window. */
  readonly spent: number;
  /** Expected of what is under way. */
  readonly held: number;
  /** In nano-CNY per nano-CNY, per joule or per gram. */
  readonly dualNano: number;
  /** When spending leaves the window, soonest first. Empty while there is much room. */
  readonly returns: readonly Return[];
}

export interface Return {
  readonly inMs: number;
  readonly amount: number;
}

export const noPrices: BudgetPrices = { nanoPerNano: 0, nanoPerJoule: 0, nanoPerGram: 0 };

export function amountIn(unit: BudgetUnit, amounts: BudgetAmounts): number {
  if (unit === "cny") return amounts.nano;
  return unit === "kwh" ? amounts.millijoules : amounts.micrograms;
}

/** What the request would probably spend at this pool. */
export function amountsAt(at: Prospect, ask: Ask): BudgetAmounts {
  const { joules, gramsCo2 } = at.expected(ask);
  return {
    nano: whole(terms.price(at, ask)),
    millijoules: whole(joules * 1_000),
    micrograms: whole(gramsCo2 * 1_000_000),
  };
}

/** What no request spends: keeps sums exact whatever a vendor says of its pool. */
const AMOUNT_MAX = 1e14;

export function whole(amount: number): number {
  return amount <= AMOUNT_MAX ? Math.max(0, Math.round(amount)) : AMOUNT_MAX;
}

/** A hard budget that says no to so much of its unit. */
export interface BudgetRefusal {
  readonly standing: BudgetStanding;
  readonly amount: number;
  /** When it has room again by what leaves its window. Undefined: never. */
  readonly roomInMs: number | undefined;
}

/** By the first hard budget without room for the request at this pool. */
export function budgetAgainst(at: Prospect, ask: Ask): BudgetRefusal | undefined {
  const { budgets } = ask.request;
  if (budgets === undefined) return undefined;
  let amounts: BudgetAmounts | undefined;
  for (const standing of budgets.standings) {
    if (!standing.isHard) continue;
    amounts ??= amountsAt(at, ask);
    const amount = amountIn(standing.unit, amounts);
    if (amount > roomIn(standing)) {
      return { standing, amount, roomInMs: roomInMs(standing, amount) };
    }
  }
  return undefined;
}

/** Below 0 where estimates were wrong, or a limit was lowered. */
export function roomIn({ limit, spent, held }: BudgetStanding): number {
  return limit - spent - held;
}

/**
 * When the budget has room for so much by what leaves its window, if nothing more comes: a bound, as what is under way
 * may come to less. Undefined: it is more than the whole limit, and never fits.
 */
function roomInMs(standing: BudgetStanding, amount: number): number | undefined {
  if (amount > standing.limit) return undefined;
  let missing = amount - roomIn(standing);
  if (missing <= 0) return 0;
  for (const { inMs, amount: returned } of standing.returns) {
    missing -= returned;
    if (missing <= 0) return inMs;
  }
  return standing.windowMs;
}

export function askedOf({ standing: { id, unit }, amount }: BudgetRefusal): string {
  return `${amountText(unit, amount)} of budget ${id}`;
}

export function foundBy({ standing, roomInMs: inMs }: BudgetRefusal): string {
  const { unit, spent, held, limit, windowMs } = standing;
  const returns = inMs === undefined ? "never room for it" : `room in ${seconds(inMs)}`;
  return (
    `${amountText(unit, spent)} spent and ${amountText(unit, held)} under way` +
    ` of ${amountText(unit, limit)} in ${seconds(windowMs)}, ${returns}`
  );
}

/** Smallest units in it, and what dual prices are per: nano-CNY, joules or grams. */
const perUnit: Readonly<
  Record<BudgetUnit, { readonly grains: number; readonly dualUnits: number; readonly name: string }>
> = {
  cny: { grains: 1e9, dualUnits: 1e9, name: "CNY" },
  kwh: { grains: 3.6e9, dualUnits: 3.6e6, name: "kWh" },
  gco2e: { grains: 1e6, dualUnits: 1, name: "gCO2e" },
};

/** In the unit that people use: CNY, kWh or gCO2e. */
export function inUnit(unit: BudgetUnit, amount: number): number {
  return amount / perUnit[unit].grains;
}

/** A dual price in CNY per CNY, per kWh or per gCO2e. */
export function dualCny(unit: BudgetUnit, dualNano: number): number {
  return (dualNano * perUnit[unit].dualUnits) / 1e9;
}

/** `acme-day: 0.2 kWh spent, 0.01 kWh under way of 1 kWh in 86400 s, dual price 4.5 CNY per kWh`. */
export function standingText({ id, unit, spent, held, limit, windowMs, ...each }: BudgetStanding) {
  const price = Number(dualCny(unit, each.dualNano).toPrecision(4));
  return (
    `${id}: ${amountText(unit, spent)} spent, ${amountText(unit, held)} under way` +
    ` of ${amountText(unit, limit)} in ${seconds(windowMs)}, dual price ${price} CNY per ${perUnit[unit].name}`
  );
}

function amountText(unit: BudgetUnit, amount: number): string {
  return `${Number(inUnit(unit, amount).toPrecision(4))} ${perUnit[unit].name}`;
}

import { z } from "zod";
import { type Budget, type BudgetUnit } from "../core/placement/budget.ts";
import { houseClassTable, type ClassTable } from "../core/placement/class-table.ts";
import { serviceClasses } from "../core/placement/request.ts";
import type { ModelId, TenantId } from "../core/units.ts";

/** What a policy file may say of rolling budgets, and of how the class of a request is found. */

const name = z.string().min(1);
const serviceClass = z.enum(serviceClasses);

function idsOf<Id extends string>() {
  return z
    .array(name)
    .min(1)
    .transform((names): ReadonlySet<Id> => new Set(names as Id[]));
}

const msByUnit = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const windowDaysMax = 366;

const window = z
  .string()
  .regex(/^[1-9]\d{0,4}[mhd]$/, "expected a time such as 30m, 1h, 24h or 30d")
  .transform(
    (text) => Number(text.slice(0, -1)) * msByUnit[text.slice(-1) as keyof typeof msByUnit],
  )
  .refine((ms) => ms <= windowDaysMax * msByUnit.d, `expected at most ${windowDaysMax}d`)
  .meta({ pattern: "^[1-9][0-9]{0,4}[mhd]$" })
  .describe("Any time of this length, up to now: 30m, 1h, 24h or 30d.");

/** Smallest units in the unit of the file; and λmax of the house, in CNY per unit of the file. */
const units = {
  /** Paid for a yuan five times at most. */
  limitCny: { unit: "cny", grains: 1e9, perDual: 1e9, dualCnyMax: 4 },
  /** Some thirty times the price of power. */
  limitKwh: { unit: "kwh", grains: 3.6e9, perDual: 3.6e6, dualCnyMax: 20 },
  /** 50 CNY per kilogram: several hundred times the carbon price, as at that price nothing moves. */
  limitGramsCo2: { unit: "gco2e", grains: 1e6, perDual: 1, dualCnyMax: 0.05 },
} as const satisfies Record<
  string,
  {
    readonly unit: BudgetUnit;
    readonly grains: number;
    readonly perDual: number;
    readonly dualCnyMax: number;
  }
>;

const limitNames = Object.keys(units) as (keyof typeof units)[];

/** What sums of smallest units hold exactly. */
const limit = (most: number, what: string) =>
  z.number().positive().max(most).exactOptional().describe(what);

const budgetSchema = z
  .strictObject({
    id: name.describe("Of no other budget."),
    when: z
      .strictObject({
        tenants: idsOf<TenantId>().exactOptional(),
        classes: z
          .array(serviceClass)
          .min(1)
          .transform((all) => new Set(all))
          .exactOptional(),
        models: idsOf<ModelId>().exactOptional().describe("As they are served, not aliases."),
      })
      .describe(
        "Requests that count: all that are named must hold. Each tenant has its own account.",
      ),
    window,
    limitCny: limit(9_000_000, "Most that pools may be paid in any window."),
    limitKwh: limit(2_500_000, "Most energy at the sites in any window."),
    limitGramsCo2: limit(9_000_000_000, "Most carbon in any window, by the account of the policy."),
    isHard: z
      .boolean()
      .default(false)
      .describe("Refuses what would go beyond the limit; else spending is only priced."),
    dualCnyMax: z
      .number()
      .min(0)
      .max(1_000)
      .exactOptional()
      .describe("Most that spending is priced at beyond its own price: CNY per CNY, kWh or gram."),
  })
  .refine((each) => limitNames.filter((unit) => each[unit] !== undefined).length === 1, {
    message: `expected exactly one of ${limitNames.join(", ")}`,
  })
  .meta({ oneOf: limitNames.map((unit) => ({ required: [unit] })) });

/** Far more than anybody reads. */
const budgetsMax = 10_000;

export const budgetsSchema = z
  .array(budgetSchema)
  .max(budgetsMax)
  .superRefine((budgets, context) => {
    const first = new Map<string, number>();
    for (const [index, { id }] of budgets.entries()) {
      const before = first.get(id);
      if (before === undefined) first.set(id, index);
      else {
        const message = `${id} is the id of budgets[${before}] already`;
        context.addIssue({ code: "custom", path: [index, "id"], message });
      }
    }
  })
  .describe("Rolling budgets of money, energy and carbon, an account per tenant.");

export const classTableSchema = z
  .strictObject({
    serviceTiers: z.record(name, serviceClass).exactOptional().describe("By `service_tier`."),
    deadlines: z
      .array(z.strictObject({ msMax: z.number().positive(), class: serviceClass }))
      .exactOptional()
      .describe("A deadline of at most so many ms means the class."),
    tenants: z.record(name, serviceClass).exactOptional(),
    models: z.record(name, serviceClass).exactOptional().describe("By model or alias."),
    endpoints: z.record(name, serviceClass).exactOptional().describe("By path: /v1/embeddings."),
    default: serviceClass.exactOptional(),
  })
  .describe(
    "The class of a request that states none. Header, body, service tier, deadline, key, tenant, model, endpoint, " +
      "default: the first that says anything counts. What is absent is as in the house's table.",
  );

export function toBudgets(budgets: z.output<typeof budgetsSchema>): readonly Budget[] {
  return budgets.flatMap(({ id, when, window: windowMs, isHard, dualCnyMax, ...limits }) =>
    limitNames.flatMap((each): Budget[] => {
      const wanted = limits[each];
      if (wanted === undefined) return [];
      const { unit, grains, perDual, dualCnyMax: house } = units[each];
      // A dual price is nano per nano, per joule or per gram; 10^9 nano are a yuan.
      const dualNanoMax = ((dualCnyMax ?? house) * 1e9) / perDual;
      const limit = Math.round(wanted * grains);
      return [{ id, when, unit, limit, windowMs, isHard, dualNanoMax }];
    }),
  );
}

export function toClassTable(file: z.output<typeof classTableSchema>): ClassTable {
  const { serviceTiers, deadlines, tenants, models, endpoints } = file;
  return {
    serviceTiers: mapOf(serviceTiers) ?? houseClassTable.serviceTiers,
    deadlines: deadlines ?? houseClassTable.deadlines,
    tenants: mapOf<TenantId, (typeof serviceClasses)[number]>(tenants) ?? houseClassTable.tenants,
    models: mapOf(models) ?? houseClassTable.models,
    endpoints: mapOf(endpoints) ?? houseClassTable.endpoints,
    default: file.default ?? houseClassTable.default,
  };
}

function mapOf<Key extends string, Value>(
  record: Readonly<Record<string, Value>> | undefined,
): ReadonlyMap<Key, Value> | undefined {
  return record && new Map(Object.entries(record) as [Key, Value][]);
}

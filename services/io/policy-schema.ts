import { z } from "zod";
import { rowReasons } from "../core/placement/policy.ts";
import { serviceClasses } from "../core/placement/request.ts";
import type { ModelId, RegionId, RowId, TenantId, VendorId } from "../core/units.ts";
import { budgetsSchema, classTableSchema } from "./budget-schema.ts";

/** What a policy file may say. Names of fields carry the unit; their descriptions are shown by editors. */

const name = z.string().min(1);
const ratio = z.number().min(0).max(1);
const atLeast0 = z.number().min(0);
const above0 = z.number().positive();
const count = z.int().positive();

/** A list of names as a set of ids; an empty list would match nothing, which nobody means. */
function setOf<Name extends string>(each: z.ZodType<Name>) {
  return z
    .array(each)
    .min(1)
    .transform((names): ReadonlySet<Name> => new Set(names));
}

/** Branded here, where ids enter. */
function idOf<Id extends string>() {
  return name.transform((text) => text as Id);
}

const tenants = setOf(idOf<TenantId>());
const models = setOf(idOf<ModelId>());
const regions = setOf(idOf<RegionId>());
const vendors = setOf(idOf<VendorId>());
const rowIds = setOf(idOf<RowId>());

const requestCondition = z
  .strictObject({
    classes: setOf(z.enum(serviceClasses)).exactOptional().describe("Kinds of service."),
    demandAreas: setOf(name)
      .exactOptional()
      .describe("Where the demand arises, such as Yangtze River Delta."),
    dataClasses: setOf(z.enum(["general", "personal", "important", "core"]))
      .exactOptional()
      .describe("As the tenant declares it."),
    tenants: tenants.exactOptional(),
    models: models.exactOptional(),
  })
  .describe("Requests that it is about: all that are named must hold; empty: every request.");

const poolCondition = z
  .strictObject({
    policyRoles: setOf(z.enum(["demand-hub", "supply-hub"])).exactOptional(),
    sides: setOf(z.enum(["east", "west"])).exactOptional(),
    regions: regions.exactOptional(),
    regionsExcept: regions.exactOptional(),
    vendors: vendors.exactOptional(),
    vendorsExcept: vendors.exactOptional(),
    tags: setOf(name).exactOptional().describe("All of them."),
    isLocal: z.boolean().exactOptional().describe("The region serves the user's demand area."),
    isMainland: z.boolean().exactOptional(),
    admitsDataClass: z.boolean().exactOptional().describe("The pool admits the class of data."),
    meetsMlpsLevel: z
      .boolean()
      .exactOptional()
      .describe("Its 等保 level is at least what is asked."),
    oneWayMsMax: atLeast0
      .exactOptional()
      .describe("One way from the user, measured if anybody has. An unknown path is in no circle."),
    oneWayMsAbove: atLeast0.exactOptional(),
    routeFactorAbove: above0
      .exactOptional()
      .describe("Measured path over that of light in straight fibre."),
    pueAbove: z.number().min(1).exactOptional(),
  })
  .describe("Pools that match: all that are named must hold; empty: every pool.");

const deeds = ["require", "exempt", "tariff", "warn"] as const;

const head = {
  id: idOf<RowId>().describe("Of no other row or override."),
  textEn: name.describe("What it says, for people. Never call guidance a requirement."),
  textZh: name,
  basis: z.enum(["policy text", "general knowledge", "house default"]),
  sources: z.array(name).describe("Keys of `sources`."),
  when: requestCondition,
};

const rowSchema = z
  .strictObject({
    ...head,
    require: z
      .strictObject({ reason: z.enum(rowReasons), pool: poolCondition })
      .optional()
      .describe("Keeps only pools that match; `reason` is the filter it speaks through."),
    exempt: z
      .strictObject({ of: idOf<RowId>(), pool: poolCondition })
      .optional()
      .describe("Lifts the requirement `of` for pools that match."),
    tariff: z
      .strictObject({
        pool: poolCondition,
        nanoPerToken: z.number().describe("Below 0 attracts, above 0 repels. nano-CNY."),
        greenShareTarget: ratio
          .positive()
          .exactOptional()
          .describe("Scaled by the part that is missing to this green share."),
        utilisationTarget: ratio
          .positive()
          .exactOptional()
          .describe("Scaled by the part that is free below this utilisation of slots."),
      })
      .optional()
      .describe("A wish in money."),
    warn: z
      .strictObject({ pool: poolCondition })
      .optional()
      .describe("Marks, and changes nothing."),
  })
  .refine((row) => deeds.filter((deed) => row[deed] !== undefined).length === 1, {
    message: `expected exactly one of ${deeds.join(", ")}`,
  })
  .meta({ oneOf: deeds.map((deed) => ({ required: [deed] })) });

const objectiveFields = {
  ttftMsMax: above0.describe("To the first token, round trip included."),
  tpotMsMax: above0.describe("Mean per output token."),
  waitNanoPerMs: atLeast0.describe("Value of time of the whole answer, nano-CNY per ms."),
  missNano: atLeast0.describe("Cost of missing an objective once, nano-CNY."),
  slotsUsedRatioMax: ratio
    .positive()
    .describe("Part of a pool's slots in use from which on the class takes no more; default 1."),
};

const overrideSettings = {
  objectives: z
    .strictObject({
      ttftMsMax: objectiveFields.ttftMsMax.exactOptional(),
      tpotMsMax: objectiveFields.tpotMsMax.exactOptional(),
      waitNanoPerMs: objectiveFields.waitNanoPerMs.exactOptional(),
      missNano: objectiveFields.missNano.exactOptional(),
      slotsUsedRatioMax: objectiveFields.slotsUsedRatioMax.exactOptional(),
      gramsCo2Max: above0.exactOptional().describe("Most that one request may emit."),
    })
    .exactOptional()
    .describe("Of the request's class; what is not named stays."),
  carbonAccount: z.enum(["location-based", "market-based"]).exactOptional(),
  carbonNanoPerGram: atLeast0.exactOptional(),
  powerShare: ratio.exactOptional(),
  priceNanoMax: atLeast0
    .exactOptional()
    .describe("Most that the price of one request may be, nano-CNY."),
  inputNanoPerTokenMax: atLeast0
    .exactOptional()
    .describe("Most for a token of input; 1,000 is 1 CNY per million."),
  outputNanoPerTokenMax: atLeast0.exactOptional().describe("Most for a token of output."),
  vendorsAllowed: vendors.exactOptional(),
  vendorsDenied: vendors.exactOptional(),
  regionsAllowed: regions.exactOptional(),
  regionsDenied: regions.exactOptional(),
  rowsOff: rowIds.exactOptional().describe("Rows that do not hold for these requests."),
  rowsInstead: z
    .array(rowSchema)
    .min(1)
    .exactOptional()
    .describe("Each in the place of the row that has its id."),
};

const settingNames = Object.keys(overrideSettings) as (keyof typeof overrideSettings)[];

const overrideSchema = z
  .strictObject({ ...head, ...overrideSettings })
  .refine((override) => settingNames.some((setting) => override[setting] !== undefined), {
    message: `expected at least one of ${settingNames.join(", ")}`,
  })
  .meta({ anyOf: settingNames.map((setting) => ({ required: [setting] })) });

/** Shorter, a lease ends before it can be renewed; longer, a lost one holds its slot for too long. */
const leaseMsLimits = { least: 1_000, most: 600_000 } as const;

export const policySchema = z.strictObject({
  name,
  leaseMs: z
    .int()
    .min(leaseMsLimits.least)
    .max(leaseMsLimits.most)
    .describe("How long a lease lives without renewal."),
  outputTokensDefault: count.describe("Until the length of answers is learned."),
  queuedPerSlotMax: atLeast0.describe("Waiting per slot beyond which a pool takes no more."),
  kvUsedRatioMax: ratio.describe("Part of the KV cache in use beyond which it takes no more."),
  carbonAccount: z
    .enum(["location-based", "market-based"])
    .describe("One account for all candidates of a decision; both are shown."),
  carbonNanoPerGram: atLeast0.describe("Price of carbon; 80,000 is 80 CNY per tonne."),
  powerShare: ratio.describe("Part of the power bill that the operator pays."),
  congestion: z
    .strictObject({
      fullNanoPerSlotMs: atLeast0,
      fullNanoPerKvTokenMs: atLeast0,
      exponent: above0,
    })
    .describe(
      "What a slot and a token of KV cache are worth: full price × utilisation ^ exponent.",
    ),
  objectives: z
    .record(
      z.enum(serviceClasses),
      z.strictObject({
        ...objectiveFields,
        slotsUsedRatioMax: objectiveFields.slotsUsedRatioMax.optional(),
        gramsCo2Max: above0.optional().describe("Most that one request may emit."),
      }),
    )
    .describe("What each class promises, and what missing it costs."),
  engineAssumed: z
    .strictObject({
      stepBaseMs: atLeast0,
      stepMsPerSequence: atLeast0,
      stepMsPerKvToken: atLeast0,
      prefillMsPerToken: above0,
      prefillChunkTokens: count,
      kvTokensTotal: count,
      sequencesMax: count,
    })
    .describe("Said of a pool that declares no profile and of which no times are known."),
  powerAssumed: z
    .strictObject({
      accelerators: count,
      idleWatts: atLeast0,
      nominalWatts: atLeast0,
      steepness: above0,
      midpointLog2: z.number(),
      hostWatts: atLeast0,
    })
    .describe("Said of a pool that declares no power model and measures no power."),
  rows: z.array(rowSchema).describe("The decision table. All rows whose `when` holds apply."),
  overrides: z
    .array(overrideSchema)
    .exactOptional()
    .describe("Laid over the rest in order: of each setting, the last one that applies counts."),
  budgets: budgetsSchema.exactOptional(),
  classTable: classTableSchema.exactOptional(),
  sources: z
    .record(name, z.strictObject({ citation: name, url: z.url().optional() }))
    .describe("Documents that rows name by key."),
});

export type PolicyFile = z.output<typeof policySchema>;
export type RowFile = PolicyFile["rows"][number];
export type OverrideFile = NonNullable<PolicyFile["overrides"]>[number];

/** A node of a JSON Schema, as far as names are looked up in it. */
export interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
  readonly additionalProperties?: SchemaNode | boolean;
  readonly propertyNames?: { readonly enum?: readonly string[] };
}

/** The same as JSON Schema, for editors. Rules between names, such as a source that is not there, are not in it. */
export function policyJsonSchema(): Readonly<Record<string, unknown>> & SchemaNode {
  const { $schema, ...schema } = z.toJSONSchema(policySchema, { io: "input" });
  return {
    $schema,
    title: "tokengrid policy",
    ...schema,
  } as Readonly<Record<string, unknown>> & SchemaNode;
}

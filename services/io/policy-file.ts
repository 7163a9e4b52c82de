import { readFileSync } from "node:fs";
import { parseDocument } from "yaml";
import { z } from "zod";
import {
  rowReasons,
  type Policy,
  type PolicyRow,
  type RequestCondition,
  type PoolCondition,
} from "../core/placement/policy.ts";
import { serviceClasses } from "../core/placement/request.ts";
import type { RowId } from "../core/units.ts";

/** The shipped policy. */
const defaultPolicy = new URL(
  "../../deploy/policies/east-data-west-computing.yaml",
  import.meta.url,
);

/** One thing that is wrong with a policy file: where, and what was expected and found. */
export interface PolicyMistake {
  /** `rows[3].require.pool.regions[0]`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
}

export type ParsedPolicy =
  { readonly policy: Policy } | { readonly mistakes: readonly PolicyMistake[] };

/** The text of the shipped policy, comments included. */
export function defaultPolicyYaml(): string {
  return readFileSync(defaultPolicy, "utf8");
}

/** A policy, or everything that is wrong with it at once. */
export function parsePolicy(yaml: string, revision: number): ParsedPolicy {
  const document = parseDocument(yaml);
  if (document.errors.length > 0) {
    return { mistakes: document.errors.map(({ message }) => ({ path: "", message })) };
  }
  let data: unknown;
  try {
    data = document.toJS();
  } catch (error) {
    // An alias without its anchor, or aliases of aliases without end.
    if (!(error instanceof ReferenceError)) throw error;
    return { mistakes: [{ path: "", message: error.message }] };
  }
  const checked = policySchema.safeParse(data);
  const mistakes = [
    ...(checked.success ? [] : checked.error.issues.map(toMistake)),
    ...nameMistakes(data),
  ];
  if (!checked.success || mistakes.length > 0) return { mistakes };
  return { policy: toPolicy(checked.data, revision) };
}

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
    .transform((names) => new Set(names));
}

function idsOf<Id extends string>() {
  return setOf(
    z.custom<Id>((value) => typeof value === "string" && value !== "", "expected a name"),
  );
}

const requestCondition = z.strictObject({
  classes: setOf(z.enum(serviceClasses)).exactOptional(),
  demandAreas: setOf(name).exactOptional(),
  dataClasses: setOf(z.enum(["general", "personal", "important", "core"])).exactOptional(),
  tenants: idsOf<SetOf<RequestCondition["tenants"]>>().exactOptional(),
  models: idsOf<SetOf<RequestCondition["models"]>>().exactOptional(),
});

const poolCondition = z.strictObject({
  policyRoles: setOf(z.enum(["demand-hub", "supply-hub"])).exactOptional(),
  sides: setOf(z.enum(["east", "west"])).exactOptional(),
  regions: idsOf<SetOf<PoolCondition["regions"]>>().exactOptional(),
  vendors: idsOf<SetOf<PoolCondition["vendors"]>>().exactOptional(),
  tags: setOf(name).exactOptional(),
  isLocal: z.boolean().exactOptional(),
  isMainland: z.boolean().exactOptional(),
  admitsDataClass: z.boolean().exactOptional(),
  meetsMlpsLevel: z.boolean().exactOptional(),
  oneWayMsMax: atLeast0.exactOptional(),
  oneWayMsAbove: atLeast0.exactOptional(),
  routeFactorAbove: above0.exactOptional(),
  pueAbove: z.number().min(1).exactOptional(),
});

type SetOf<Wanted> = Wanted extends ReadonlySet<infer Id> ? Id & string : never;

const deeds = ["require", "exempt", "tariff", "warn"] as const;

const rowSchema = z
  .strictObject({
    id: name,
    textEn: name,
    textZh: name,
    basis: z.enum(["policy text", "general knowledge", "house default"]),
    sources: z.array(name),
    when: requestCondition,
    require: z.strictObject({ reason: z.enum(rowReasons), pool: poolCondition }).optional(),
    exempt: z.strictObject({ of: name, pool: poolCondition }).optional(),
    tariff: z
      .strictObject({
        pool: poolCondition,
        nanoPerToken: z.number(),
        greenShareTarget: ratio.positive().exactOptional(),
        utilisationTarget: ratio.positive().exactOptional(),
      })
      .optional(),
    warn: z.strictObject({ pool: poolCondition }).optional(),
  })
  .refine((row) => deeds.filter((deed) => row[deed] !== undefined).length === 1, {
    message: `expected exactly one of ${deeds.join(", ")}`,
  });

/** Shorter, a lease ends before it can be renewed; longer, a lost one holds its slot for too long. */
const leaseMsLimits = { least: 1_000, most: 600_000 } as const;

const policySchema = z.strictObject({
  name,
  leaseMs: z.int().min(leaseMsLimits.least).max(leaseMsLimits.most),
  outputTokensDefault: count,
  queuedPerSlotMax: atLeast0,
  kvUsedRatioMax: ratio,
  carbonAccount: z.enum(["location-based", "market-based"]),
  carbonNanoPerGram: atLeast0,
  powerShare: ratio,
  congestion: z.strictObject({
    fullNanoPerSlotMs: atLeast0,
    fullNanoPerKvTokenMs: atLeast0,
    exponent: above0,
  }),
  objectives: z.record(
    z.enum(serviceClasses),
    z.strictObject({
      ttftMsMax: above0,
      tpotMsMax: above0,
      waitNanoPerMs: atLeast0,
      missNano: atLeast0,
      gramsCo2Max: above0.optional(),
    }),
  ),
  engineAssumed: z.strictObject({
    stepBaseMs: atLeast0,
    stepMsPerSequence: atLeast0,
    stepMsPerKvToken: atLeast0,
    prefillMsPerToken: above0,
    prefillChunkTokens: count,
    kvTokensTotal: count,
    sequencesMax: count,
  }),
  powerAssumed: z.strictObject({
    accelerators: count,
    idleWatts: atLeast0,
    nominalWatts: atLeast0,
    steepness: above0,
    midpointLog2: z.number(),
    hostWatts: atLeast0,
  }),
  rows: z.array(rowSchema),
  sources: z.record(name, z.strictObject({ citation: name, url: z.url().optional() })),
});

type PolicyFile = z.output<typeof policySchema>;
type RowFile = PolicyFile["rows"][number];

/** As much of a file as names things, however wrong the rest of it is. */
const outlineSchema = z
  .object({
    rows: z
      .array(
        z
          .object({
            id: z.string().optional().catch(undefined),
            sources: z.array(z.unknown()).catch([]),
            require: z.unknown().optional(),
            exempt: z.object({ of: z.string() }).optional().catch(undefined),
          })
          .catch({ id: undefined, sources: [], require: undefined, exempt: undefined }),
      )
      .catch([]),
    sources: z.record(z.string(), z.unknown()).catch({}),
  })
  .catch({ rows: [], sources: {} });

/** Names that are used twice, or that nothing has. */
function nameMistakes(data: unknown): PolicyMistake[] {
  const { rows, sources } = outlineSchema.parse(data);
  const requirements = new Set(rows.filter((row) => row.require).map(({ id }) => id));
  return rows.flatMap(({ id, sources: used, exempt }, index) => {
    const first = rows.findIndex((other) => other.id === id);
    const twice = id !== undefined && first < index;
    const lost = exempt !== undefined && !requirements.has(exempt.of);
    return [
      ...(twice ? [mistake(`rows[${index}].id`, `${id} is the id of rows[${first}] already`)] : []),
      ...(lost
        ? [mistake(`rows[${index}].exempt.of`, `expected a row that requires, found ${exempt.of}`)]
        : []),
      ...used.flatMap((key, place) =>
        typeof key === "string" && !Object.hasOwn(sources, key)
          ? [mistake(`rows[${index}].sources[${place}]`, `expected a key of sources, found ${key}`)]
          : [],
      ),
    ];
  });
}

function mistake(path: string, message: string): PolicyMistake {
  return { path, message };
}

function toMistake({ path, message }: z.core.$ZodIssue): PolicyMistake {
  const parts = path.map((part, index) =>
    typeof part === "number" ? `[${part}]` : `${index > 0 ? "." : ""}${String(part)}`,
  );
  return mistake(parts.join(""), message);
}

function toPolicy({ objectives, rows, sources, ...rest }: PolicyFile, revision: number): Policy {
  const objectivesOf = (name: keyof typeof objectives) => ({
    ...objectives[name],
    gramsCo2Max: objectives[name].gramsCo2Max,
  });
  return {
    ...rest,
    revision,
    objectives: {
      "metro-realtime": objectivesOf("metro-realtime"),
      "realtime-interactive": objectivesOf("realtime-interactive"),
      "llm-interactive": objectivesOf("llm-interactive"),
      "batch-offline": objectivesOf("batch-offline"),
      archival: objectivesOf("archival"),
    },
    rows: rows.map(toRow),
    sources: Object.fromEntries(
      Object.entries(sources).map(([key, { citation, url }]) => [
        key,
        url === undefined ? citation : `${citation}; ${url}`,
      ]),
    ),
  };
}

/** The schema says that exactly one deed is there. */
function toRow({ require, exempt, tariff, warn, ...file }: RowFile): PolicyRow {
  const head = { ...file, id: file.id as RowId };
  if (require !== undefined) return { ...head, kind: "require", ...require };
  if (exempt !== undefined) {
    return { ...head, kind: "exempt", of: exempt.of as RowId, pool: exempt.pool };
  }
  if (tariff !== undefined) {
    const { pool, ...size } = tariff;
    return { ...head, kind: "tariff", pool, tariff: size };
  }
  return { ...head, kind: "warn", pool: warn?.pool ?? {} };
}

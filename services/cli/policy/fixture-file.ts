import { readdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { rowReasons } from "../../core/placement/policy.ts";
import { criticalities, serviceClasses } from "../../core/placement/request.ts";
import { terms } from "../../core/placement/terms.ts";
import { keys } from "../../core/table.ts";
import { ConfigError, readConfig } from "../../io/config.ts";
import type { Additions } from "./read-policy.ts";

/** The cases that come with the shipped policy. */
export const shippedFixtures: string = fileURLToPath(
  new URL("../../../deploy/policies/tests/", import.meta.url),
);

const name = z.string().min(1);
const names = z.array(name);
const atLeast0 = z.number().min(0);
const count = z.int().min(0);
const dataClass = z.enum(["general", "personal", "important", "core"]);

const requestFields = {
  tenant: name,
  model: name,
  class: z.enum(serviceClasses),
  criticality: z.enum(criticalities),
  origin: name,
  regions: names,
  dataClass,
  mlpsLevelMin: z.int().min(0).max(5),
  vendorsAllowed: names,
  vendorsDenied: names,
  excluded: names,
  inputTokens: count,
  outputTokensExpected: count,
  outputTokensMax: count,
  deadlineMs: count,
  priceNanoMax: atLeast0,
};

const requestSchema = z.strictObject(requestFields).partial();

/** What is different at a pool, from the fleet's own file and an idle engine. */
const poolSchema = z
  .strictObject({
    /** Measured from the request's origin; null: nobody knows the path. */
    oneWayMs: atLeast0.nullable(),
    status: z.enum(["ready", "cordoned", "draining"]),
    vendor: name,
    isMainland: z.boolean(),
    tags: names,
    dataClasses: z.array(dataClass),
    mlpsLevel: z.int().min(1).max(5),
    /** Null: not known. */
    greenShare: z.number().min(0).max(1).nullable(),
    pue: z.number().min(1),
    /** Of the request's model: in the engine, waiting there, and slots leased. */
    running: count,
    waiting: count,
    leased: count,
    kvUsedRatio: z.number().min(0).max(1),
    inputNanoPerToken: atLeast0,
    outputNanoPerToken: atLeast0,
  })
  .partial();

const rejectionSchema = z
  .strictObject({
    reason: z.enum([
      ...rowReasons,
      "price-cap",
      "carbon-cap",
      "no-capacity",
      "not-ready",
      "budget",
    ]),
    row: name,
    basis: name,
  })
  .partial();

const expectationSchema = z
  .strictObject({
    /** The pool, or one of several. */
    pool: z.union([name, names.min(1)]),
    unplaceable: name,
    /** The row that the decision is filed under, and its basis. */
    row: name,
    basis: name,
    /** Rows that apply, among others. */
    applies: names,
    /** All overrides that apply, in order. */
    overrides: names,
    /** All candidates. */
    fit: names,
    rejected: z.record(name, rejectionSchema),
    /** Cheapest first; others may stand between them. */
    order: names,
    /** Rows that give a pool a preference, and which way. */
    prefers: z.record(name, z.record(name, z.enum(["attracts", "repels", "nothing"]))),
    /** All rows that mark the pool. */
    warns: z.record(name, names),
    /** All rows that let the pool in. */
    admits: z.record(name, names),
    costNanoMax: atLeast0,
    /** Of the chosen pool's bill. */
    termsNanoMax: z.partialRecord(z.enum(keys(terms)), z.number()),
  })
  .partial();

const caseSchema = z.strictObject({
  name,
  /** Local time says which prices hold. */
  at: z.iso.datetime({ offset: true }).optional(),
  request: requestSchema.default({}),
  /** Pools that there are; all of the fleet if not given. */
  among: names.optional(),
  pools: z.record(name, poolSchema).default({}),
  expect: expectationSchema.optional(),
});

const fixtureSchema = z.strictObject({
  /** Beside the file; the shipped policy if not given. */
  policy: name.optional(),
  /** Laid on the policy: what it would be with them. */
  with: z
    .strictObject({ rows: z.array(z.unknown()), overrides: z.array(z.unknown()) })
    .partial()
    .optional(),
  /** `preset`, or a fleet file beside the file. */
  fleet: name.default("preset"),
  /** Said of every request that does not say it itself. */
  request: requestSchema.default({}),
  cases: z.array(caseSchema).min(1),
});

export type FixtureRequest = z.output<typeof requestSchema>;
export type PoolChange = z.output<typeof poolSchema>;
export type Expectation = z.output<typeof expectationSchema>;
export type FixtureCase = z.output<typeof caseSchema>;

/** Cases of one file, with paths that lead from anywhere. */
export interface Fixture {
  readonly file: string;
  readonly policyPath: string | undefined;
  readonly additions: Additions | undefined;
  readonly fleetPath: string | undefined;
  readonly request: FixtureRequest;
  readonly cases: readonly FixtureCase[];
}

/** A file, or all YAML files right in a folder, by name. Throws `ConfigError` with every mistake of the first bad one. */
export function loadFixtures(path: string): readonly Fixture[] {
  if (!statSync(path).isDirectory()) return [loadFixture(path)];
  const files = readdirSync(path)
    .filter((file) => /\.ya?ml$/.test(file))
    .toSorted();
  if (files.length === 0) throw new ConfigError(path, ["expected files of cases, found none"]);
  return files.map((file) => loadFixture(join(path, file)));
}

function loadFixture(file: string): Fixture {
  const { policy, fleet, request, cases, with: additions } = readConfig(file, fixtureSchema);
  const beside = (path: string): string => resolve(dirname(file), path);
  const seen = new Set<string>();
  const twice = cases.filter((each) => seen.size === seen.add(each.name).size);
  if (twice.length > 0) {
    throw new ConfigError(
      file,
      twice.map((each) => `cases: two are called ${each.name}`),
    );
  }
  return {
    file,
    policyPath: policy === undefined ? undefined : beside(policy),
    additions,
    fleetPath: fleet === "preset" ? undefined : beside(fleet),
    request,
    cases,
  };
}

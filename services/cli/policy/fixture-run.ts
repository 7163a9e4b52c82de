import { decide, type Candidate, type Decision } from "../../core/placement/decide.ts";
import { ranked } from "../../core/placement/explain.ts";
import type { Policy } from "../../core/placement/policy.ts";
import { keys } from "../../core/table.ts";
import type { Expectation, Fixture } from "./fixture-file.ts";
import { Fleets } from "./fixture-fleet.ts";

/** What one case came to. */
export interface CaseResult {
  readonly file: string;
  readonly name: string;
  /** Empty: it passed. */
  readonly differences: readonly Difference[];
}

export interface Difference {
  readonly what: string;
  readonly expected: string;
  readonly found: string;
}

export interface FixtureRun {
  readonly cases: readonly CaseResult[];
  /** Rows and overrides of the policies that showed in no decision. */
  readonly unseen: readonly string[];
}

/** Runs every case that expects something; `policyFor` gives the policy that a file is run under. */
export function runFixtures(
  fixtures: readonly Fixture[],
  policyFor: (fixture: Fixture) => Policy,
): FixtureRun {
  const fleets = new Fleets();
  const policies = new Set<Policy>();
  const seen = new Set<string>();
  const cases = fixtures.flatMap((fixture) => {
    const policy = policyFor(fixture);
    policies.add(policy);
    return fixture.cases.flatMap((each): CaseResult[] => {
      if (each.expect === undefined) return [];
      const { request, snapshot } = fleets.questionOf(fixture, each, policy);
      const decision = decide(request, snapshot, policy);
      for (const id of shownIn(decision)) seen.add(id);
      const differences = differencesOf(each.expect, decision);
      return [{ file: fixture.file, name: each.name, differences }];
    });
  });
  const all = [...policies].flatMap(({ rows, overrides = [] }) => [...rows, ...overrides]);
  return { cases, unseen: [...new Set(all.map(({ id }) => id))].filter((id) => !seen.has(id)) };
}

/** Rows and overrides that had something to do with how it came out. */
function shownIn(decision: Decision): string[] {
  const { policyRow, overrides, rejections, candidates } = decision;
  return [
    ...(policyRow === undefined ? [] : [policyRow.id]),
    ...overrides.map(({ id }) => id),
    ...rejections.flatMap(({ row }) => row ?? []),
    ...candidates.flatMap(({ tariffs, warnings, exemptions }) => [
      ...tariffs.map(({ row }) => row),
      ...warnings,
      ...exemptions,
    ]),
  ];
}

type Check<Wanted> = (wanted: Wanted, decision: Decision) => Difference[];

type Wanted = { [Name in keyof Expectation]-?: NonNullable<Expectation[Name]> };

const checks: { readonly [Name in keyof Wanted]: Check<Wanted[Name]> } = {
  pool: (wanted, decision) => {
    const found = decision.kind === "placed" ? decision.pool : `none: ${decision.reason}`;
    const isOne = [wanted].flat().includes(found);
    return isOne ? [] : [difference("pool", [wanted].flat().join(" or "), found)];
  },
  unplaceable: (wanted, decision) =>
    same("outcome", wanted, decision.kind === "unplaceable" ? decision.reason : decision.pool),
  row: (wanted, { policyRow }) => same("row", wanted, policyRow?.id ?? "none"),
  basis: (wanted, { policyRow }) => same("basis", wanted, policyRow?.basis ?? "none"),
  applies: (wanted, { policyRows }) => {
    const found: readonly string[] = policyRows.map(({ id }) => id);
    const isAll = wanted.every((id) => found.includes(id));
    return isAll ? [] : [difference("rows that apply", listed(wanted), listed(found))];
  },
  overrides: (wanted, { overrides }) =>
    same("overrides", listed(wanted), listed(overrides.map(({ id }) => id))),
  fit: (wanted, { candidates }) =>
    same(
      "fit",
      listed(wanted.toSorted()),
      listed(candidates.map(({ pool }): string => pool).toSorted()),
    ),
  rejected: (wanted, decision) =>
    entriesOf(wanted).flatMap(([pool, { reason, row, basis }]) => {
      const out = decision.rejections.find((each) => each.pool === pool);
      if (out === undefined) return [difference(`${pool} is out`, reason ?? "yes", "it is fit")];
      return [
        ...(reason === undefined ? [] : same(`${pool} is out by`, reason, out.reason)),
        ...(row === undefined ? [] : same(`${pool} is out by row`, row, out.row ?? "none")),
        ...(basis === undefined ? [] : same(`${pool} is out on`, basis, out.basis ?? "none")),
      ];
    }),
  order: (wanted, decision) => {
    const found = ranked(decision).map(({ pool }): string => pool);
    return same("order", listed(wanted), listed(found.filter((pool) => wanted.includes(pool))));
  },
  prefers: (wanted, decision) =>
    entriesOf(wanted).flatMap(([pool, byRow]) =>
      entriesOf(byRow).flatMap(([row, way]) =>
        same(
          `row ${row} at ${pool}`,
          way,
          ofCandidate(pool, decision, (at) => wayOf(at, row)),
        ),
      ),
    ),
  warns: (wanted, decision) =>
    entriesOf(wanted).flatMap(([pool, rows]) =>
      same(
        `${pool} is marked by`,
        listed(rows),
        ofCandidate(pool, decision, ({ warnings }) => listed(warnings)),
      ),
    ),
  admits: (wanted, decision) =>
    entriesOf(wanted).flatMap(([pool, rows]) =>
      same(
        `${pool} is admitted by`,
        listed(rows),
        ofCandidate(pool, decision, ({ exemptions }) => listed(exemptions)),
      ),
    ),
  costNanoMax: (wanted, decision) => atMost("cost", wanted, chosenOf(decision)?.costNano),
  termsNanoMax: (wanted, decision) =>
    entriesOf(wanted).flatMap(([term, nano]) =>
      atMost(term, nano, chosenOf(decision)?.terms[term]),
    ),
};

function differencesOf(expected: Expectation, decision: Decision): Difference[] {
  return keys(checks).flatMap((name) => check(name, expected, decision));
}

function check<Name extends keyof Wanted>(
  name: Name,
  expected: { readonly [Each in Name]?: Wanted[Each] | undefined },
  decision: Decision,
): Difference[] {
  const wanted: Wanted[Name] | undefined = expected[name];
  return wanted === undefined ? [] : checks[name](wanted, decision);
}

function wayOf({ tariffs }: Candidate, row: string): string {
  const costNano = tariffs.find((each) => each.row === row)?.costNano ?? 0;
  if (costNano === 0) return "nothing";
  return costNano < 0 ? "attracts" : "repels";
}

function ofCandidate(
  pool: string,
  { candidates, rejections }: Decision,
  what: (candidate: Candidate) => string,
): string {
  const candidate = candidates.find((each) => each.pool === pool);
  if (candidate !== undefined) return what(candidate);
  const out = rejections.find((each) => each.pool === pool);
  return out === undefined ? "there is no such pool" : `it is out: ${out.reason}: ${out.detail}`;
}

function chosenOf(decision: Decision): Candidate | undefined {
  return decision.kind === "placed" ? decision.chosen : undefined;
}

function atMost(what: string, nanoMax: number, found: number | undefined): Difference[] {
  if (found === undefined) return [difference(what, `at most ${nanoMax} nano`, "no pool")];
  return found <= nanoMax ? [] : [difference(what, `at most ${nanoMax} nano`, `${found} nano`)];
}

function same(what: string, expected: string, found: string): Difference[] {
  return expected === found ? [] : [difference(what, expected, found)];
}

function difference(what: string, expected: string, found: string): Difference {
  return { what, expected, found };
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "nothing" : names.join(" ");
}

function entriesOf<Key extends string, Value>(
  table: Readonly<Partial<Record<Key, Value>>>,
): [Key, Value][] {
  return Object.entries(table) as [Key, Value][];
}

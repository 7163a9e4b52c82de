import type {
  Policy,
  PolicyOverride,
  PolicyRow,
  PoolCondition,
  RequestCondition,
} from "../core/placement/policy.ts";
import { meant, type Finding } from "./policy-mistakes.ts";
import { unusedSources } from "./policy-names.ts";

/** Names that exist, as far as somebody knows them. An absent kind is not looked at. */
export interface PolicyWorld {
  readonly regions?: ReadonlySet<string>;
  readonly demandAreas?: ReadonlySet<string>;
  readonly vendors?: ReadonlySet<string>;
  readonly models?: ReadonlySet<string>;
  readonly tags?: ReadonlySet<string>;
}

interface Placed<Value> {
  readonly path: readonly PropertyKey[];
  readonly value: Value;
}

/** What a policy without mistakes says in vain. */
export function warningsOf(policy: Policy, data: unknown, world: PolicyWorld): Finding[] {
  const overrides = (policy.overrides ?? []).map((value, index) => ({
    path: ["overrides", index],
    value,
  }));
  const rows = policy.rows.map((value, index) => ({ path: ["rows", index], value }));
  const instead = overrides.flatMap(({ path, value }) =>
    (value.rowsInstead ?? []).map((row, index) => ({
      path: [...path, "rowsInstead", index],
      value: row,
    })),
  );
  return [
    ...[...rows, ...instead].flatMap((row) => [...neverMatching(row), ...strangers(row, world)]),
    ...overrides.flatMap((override) => strangersInOverride(override, world)),
    ...shadowedRows(rows),
    ...idleExemptions(rows),
    ...overrides.flatMap((override) => idleOverride(override, rows)),
    ...shadowedOverrides(overrides),
    ...unusedSources(data).map((key) => ({
      path: ["sources", key],
      message: `no row names the source ${key}`,
      isKey: true,
    })),
  ];
}

/** Conditions that contradict themselves. */
function neverMatching({ path, value: { kind, pool } }: Placed<PolicyRow>): Finding[] {
  const { oneWayMsMax, oneWayMsAbove, regions, regionsExcept, vendors, vendorsExcept } = pool;
  const isEmpty =
    (oneWayMsMax !== undefined && oneWayMsAbove !== undefined && oneWayMsMax <= oneWayMsAbove) ||
    (regions?.isSubsetOf(regionsExcept ?? new Set()) ?? false) ||
    (vendors?.isSubsetOf(vendorsExcept ?? new Set()) ?? false);
  const effect = kind === "require" ? "every pool is out" : "the row does nothing";
  return isEmpty
    ? [{ path: [...path, kind, "pool"], message: `no pool can match: ${effect}` }]
    : [];
}

/** A requirement that an earlier one makes already, at least as strictly; the same for exemptions. */
function shadowedRows(rows: readonly Placed<PolicyRow>[]): Finding[] {
  const lifted = new Set(rows.flatMap(({ value }) => (value.kind === "exempt" ? [value.of] : [])));
  return rows.flatMap(({ path, value: row }, index) => {
    const by = rows.slice(0, index).find(({ value: earlier }) => {
      if (!isWithin(row.when, earlier.when)) return false;
      if (row.kind === "require" && earlier.kind === "require") {
        const isSame = row.reason === earlier.reason && !lifted.has(earlier.id);
        return isSame && implies(earlier.pool, row.pool);
      }
      return (
        row.kind === "exempt" &&
        earlier.kind === "exempt" &&
        row.of === earlier.of &&
        implies(row.pool, earlier.pool)
      );
    });
    if (by === undefined) return [];
    return [{ path: [...path, "id"], message: `${by.value.id} comes before and says as much` }];
  });
}

function idleExemptions(rows: readonly Placed<PolicyRow>[]): Finding[] {
  return rows.flatMap(({ path, value: row }) => {
    if (row.kind !== "exempt") return [];
    const from = rows.find(({ value }) => value.id === row.of);
    if (from === undefined || canMeet(row.when, from.value.when)) return [];
    return [
      { path: [...path, "when"], message: `no request that ${row.of} is about: it lifts nothing` },
    ];
  });
}

/** Rows that are taken out or exchanged where they do not hold anyway. */
function idleOverride(
  { path, value: override }: Placed<PolicyOverride>,
  rows: readonly Placed<PolicyRow>[],
): Finding[] {
  return [...(override.rowsOff ?? [])].flatMap((id, place) => {
    const row = rows.find(({ value }) => value.id === id);
    if (row === undefined || canMeet(override.when, row.value.when)) return [];
    const message = `${id} is about none of these requests: it is off already`;
    return [{ path: [...path, "rowsOff", place], message }];
  });
}

/** All that it sets is set again by one that comes later. */
function shadowedOverrides(overrides: readonly Placed<PolicyOverride>[]): Finding[] {
  return overrides.flatMap(({ path, value: override }, index) => {
    const names = settingKeys(override);
    const by = overrides
      .slice(index + 1)
      .find(
        ({ value: later }) =>
          isWithin(override.when, later.when) && names.isSubsetOf(settingKeys(later)),
      );
    if (by === undefined || names.has("rowsOff") || names.has("rowsInstead")) return [];
    const message = `${by.value.id} comes later and sets all of it again: it never counts`;
    return [{ path: [...path, "id"], message }];
  });
}

function settingKeys(override: PolicyOverride): ReadonlySet<string> {
  const { id: _id, textEn: _en, textZh: _zh, basis: _basis, sources: _sources, ...rest } = override;
  const { when: _when, objectives = {}, ...settings } = rest;
  return new Set([...Object.keys(settings), ...Object.keys(objectives)]);
}

/** Every request of the first is one of the second. */
function isWithin(first: RequestCondition, second: RequestCondition): boolean {
  return requestKeys.every((key) => {
    const wanted: ReadonlySet<string> | undefined = second[key];
    return wanted === undefined || (first[key]?.isSubsetOf(wanted) ?? false);
  });
}

/** There may be a request of both. */
function canMeet(first: RequestCondition, second: RequestCondition): boolean {
  return requestKeys.every((key) => {
    const [a, b]: (ReadonlySet<string> | undefined)[] = [first[key], second[key]];
    return a === undefined || b === undefined || !a.isDisjointFrom(b);
  });
}

const requestKeys = ["classes", "demandAreas", "dataClasses", "tenants", "models"] as const;

/** Every pool that matches the first matches the second. */
function implies(first: PoolCondition, second: PoolCondition): boolean {
  const isLess = (key: "policyRoles" | "sides" | "regions" | "vendors"): boolean => {
    const wanted: ReadonlySet<string> | undefined = second[key];
    return wanted === undefined || (first[key]?.isSubsetOf(wanted) ?? false);
  };
  const isMore = (key: "tags" | "regionsExcept" | "vendorsExcept"): boolean => {
    const wanted: ReadonlySet<string> | undefined = second[key];
    return wanted === undefined || wanted.isSubsetOf(first[key] ?? new Set());
  };
  const isSame = (key: (typeof saidKeys)[number]): boolean =>
    second[key] === undefined || second[key] === first[key];
  const isAbove = (key: "oneWayMsAbove" | "routeFactorAbove" | "pueAbove"): boolean =>
    second[key] === undefined || (first[key] ?? -Infinity) >= second[key];
  return (
    (["policyRoles", "sides", "regions", "vendors"] as const).every(isLess) &&
    (["tags", "regionsExcept", "vendorsExcept"] as const).every(isMore) &&
    saidKeys.every(isSame) &&
    (["oneWayMsAbove", "routeFactorAbove", "pueAbove"] as const).every(isAbove) &&
    (second.oneWayMsMax === undefined || (first.oneWayMsMax ?? Infinity) <= second.oneWayMsMax)
  );
}

const saidKeys = ["isLocal", "isMainland", "admitsDataClass", "meetsMlpsLevel"] as const;

function strangers({ path, value: row }: Placed<PolicyRow>, world: PolicyWorld): Finding[] {
  const { regions, regionsExcept, vendors, vendorsExcept, tags } = row.pool;
  const poolPath = [...path, row.kind, "pool"];
  return [
    ...strangersInWhen(row.when, [...path, "when"], world),
    ...unknownIn(regions, world.regions, [...poolPath, "regions"]),
    ...unknownIn(regionsExcept, world.regions, [...poolPath, "regionsExcept"]),
    ...unknownIn(vendors, world.vendors, [...poolPath, "vendors"]),
    ...unknownIn(vendorsExcept, world.vendors, [...poolPath, "vendorsExcept"]),
    ...unknownIn(tags, world.tags, [...poolPath, "tags"]),
  ];
}

function strangersInOverride(
  { path, value }: Placed<PolicyOverride>,
  world: PolicyWorld,
): Finding[] {
  return [
    ...strangersInWhen(value.when, [...path, "when"], world),
    ...unknownIn(value.regionsAllowed, world.regions, [...path, "regionsAllowed"]),
    ...unknownIn(value.regionsDenied, world.regions, [...path, "regionsDenied"]),
    ...unknownIn(value.vendorsAllowed, world.vendors, [...path, "vendorsAllowed"]),
    ...unknownIn(value.vendorsDenied, world.vendors, [...path, "vendorsDenied"]),
  ];
}

function strangersInWhen(
  { demandAreas, models }: RequestCondition,
  path: readonly PropertyKey[],
  world: PolicyWorld,
): Finding[] {
  return [
    ...unknownIn(demandAreas, world.demandAreas, [...path, "demandAreas"]),
    ...unknownIn(models, world.models, [...path, "models"]),
  ];
}

/** Names that nobody has. It may be that somebody will: that is why it is no mistake. */
function unknownIn(
  names: ReadonlySet<string> | undefined,
  known: ReadonlySet<string> | undefined,
  path: readonly PropertyKey[],
): Finding[] {
  if (names === undefined || known === undefined) return [];
  return [...names].flatMap((name, place) =>
    known.has(name)
      ? []
      : [
          {
            path: [...path, place],
            message: `nothing here is called ${name}${meant(name, known)}`,
          },
        ],
  );
}

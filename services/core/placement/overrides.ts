import type { RowId } from "../units.ts";
import type {
  Objectives,
  Policy,
  PolicyOverride,
  PolicyRow,
  PoolCondition,
  RowReason,
} from "./policy.ts";
import type { PlacementRequest } from "./request.ts";

/** A policy as it is for the requests that the same overrides name. */
export interface Overridden {
  /** The policy itself where no override applies. */
  readonly policy: Policy;
  /** Those that apply, in order. */
  readonly overrides: readonly PolicyOverride[];
  readonly caps: PriceCaps;
}

/** Limits of the policy on what a pool may ask. An absent one is no limit. */
export interface PriceCaps {
  readonly request?: PriceCap;
  readonly inputToken?: PriceCap;
  readonly outputToken?: PriceCap;
}

export interface PriceCap {
  readonly nanoMax: number;
  readonly by: PolicyOverride;
}

/** The one value of them, so that a comparison tells. */
export const NO_CAPS: PriceCaps = {};

/** In the order of the file: of each setting the last override that names it counts. */
export function overridden(
  policy: Policy,
  serviceClass: PlacementRequest["class"],
  overrides: readonly PolicyOverride[],
): Overridden {
  if (overrides.length === 0) return { policy, overrides, caps: NO_CAPS };
  const {
    carbonAccount = policy.carbonAccount,
    carbonNanoPerGram = policy.carbonNanoPerGram,
    powerShare = policy.powerShare,
  } = lastOf(overrides);
  const objectives = objectivesUnder(policy.objectives[serviceClass], overrides);
  return {
    policy: {
      ...policy,
      carbonAccount,
      carbonNanoPerGram,
      powerShare,
      objectives: { ...policy.objectives, [serviceClass]: objectives },
      rows: [...rowsUnder(policy.rows, overrides), ...limitsOf(overrides)],
    },
    overrides,
    caps: capsOf(overrides),
  };
}

/** What an override sets, by name and as it would stand in a file: `rowsOff W4`. */
export function settingsOf({
  objectives = {},
  rowsOff = new Set(),
  rowsInstead = [],
  ...override
}: Partial<PolicyOverride>): string[] {
  const set = settingNames.flatMap((name) => {
    const value = override[name];
    if (value === undefined) return [];
    return [`${name} ${typeof value === "object" ? [...value].join(" ") : value}`];
  });
  return [
    ...Object.entries(objectives).map(([name, value]) => `${name} ${value}`),
    ...set,
    ...(rowsOff.size > 0 ? [`rowsOff ${[...rowsOff].join(" ")}`] : []),
    ...(rowsInstead.length > 0 ? [`rowsInstead ${rowsInstead.map(({ id }) => id).join(" ")}`] : []),
  ];
}

const settingNames = [
  "carbonAccount",
  "carbonNanoPerGram",
  "powerShare",
  "priceNanoMax",
  "inputNanoPerTokenMax",
  "outputNanoPerTokenMax",
  "vendorsAllowed",
  "vendorsDenied",
  "regionsAllowed",
  "regionsDenied",
] as const;

function lastOf(overrides: readonly PolicyOverride[]): Partial<PolicyOverride> {
  return overrides.reduce<Partial<PolicyOverride>>((all, each) => ({ ...all, ...each }), {});
}

/** Setting by setting, later wins. */
export function objectivesUnder(
  start: Objectives,
  overrides: readonly PolicyOverride[],
): Objectives {
  return overrides.reduce((all, { objectives }) => ({ ...all, ...objectives }), start);
}

/** The table with rows taken out, put back or exchanged, each at its place. */
function rowsUnder(
  rows: readonly PolicyRow[],
  overrides: readonly PolicyOverride[],
): readonly PolicyRow[] {
  const changed = new Map<RowId, PolicyRow | undefined>();
  for (const { rowsOff = [], rowsInstead = [] } of overrides) {
    for (const id of rowsOff) changed.set(id, undefined);
    for (const row of rowsInstead) changed.set(row.id, row);
  }
  if (changed.size === 0) return rows;
  return rows.flatMap((row) => {
    const now = changed.has(row.id) ? changed.get(row.id) : row;
    return now === undefined ? [] : [now];
  });
}

type Limit = (by: PolicyOverride) => PoolCondition | undefined;

/** Who may serve, as conditions on a pool. */
const limits: readonly (readonly [RowReason, Limit])[] = [
  ["region-not-allowed", ({ regionsAllowed: regions }) => regions && { regions }],
  ["region-not-allowed", ({ regionsDenied: regionsExcept }) => regionsExcept && { regionsExcept }],
  ["vendor-not-allowed", ({ vendorsAllowed: vendors }) => vendors && { vendors }],
  ["vendor-not-allowed", ({ vendorsDenied: vendorsExcept }) => vendorsExcept && { vendorsExcept }],
];

/** No row exempts from them: an exemption names a row of the table. */
function limitsOf(overrides: readonly PolicyOverride[]): PolicyRow[] {
  return limits.flatMap(([reason, limit]) => {
    const by = overrides.findLast((each) => limit(each) !== undefined);
    const pool = by && limit(by);
    if (by === undefined || pool === undefined) return [];
    const { id, textEn, textZh, basis, sources } = by;
    return [{ id, textEn, textZh, basis, sources, when: {}, kind: "require", reason, pool }];
  });
}

function capsOf(overrides: readonly PolicyOverride[]): PriceCaps {
  const cap = (
    name: "priceNanoMax" | "inputNanoPerTokenMax" | "outputNanoPerTokenMax",
  ): PriceCap | undefined => {
    const by = overrides.findLast((each) => each[name] !== undefined);
    const nanoMax = by?.[name];
    return by === undefined || nanoMax === undefined ? undefined : { nanoMax, by };
  };
  const request = cap("priceNanoMax");
  const inputToken = cap("inputNanoPerTokenMax");
  const outputToken = cap("outputNanoPerTokenMax");
  if ((request ?? inputToken ?? outputToken) === undefined) return NO_CAPS;
  return {
    ...(request && { request }),
    ...(inputToken && { inputToken }),
    ...(outputToken && { outputToken }),
  };
}

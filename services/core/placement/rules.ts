import { oneWayMsFrom, routeFactor } from "../network.ts";
import { pueOf } from "../energy.ts";
import type { Pool } from "../pool.ts";
import type { Origin } from "../region.ts";
import type { RowId } from "../units.ts";
import { overridden, type PriceCaps } from "./overrides.ts";
import type {
  Policy,
  PolicyOverride,
  PolicyRow,
  PoolCondition,
  RequestCondition,
  RowReason,
} from "./policy.ts";
import type { PlacementRequest } from "./request.ts";

type RowOf<Kind extends PolicyRow["kind"]> = PolicyRow & { readonly kind: Kind };

/** What of a policy applies to a request: overrides, and rows by what they do. */
export interface Rules {
  /** With its overrides laid over it; the policy itself if none applies. */
  readonly policy: Policy;
  readonly overrides: readonly PolicyOverride[];
  readonly caps: PriceCaps;
  /** All that apply, in order. */
  readonly rows: readonly PolicyRow[];
  readonly filedUnder: PolicyRow | undefined;
  readonly requirements: readonly RowOf<"require">[];
  readonly exemptions: readonly RowOf<"exempt">[];
  readonly tariffs: readonly RowOf<"tariff">[];
  readonly warnings: readonly RowOf<"warn">[];
}

/** The rows that speak of one pool, for all requests of a kind. */
export interface RowsAt {
  readonly tariffs: readonly RowOf<"tariff">[];
  readonly warnings: readonly RowId[];
  /** Those without which the pool would be out. */
  readonly exemptions: readonly RowId[];
}

/** Who asks, and from where: what rows look at. */
export interface Asker {
  readonly request: PlacementRequest;
  /** Undefined: the map does not know the place. */
  readonly origin: Origin | undefined;
}

export function rulesFor(asSet: Policy, asker: Asker): Rules {
  const overrides = asSet.overrides?.filter(({ when }) => applies(when, asker)) ?? [];
  const { policy, caps } = overridden(asSet, asker.request.class, overrides);
  const rows = policy.rows.filter((row) => applies(row.when, asker));
  return {
    policy,
    overrides,
    caps,
    rows,
    filedUnder: rows.find((row) => row.when.classes !== undefined),
    requirements: rows.filter((row) => row.kind === "require"),
    exemptions: rows.filter((row) => row.kind === "exempt"),
    tariffs: rows.filter((row) => row.kind === "tariff"),
    warnings: rows.filter((row) => row.kind === "warn"),
  };
}

/** All that are named must hold: a place that the map does not know is in no demand area. */
export function applies(when: RequestCondition, { request, origin }: Asker): boolean {
  return (
    (when.classes?.has(request.class) ?? true) &&
    (when.dataClasses?.has(request.dataClass) ?? true) &&
    (when.tenants?.has(request.tenant) ?? true) &&
    (when.models?.has(request.model) ?? true) &&
    (when.demandAreas === undefined ||
      (origin !== undefined && when.demandAreas.has(origin.demandArea)))
  );
}

/** The first row that speaks through this filter, is not met by the pool, and is not lifted for it. */
export function rowAgainst(
  pool: Pool,
  asker: Asker & { readonly rules: Rules },
  reason: RowReason,
): RowOf<"require"> | undefined {
  return asker.rules.requirements.find(
    (row) =>
      row.reason === reason && !matches(row.pool, pool, asker) && !isLifted(row.id, pool, asker),
  );
}

function isLifted(row: RowId, pool: Pool, asker: Asker & { readonly rules: Rules }): boolean {
  return asker.rules.exemptions.some((each) => each.of === row && matches(each.pool, pool, asker));
}

/** Good for every pool of the same facts: see `hasSameFacts`. */
export function rowsAt(pool: Pool, asker: Asker & { readonly rules: Rules }): RowsAt {
  const { requirements, exemptions, tariffs, warnings } = asker.rules;
  const areLifting = exemptions.filter(
    ({ of, pool: wanted }) =>
      matches(wanted, pool, asker) &&
      requirements.some((row) => row.id === of && !matches(row.pool, pool, asker)),
  );
  return {
    tariffs: tariffs.filter((row) => matches(row.pool, pool, asker)),
    warnings: warnings.filter((row) => matches(row.pool, pool, asker)).map(({ id }) => id),
    exemptions: areLifting.map(({ id }) => id),
  };
}

/** All that a filter of a kind or a row of the policy looks at, besides the pool's id. */
export function hasSameFacts(a: Pool, b: Pool): boolean {
  return (
    a.id === b.id &&
    a.roundTripMsFrom === b.roundTripMsFrom &&
    a.region === b.region &&
    a.vendor === b.vendor &&
    a.tags === b.tags &&
    a.dataClasses === b.dataClasses &&
    a.mlpsLevel === b.mlpsLevel &&
    a.pue?.value === b.pue?.value
  );
}

/** All that are named must hold. An unknown path is neither short nor long. */
export function matches(wanted: PoolCondition, pool: Pool, asker: Asker): boolean {
  const { region } = pool;
  return (
    (wanted.policyRoles?.has(region.policyRole) ?? true) &&
    (wanted.sides?.has(region.side) ?? true) &&
    (wanted.regions?.has(region.id) ?? true) &&
    !(wanted.regionsExcept?.has(region.id) ?? false) &&
    (wanted.vendors?.has(pool.vendor) ?? true) &&
    !(wanted.vendorsExcept?.has(pool.vendor) ?? false) &&
    (wanted.tags?.isSubsetOf(pool.tags) ?? true) &&
    (wanted.isLocal ?? isLocal(pool, asker)) === isLocal(pool, asker) &&
    (wanted.isMainland ?? region.isMainland) === region.isMainland &&
    (wanted.pueAbove === undefined || pueOf(pool) > wanted.pueAbove) &&
    matchesRequest(wanted, pool, asker) &&
    matchesPath(wanted, pool, asker)
  );
}

function matchesRequest(wanted: PoolCondition, pool: Pool, { request }: Asker): boolean {
  const { admitsDataClass: admits, meetsMlpsLevel: meets } = wanted;
  return (
    (admits === undefined || admits === admitsDataClass(pool, request)) &&
    (meets === undefined || meets === meetsMlpsLevel(pool, request))
  );
}

function matchesPath(wanted: PoolCondition, pool: Pool, asker: Asker): boolean {
  const { oneWayMsMax, oneWayMsAbove, routeFactorAbove } = wanted;
  const oneWayMs = oneWayMsFrom(pool, asker.request.origin);
  return (
    (oneWayMsMax === undefined || (oneWayMs !== undefined && oneWayMs <= oneWayMsMax)) &&
    (oneWayMsAbove === undefined || (oneWayMs !== undefined && oneWayMs > oneWayMsAbove)) &&
    (routeFactorAbove === undefined || isLongerThan(routeFactorAbove, pool, asker))
  );
}

/** Of measured paths only: an estimated one has the factor that it was estimated with. */
function isLongerThan(factor: number, pool: Pool, { request, origin }: Asker): boolean {
  const roundTrip = pool.roundTripMsFrom.get(request.origin);
  if (roundTrip?.source !== "measured" || origin === undefined) return false;
  return routeFactor(roundTrip.value, origin, pool.region) > factor;
}

/** The pool's region counts as near by for users of the demand area. */
export function isLocal({ region }: Pool, { origin }: Asker): boolean {
  return origin !== undefined && region.demandAreas.has(origin.demandArea);
}

/** General data may go to any pool; the rest only where the pool says that it may. */
export function admitsDataClass(pool: Pool, request: PlacementRequest): boolean {
  return request.dataClass === "general" || pool.dataClasses.has(request.dataClass);
}

export function meetsMlpsLevel(pool: Pool, request: PlacementRequest): boolean {
  return pool.mlpsLevel >= request.mlpsLevelMin;
}

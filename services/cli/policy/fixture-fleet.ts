import { Dispatcher } from "../../core/dispatcher.ts";
import type { Figure } from "../../core/figure.ts";
import type { Snapshot } from "../../core/placement/decide.ts";
import type { Policy } from "../../core/placement/policy.ts";
import type { PlacementRequest } from "../../core/placement/request.ts";
import type { Pool, PoolRegistration, PoolReport, Served } from "../../core/pool.ts";
import type { Geography } from "../../core/region.ts";
import type {
  AttemptId,
  Instant,
  ModelId,
  OriginId,
  PoolId,
  RegionId,
  ReplicaId,
  RequestId,
  TenantId,
  VendorId,
} from "../../core/units.ts";
import { ConfigError } from "../../io/config.ts";
import { loadGeography } from "../../io/preset.ts";
import { loadFleet } from "../../sim/main.ts";
import type { Fixture, FixtureCase, PoolChange } from "./fixture-file.ts";

type Fleet = ReturnType<typeof loadFleet>;

/** A workday morning, so that prices are the same whenever a case is run. House default. */
const defaultAt = "2026-11-20T10:00:00+08:00";

const reportValidMs = 60_000;

/** A request with a fleet to place it on: what a policy is asked. */
export interface Question {
  readonly request: PlacementRequest;
  readonly snapshot: Snapshot;
}

/** Reads each fleet and the map once. */
export class Fleets {
  readonly #geography: Geography = loadGeography();
  readonly #fleets = new Map<string, Fleet>();

  /** Throws `ConfigError` for names that the fleet or the map does not have. */
  questionOf(fixture: Fixture, each: FixtureCase, policy: Policy): Question {
    const now = Date.parse(each.at ?? defaultAt);
    const fleet = this.#fleetAt(fixture.fleetPath);
    const request = requestOf(fixture, each);
    const mistakes = this.#mistakesIn(each, request, fleet);
    if (mistakes.length > 0) throw new ConfigError(`${fixture.file}: ${each.name}`, mistakes);
    const pools = this.#poolsOf(fleet, each, { now, policy, request });
    return { request, snapshot: { revision: 1, now, geography: this.#geography, pools } };
  }

  #fleetAt(path: string | undefined): Fleet {
    const key = path ?? "";
    const known = this.#fleets.get(key);
    if (known !== undefined) return known;
    const fleet = loadFleet(path, Date.parse(defaultAt));
    this.#fleets.set(key, fleet);
    return fleet;
  }

  #mistakesIn(each: FixtureCase, request: PlacementRequest, fleet: Fleet): string[] {
    const known = new Set<string>(fleet.pools.map(({ registration }) => registration.id));
    const expected = each.expect ?? {};
    const named = [
      ...Object.keys(each.pools),
      ...(each.among ?? []),
      ...[expected.pool ?? []].flat(),
      ...(expected.fit ?? []),
      ...(expected.order ?? []),
      ...Object.keys(expected.rejected ?? {}),
      ...Object.keys(expected.prefers ?? {}),
      ...Object.keys(expected.warns ?? {}),
      ...Object.keys(expected.admits ?? {}),
    ];
    const strangers = [...new Set(named)].filter((id) => !known.has(id));
    return [
      ...strangers.map((id) => `expected a pool of the fleet, found ${id}`),
      ...(request.origin === "nowhere" || this.#geography.origins.has(request.origin)
        ? []
        : [`expected a city of the map or nowhere, found ${request.origin}`]),
    ];
  }

  /** As a control replica has them that registered them, read the prices and heard of each once. */
  #poolsOf(
    fleet: Fleet,
    { pools: changes, among }: FixtureCase,
    { now: at, policy, request }: { now: Instant; policy: Policy; request: PlacementRequest },
  ): readonly Pool[] {
    const dispatcher = new Dispatcher("policy-test" as ReplicaId, policy);
    dispatcher.step({ kind: "geography-set", at, geography: this.#geography });
    for (const book of fleet.priceBooks) dispatcher.step({ kind: "prices-published", at, book });
    for (const { registration: facts } of fleet.pools) {
      if (among !== undefined && !among.includes(facts.id)) continue;
      const change = changes[facts.id] ?? {};
      const registration = registrationOf({ ...facts, endpoint: "", generation: 0 }, change, at);
      const { id: pool, vendor } = registration;
      dispatcher.step({ kind: "pool-registered", at, registration });
      dispatcher.step({ kind: "share-set", at, pool, share: 1 });
      dispatcher.step({ kind: "pool-marked", at, pool, status: change.status ?? "ready" });
      const report = reportOf(registration, change, { now: at, model: request.model });
      dispatcher.step({ kind: "pool-reported", at, vendor, report });
    }
    const measured = Object.entries(changes).flatMap(([pool, { oneWayMs }]) =>
      typeof oneWayMs === "number" ? [[pool as PoolId, figure(2 * oneWayMs, at)] as const] : [],
    );
    if (measured.length > 0) {
      const { origin } = request;
      const roundTripMsByPool = new Map(measured);
      dispatcher.step({ kind: "paths-observed", at, origin, roundTripMsByPool });
    }
    return dispatcher.pools.map((pool) => changed(pool, changes[pool.id] ?? {}, request));
  }
}

function registrationOf(
  facts: PoolRegistration,
  change: PoolChange,
  now: Instant,
): PoolRegistration {
  const { vendor, tags, dataClasses, mlpsLevel, greenShare, pue } = change;
  return {
    ...facts,
    ...(vendor !== undefined && { vendor: vendor as VendorId }),
    ...(tags && { tags: new Set(tags) }),
    ...(dataClasses && { dataClasses: new Set(dataClasses) }),
    ...(mlpsLevel !== undefined && { mlpsLevel }),
    ...(greenShare !== undefined && {
      greenShare: greenShare === null ? undefined : figure(greenShare, now, "declared"),
    }),
    ...(pue !== undefined && { pue: figure(pue, now, "declared") }),
  };
}

/** An engine that is idle, but for what the change says of the request's model. */
function reportOf(
  { id, models }: PoolRegistration,
  { running = 0, waiting = 0, kvUsedRatio = 0 }: PoolChange,
  { now, model: asked }: { readonly now: Instant; readonly model: ModelId },
): PoolReport {
  return {
    pool: id,
    generation: 0,
    sequence: 1,
    powerWatts: undefined,
    energyJoulesTotal: undefined,
    pue: undefined,
    greenShare: undefined,
    models: models.map(({ model }) => ({
      model,
      runningRequests: figure(model === asked ? running : 0, now),
      waitingRequests: figure(model === asked ? waiting : 0, now),
      kvUsedRatio: figure(model === asked ? kvUsedRatio : 0, now),
      promptTokensTotal: undefined,
      cachedPromptTokensTotal: undefined,
      outputTokensTotal: undefined,
      ttftMsP50: undefined,
      ttftMsP95: undefined,
      itlMsMean: undefined,
      slotsTotal: undefined,
      kvTokensTotal: undefined,
    })),
  };
}

function figure(value: number, now: Instant, source: Figure["source"] = "measured"): Figure {
  return { value, source, observedAt: now, validMs: reportValidMs };
}

/** What no event says by itself. */
function changed(pool: Pool, change: PoolChange, { model, origin }: PlacementRequest): Pool {
  const served = pool.served.get(model);
  const roundTripMsFrom = new Map(pool.roundTripMsFrom);
  if (change.oneWayMs === null) roundTripMsFrom.delete(origin);
  const { isMainland = pool.region.isMainland } = change;
  return {
    ...pool,
    region: { ...pool.region, isMainland },
    roundTripMsFrom,
    served:
      served === undefined
        ? pool.served
        : new Map(pool.served).set(model, servedWith(served, change)),
  };
}

function servedWith(served: Served, change: PoolChange): Served {
  const {
    leased: slotsLeased = served.slotsLeased,
    inputNanoPerToken,
    outputNanoPerToken,
  } = change;
  const { price } = served;
  if (price === undefined) return { ...served, slotsLeased };
  const {
    uncachedInputPicoPerToken = price.uncachedInputPicoPerToken,
    outputPicoPerToken = price.outputPicoPerToken,
  } = {
    ...(inputNanoPerToken !== undefined && {
      uncachedInputPicoPerToken: inputNanoPerToken * 1_000,
    }),
    ...(outputNanoPerToken !== undefined && { outputPicoPerToken: outputNanoPerToken * 1_000 }),
  };
  const isChanged = inputNanoPerToken !== undefined || outputNanoPerToken !== undefined;
  return {
    ...served,
    slotsLeased,
    price: isChanged
      ? { ...price, uncachedInputPicoPerToken, outputPicoPerToken, brackets: [] }
      : price,
  };
}

/** With what the file says of every request, and the usual where nobody says anything. */
export function requestOf(fixture: Fixture, { name: id, request }: FixtureCase): PlacementRequest {
  const asked = { ...fixture.request, ...request };
  return {
    request: id as RequestId,
    attempt: `${id}/1` as AttemptId,
    tenant: (asked.tenant ?? "acme") as TenantId,
    model: (asked.model ?? "qwen3.6-plus") as ModelId,
    class: asked.class ?? "llm-interactive",
    criticality: asked.criticality ?? "critical",
    origin: (asked.origin ?? "shanghai") as OriginId,
    regions: new Set(asked.regions as RegionId[] | undefined),
    dataClass: asked.dataClass ?? "general",
    mlpsLevelMin: asked.mlpsLevelMin ?? 0,
    vendorsAllowed: new Set(asked.vendorsAllowed as VendorId[] | undefined),
    vendorsDenied: new Set(asked.vendorsDenied as VendorId[] | undefined),
    excluded: new Set(asked.excluded as PoolId[] | undefined),
    inputTokens: asked.inputTokens ?? 1_000,
    cachedTokensAt: new Map(),
    outputTokensExpected: asked.outputTokensExpected ?? 300,
    outputTokensMax: asked.outputTokensMax,
    deadlineMs: asked.deadlineMs,
    priceNanoMax: asked.priceNanoMax,
    budgetNanoLeft: undefined,
  };
}

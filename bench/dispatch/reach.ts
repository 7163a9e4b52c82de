import { assert } from "../../services/core/assert.ts";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import { decide } from "../../services/core/placement/decide.ts";
import type { Policy } from "../../services/core/placement/policy.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import type { Geography } from "../../services/core/region.ts";
import type {
  AttemptId,
  Instant,
  ModelId,
  PoolId,
  ReplicaId,
  RequestId,
  TenantId,
} from "../../services/core/units.ts";
import type { Arrival } from "../../services/core/workload.ts";
import type { Fleet } from "../../services/sim/fleet.ts";

/** What a pool can hold of one request. */
interface Room {
  readonly contextTokensMax: number;
  readonly kvTokensTotal: number;
}

/**
 * Which requests a fleet may serve at all. Of a model, class, city and tenant the hard filters are asked about a fleet
 * that has not reported yet: what is in the way then and lasts is in the way always.
 */
export class Reach {
  readonly #fleet: Fleet;
  readonly #policy: Policy;
  readonly #dispatcher: Dispatcher;
  readonly #geography: Geography;
  readonly #now: Instant;
  readonly #outputTokensMax: number;
  readonly #roomsByKind = new Map<string, readonly Room[]>();

  /** `outputTokensMax` is what every caller states. */
  constructor(options: {
    readonly fleet: Fleet;
    readonly geography: Geography;
    readonly policy: Policy;
    readonly now: Instant;
    readonly outputTokensMax: number;
  }) {
    this.#fleet = options.fleet;
    this.#policy = options.policy;
    this.#geography = options.geography;
    this.#now = options.now;
    this.#outputTokensMax = options.outputTokensMax;
    this.#dispatcher = new Dispatcher("reach" as ReplicaId, options.policy);
    this.#dispatcher.step({
      kind: "geography-set",
      at: options.now,
      geography: options.geography,
    });
    for (const { registration } of options.fleet.pools) {
      const known = { ...registration, endpoint: "http://reach", generation: 1 };
      this.#dispatcher.step({ kind: "pool-registered", at: options.now, registration: known });
    }
  }

  /** At least one pool may serve it, when it has room. */
  admits(arrival: Arrival): boolean {
    const { inputTokens, outputTokens, model } = arrival;
    assert(model !== undefined, "every request of the mix names its model");
    return this.#rooms(arrival, model).some(
      ({ contextTokensMax, kvTokensTotal }) =>
        inputTokens + this.#outputTokensMax <= contextTokensMax &&
        inputTokens + outputTokens <= kvTokensTotal,
    );
  }

  #rooms(arrival: Arrival, model: ModelId): readonly Room[] {
    const kind = [model, arrival.class, arrival.origin, arrival.tenant ?? ""].join("\n");
    const known = this.#roomsByKind.get(kind);
    if (known !== undefined) return known;
    const pools = this.#dispatcher.pools.filter(({ served }) => served.has(model));
    const snapshot = { revision: 1, now: this.#now, geography: this.#geography, pools };
    const { rejections } = decide(asked(arrival, model), snapshot, this.#policy);
    const open = rejections.filter(({ isLasting }) => !isLasting).map(({ pool }) => pool);
    const rooms = open.map((pool) => this.#roomIn(pool, model));
    this.#roomsByKind.set(kind, rooms);
    return rooms;
  }

  #roomIn(id: PoolId, model: ModelId): Room {
    const pool = this.#fleet.pools.find(({ registration }) => registration.id === id);
    const served = pool?.registration.models.find((each) => each.model === model);
    return {
      contextTokensMax: served?.contextTokensMax ?? 0,
      kvTokensTotal: pool?.engines.get(model)?.profile.kvTokensTotal ?? 0,
    };
  }
}

/** As short as can be: lengths are looked at apart. */
function asked({ class: serviceClass, origin, tenant }: Arrival, model: ModelId): PlacementRequest {
  return {
    request: "reach" as RequestId,
    attempt: "reach/1" as AttemptId,
    tenant: tenant ?? ("dev" as TenantId),
    model,
    class: serviceClass,
    criticality: "critical",
    origin,
    regions: new Set(),
    dataClass: "general",
    mlpsLevelMin: 0,
    vendorsAllowed: new Set(),
    vendorsDenied: new Set(),
    excluded: new Set(),
    inputTokens: 1,
    cachedTokensAt: new Map(),
    outputTokensExpected: undefined,
    outputTokensMax: 1,
    deadlineMs: undefined,
    priceNanoMax: undefined,
    budgetNanoLeft: undefined,
  };
}

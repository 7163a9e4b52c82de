import { assert } from "../../services/core/assert.ts";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import { rowReasons } from "../../services/core/placement/policy.ts";
import { toAsk } from "../../services/core/placement/prospect.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import { rowAgainst } from "../../services/core/placement/rules.ts";
import type { Pool } from "../../services/core/pool.ts";
import { chargePico } from "../../services/core/run-cost.ts";
import type {
  AttemptId,
  ModelId,
  OriginId,
  ReplicaId,
  RequestId,
  TenantId,
} from "../../services/core/units.ts";
import type { Arrival } from "../../services/core/workload.ts";
import type { WorldFault } from "../../services/sim/world-options.ts";
import { prefixHits, type PrefixHit } from "./prefixes.ts";
import { priceSpans, spansWithin, type PriceSpan } from "./prices.ts";
import type { BoundOptions, Choice, Demand } from "./problem.ts";
import { nanoPerJouleMin, seatOf, type Seat } from "./seats.ts";

interface Timed {
  readonly arrival: Arrival;
  readonly atMs: number;
}

/** What finds out which seats a request may take: as many attempts as a gateway makes, each a round trip. */
const ATTEMPTS_MAX = 3;

/** Which seats each request may take, and at what price. */
export class OptionFinder {
  readonly seats: readonly Seat[];
  readonly #options: BoundOptions;
  readonly #arrivals: readonly Timed[];
  readonly #hits: readonly PrefixHit[];
  readonly #spans: readonly (readonly PriceSpan[])[];
  readonly #joules: readonly number[];
  /** Seats that the rules admit, by kind of request. */
  readonly #admitted = new Map<string, readonly number[]>();
  readonly #roundTripMsMax: number;
  /** Until when a pool may die under a request, so that it is placed again. */
  readonly #lastDeathMs: number;

  constructor(arrivals: readonly Timed[], options: BoundOptions) {
    this.#options = options;
    this.#arrivals = arrivals;
    this.seats = seatsOf(arrivals, options);
    this.#lastDeathMs = Math.max(-Infinity, ...options.faults.flatMap(diesAtMs));
    const trips = [...options.geography.roundTripMsPrior.values()];
    this.#roundTripMsMax = Math.max(0, ...trips.flatMap((each) => [...each.values()]));
    this.#hits = prefixHits(
      arrivals.map((each) => ({ ...each, group: modelOf(each.arrival, options) })),
      this.#roundTripMsMax / 2,
    );
    const lastMs = arrivals.at(-1)?.atMs ?? 0;
    const patientMs = Math.max(0, ...Object.values(options.patience?.waitMsMax ?? {}));
    const untilMs = Math.max(lastMs, this.#lastDeathMs) + patientMs + this.#retriesMs;
    this.#spans = this.seats.map(({ pool: { vendor }, model }) =>
      priceSpans({ ...options, vendor, model, books: options.fleet.priceBooks, untilMs }),
    );
    const always = { from: options.startAt, to: Infinity };
    this.#joules = this.seats.map((seat) => {
      const { energy, carbon } = nanoPerJouleMin(seat, options, always);
      return energy + carbon;
    });
  }

  of(index: number): Pick<Demand, "choices" | "refusedNano" | "waitMsMax"> {
    const timed = this.#arrivals[index];
    const hit = this.#hits[index];
    assert(timed !== undefined && hit !== undefined, "every request is known");
    const { arrival, atMs } = timed;
    const patience = this.#options.patience;
    const patientMs = patience === undefined ? 0 : patience.waitMsMax[arrival.class];
    const againMs = this.#lastDeathMs > atMs ? this.#lastDeathMs - atMs : 0;
    const waitMsMax = Math.max(patientMs, againMs) + this.#retriesMs;
    const choices = this.#admittedFor(arrival)
      .filter((seat) => this.#fits(seat, arrival))
      .flatMap((seat) => this.#choices(seat, timed, { hit, waitMsMax }))
      .toSorted((a, b) => a.floorNano - b.floorNano);
    return { choices, waitMsMax, refusedNano: this.#refusedNano(timed, waitMsMax) };
  }

  get #retriesMs(): number {
    return ATTEMPTS_MAX * this.#roundTripMsMax;
  }

  #choices(
    seat: number,
    { arrival, atMs }: Timed,
    { hit, waitMsMax }: { readonly hit: PrefixHit; readonly waitMsMax: number },
  ): Choice[] {
    const spans = spansWithin(this.#spans[seat] ?? [], atMs, atMs + waitMsMax);
    const caches = [
      { cachedTokens: hit.earlierTokens, waitMs: 0 },
      ...(hit.everTokens > hit.earlierTokens
        ? [{ cachedTokens: hit.everTokens, waitMs: hit.waitMs }]
        : []),
    ];
    return spans.flatMap(({ fromMs, price }) => {
      if (price === undefined) return [];
      return caches.map(({ cachedTokens, waitMs }) => {
        const moneyNano = chargePico(price, { ...arrival, cachedTokens }) / 1_000;
        const delayMs = Math.max(0, fromMs - atMs, waitMs);
        return this.#choice(seat, arrival, { moneyNano, delayMs, cachedTokens });
      });
    });
  }

  #choice(
    seatIndex: number,
    arrival: Arrival,
    {
      moneyNano,
      delayMs,
      cachedTokens,
    }: Pick<Choice, "moneyNano" | "delayMs"> & {
      readonly cachedTokens: number;
    },
  ): Choice {
    const seat = this.seats[seatIndex];
    assert(seat !== undefined, "a choice is of a seat");
    const { profile, levels, pool } = seat;
    const { waitNanoPerMs, ttftMsMax, missNano } = this.#options.policy.objectives[arrival.class];
    const roundTripMs = this.#roundTripMs(arrival.origin, pool);
    const prefillMs = (arrival.inputTokens - cachedTokens) * profile.prefillMsPerToken;
    const steps = arrival.outputTokens - 1;
    const kvTokenSteps = steps * (arrival.inputTokens + arrival.outputTokens / 2);
    const kvMs = profile.stepMsPerKvToken * kvTokenSteps;
    const [least, most] = [levels[0], levels.at(-1)];
    assert(least !== undefined && most !== undefined, "a seat has a level");
    const stepMsMost = profile.stepBaseMs + profile.stepMsPerSequence * most.high;
    const beforeMs = delayMs + roundTripMs + prefillMs;
    const isTtftMissed = beforeMs > ttftMsMax;
    const wattMsNano = (this.#joules[seatIndex] ?? 0) / 1_000;
    const tokenNano = levels.reduce((least, { stepMs, shareWattMs }) => {
      return Math.min(least, waitNanoPerMs * stepMs + wattMsNano * shareWattMs);
    }, Infinity);
    const floorNano =
      moneyNano +
      (isTtftMissed ? missNano : 0) +
      waitNanoPerMs * (beforeMs + kvMs) +
      wattMsNano * (seat.prefillWatts * prefillMs + least.watts * kvMs) +
      steps * tokenNano;
    const stayMsMax = beforeMs + steps * stepMsMost + kvMs;
    return {
      seat: seatIndex,
      moneyNano,
      delayMs,
      roundTripMs,
      prefillMs,
      isTtftMissed,
      stayMsMax,
      floorNano,
    };
  }

  /** Twice missed, and twice its tokens at the dearest pool: the least of what that was while it waited. */
  #refusedNano({ arrival, atMs }: Timed, waitMsMax: number): number {
    const model = modelOf(arrival, this.#options);
    const tokens = { ...arrival, cachedTokens: 0 };
    const dearestNano = this.seats.reduce((most, seat, index) => {
      if (seat.model !== model) return most;
      const spans = spansWithin(this.#spans[index] ?? [], atMs, atMs + waitMsMax);
      const nano = spans.map(({ price }) =>
        price === undefined ? 0 : chargePico(price, tokens) / 1_000,
      );
      return Math.max(most, Math.min(...nano));
    }, 0);
    return 2 * this.#options.policy.objectives[arrival.class].missNano + 2 * dearestNano;
  }

  #admittedFor(arrival: Arrival): readonly number[] {
    const model = modelOf(arrival, this.#options);
    const kind = [model, arrival.class, arrival.origin, arrival.tenant ?? ""].join("\n");
    const known = this.#admitted.get(kind);
    if (known !== undefined) return known;
    const { policy, geography, startAt } = this.#options;
    const ask = toAsk(asked(arrival, model), policy, { geography, now: startAt });
    const admitted = this.seats.flatMap((seat, index) => {
      const isOut = rowReasons.some((reason) => rowAgainst(seat.pool, ask, reason) !== undefined);
      return seat.model === model && !isOut ? [index] : [];
    });
    this.#admitted.set(kind, admitted);
    return admitted;
  }

  /** With all that the answer may have: that is reserved. */
  #fits(seatAt: number, arrival: Arrival): boolean {
    const seat = this.seats[seatAt];
    assert(seat !== undefined, "a choice is of a seat");
    const { outputTokensMaxOf } = this.#options;
    const tokens = arrival.inputTokens + (outputTokensMaxOf?.(arrival) ?? arrival.outputTokens);
    const contextTokensMax = seat.pool.served.get(seat.model)?.contextTokensMax ?? Infinity;
    return tokens <= contextTokensMax && tokens <= seat.profile.kvTokensTotal;
  }

  #roundTripMs(origin: OriginId, { region }: Pool): number {
    return this.#options.geography.roundTripMsPrior.get(origin)?.get(region.id) ?? 0;
  }
}

function diesAtMs(fault: WorldFault): number[] {
  return fault.kind === "pool-dies" ? [fault.atMs] : [];
}

function modelOf(arrival: Arrival, { fleet, model }: BoundOptions): ModelId {
  const name = arrival.model ?? model;
  return fleet.aliases.get(name) ?? (name as ModelId);
}

/** Those of models that somebody wants. Pools are as a dispatcher sees them that has heard of them, and of no load. */
function seatsOf(arrivals: readonly Timed[], options: BoundOptions): Seat[] {
  const { fleet, geography, policy, startAt, faults } = options;
  const dispatcher = new Dispatcher("bound" as ReplicaId, policy);
  dispatcher.step({ kind: "geography-set", at: startAt, geography });
  const requests = new Map<ModelId, number>();
  for (const { arrival } of arrivals) {
    const model = modelOf(arrival, options);
    requests.set(model, (requests.get(model) ?? 0) + 1);
  }
  for (const { registration } of fleet.pools) {
    const known = { ...registration, endpoint: "http://bound", generation: 1 };
    dispatcher.step({ kind: "pool-registered", at: startAt, registration: known });
  }
  const pools = new Map(dispatcher.pools.map((pool) => [pool.id, pool]));
  return fleet.pools.flatMap(({ registration, engines }) =>
    [...engines].flatMap(([model, engine]) => {
      const pool = pools.get(registration.id);
      const wanted = requests.get(model) ?? 0;
      if (pool === undefined || wanted === 0) return [];
      return [seatOf({ pool, model, engine, requests: wanted, faults })];
    }),
  );
}

function asked(arrival: Arrival, model: ModelId): PlacementRequest {
  return {
    request: "bound" as RequestId,
    attempt: "bound/1" as AttemptId,
    tenant: arrival.tenant ?? ("dev" as TenantId),
    model,
    class: arrival.class,
    criticality: "critical",
    origin: arrival.origin,
    regions: new Set(),
    dataClass: "general",
    mlpsLevelMin: 0,
    vendorsAllowed: new Set(),
    vendorsDenied: new Set(),
    excluded: new Set(),
    inputTokens: arrival.inputTokens,
    cachedTokensAt: new Map(),
    outputTokensExpected: undefined,
    outputTokensMax: arrival.outputTokens,
    deadlineMs: undefined,
    priceNanoMax: undefined,
    budgetNanoLeft: undefined,
  };
}

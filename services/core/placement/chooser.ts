import type { Pool } from "../pool.ts";
import type { Geography } from "../region.ts";
import type { AttemptId, Instant, ModelId, PoolId } from "../units.ts";
import { assert } from "../assert.ts";
import {
  candidateOf,
  decide,
  isDrawnFirst,
  TERM_NANO_MAX,
  wholeNano,
  type Candidate,
  type Choose,
  type Decision,
  type Placed,
  type Rejection,
  type Snapshot,
  type Tally,
} from "./decide.ts";
import { contextTokens, reasonOfScope, refusalOf } from "./filters.ts";
import type { Policy, PolicyOverride, PolicyRow } from "./policy.ts";
import { askWith, Prospect, toAsk, type Ask } from "./prospect.ts";
import type { PlacementRequest } from "./request.ts";
import { rulesFor } from "./rules.ts";
import { hasOwnLimits, Seats, type Seat } from "./seats.ts";
import { standingOf, type Standing } from "./standing.ts";
import { seedFromText } from "../random.ts";
import { terms } from "./terms.ts";

/** Seats kept over all kinds of request: beyond it the oldest kind goes, and is made again if asked for. */
const SEATS_MAX = 262_144;

interface Best {
  readonly at: Prospect;
  readonly costNano: number;
}

/**
 * Makes the decisions of `decide`, sooner: it keeps what requests of a kind have in common as long as
 * the pools are the same values, works out the cost only where it may be the lowest, and makes the
 * bills of all others when somebody reads them.
 */
export class Chooser {
  #policy: Policy | undefined;
  #geography: Geography | undefined;
  #hasTenantRows = false;
  /** By model, and by whose energy counts how much where an override says so. */
  readonly #standingsByKey = new Map<string, Standing[]>();
  readonly #kinds = new Map<string, Seats>();

  /** The pools of the snapshot serve the model, and the array is never changed afterwards. */
  choose(request: PlacementRequest, snapshot: Snapshot, policy: Policy): Decision {
    this.#forgetIfChanged(policy, snapshot.geography);
    const seats = this.#seatsFor(request, policy, snapshot);
    const ask = askWith(seats.rules, seats.origin, { request, policy, context: snapshot });
    seats.follow(snapshot.pools, ask, (pool, place) => this.#standing(pool, place, ask));
    const seed = seedFromText(request.attempt);
    const best = cheapest(seats, ask, { end: snapshot.pools.length, seed });
    if (best === undefined) return decide(request, snapshot, policy);
    return new Chosen(best, { ask, snapshot, seed, tally: seats.tallyFor(ask) });
  }

  /** Shared by all kinds of request for the model whose energy is counted alike. */
  #standing(pool: Pool, place: number, ask: Ask): Standing {
    const key = standingKeyOf(ask);
    const { model } = ask.request;
    const standings = this.#standingsByKey.get(key) ?? [];
    this.#standingsByKey.set(key, standings);
    const known = standings[place];
    if (known !== undefined && known.pool === pool && known.until > ask.now) return known;
    const served = pool.served.get(model);
    assert(served !== undefined, "the pools of the snapshot serve the model");
    const standing = standingOf(pool, served, ask);
    standings[place] = standing;
    return standing;
  }

  #seatsFor(request: PlacementRequest, policy: Policy, { geography, pools }: Snapshot): Seats {
    const key = keyOf(request, this.#hasTenantRows);
    const known = this.#kinds.get(key);
    if (known !== undefined) return known;
    this.#makeRoom(pools.length);
    const origin = geography.origins.get(request.origin);
    const seats = new Seats(origin, rulesFor(policy, { request, origin }));
    this.#kinds.set(key, seats);
    return seats;
  }

  #makeRoom(seatsEach: number): void {
    const kindsMax = Math.max(1, Math.floor(SEATS_MAX / Math.max(1, seatsEach)));
    for (const key of this.#kinds.keys()) {
      if (this.#kinds.size < kindsMax) return;
      this.#kinds.delete(key);
    }
  }

  #forgetIfChanged(policy: Policy, geography: Geography): void {
    if (policy === this.#policy && geography === this.#geography) return;
    this.#policy = policy;
    this.#geography = geography;
    this.#hasTenantRows = hasTenantRows(policy);
    this.#standingsByKey.clear();
    this.#kinds.clear();
  }
}

/** The quick way of a dispatcher of its own. */
export function chooser(): Choose {
  const quick = new Chooser();
  return (request, snapshot, policy) => quick.choose(request, snapshot, policy);
}

/** A decision whose bills are made when they are read, from the pools as they were. */
class Chosen implements Placed {
  readonly kind = "placed";
  readonly pool: PoolId;
  readonly costNano: number;
  readonly attempt: AttemptId;
  readonly request: PlacementRequest;
  readonly model: ModelId;
  readonly decidedAt: Instant;
  readonly seed: number;
  readonly snapshotRevision: number;
  readonly policyRevision: number;
  readonly policyRow: PolicyRow | undefined;
  readonly policyRows: readonly PolicyRow[];
  readonly overrides: readonly PolicyOverride[];
  readonly poolsElsewhere: number;
  readonly #at: Prospect;
  readonly #ask: Ask;
  readonly #snapshot: Snapshot;
  #chosen: Candidate | undefined;
  #full: Decision | undefined;
  readonly #tally: Tally | undefined;

  constructor(
    best: Best,
    options: { ask: Ask; snapshot: Snapshot; seed: number; tally: Tally | undefined },
  ) {
    const { ask, snapshot, seed, tally } = options;
    const { request, policy, rules } = ask;
    this.pool = best.at.pool.id;
    this.costNano = best.costNano;
    this.attempt = request.attempt;
    this.request = request;
    this.model = request.model;
    this.decidedAt = snapshot.now;
    this.seed = seed;
    this.snapshotRevision = snapshot.revision;
    this.policyRevision = policy.revision;
    this.policyRow = rules.filedUnder;
    this.policyRows = rules.rows;
    this.overrides = rules.overrides;
    this.poolsElsewhere = snapshot.poolsElsewhere ?? 0;
    this.#at = best.at;
    this.#ask = ask;
    this.#snapshot = snapshot;
    this.#tally = tally;
  }

  get evaluated(): number {
    return this.#snapshot.pools.length;
  }

  get tally(): Tally {
    return this.#tally ?? this.#decided.tally;
  }

  get chosen(): Candidate {
    this.#chosen ??= candidateOf(this.#at, this.#ask);
    return this.#chosen;
  }

  get candidates(): readonly Candidate[] {
    return this.#decided.candidates;
  }

  get rejections(): readonly Rejection[] {
    return this.#decided.rejections;
  }

  get #decided(): Decision {
    this.#full ??= decide(this.request, this.#snapshot, this.#ask.policyAsSet);
    return this.#full;
  }
}

/** Branch and bound, to the same answer in whatever order the pools stand. */
function cheapest(
  seats: Seats,
  ask: Ask,
  { end, seed }: { readonly end: number; readonly seed: number },
): Best | undefined {
  const isPicky = hasOwnLimits(ask);
  let best: Best | undefined;
  let place = seats.next(0, ask, Infinity);
  while (place < end) {
    const offer = offerAt(seats.at(place), ask, isPicky);
    if (offer !== undefined && (best === undefined || beats(offer, best, seed))) best = offer;
    place = seats.next(place + 1, ask, best === undefined ? Infinity : limitOf(best));
  }
  return best;
}

/** Floors know no bound: where a term may have come to its own, all are looked at. */
function limitOf({ costNano }: Best): number {
  return costNano < TERM_NANO_MAX / 2 ? costNano : Infinity;
}

/** Undefined: a filter rejects the pool. */
function offerAt(seat: Seat | undefined, ask: Ask, isPicky: boolean): Best | undefined {
  if (seat === undefined || seat.reason !== undefined) return undefined;
  const { at } = seat;
  if (contextTokens(ask) > at.served.contextTokensMax) return undefined;
  if (isPicky && reasonOfScope("request", at, ask) !== undefined) return undefined;
  return { at, costNano: costNanoOf(at, ask) };
}

function beats(a: Best, b: Best, seed: number): boolean {
  if (a.costNano !== b.costNano) return a.costNano < b.costNano;
  return isDrawnFirst(a.at.pool, b.at.pool, seed);
}

/** The sum of the bill, without the bill. */
function costNanoOf(at: Prospect, ask: Ask): number {
  return (
    wholeNano(terms.price(at, ask)) +
    wholeNano(terms.energy(at, ask)) +
    wholeNano(terms.carbon(at, ask)) +
    wholeNano(terms.latency(at, ask)) +
    wholeNano(terms.congestion(at, ask)) +
    wholeNano(terms.budget(at, ask)) +
    wholeNano(terms.preference(at, ask))
  );
}

/** Of a policy, all that a standing depends on and an override may change. */
function standingKeyOf({ request, policy, policyAsSet }: Ask): string {
  if (policy === policyAsSet) return request.model;
  return `${request.model}\n${policy.carbonAccount}\n${policy.powerShare}`;
}

function hasTenantRows({ rows, overrides = [] }: Policy): boolean {
  const all = [...rows, ...overrides, ...overrides.flatMap((each) => each.rowsInstead ?? [])];
  return all.some(({ when }) => when.tenants !== undefined);
}

/** A line break is in no id. Tenants make kinds of their own only where a row or an override names one. */
function keyOf(request: PlacementRequest, hasTenantRows: boolean): string {
  const { model, class: serviceClass, origin, dataClass, mlpsLevelMin } = request;
  const key = `${model}\n${serviceClass}\n${origin}\n${dataClass}\n${mlpsLevelMin}`;
  const { regions, vendorsAllowed, vendorsDenied } = request;
  const hasLists = regions.size + vendorsAllowed.size + vendorsDenied.size > 0;
  const lists = hasLists
    ? [regions, vendorsAllowed, vendorsDenied].map((each) => [...each].join("\t")).join("\n")
    : "";
  return hasTenantRows ? `${key}\n${lists}\n${request.tenant}` : `${key}\n${lists}`;
}

/** The pools that every filter admits, in the order of the snapshot: where a rival may choose. */
export function eligible(
  request: PlacementRequest,
  snapshot: Snapshot,
  policy: Policy,
): { readonly ask: Ask; readonly prospects: readonly Prospect[] } {
  const ask = toAsk(request, policy, snapshot);
  const prospects = snapshot.pools.flatMap((pool) => {
    const served = pool.served.get(request.model);
    if (served === undefined) return [];
    const at = new Prospect(standingOf(pool, served, ask), ask);
    return refusalOf(at, ask) === undefined ? [at] : [];
  });
  return { ask, prospects };
}

/** The decision for a pool that somebody else has chosen, at the cost that it has by our terms. */
export function placedAt(at: Prospect, ask: Ask, snapshot: Snapshot): Decision {
  const best = { at, costNano: costNanoOf(at, ask) };
  const seed = seedFromText(ask.request.attempt);
  return new Chosen(best, { ask, snapshot, seed, tally: undefined });
}

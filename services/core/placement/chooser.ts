import type { Pool } from "../pool.ts";
import type { Geography } from "../region.ts";
import { assert } from "../assert.ts";
import { Chosen, Refused, type Best } from "./chosen.ts";
import {
  isDrawnFirst,
  TERM_NANO_MAX,
  wholeNano,
  type Choose,
  type Decision,
  type Snapshot,
} from "./decide.ts";
import { contextTokens, reasonOfScope, refusalOf } from "./filters.ts";
import type { Policy } from "./policy.ts";
import { askWith, Prospect, toAsk, type Ask } from "./prospect.ts";
import type { PlacementRequest } from "./request.ts";
import { rulesFor } from "./rules.ts";
import { Kinds } from "./kinds.ts";
import { hasOwnLimits, Seats, type Seat } from "./seats.ts";
import { standingOf, type Standing } from "./standing.ts";
import { seedFromText } from "../random.ts";
import { terms } from "./terms.ts";

/** Seats kept over all kinds of request: beyond it all go, and are made again as they are asked for. */
const SEATS_MAX = 262_144;

/**
 * Makes the decisions of `decide`, sooner: it keeps what requests of a kind have in common as long as
 * the pools are the same values, works out the cost only where it may be the lowest, and makes the
 * bills of all others when somebody reads them.
 */
export class Chooser {
  #policy: Policy | undefined;
  #geography: Geography | undefined;
  /** By model, and by whose energy counts how much where an override says so. */
  readonly #standingsByKey = new Map<string, Standing[]>();
  #kinds = new Kinds<Seats>(false);

  /** The pools of the snapshot serve the model, and the array is never changed afterwards. */
  choose(request: PlacementRequest, snapshot: Snapshot, policy: Policy): Decision {
    this.#forgetIfChanged(policy, snapshot.geography);
    const seats = this.#seatsFor(request, policy, snapshot);
    const ask = askWith(seats.rules, seats.origin, { request, policy, context: snapshot });
    seats.follow(snapshot.pools, ask, (pool, place) => this.#standing(pool, place, ask));
    const seed = seedFromText(request.attempt);
    const best = cheapest(seats, ask, { end: snapshot.pools.length, seed });
    if (best !== undefined) {
      return new Chosen(best, { ask, snapshot, seed, tally: seats.tallyFor(ask) });
    }
    const refusal = seats.refusal(ask);
    return new Refused(refusal, { ask, snapshot, seed, tally: refusal.tally });
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
    const known = this.#kinds.get(request);
    if (known !== undefined) return known;
    const seatsEach = Math.max(1, pools.length);
    if ((this.#kinds.size + 1) * seatsEach > SEATS_MAX) this.#kinds.clear();
    const origin = geography.origins.get(request.origin);
    const seats = new Seats(origin, rulesFor(policy, { request, origin }));
    this.#kinds.add(request, seats);
    return seats;
  }

  #forgetIfChanged(policy: Policy, geography: Geography): void {
    if (policy === this.#policy && geography === this.#geography) return;
    this.#policy = policy;
    this.#geography = geography;
    this.#standingsByKey.clear();
    this.#kinds = new Kinds(hasTenantRows(policy));
  }
}

/** The quick way of a dispatcher of its own. */
export function chooser(): Choose {
  const quick = new Chooser();
  return (request, snapshot, policy) => quick.choose(request, snapshot, policy);
}

/** Branch and bound, to the same answer in whatever order the pools stand. */
function cheapest(
  seats: Seats,
  ask: Ask,
  { end, seed }: { readonly end: number; readonly seed: number },
): Best | undefined {
  const isPicky = hasOwnLimits(ask);
  // What was best for the one before is seldom far from it: with it first, few others need a look.
  const first = seats.lastChosen;
  let best = first < end ? offerAt(seats.at(first), ask, isPicky) : undefined;
  let place = seats.next(0, ask, limitOf(best));
  while (place < end) {
    const offer = place === first ? undefined : offerAt(seats.at(place), ask, isPicky);
    if (offer !== undefined && (best === undefined || beats(offer, best, seed))) {
      best = offer;
      seats.lastChosen = place;
    }
    place = seats.next(place + 1, ask, limitOf(best));
  }
  return best;
}

/** Floors know no bound: where a term may have come to its own, all are looked at. */
function limitOf(best: Best | undefined): number {
  return best !== undefined && best.costNano < TERM_NANO_MAX / 2 ? best.costNano : Infinity;
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

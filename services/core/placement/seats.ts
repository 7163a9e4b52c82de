import { assert } from "../assert.ts";
import type { Pool, Served } from "../pool.ts";
import type { Origin } from "../region.ts";
import type { Instant } from "../units.ts";
import { budgetAgainst } from "./budget.ts";
import {
  countsOf,
  soonestOf,
  unplaceableReason,
  type Rejection,
  type Tally,
  type Unplaceable,
} from "./decide.ts";
import { isChoosy } from "./choice-rules.ts";
import {
  contextTokens,
  firstOf,
  isLasting,
  reasonOfScope,
  refusalOf,
  type Refusal,
  type RejectReason,
} from "./filters.ts";
import { floorOf, type Floor } from "./floor.ts";
import { NO_CAPS } from "./overrides.ts";
import { Prospect, type Ask } from "./prospect.ts";
import { hasSameFacts, type Rules } from "./rules.ts";
import type { Standing } from "./standing.ts";

/** A pool as one kind of request sees it, with the verdict of all filters but those of the request. */
export interface Seat {
  readonly pool: Pool;
  readonly until: Instant;
  readonly at: Prospect;
  /** Why it is out for every request of the kind. Undefined: it is fit. */
  readonly reason: RejectReason | undefined;
  /** The same by the filters of the kind alone: as long as the pool's facts are these. */
  readonly kindReason: RejectReason | undefined;
}

/** A pool that is out, and why. */
interface Out extends Pick<Refusal, "reason" | "isLasting"> {
  readonly at: Prospect;
}

/** Rounding of six terms, and of the last bits of their sums. */
const SLACK_NANO = 4;

/**
 * What the requests of one kind have in common: same model, class and origin, and the same limits on
 * where and by whom they may be served. One seat for each pool of the snapshot, at its place there;
 * their floors lie side by side as numbers, so that going through them is quick.
 */
export class Seats {
  readonly origin: Origin | undefined;
  readonly rules: Rules;
  /** The place that the request before got. */
  lastChosen = 0;
  readonly #seats: Seat[] = [];
  #pools: readonly Pool[] = [];
  #until: Instant = Infinity;
  #contextTokensMin = Infinity;
  #tally: Tally | undefined;
  #base = new Float64Array(0);
  #perInputToken = new Float64Array(0);
  #perCachedToken = new Float64Array(0);
  #perOutputToken = new Float64Array(0);
  #kvTokensEachMax = new Float64Array(0);

  constructor(origin: Origin | undefined, rules: Rules) {
    this.origin = origin;
    this.rules = rules;
  }

  at(place: number): Seat | undefined {
    return this.#seats[place];
  }

  /** Undefined: filters that depend on the request itself may reject more pools. */
  tallyFor(ask: Ask): Tally | undefined {
    if (hasOwnLimits(ask) || contextTokens(ask) > this.#contextTokensMin) return undefined;
    this.#tally ??= this.#count();
    return this.#tally;
  }

  /** Where no pool is to be had: what `decide` says of it, without the words. */
  refusal(ask: Ask): Pick<Unplaceable, "reason" | "soonest" | "tally"> {
    const known = this.tallyFor(ask);
    if (known !== undefined) {
      const reason = unplaceableReason(this.#refusals(ask));
      return { reason, soonest: undefined, tally: known };
    }
    const refusals = [...this.#refusals(ask)];
    const reason = unplaceableReason(refusals);
    const soonest = reason === "budget-exhausted" ? soonestBy(refusals, ask) : undefined;
    return { reason, soonest, tally: { candidates: 0, poolsByReason: countsOf(refusals) } };
  }

  /** Why each pool is out. */
  *#refusals(ask: Ask): Generator<Out> {
    const isPicky = hasOwnLimits(ask);
    for (const { at, reason: ofAll } of this.#seats) {
      const isTooLong = contextTokens(ask) > at.served.contextTokensMax;
      const own = isPicky ? reasonOfScope("request", at, ask) : undefined;
      const reason = firstOf(own ?? (isTooLong ? "context-too-long" : undefined), ofAll);
      assert(reason !== undefined, "a pool that fits is taken");
      yield { at, reason, isLasting: isLasting(reason, at, ask) };
    }
  }

  /** Makes the seats again whose pools have changed or whose time is over. */
  follow(
    pools: readonly Pool[],
    ask: Ask,
    standingAt: (pool: Pool, place: number) => Standing,
  ): void {
    if (pools === this.#pools && ask.now < this.#until) return;
    if (pools.length > this.#base.length) this.#grow(pools.length);
    const isOver = ask.now >= this.#until;
    if (isOver) this.#until = Infinity;
    const before = this.#pools;
    for (let place = 0; place < pools.length; place++) {
      const pool = pools[place];
      // Side by side in two lists: most are the same, and their seats need no look.
      if (pool === undefined || (!isOver && pool === before[place])) continue;
      const seat = this.#seats[place];
      if (seat === undefined || seat.pool !== pool || (isOver && seat.until <= ask.now)) {
        this.#set(place, seatOf(standingAt(pool, place), ask, seat), ask);
      } else if (isOver) this.#until = Math.min(this.#until, seat.until);
    }
    if (this.#seats.length > pools.length) this.#cut(pools.length);
    this.#pools = pools;
  }

  /** The next place, from `place` on, where the request may cost no more than so many nano. */
  next(place: number, ask: Ask, nano: number): number {
    const { inputTokens, outputTokens } = ask;
    const hasCached = ask.request.cachedTokensAt.size > 0;
    const perInputToken = hasCached ? this.#perCachedToken : this.#perInputToken;
    const kvTokensEach = inputTokens + ask.outputTokensMax;
    const limitNano = nano + SLACK_NANO;
    const end = this.#pools.length;
    for (let index = place; index < end; index++) {
      const floorNano =
        (this.#base[index] ?? 0) +
        (perInputToken[index] ?? 0) * inputTokens +
        (this.#perOutputToken[index] ?? 0) * outputTokens;
      if (floorNano <= limitNano || kvTokensEach > (this.#kvTokensEachMax[index] ?? 0)) {
        return index;
      }
    }
    return end;
  }

  #cut(length: number): void {
    this.#seats.length = length;
    this.#tally = undefined;
  }

  #count(): Tally {
    const poolsByReason = new Map<RejectReason, number>();
    let candidates = 0;
    for (const { reason } of this.#seats) {
      if (reason === undefined) candidates += 1;
      else poolsByReason.set(reason, (poolsByReason.get(reason) ?? 0) + 1);
    }
    return { candidates, poolsByReason };
  }

  #set(place: number, seat: Seat, ask: Ask): void {
    const before = this.#seats[place];
    if (before === undefined || before.reason !== seat.reason) this.#tally = undefined;
    this.#seats[place] = seat;
    this.#contextTokensMin = Math.min(this.#contextTokensMin, seat.at.served.contextTokensMax);
    this.#until = Math.min(this.#until, seat.until);
    const floor = finite(floorOf(seat.at, ask));
    const isFit = seat.reason === undefined;
    this.#base[place] = isFit ? floor.base : Infinity;
    this.#perInputToken[place] = floor.perInputToken;
    this.#perCachedToken[place] = floor.perCachedToken;
    this.#perOutputToken[place] = floor.perOutputToken;
    this.#kvTokensEachMax[place] = isFit ? floor.kvTokensEachMax : Infinity;
  }

  #grow(length: number): void {
    const capacity = Math.max(16, 2 * length);
    this.#base = grown(this.#base, capacity);
    this.#perInputToken = grown(this.#perInputToken, capacity);
    this.#perCachedToken = grown(this.#perCachedToken, capacity);
    this.#perOutputToken = grown(this.#perOutputToken, capacity);
    this.#kvTokensEachMax = grown(this.#kvTokensEachMax, capacity);
  }
}

/** The words are made for one pool alone. */
function soonestBy(refusals: readonly Out[], ask: Ask): Rejection | undefined {
  const rooms = refusals.map(({ at, reason }) => {
    return { at, roomInMs: reason === "budget" ? budgetAgainst(at, ask)?.roomInMs : undefined };
  });
  const at = soonestOf(rooms)?.at;
  const refusal = at && refusalOf(at, ask);
  return refusal && { pool: at.pool.id, ...refusal };
}

/** Figures beyond all reason give no floor: such a pool is always looked at. */
function finite(floor: Floor): Floor {
  const { base, perInputToken, perCachedToken, perOutputToken } = floor;
  if (Number.isFinite(base + perInputToken + perCachedToken + perOutputToken)) return floor;
  return { ...floor, base: -Infinity, perInputToken: 0, perCachedToken: 0, perOutputToken: 0 };
}

function grown(values: Float64Array<ArrayBuffer>, capacity: number): Float64Array<ArrayBuffer> {
  const all = new Float64Array(capacity);
  all.set(values);
  return all;
}

function seatOf(standing: Standing, ask: Ask, before: Seat | undefined): Seat {
  const { pool, served, until } = standing;
  const known = before !== undefined && hasSameFacts(before.pool, pool) ? before : undefined;
  const at = new Prospect(standing, ask, known?.at.rows);
  const kindReason = known === undefined ? reasonOfScope("kind", at, ask) : known.kindReason;
  const reason = kindReason ?? reasonOfScope("pool", at, ask) ?? priceReason(served);
  return { pool, until, at, reason, kindReason };
}

/** Without a price no request of any kind can be served. */
function priceReason({ price }: Served): RejectReason | undefined {
  return price === undefined ? "price-cap" : undefined;
}

/** A request with limits of its own looks at each pool that could be the cheapest. */
export function hasOwnLimits({ request, objectives, rules, isLate }: Ask): boolean {
  return (
    isLate ||
    rules.caps !== NO_CAPS ||
    request.excluded.size > 0 ||
    request.priceNanoMax !== undefined ||
    request.budgetNanoLeft !== undefined ||
    (request.choice !== undefined && isChoosy(request.choice)) ||
    request.budgets?.standings.some(({ isHard }) => isHard) === true ||
    objectives.gramsCo2Max !== undefined
  );
}

import { assert } from "../../services/core/assert.ts";
import type { Choice, ClassTerms, Demand, Problem } from "./problem.ts";
import type { Level, Seat } from "./seats.ts";

/**
 * Prices of capacity, at least 0: nano-CNY per ms of a replica, `seat × bins + bin`. Any are valid; good ones make the
 * bound high.
 */
export type Duals = Float64Array;

/** The value of the bound at some prices, and what of each capacity the cheapest choices would use. */
export interface Valued {
  readonly boundNano: number;
  readonly replicaMs: Float64Array;
}

/**
 * What all policies pay at least, whatever they know of the future.
 *
 * Let a request that is served decode `steps` tokens, and say of each step of a replica that it is at level B if B
 * requests that will be served decode in it. In the engine's own steps (`services/core/engine-replica.ts`)
 *
 *     step = W + a·B + h·K + p·n
 *
 * each of the B waits for at least W + a·B + h·K. Charge every token for its own W + a·B and each KV token for the time
 * that it takes from all B: its own waits by its own value of time, others' at the least value that is served there.
 * Share the step itself (replica-ms, and draw above rest, which grows with B) among the B. Then the cost of a run is at
 * least the sum over its requests of what each is charged, and
 *
 *     cost ≥ Σ charges + Σ price × (use − capacity)      for any prices ≥ 0, as no use is above its capacity
 *          ≥ Σ over requests of the least of any choice, at these prices − Σ price × capacity
 *
 * which is what `valued` returns: weak duality, request by request, with nothing aggregated. A choice is a seat, or to be
 * refused; for each of its tokens a bin from its arrival on and a level; and the bin in which it ends. No bin takes more
 * of its tokens than one sequence alone can decode in it, and who ends in a later bin stays until it began, and for its
 * tokens there: what that is more than the stay at the slowest level is waiting.
 */
export function valued(problem: Problem, duals: Duals): Valued {
  const evaluation = new Evaluation(problem, duals);
  let boundNano = 0;
  for (const demand of problem.demands) boundNano += evaluation.leastOf(demand);
  for (const [at, price] of duals.entries()) boundNano -= worth(price, problem.replicaMs[at]);
  return { boundNano, replicaMs: evaluation.replicaMs };
}

/** Where there is no end of it, it has no price. */
function worth(price: number, capacityMs: number | undefined): number {
  assert(capacityMs !== undefined, "each price is of a capacity");
  assert(price >= 0, "prices of capacity are at least 0");
  assert(price === 0 || capacityMs < Infinity, "what is without end is free");
  return price === 0 ? 0 : price * capacityMs;
}

/** How a request is served, and what of that comes at a price. */
interface Way {
  readonly nano: number;
  readonly choice: Choice;
  readonly prefillAt: number;
  readonly decoding: readonly Part[];
}

/** Prices at one seat in one bin for one class. */
interface Place {
  /** `seat × bins + bin`. */
  readonly at: number;
  readonly prefillNanoPerMs: number;
  /** By level: of a token, and of each KV token that it holds. */
  readonly tokenNano: Float64Array;
  readonly kvTokenNano: Float64Array;
}

/** Tokens in one bin: of the least and of the greatest KV that the request ever holds, each at its cheapest level. */
interface Part {
  readonly at: number;
  readonly first: number;
  readonly firstLevel: number;
  readonly last: number;
  readonly lastLevel: number;
}

interface Decoding {
  readonly nano: number;
  readonly parts: readonly Part[];
}

/** All of one request that its ways have in common. */
interface Asking {
  readonly demand: Demand;
  readonly choice: Choice;
  readonly seat: Seat;
  readonly terms: ClassTerms;
  readonly firstBin: number;
}

class Evaluation {
  readonly replicaMs: Float64Array;
  readonly #problem: Problem;
  readonly #duals: Duals;
  readonly #places: (Place | undefined)[];

  constructor(problem: Problem, duals: Duals) {
    this.#problem = problem;
    this.#duals = duals;
    this.replicaMs = new Float64Array(duals.length);
    this.#places = Array<Place | undefined>(duals.length * problem.classes.length);
  }

  leastOf(demand: Demand): number {
    const terms = this.#problem.classes[demand.class];
    assert(terms !== undefined, "every class has terms");
    let best: Way | undefined;
    let bestNano = demand.refusedNano;
    for (const choice of demand.choices) {
      if (choice.floorNano >= bestNano) continue;
      const seat = this.#problem.seats[choice.seat];
      assert(seat !== undefined, "a choice is of a seat");
      const firstBin = binAt(this.#problem, demand.atMs + choice.delayMs);
      const way = this.#wayOf({ demand, choice, seat, terms, firstBin }, bestNano);
      if (way === undefined) continue;
      best = way;
      bestNano = way.nano;
    }
    if (best !== undefined) this.#count(demand, best);
    return bestNano;
  }

  /** The cheapest, if it is below `bestNano`. */
  #wayOf(asking: Asking, bestNano: number): Way | undefined {
    const { demand, choice, terms, firstBin } = asking;
    const { edges, bins } = this.#problem;
    let best: Way | undefined;
    for (let last = firstBin; last < bins; last++) {
      const endsMs = (edges[last] ?? 0) - demand.atMs + choice.roundTripMs / 2;
      const idleMs = last === firstBin ? 0 : Math.max(0, endsMs - choice.stayMsMax);
      const least = best?.nano ?? bestNano;
      if (choice.floorNano + terms.waitNanoPerMs * idleMs >= least) break;
      const way = this.#wayUntil(asking, last, idleMs);
      if (way !== undefined && way.nano < least) best = way;
    }
    return best;
  }

  /** Undefined: it cannot have ended so soon. */
  #wayUntil(asking: Asking, last: number, idleMs: number): Way | undefined {
    const { demand, choice, terms, firstBin } = asking;
    const decoding = this.#decoding(asking, last);
    if (decoding === undefined) return undefined;
    let prefill = this.#place(choice.seat, firstBin, demand.class);
    for (let bin = firstBin + 1; bin <= last; bin++) {
      const other = this.#place(choice.seat, bin, demand.class);
      if (other.prefillNanoPerMs < prefill.prefillNanoPerMs) prefill = other;
    }
    const nano =
      choice.moneyNano +
      (choice.isTtftMissed ? terms.missNano : 0) +
      terms.waitNanoPerMs * (choice.delayMs + choice.roundTripMs + idleMs) +
      prefill.prefillNanoPerMs * choice.prefillMs +
      decoding.nano;
    return { nano, choice, prefillAt: prefill.at, decoding: decoding.parts };
  }

  /** With the objective of the mean time per token: missed, or kept at a price of being slow. */
  #decoding(asking: Asking, last: number): Decoding | undefined {
    const { demand, seat, terms } = asking;
    if (demand.steps === 0) return { nano: 0, parts: [] };
    const free = this.#decodingAt(asking, last, 0);
    if (free === undefined) return undefined;
    const kvMs = seat.profile.stepMsPerKvToken * (demand.kvTokens + (demand.steps - 1) / 2);
    const meanMs = ({ stepMs }: Level): number => stepMs + kvMs;
    const [least, most] = [seat.levels[0], seat.levels.at(-1)];
    assert(least !== undefined && most !== undefined, "a seat has a level");
    if (meanMs(most) <= terms.tpotMsMax) return free;
    const missed = { ...free, nano: free.nano + terms.missNano };
    if (meanMs(least) > terms.tpotMsMax) return missed;
    const kept = this.#decodingAt(asking, last, this.#slowNano(asking, meanMs));
    if (kept === undefined || kept.nano <= free.nano) return free;
    return kept.nano < missed.nano ? kept : missed;
  }

  /** What a ms of a token's time must cost so that no level above the limit is cheaper than the last one within. */
  #slowNano({ demand, seat, terms, firstBin, choice }: Asking, meanMs: (at: Level) => number) {
    const { tokenNano, kvTokenNano } = this.#place(choice.seat, firstBin, demand.class);
    const kvTokens = demand.kvTokens + (demand.steps - 1) / 2;
    const nanoAt = (level: number): number =>
      (tokenNano[level] ?? 0) + kvTokens * (kvTokenNano[level] ?? 0);
    const within = seat.levels.findLastIndex((level) => meanMs(level) <= terms.tpotMsMax);
    const limit = seat.levels[within];
    assert(limit !== undefined, "a level is within the limit");
    let slowNano = 0;
    for (let level = within + 1; level < seat.levels.length; level++) {
      const moreMs = (seat.levels[level]?.stepMs ?? 0) - limit.stepMs;
      if (moreMs > 0) slowNano = Math.max(slowNano, (nanoAt(within) - nanoAt(level)) / moreMs);
    }
    return slowNano;
  }

  /**
   * Its tokens over the bins from its first to `last`, cheapest first. The price of a token is concave in the KV that it
   * holds, so that a chord is below it; what the KV grows by is charged where that costs least.
   */
  #decodingAt(asking: Asking, last: number, slowNano: number): Decoding | undefined {
    const { demand, firstBin } = asking;
    const { steps } = demand;
    const offers: Offer[] = [];
    let room = 0;
    for (let bin = firstBin; bin <= last; bin++) {
      const offer = this.#offer(asking, bin, slowNano);
      room += offer.tokensMax;
      offers.push(...(bin === last && bin > firstBin ? this.#ending(asking, offer, bin) : [offer]));
    }
    if (room < steps) return undefined;
    if (offers.length > 1) offers.sort((a, b) => a.firstNano - b.firstNano);
    let flattest = offers[0];
    for (const offer of offers) {
      if (flattest === undefined || offer.growthNano < flattest.growthNano) flattest = offer;
    }
    assert(flattest !== undefined, "there is a bin to decode in");
    const half = steps > 1 ? steps / 2 : 0;
    let nano = half * flattest.growthNano;
    let left = steps;
    const parts: Part[] = [];
    for (const offer of offers) {
      const tokens = Math.min(left, offer.tokensMax);
      const grown = offer === flattest ? half : 0;
      if (tokens === 0 && grown === 0) continue;
      nano += tokens * offer.firstNano;
      parts.push({ ...offer, first: tokens - grown, last: grown });
      left -= tokens;
    }
    return { nano, parts };
  }

  /** Of the bin in which it ends: tokens that a stay without waiting leaves for it, and more for who has waited. */
  #ending({ demand, choice, terms }: Asking, offer: Offer, bin: number): readonly Offer[] {
    const endsMs = (this.#problem.edges[bin] ?? 0) - demand.atMs + choice.roundTripMs / 2;
    const left = Math.max(0, choice.stayMsMax - endsMs) / offer.stepMsMin;
    const tokensMax = Math.min(offer.tokensMax, left * (1 + ROUNDING));
    const waitingNano = terms.waitNanoPerMs * offer.stepMsMin;
    const waited = {
      ...offer,
      firstNano: offer.firstNano + waitingNano,
      tokensMax: offer.tokensMax - tokensMax,
    };
    return [{ ...offer, tokensMax }, waited];
  }

  #offer({ demand, choice, seat, terms }: Asking, bin: number, slowNano: number): Offer {
    const place = this.#place(choice.seat, bin, demand.class);
    const { levels, profile } = seat;
    const { stepMsPerKvToken } = profile;
    const { tokenNano, kvTokenNano } = place;
    const [kvFirst, kvLast] = [demand.kvTokens, demand.kvTokens + demand.steps - 1];
    // The loop that takes the time: without closures and destructuring.
    let firstLevel = 0;
    let lastLevel = 0;
    let firstNano = Infinity;
    let lastNano = Infinity;
    for (let level = 0; level < tokenNano.length; level++) {
      let token = tokenNano[level] ?? 0;
      let kvToken = kvTokenNano[level] ?? 0;
      if (slowNano > 0) {
        token += slowNano * ((levels[level]?.stepMs ?? 0) - terms.tpotMsMax);
        kvToken += slowNano * stepMsPerKvToken;
      }
      const first = token + kvFirst * kvToken;
      const last = token + kvLast * kvToken;
      if (first < firstNano) {
        firstNano = first;
        firstLevel = level;
      }
      if (last < lastNano) {
        lastNano = last;
        lastLevel = level;
      }
    }
    const { edges } = this.#problem;
    const beginsMs = demand.atMs + choice.delayMs + choice.roundTripMs / 2 + choice.prefillMs;
    const fromMs = Math.max(edges[bin] ?? 0, beginsMs);
    const spanMs = Math.max(0, (edges[bin + 1] ?? Infinity) - fromMs);
    const stepMsMin = (seat.levels[0]?.stepMs ?? 0) + stepMsPerKvToken * demand.kvTokens;
    const tokensMax = (spanMs / stepMsMin) * (1 + ROUNDING);
    const growthNano = lastNano - firstNano;
    return { at: place.at, firstNano, growthNano, firstLevel, lastLevel, tokensMax, stepMsMin };
  }

  #place(seat: number, bin: number, classAt: number): Place {
    const { bins, classes } = this.#problem;
    const at = seat * bins + bin;
    const key = at * classes.length + classAt;
    const known = this.#places[key];
    if (known !== undefined) return known;
    const made = this.#placeOf(seat, at, classes[classAt]?.waitNanoPerMs ?? 0);
    this.#places[key] = made;
    return made;
  }

  #placeOf(seatAt: number, at: number, waitNano: number): Place {
    const { seats, energy, waitNanoPerMsMin } = this.#problem;
    const seat = seats[seatAt];
    assert(seat !== undefined, "a place is at a seat");
    const { levels, profile, prefillWatts } = seat;
    const nanoPerWattMs = (energy.nanoPerJoule[at] ?? 0) / 1_000;
    const replicaNano = this.#duals[at] ?? 0;
    const waitNanoMin = waitNanoPerMsMin[seatAt] ?? 0;
    return {
      at,
      prefillNanoPerMs: waitNano + nanoPerWattMs * prefillWatts + replicaNano,
      tokenNano: Float64Array.from(
        levels,
        ({ stepMs, shareMs, shareWattMs }) =>
          waitNano * stepMs + nanoPerWattMs * shareWattMs + replicaNano * shareMs,
      ),
      kvTokenNano: Float64Array.from(
        levels,
        ({ low, watts }) =>
          profile.stepMsPerKvToken *
          (waitNano + (low - 1) * waitNanoMin + nanoPerWattMs * watts + replicaNano),
      ),
    };
  }

  #count(demand: Demand, way: Way): void {
    const { choice, decoding, prefillAt } = way;
    const seat = this.#problem.seats[choice.seat];
    assert(seat !== undefined, "a choice is of a seat");
    this.#use(prefillAt, choice.prefillMs);
    const kvTokensLast = demand.kvTokens + demand.steps - 1;
    const decode = (at: number, tokens: number, levelAt: number, kvTokens: number): void => {
      const level = seat.levels[levelAt];
      assert(level !== undefined, "tokens are decoded at a level");
      const kvMs = seat.profile.stepMsPerKvToken * kvTokens;
      this.#use(at, tokens * (level.shareMs + kvMs));
    };
    for (const { at, first, firstLevel, last, lastLevel } of decoding) {
      decode(at, first, firstLevel, demand.kvTokens);
      decode(at, last, lastLevel, kvTokensLast);
    }
  }

  #use(at: number, replicaMs: number): void {
    this.replicaMs[at] = (this.replicaMs[at] ?? 0) + replicaMs;
  }
}

/** What decoding costs in one bin, for a token of the least KV, and how much more one of the greatest costs. */
interface Offer {
  readonly at: number;
  readonly firstNano: number;
  readonly growthNano: number;
  readonly firstLevel: number;
  readonly lastLevel: number;
  readonly tokensMax: number;
  /** What a token takes at least. */
  readonly stepMsMin: number;
}

/** Of a double, with room to spare: rounding must not keep out what is possible. */
const ROUNDING = 1e-9;

export function binAt({ edges, binMs, bins }: Problem, atMs: number): number {
  let bin = Math.min(bins - 1, Math.floor(atMs / binMs));
  while (bin > 0 && (edges[bin] ?? 0) > atMs) bin -= 1;
  return bin;
}

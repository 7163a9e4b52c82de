import { assert } from "./assert.ts";
import { localHour } from "./energy.ts";
import { gini, Oscillation } from "./evenness.ts";
import type { Policy } from "./placement/policy.ts";
import { serviceClasses, type ServiceClass } from "./placement/request.ts";
import type { PriceEstimate } from "./pool.ts";
import { bracketOf } from "./price-bracket.ts";
import type { Side } from "./region.ts";
import { Spread, type Percentiles } from "./spread.ts";
import type { Instant, Pico, PoolId } from "./units.ts";

/**
 * What a run came to, in nano-CNY, in the parts of the bills that it was decided by:
 *
 * - `money`: tokens that pools made for us × the price in force at dispatch, exact.
 * - `energy`: joules at the sites above what the replicas draw at rest × the local price of power in their hour.
 * - `carbon`: the same joules × the location-based factor × the policy's price of carbon.
 * - `time`: from when a request came to its end × `waitNanoPerMs` of its class, also if it was refused.
 * - `missed`: each objective missed, time to first token and mean time per token, × `missNano`.
 * - `refused`: of a request that nobody served to its end, twice `missNano` and twice what its tokens would have cost at the
 *   dearest pool of the fleet: the second time for the energy and the carbon that it did not take.
 */
export const costParts = ["money", "energy", "carbon", "time", "missed", "refused"] as const;

export type CostPart = (typeof costParts)[number];

export type NanoByPart = Readonly<Record<CostPart, number>>;

export interface ClassOutcome {
  readonly requests: number;
  readonly ok: number;
  readonly refused: number;
  readonly missedTtft: number;
  readonly missedTpot: number;
  /** Served with every objective met. */
  readonly good: number;
  readonly ttftMs: Percentiles | undefined;
  readonly tpotMs: Percentiles | undefined;
}

export interface SideTokens {
  /** When the local hour began. */
  readonly at: Instant;
  readonly localHour: number;
  /** Of attempts that were dispatched in it, in and out. */
  readonly tokensBySide: Readonly<Record<Side, number>>;
}

export interface RunCost {
  readonly totalNano: number;
  readonly nanoByPart: NanoByPart;
  readonly nanoByClass: Readonly<Record<ServiceClass, NanoByPart>>;
  /** The money before it is rounded to nano. */
  readonly moneyPico: Pico;
  readonly requests: number;
  readonly refused: number;
  /** Requests served with every objective met, per second between the first and the last arrival. */
  readonly goodputPerSecond: number;
  readonly byClass: Readonly<Record<ServiceClass, ClassOutcome>>;
  readonly ttftMs: Percentiles | undefined;
  readonly tpotMs: Percentiles | undefined;
  /** Of the slot-time of all pools, the part that requests held, network included. */
  readonly utilisation: number;
  /** Over pools, of slot-time held / slot-time there was. */
  readonly utilisationGini: number;
  /** Relative change of requests in flight per second, see `Oscillation`. */
  readonly oscillation: number;
  readonly sidesByHour: readonly SideTokens[];
  /** At the sites, above rest: what `energy` and `carbon` are made of. */
  readonly joules: number;
  /** Of the same joules by both accounts, which are never added up. */
  readonly gramsCo2Location: number;
  readonly gramsCo2Market: number;
}

export interface CostedAnswer {
  readonly class: ServiceClass;
  readonly isServed: boolean;
  /** Since the request came. Undefined: there was none, or fewer than two tokens. */
  readonly ttftMs: number | undefined;
  readonly tpotMs: number | undefined;
  readonly finishMs: number;
  /** What its tokens cost at the dearest pool; read only if it was not served. */
  readonly dearestPico: number;
}

export interface CostedTokens {
  readonly inputTokens: number;
  /** Of the input, what the prefix cache had. */
  readonly cachedTokens: number;
  readonly outputTokens: number;
}

export interface CostedAttempt {
  readonly class: ServiceClass;
  readonly pool: PoolId;
  readonly side: Side;
  readonly dispatchedAt: Instant;
  /** How long it held its slot. */
  readonly slotMs: number;
  /** What it owes by `chargePico`; 0 of an attempt that never got to the first byte. */
  readonly pico: number;
  /** In and out. */
  readonly tokens: number;
}

export interface CostedEnergy {
  readonly class: ServiceClass;
  /** At the site, above rest. */
  readonly joules: number;
  readonly nanoPerJoule: number;
  readonly locationGramsPerJoule: number;
  readonly marketGramsPerJoule: number;
}

/** Whole pico-CNY: prices are whole numbers of pico, and a request's stay far below 2^53. */
export function chargePico(price: PriceEstimate, tokens: CostedTokens): number {
  const { inputTokens, cachedTokens, outputTokens } = tokens;
  const { uncachedInputPicoPerToken, cacheReadPicoPerToken, outputPicoPerToken } =
    bracketOf(price, tokens) ?? price;
  const pico =
    (inputTokens - cachedTokens) * uncachedInputPicoPerToken +
    cachedTokens * cacheReadPicoPerToken +
    outputTokens * outputPicoPerToken;
  assert(Number.isSafeInteger(pico) && pico < RECENT_PICO_MAX, "a charge is whole pico");
  return pico;
}

/** An exact sum of whole numbers: a bigint for what a double could not hold any more. */
class PicoSum {
  #whole: Pico = 0n;
  #recent = 0;

  add(pico: number): void {
    this.#recent += pico;
    if (this.#recent < RECENT_PICO_MAX) return;
    this.#whole += BigInt(this.#recent);
    this.#recent = 0;
  }

  get total(): Pico {
    return this.#whole + BigInt(this.#recent);
  }
}

/** With one more request on top still a safe integer. */
const RECENT_PICO_MAX = 2 ** 52;

interface ClassSum {
  readonly money: PicoSum;
  readonly dearest: PicoSum;
  energyNano: number;
  carbonNano: number;
  timeNano: number;
  requests: number;
  ok: number;
  refused: number;
  missedTtft: number;
  missedTpot: number;
  good: number;
  readonly ttftMs: Spread;
  readonly tpotMs: Spread;
}

/** Adds up what a run costs as it goes. */
export class RunCostBuilder {
  readonly #policy: Policy;
  readonly #classes: Readonly<Record<ServiceClass, ClassSum>>;
  readonly #ttftMs = new Spread();
  readonly #tpotMs = new Spread();
  readonly #slotMs = new Map<PoolId, number>();
  readonly #inFlight = new Oscillation<PoolId>();
  readonly #hours = new Map<Instant, Record<Side, number>>();
  #joules = 0;
  #gramsLocation = 0;
  #gramsMarket = 0;

  constructor(policy: Policy) {
    this.#policy = policy;
    this.#classes = byClass(() => ({
      money: new PicoSum(),
      dearest: new PicoSum(),
      energyNano: 0,
      carbonNano: 0,
      timeNano: 0,
      requests: 0,
      ok: 0,
      refused: 0,
      missedTtft: 0,
      missedTpot: 0,
      good: 0,
      ttftMs: new Spread(),
      tpotMs: new Spread(),
    }));
  }

  addAnswer(answer: CostedAnswer): void {
    const sum = this.#classes[answer.class];
    const { ttftMsMax, tpotMsMax, waitNanoPerMs } = this.#policy.objectives[answer.class];
    sum.requests += 1;
    sum.timeNano += answer.finishMs * waitNanoPerMs;
    if (!answer.isServed) {
      sum.refused += 1;
      sum.dearest.add(answer.dearestPico);
      return;
    }
    const { ttftMs = 0, tpotMs = 0 } = answer;
    const [isTtftMissed, isTpotMissed] = [ttftMs > ttftMsMax, tpotMs > tpotMsMax];
    sum.ok += 1;
    if (isTtftMissed) sum.missedTtft += 1;
    if (isTpotMissed) sum.missedTpot += 1;
    if (!isTtftMissed && !isTpotMissed) sum.good += 1;
    for (const spread of [sum.ttftMs, this.#ttftMs]) spread.add(ttftMs);
    if (answer.tpotMs === undefined) return;
    for (const spread of [sum.tpotMs, this.#tpotMs]) spread.add(tpotMs);
  }

  addAttempt({ class: each, pool, side, dispatchedAt, slotMs, pico, tokens }: CostedAttempt): void {
    this.#slotMs.set(pool, (this.#slotMs.get(pool) ?? 0) + slotMs);
    this.#classes[each].money.add(pico);
    const at = Math.floor(dispatchedAt / HOUR_MS) * HOUR_MS;
    const hour = this.#hours.get(at) ?? { east: 0, west: 0 };
    this.#hours.set(at, hour);
    hour[side] += tokens;
  }

  addEnergy(energy: CostedEnergy): void {
    const { joules, nanoPerJoule, locationGramsPerJoule, marketGramsPerJoule } = energy;
    const sum = this.#classes[energy.class];
    const grams = joules * locationGramsPerJoule;
    sum.energyNano += joules * nanoPerJoule;
    sum.carbonNano += grams * this.#policy.carbonNanoPerGram;
    this.#joules += joules;
    this.#gramsLocation += grams;
    this.#gramsMarket += joules * marketGramsPerJoule;
  }

  /** Requests in flight at a pool now; told of every pool once a second. */
  sample(pool: PoolId, inFlight: number): void {
    this.#inFlight.sample(pool, inFlight);
  }

  /** `durationMs` is from the first to the last arrival, `elapsedMs` until the last answer. */
  build(run: {
    readonly durationMs: number;
    readonly elapsedMs: number;
    readonly slotsByPool: ReadonlyMap<PoolId, number>;
  }): RunCost {
    const nanoByClass = byClass((each) => this.#nanoOf(each));
    const nanoByPart = sumOf(Object.values(nanoByClass));
    const sums = Object.values(this.#classes);
    const count = (what: (sum: ClassSum) => number): number =>
      sums.reduce((total, sum) => total + what(sum), 0);
    const held = [...run.slotsByPool].map(([pool]) => this.#slotMs.get(pool) ?? 0);
    const there = [...run.slotsByPool.values()].map((slots) => slots * run.elapsedMs);
    return {
      totalNano: costParts.reduce((total, part) => total + nanoByPart[part], 0),
      nanoByPart,
      nanoByClass,
      moneyPico: sums.reduce((total, { money }) => total + money.total, 0n),
      requests: count(({ requests }) => requests),
      refused: count(({ refused }) => refused),
      goodputPerSecond: ratio(count(({ good }) => good) * 1_000, run.durationMs),
      byClass: byClass((each) => outcomeOf(this.#classes[each])),
      ttftMs: this.#ttftMs.percentiles,
      tpotMs: this.#tpotMs.percentiles,
      utilisation: ratio(total(held), total(there)),
      utilisationGini: gini(held.map((ms, index) => ratio(ms, there[index] ?? 0))),
      oscillation: this.#inFlight.mean,
      sidesByHour: [...this.#hours]
        .toSorted(([a], [b]) => a - b)
        .map(([at, tokensBySide]) => ({ at, localHour: localHour(at), tokensBySide })),
      joules: this.#joules,
      gramsCo2Location: this.#gramsLocation,
      gramsCo2Market: this.#gramsMarket,
    };
  }

  #nanoOf(each: ServiceClass): NanoByPart {
    const sum = this.#classes[each];
    const { missNano } = this.#policy.objectives[each];
    return {
      money: nanoOf(sum.money.total),
      energy: Math.round(sum.energyNano),
      carbon: Math.round(sum.carbonNano),
      time: Math.round(sum.timeNano),
      missed: (sum.missedTtft + sum.missedTpot) * missNano,
      refused: 2 * sum.refused * missNano + nanoOf(2n * sum.dearest.total),
    };
  }
}

const HOUR_MS = 3_600_000;

function outcomeOf(sum: ClassSum): ClassOutcome {
  const { requests, ok, refused, missedTtft, missedTpot, good, ttftMs, tpotMs } = sum;
  return {
    requests,
    ok,
    refused,
    missedTtft,
    missedTpot,
    good,
    ttftMs: ttftMs.percentiles,
    tpotMs: tpotMs.percentiles,
  };
}

/** Rounded half up. */
function nanoOf(pico: Pico): number {
  return Number((pico + 500n) / 1_000n);
}

function sumOf(all: readonly NanoByPart[]): NanoByPart {
  const sum = { money: 0, energy: 0, carbon: 0, time: 0, missed: 0, refused: 0 };
  for (const each of all) for (const part of costParts) sum[part] += each[part];
  return sum;
}

function byClass<Value>(make: (each: ServiceClass) => Value): Record<ServiceClass, Value> {
  const pairs = serviceClasses.map((each) => [each, make(each)] as const);
  return Object.fromEntries(pairs) as Record<ServiceClass, Value>;
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function ratio(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0;
}

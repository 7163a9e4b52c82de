import type { Pool, PriceEstimate, Served } from "../pool.ts";
import type { Geography, Origin } from "../region.ts";
import type { Instant } from "../units.ts";
import type { BudgetPrices, BudgetView } from "./budget.ts";
import { Estimate, expect, lengthSpreadSquared, type Expected } from "./expect.ts";
import type { Load } from "./load.ts";
import type { Objectives, Policy } from "./policy.ts";
import type { PlacementRequest } from "./request.ts";
import { rowsAt, rulesFor, type Rules, type RowsAt } from "./rules.ts";
import type { EnergyCoefficients, Standing, TimeCoefficients } from "./standing.ts";
import { ratesAt, sumOf, type TariffRate } from "./tariffs.ts";
import { withTrust } from "./trust-rate.ts";

/** What is asked, with all that is the same for every pool. */
export interface Ask {
  readonly request: PlacementRequest;
  /** As it is for this request. */
  readonly policy: Policy;
  /** The same before its overrides are laid over it. */
  readonly policyAsSet: Policy;
  readonly now: Instant;
  readonly geography: Geography;
  readonly origin: Origin | undefined;
  readonly rules: Rules;
  /** At least 0 each. Undefined: no budget has a price now. */
  readonly budgetPrices: BudgetPrices | undefined;
  readonly objectives: Objectives;
  readonly inputTokens: number;
  /** Expected, never more than the most that the engine is told. */
  readonly outputTokens: number;
  readonly outputTokensMax: number;
  /** (Standard deviation / mean)² of how long an answer takes. */
  readonly lengthSpreadSquared: number;
  /** Infinity: none was set. */
  readonly deadlineMs: number;
  /** Of the time to first token that the class promises, what is left. */
  readonly ttftMsLeft: number;
  /** It is past, and somebody else may yet be in time: only for classes that leave room. */
  readonly isLate: boolean;
}

export interface AskContext {
  readonly now: Instant;
  readonly geography: Geography;
}

export function toAsk(request: PlacementRequest, policy: Policy, context: AskContext): Ask {
  const origin = context.geography.origins.get(request.origin);
  return askWith(rulesFor(policy, { request, origin }), origin, { request, policy, context });
}

/** The same with rules that were found before. */
export function askWith(
  rules: Rules,
  origin: Origin | undefined,
  options: {
    readonly request: PlacementRequest;
    readonly policy: Policy;
    readonly context: AskContext;
  },
): Ask {
  const { request, policy: policyAsSet, context } = options;
  const { policy } = rules;
  const objectives = policy.objectives[request.class];
  const ttftMsLeft = objectives.ttftMsMax - (request.waitedMs ?? 0);
  const expected = request.outputTokensExpected ?? policy.outputTokensDefault;
  const outputTokens =
    request.outputTokensMax === undefined ? expected : Math.min(expected, request.outputTokensMax);
  return {
    request,
    policy,
    policyAsSet,
    now: context.now,
    geography: context.geography,
    origin,
    rules,
    budgetPrices: pricesOf(request.budgets),
    objectives,
    inputTokens: request.inputTokens,
    outputTokens,
    outputTokensMax: request.outputTokensMax ?? outputTokens,
    lengthSpreadSquared: lengthSpreadSquared(outputTokens, request.outputTokensDeviation),
    deadlineMs: request.deadlineMs ?? Infinity,
    ttftMsLeft,
    isLate: ttftMsLeft <= 0 && objectives.slotsUsedRatioMax < 1,
  };
}

function pricesOf(budgets: BudgetView | undefined): BudgetPrices | undefined {
  if (budgets === undefined) return undefined;
  const { nanoPerNano, nanoPerJoule, nanoPerGram } = budgets.prices;
  return nanoPerNano + nanoPerJoule + nanoPerGram > 0 ? budgets.prices : undefined;
}

/** Longer than any path on the map: one that nobody knows is not preferred. House default. */
const ROUND_TRIP_UNKNOWN_MS = 60;

/**
 * A pool as requests of one kind see it. What a request will take there is worked out when a rule
 * first asks, and kept until the next request asks.
 */
export class Prospect {
  readonly standing: Standing;
  readonly times: TimeCoefficients;
  readonly energy: EnergyCoefficients;
  readonly price: PriceEstimate | undefined;
  readonly hasBrackets: boolean;
  readonly roundTripMs: number;
  readonly rows: RowsAt;
  readonly rates: readonly TariffRate[];
  readonly preferenceNanoPerToken: number;
  #estimate: Estimate | undefined;
  #foreseenFor: Ask | undefined;

  /** `rows` are those of a pool of the same facts, if they are known. */
  constructor(standing: Standing, ask: Ask, rows: RowsAt = rowsAt(standing.pool, ask)) {
    this.standing = standing;
    this.times = standing.times;
    this.energy = standing.energy;
    this.price = standing.served.price;
    this.hasBrackets = (this.price?.brackets?.length ?? 0) > 0;
    const roundTrip = standing.pool.roundTripMsFrom.get(ask.request.origin);
    this.roundTripMs = roundTrip?.value ?? ROUND_TRIP_UNKNOWN_MS;
    this.rows = rows;
    this.rates = withTrust(ratesAt(standing, rows), standing);
    this.preferenceNanoPerToken = sumOf(this.rates);
  }

  get pool(): Pool {
    return this.standing.pool;
  }

  get served(): Served {
    return this.standing.served;
  }

  get load(): Load {
    return this.standing.load;
  }

  /** Of the prompt, what the pool is expected to have in its prefix cache. */
  cachedTokens({ request: { cachedTokensAt, inputTokens } }: Ask): number {
    if (cachedTokensAt.size === 0) return 0;
    return Math.min(inputTokens, cachedTokensAt.get(this.standing.pool.id) ?? 0);
  }

  /** Good until another request asks. Made when somebody asks: most pools are seen to cost too much before. */
  expected(ask: Ask): Expected {
    if (this.#estimate !== undefined && this.#foreseenFor === ask) return this.#estimate;
    this.#estimate ??= new Estimate(this.standing.engine);
    this.#foreseenFor = ask;
    expect(this.#estimate, this, ask);
    return this.#estimate;
  }

  /** The same to keep: the next request gets another. */
  foreseen(ask: Ask): Expected {
    const expected = this.expected(ask);
    this.#estimate = undefined;
    return expected;
  }
}

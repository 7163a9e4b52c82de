import type { AttemptOutcome } from "../lease.ts";
import type { Pool } from "../pool.ts";
import type { Geography } from "../region.ts";
import type { PoolId } from "../units.ts";
import { candidateOf, type Candidate, type Placed } from "./decide.ts";
import { refusalOf } from "./filters.ts";
import type { Policy } from "./policy.ts";
import { Prospect, toAsk, type Ask } from "./prospect.ts";
import type { PlacementRequest } from "./request.ts";
import { standingOf } from "./standing.ts";

/** What a choice is judged by. `total` is the sum of the others and of the policy's wishes. */
export const hindsightObjectives = ["total", "money", "energy", "carbon", "latency"] as const;

export type HindsightObjective = (typeof hindsightObjectives)[number];

type Costs = Readonly<Record<HindsightObjective, number>>;

export interface Hindsight {
  /** What it came to at the pool that was chosen, in nano-CNY. */
  readonly costNano: Costs;
  /** How much less the best choice for this objective alone would have come to, at least 0. */
  readonly regretNano: Costs;
  /** The best choice in total. */
  readonly best: PoolId;
}

/**
 * What the best choice would have cost with what is known now. The pool that was chosen is judged by what happened: its
 * times and the tokens that were made. The others are judged by the same tokens and their own prediction from their state
 * as reports have shown it since the decision (`after`); a pool that a rule would have kept out by then is no choice.
 * Prices are those of the decision. Congestion and budgets are left out: they are prices of what others lose, not costs
 * of this request. Undefined: the outcome says too little.
 */
export function hindsightOf(
  decision: Placed,
  outcome: AttemptOutcome,
  world: {
    readonly after: readonly Pool[];
    readonly policy: Policy;
    readonly geography: Geography;
  },
): Hindsight | undefined {
  const { policy, geography } = world;
  if (outcome.result !== "ok" || outcome.durationMs === undefined) return undefined;
  const ask = toAsk(realised(decision, outcome), policy, { now: decision.decidedAt, geography });
  const chosen = realisedCosts(decision, outcome, ask);
  const best: Record<HindsightObjective, number> = { ...chosen };
  let bestPool = decision.pool;
  for (const candidate of othersOf(decision, world.after, ask)) {
    const costs = expectedCosts(candidate);
    if (costs.total < best.total) bestPool = candidate.pool;
    for (const objective of hindsightObjectives) {
      best[objective] = Math.min(best[objective], costs[objective]);
    }
  }
  return { costNano: chosen, regretNano: difference(chosen, best), best: bestPool };
}

/** The request as it turned out. */
function realised({ request }: Placed, outcome: AttemptOutcome): PlacementRequest {
  const { inputTokens, outputTokens } = outcome;
  return {
    ...request,
    inputTokens: inputTokens ?? request.inputTokens,
    outputTokensExpected: outputTokens ?? request.outputTokensExpected,
  };
}

/** Tokens that were made at the prices of then, joules by the model, time as it was. */
function realisedCosts({ chosen, model }: Placed, outcome: AttemptOutcome, ask: Ask): Costs {
  const { evidence } = chosen;
  const served = evidence.served.get(model);
  const { cachedTokens, durationMs, ttftMs, itlMsMean } = outcome;
  const known = cachedTokens === undefined ? undefined : new Map([[evidence.id, cachedTokens]]);
  const asked: Ask =
    known === undefined ? ask : { ...ask, request: { ...ask.request, cachedTokensAt: known } };
  const terms =
    served === undefined
      ? chosen.terms
      : candidateOf(new Prospect(standingOf(evidence, served, asked), asked), asked).terms;
  const { waitNanoPerMs, missNano, ttftMsMax, tpotMsMax } = ask.objectives;
  const misses = Number((ttftMs ?? 0) > ttftMsMax) + Number((itlMsMean ?? 0) > tpotMsMax);
  const latency = Math.round((durationMs ?? 0) * waitNanoPerMs + misses * missNano);
  return costsOf({ ...terms, latency });
}

function* othersOf(decision: Placed, after: readonly Pool[], ask: Ask): Generator<Candidate> {
  const before = new Map(decision.candidates.map((each) => [each.pool, each.evidence]));
  for (const pool of after) {
    const then = before.get(pool.id)?.served.get(decision.model);
    const served = pool.served.get(decision.model);
    if (pool.id === decision.pool || then === undefined || served === undefined) continue;
    const asOfThen = { ...served, price: then.price };
    const at = new Prospect(standingOf(pool, asOfThen, ask), ask);
    if (refusalOf(at, ask) === undefined) yield candidateOf(at, ask);
  }
}

function expectedCosts({ terms }: Candidate): Costs {
  return costsOf(terms);
}

function costsOf({ price, energy, carbon, latency, preference }: Candidate["terms"]): Costs {
  const total = price + energy + carbon + latency + preference;
  return { total, money: price, energy, carbon, latency };
}

function difference(a: Costs, b: Costs): Costs {
  return {
    total: a.total - b.total,
    money: a.money - b.money,
    energy: a.energy - b.energy,
    carbon: a.carbon - b.carbon,
    latency: a.latency - b.latency,
  };
}

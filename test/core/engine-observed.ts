import { EngineReplica } from "../../services/core/engine-replica.ts";
import type { EngineConditions, EngineObservation } from "../../services/core/engine-fit.ts";
import type { EngineProfile } from "../../services/core/pool.ts";
import { randomFromSeed } from "../../services/core/random.ts";

/** How requests come to one replica. */
export interface Demand {
  readonly seed: number;
  readonly requests: number;
  readonly perSecond: number;
  readonly inputTokens: () => number;
  readonly outputTokens: () => number;
}

interface Job {
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly outputTokensMax: number;
  readonly blocks: readonly number[];
  readonly arrivedAt: number;
  readonly others: EngineConditions;
  readonly begun: Sums;
  startedAt: number;
}

interface Sums {
  batch: number;
  kvTokens: number;
  prefillTokens: number;
}

const window = 3_000;

/**
 * What the gateway would tell of attempts at one replica that runs step by step: times, and the load as the control plane
 * would know it. Those who waited for a place tell nothing of the time to the first token.
 */
export function* observations(
  profile: EngineProfile,
  demand: Demand,
): Generator<EngineObservation & { readonly ttft: { readonly ms: number } }> {
  const random = randomFromSeed(demand.seed);
  const replica = new EngineReplica<Job>(profile);
  const sums: Sums = { batch: 0, kvTokens: 0, prefillTokens: 0 };
  const prefills: [number, number][] = [];
  let [now, left, next] = [0, demand.requests, 0];
  const rate = (): number => {
    while ((prefills[0]?.[0] ?? Infinity) < now - window) prefills.shift();
    return prefills.reduce((sum, [, tokens]) => sum + tokens, 0) / Math.min(window, now + 1);
  };
  const arrive = (): void => {
    const outputTokens = demand.outputTokens();
    const others = {
      batch: replica.runningRequests,
      kvTokens: replica.kvTokensHeld,
      prefillTokensPerMs: rate(),
    };
    replica.submit({
      promptTokens: demand.inputTokens(),
      outputTokens,
      outputTokensMax: outputTokens,
      blocks: [],
      arrivedAt: next,
      others,
      begun: { ...sums },
      startedAt: 0,
    });
    next += (-Math.log(1 - random()) * 1_000) / demand.perSecond;
    left -= 1;
  };
  while (left > 0 || replica.runningRequests > 0) {
    if (left > 0 && replica.runningRequests + replica.waitingRequests === 0)
      now = Math.max(now, next);
    while (left > 0 && next <= now) arrive();
    const result = replica.step();
    if (result === undefined) continue;
    now += result.ms;
    sums.batch += replica.runningRequests * result.ms;
    sums.kvTokens += replica.kvTokensHeld * result.ms;
    sums.prefillTokens += result.prefillTokens;
    prefills.push([now, result.prefillTokens]);
    for (const job of result.started) job.startedAt = now;
    for (const job of result.finished) yield observed(job, now, sums);
  }
}

function observed(job: Job, now: number, sums: Sums) {
  const { arrivedAt, startedAt, begun, others, outputTokens, promptTokens } = job;
  const lifeMs = now - arrivedAt;
  const during = {
    batch: Math.max(1, (sums.batch - begun.batch) / lifeMs),
    kvTokens: (sums.kvTokens - begun.kvTokens) / lifeMs,
    prefillTokensPerMs: (sums.prefillTokens - begun.prefillTokens) / lifeMs,
  };
  const tpotMs = (now - startedAt) / (outputTokens - 1);
  return {
    ttft: { ms: startedAt - arrivedAt, uncachedTokens: promptTokens, others },
    tpot: outputTokens < 2 ? undefined : { ms: tpotMs, during },
  };
}

import { replicaWatts } from "../energy.ts";
import type { Engine, EngineBasis } from "./engine-of.ts";
import type { Ask, Prospect } from "./prospect.ts";
import type { EnergyCoefficients, TimeCoefficients } from "./standing.ts";

/** What serving the request at this pool will probably take. */
export interface Expected {
  readonly cachedTokens: number;
  readonly uncachedTokens: number;
  readonly outputTokens: number;
  readonly roundTripMs: number;
  readonly waitMs: number;
  /** For the prompts ahead of its own. */
  readonly promptsAheadMs: number;
  readonly prefillMs: number;
  /** Dispatch to first token: round trip, wait and prefill. */
  readonly ttftMs: number;
  readonly tpotMs: number;
  readonly finishMs: number;
  /** How far the finish scatters, most of it with the length of the answer: a standard deviation. */
  readonly finishDeviationMs: number;
  /** How long the request holds a slot. */
  readonly slotMs: number;
  /** KV tokens × ms that it holds. */
  readonly kvTokenMs: number;
  /** For how long the pool will be at its prompt, all replicas and all who place there taken as one. */
  readonly promptMs: number;
  /** For how long each of the others in its replica is held up by it. */
  readonly delayOthersMs: number;
  /** Its part of what the site draws: power usage effectiveness included. */
  readonly joules: number;
  /** What the site draws more because of it: joining a batch costs less than its part of the batch. */
  readonly joulesAdded: number;
  /** By the account that the policy names. */
  readonly gramsCo2: number;
  /** That an objective of the class is missed, 0..1. */
  readonly missProbability: number;
  /** Where the times come from. */
  readonly engineBasis: EngineBasis;
  /** What was learned at this pool, and is in the times above. */
  readonly ttftOffsetMs: number;
  readonly tpotRatio: number;
}

/** The same while it is being worked out. Made once per pool and kind of request, used for each. */
export class Estimate implements Expected {
  cachedTokens = 0;
  uncachedTokens = 0;
  outputTokens = 0;
  roundTripMs = 0;
  waitMs = 0;
  promptsAheadMs = 0;
  prefillMs = 0;
  ttftMs = 0;
  tpotMs = 0;
  finishMs = 0;
  finishDeviationMs = 0;
  slotMs = 0;
  kvTokenMs = 0;
  promptMs = 0;
  delayOthersMs = 0;
  joules = 0;
  joulesAdded = 0;
  gramsCo2 = 0;
  missProbability = 0;
  readonly engineBasis: EngineBasis;
  readonly ttftOffsetMs: number;
  readonly tpotRatio: number;

  constructor({ basis, ttftOffsetMs, tpotRatio }: Engine) {
    this.engineBasis = basis;
    this.ttftOffsetMs = ttftOffsetMs;
    this.tpotRatio = tpotRatio;
  }
}

/** How far times scatter about their mean: (standard deviation / mean)². House defaults. */
const SPREAD_SQUARED = {
  /** Of an exponential distribution, as queues have it. */
  wait: 1,
  prefill: 0.5 ** 2,
  tpot: 0.2 ** 2,
  /** Output lengths of which nothing is known scatter more than speeds. */
  length: 0.5 ** 2,
};

/**
 * The closed form of the engine model with this request in it: one more sequence, and its prompt
 * and half of its answer more KV. One who comes when all places are taken waits until as many have
 * left as came before him.
 */
export function expect(into: Estimate, at: Prospect, ask: Ask): void {
  const { times, energy } = at;
  const { inputTokens, outputTokens } = ask;
  const cachedTokens = at.cachedTokens(ask);
  const uncachedTokens = inputTokens - cachedTokens;
  const kvTokensEach = inputTokens + ask.outputTokensMax;
  const hasRoom = hasRoomFor(times, kvTokensEach);
  const capacity = hasRoom ? Infinity : capacityOf(times, kvTokensEach);
  const batch = hasRoom ? times.batch : Math.max(1, capacity / times.replicas);
  const stepMs = stepMsOf(times, batch, inputTokens + outputTokens / 2);
  const prefillMs = Math.max(0, uncachedTokens * times.msPerUncachedToken + times.ttftOffsetMs);
  const promptsAheadMs = promptsAhead(at, ask, uncachedTokens);
  const gaps = Math.max(0, outputTokens - 1);
  // Prompts that came while it waited for its own turn are behind it, and its first tokens wait for them.
  const promptsBehindMs =
    (times.stretch - 1) * (promptsAheadMs + uncachedTokens * times.promptMsPerToken);
  const decodeMs = gaps === 0 ? 0 : gaps * stepMs * times.stretch + promptsBehindMs;
  const tpotMs = gaps === 0 ? stepMs * times.stretch : decodeMs / gaps;
  const waitMs = hasRoom
    ? 0
    : ((times.inFlight + 1 - capacity) / capacity) * (prefillMs + decodeMs);
  const ttftMs = at.roundTripMs + waitMs + promptsAheadMs + prefillMs;
  const finishMs = ttftMs + decodeMs;
  const watts = hasRoom ? energy.wattsPerSequence : wattsPerSequence(energy, batch);
  const millijoules =
    (prefillMs + decodeMs) * energy.wattsPerRequest +
    uncachedTokens * energy.millijoulesPerUncachedToken +
    outputTokens * stepMs * watts;
  into.cachedTokens = cachedTokens;
  into.uncachedTokens = uncachedTokens;
  into.outputTokens = outputTokens;
  into.roundTripMs = at.roundTripMs;
  into.waitMs = waitMs;
  into.promptsAheadMs = promptsAheadMs;
  into.prefillMs = prefillMs;
  into.ttftMs = ttftMs;
  into.tpotMs = tpotMs;
  into.finishMs = finishMs;
  into.slotMs = finishMs - at.roundTripMs;
  // The prompt is held while it is filled in, half of it on the mean, and then with the answer.
  into.kvTokenMs = (inputTokens * prefillMs) / 2 + (inputTokens + outputTokens / 2) * decodeMs;
  const stepMsOthers =
    times.stepMsPerSequence + times.stepMsPerKvToken * (inputTokens + outputTokens / 2);
  const millijoulesAdded =
    (prefillMs + decodeMs) * energy.wattsPerRequest +
    uncachedTokens * energy.millijoulesAddedPerUncachedToken +
    outputTokens * (stepMs * energy.wattsAdded + stepMsOthers * energy.wattsOthers);
  into.promptMs = (uncachedTokens * times.promptMsPerToken) / (times.replicas * at.pool.share);
  into.delayOthersMs = uncachedTokens * times.prefillMsPerToken + outputTokens * stepMsOthers;
  into.joules = (energy.pue * millijoules) / 1_000;
  into.joulesAdded = (energy.pue * millijoulesAdded) / 1_000;
  into.gramsCo2 = into.joules * energy.gramsPerJoule;
  const ttftVariance =
    SPREAD_SQUARED.wait * waitMs * waitMs +
    SPREAD_SQUARED.prefill * (promptsAheadMs + prefillMs) ** 2;
  const finishVariance = ttftVariance + ask.lengthSpreadSquared * decodeMs * decodeMs;
  into.finishDeviationMs = Math.sqrt(finishVariance);
  into.missProbability = missProbability(into, ask, ttftVariance, finishVariance);
}

/**
 * What is left of the prompts that we placed there, less what the other replicas can do of it while one is at a prompt like
 * this.
 */
function promptsAhead({ served, times }: Prospect, { now }: Ask, uncachedTokens: number): number {
  const leftMs = served.promptsDoneAt - now;
  if (leftMs <= 0) return 0;
  const { replicas, promptMsPerToken } = times;
  return Math.max(0, leftMs - ((replicas - 1) / replicas) * uncachedTokens * promptMsPerToken);
}

/** One more runs at once: nobody waits, and neither sequences nor KV cache are used up. */
function hasRoomFor(times: TimeCoefficients, kvTokensEach: number): boolean {
  const requests = times.inFlight + 1;
  return (
    times.runningWhenFull === 0 &&
    requests <= times.replicas * times.sequencesMax &&
    requests * kvTokensEach <= times.replicas * times.kvTokensTotal
  );
}

/** Requests like this one that run together over all replicas, at least 1. */
function capacityOf(times: TimeCoefficients, kvTokensEach: number): number {
  if (times.runningWhenFull > 0) return times.runningWhenFull;
  const perReplica = Math.min(times.sequencesMax, times.kvTokensTotal / kvTokensEach);
  return Math.max(1, times.replicas * perReplica);
}

/** What no report knows of is taken to be like this request. */
function stepMsOf(times: TimeCoefficients, batch: number, kvTokensOwn: number): number {
  const others = Math.max(0, times.kvTokensOthers + times.kvRequestsLikeIt * kvTokensOwn);
  const kvTokens = Math.min(others + kvTokensOwn, times.kvTokensTotal);
  return times.stepBaseMs + times.stepMsPerSequence * batch + times.stepMsPerKvToken * kvTokens;
}

/** Measured power has no batch. */
function wattsPerSequence(energy: EnergyCoefficients, batch: number): number {
  return energy.wattsPerRequest > 0 ? 0 : replicaWatts(energy.model, batch) / batch;
}

/** The objectives are missed together or apart: no more often than the sum says. */
function missProbability(
  { ttftMs, tpotMs, finishMs }: Expected,
  { objectives, deadlineMs, ttftMsLeft }: Ask,
  ttftVariance: number,
  finishVariance: number,
): number {
  const late =
    exceeds(ttftMsLeft, ttftMs, ttftVariance) +
    exceeds(objectives.tpotMsMax, tpotMs, SPREAD_SQUARED.tpot * tpotMs * tpotMs);
  if (deadlineMs === Infinity) return Math.min(1, late);
  return Math.min(1, late + exceeds(deadlineMs, finishMs, finishVariance));
}

/** (Standard deviation / mean)² of how long an answer takes, from that of its length and of the speed. */
export function lengthSpreadSquared(tokens: number, deviationTokens: number | undefined): number {
  if (deviationTokens === undefined || !(tokens > 0)) return SPREAD_SQUARED.length;
  return (deviationTokens / tokens) ** 2 + SPREAD_SQUARED.tpot;
}

/** Cantelli's bound on P(time > limit): holds for every distribution with this mean and variance. */
function exceeds(limitMs: number, meanMs: number, variance: number): number {
  const slackMs = limitMs - meanMs;
  return slackMs <= 0 ? 1 : variance / (variance + slackMs * slackMs);
}

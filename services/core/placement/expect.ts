import { prefillMs, tpotMs, type EngineLoad } from "../engine.ts";
import { gramsPerJoule, prefillWatts, pueOf, replicaWatts } from "../energy.ts";
import type { Pool, Served } from "../pool.ts";
import type { Engine, EngineBasis } from "./engine-of.ts";
import type { Load } from "./load.ts";
import type { Objectives, Policy } from "./policy.ts";
import type { PlacementRequest } from "./request.ts";

/** What serving the request at this pool will probably take. */
export interface Expected {
  readonly cachedTokens: number;
  readonly uncachedTokens: number;
  readonly outputTokens: number;
  readonly roundTripMs: number;
  readonly waitMs: number;
  readonly prefillMs: number;
  /** Dispatch to first token: round trip, wait and prefill. */
  readonly ttftMs: number;
  readonly tpotMs: number;
  readonly finishMs: number;
  /** How long the request holds a slot. */
  readonly slotMs: number;
  /** KV tokens × ms that it holds. */
  readonly kvTokenMs: number;
  /** At the site: power usage effectiveness included. */
  readonly joules: number;
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

/** A request at a pool: all that a prediction depends on. */
export interface Outlook {
  readonly request: PlacementRequest;
  readonly outputTokens: number;
  readonly pool: Pool;
  readonly served: Served;
  readonly engine: Engine;
  readonly load: Load;
  readonly policy: Policy;
  readonly residualGramsPerKwh: number;
}

/** How far times scatter about their mean: standard deviation / mean. House defaults. */
const SPREAD = {
  /** Of an exponential distribution, as queues have it. */
  wait: 1,
  prefill: 0.5,
  tpot: 0.2,
  /** Output lengths scatter more than speeds. */
  decode: 0.5,
};

/** Longer than any path on the map: one that nobody knows is not preferred. House default. */
const ROUND_TRIP_UNKNOWN_MS = 60;

export function expect(outlook: Outlook): Expected {
  const { request, pool, engine, outputTokens } = outlook;
  const cachedTokens = Math.min(request.inputTokens, request.cachedTokensAt.get(pool.id) ?? 0);
  const uncachedTokens = request.inputTokens - cachedTokens;
  const roundTripMs = pool.roundTripMsFrom.get(request.origin)?.value ?? ROUND_TRIP_UNKNOWN_MS;
  const stay = stayAt(outlook, uncachedTokens);
  const ttftMs = roundTripMs + stay.waitMs + stay.prefillMs;
  const finishMs = ttftMs + stay.decodeMs;
  const joules = joulesOf(outlook, uncachedTokens, stay);
  const grams = gramsPerJoule(pool, outlook.policy.carbonAccount, outlook.residualGramsPerKwh);
  return {
    cachedTokens,
    uncachedTokens,
    outputTokens,
    roundTripMs,
    waitMs: stay.waitMs,
    prefillMs: stay.prefillMs,
    ttftMs,
    tpotMs: stay.tpotMs,
    finishMs,
    slotMs: finishMs - roundTripMs,
    kvTokenMs: kvTokenMsOf(request.inputTokens, outputTokens, stay),
    joules,
    gramsCo2: joules * grams,
    missProbability: missProbability(outlook, { ...stay, ttftMs, finishMs }),
    engineBasis: engine.basis,
    ttftOffsetMs: engine.ttftOffsetMs,
    tpotRatio: engine.tpotRatio,
  };
}

/** Time in the engine. */
interface Stay {
  readonly waitMs: number;
  readonly prefillMs: number;
  /** One step without the prefill of others. */
  readonly stepMs: number;
  readonly tpotMs: number;
  readonly decodeMs: number;
  /** Sequences per replica, this one with them. */
  readonly batch: number;
}

/**
 * The closed form of the engine model with this request in it: one more sequence, and its prompt
 * and half of its answer more KV.
 */
function stayAt(outlook: Outlook, uncachedTokens: number): Stay {
  const { request, outputTokens, served, engine, load } = outlook;
  const { profile } = engine;
  const kvTokensOwn = request.inputTokens + outputTokens / 2;
  const capacity = capacityOf(outlook);
  const running = Math.min(load.inFlight, capacity);
  const batch = Math.max(1, Math.min(running + 1, capacity) / served.replicas);
  const engineLoad: EngineLoad = {
    batch,
    kvTokens: kvTokensOf(outlook, running, kvTokensOwn),
    prefillShare: prefillShareOf(served, profile.prefillMsPerToken),
  };
  const prefill = Math.max(0, prefillMs(profile, uncachedTokens, engineLoad) + engine.ttftOffsetMs);
  const tpot = tpotMs(profile, engineLoad) * engine.tpotRatio;
  const decodeMs = Math.max(0, outputTokens - 1) * tpot;
  const turns = Math.max(0, load.inFlight + 1 - capacity) / capacity;
  return {
    // One who comes when all places are taken waits until as many have left as came before him.
    waitMs: turns * (prefill + decodeMs),
    prefillMs: prefill,
    stepMs: tpotMs(profile, { ...engineLoad, prefillShare: 0 }) * engine.tpotRatio,
    tpotMs: tpot,
    decodeMs,
    batch,
  };
}

/** Requests like this one that run together over all replicas, at least 1. */
function capacityOf({ request, outputTokens, served, engine, load }: Outlook): number {
  if (load.runningWhenFull !== undefined) return load.runningWhenFull;
  const { sequencesMax, kvTokensTotal } = engine.profile;
  const kvTokensEach = request.inputTokens + (request.outputTokensMax ?? outputTokens);
  return Math.max(1, served.replicas * Math.min(sequencesMax, kvTokensTotal / kvTokensEach));
}

/** Per replica, this request included. What no report knows of is taken to be like this request. */
function kvTokensOf(outlook: Outlook, running: number, kvTokensOwn: number): number {
  const { served, engine, load } = outlook;
  const unreported = load.unreported * kvTokensOwn;
  const others =
    load.kvTokensUsed === undefined ? running * kvTokensOwn : load.kvTokensUsed + unreported;
  const perReplica = Math.max(0, others) / served.replicas + kvTokensOwn;
  return Math.min(perReplica, engine.profile.kvTokensTotal);
}

/** Part of a replica's time that goes to prompts, from the tokens it computed of late. */
function prefillShareOf(served: Served, prefillMsPerToken: number): number {
  const tokensPerMs = (served.promptTokensPerSecond ?? 0) / 1_000 / served.replicas;
  return Math.min(1, tokensPerMs * prefillMsPerToken);
}

/** The prompt is held while it is filled in, half of it on the mean, and then with the answer. */
function kvTokenMsOf(inputTokens: number, outputTokens: number, stay: Stay): number {
  return (inputTokens * stay.prefillMs) / 2 + (inputTokens + outputTokens / 2) * stay.decodeMs;
}

/**
 * By time held: the prefill at rated power, and of each step its part of the batch. Prefill of
 * others lengthens the steps and is charged to them. (ms × W = mJ)
 */
function joulesOf(outlook: Outlook, uncachedTokens: number, stay: Stay): number {
  const { pool, policy, outputTokens, load } = outlook;
  const heldMs = stay.prefillMs + stay.decodeMs;
  if (pool.powerModel === undefined && pool.powerWatts !== undefined) {
    return (pueOf(pool) * heldMs * pool.powerWatts.value) / Math.max(1, load.inFlight) / 1_000;
  }
  const model = pool.powerModel ?? policy.powerAssumed;
  const stepMilli = (stay.stepMs * replicaWatts(model, stay.batch)) / stay.batch;
  const prefillMilli = prefillComputeMs(outlook, uncachedTokens) * prefillWatts(model);
  return (pueOf(pool) * (prefillMilli + outputTokens * stepMilli)) / 1_000;
}

/** Measured times do not tell computing from queueing: then the assumed engine says how long. */
function prefillComputeMs({ engine, policy }: Outlook, uncachedTokens: number): number {
  const { prefillMsPerToken } = engine.profile;
  const msPerToken =
    prefillMsPerToken > 0 ? prefillMsPerToken : policy.engineAssumed.prefillMsPerToken;
  return uncachedTokens * msPerToken;
}

interface Times extends Stay {
  readonly ttftMs: number;
  readonly finishMs: number;
}

/** The objectives are missed together or apart: no more often than the sum says. */
function missProbability({ request, policy }: Outlook, times: Times): number {
  const objectives: Objectives = policy.objectives[request.class];
  const ttftSpreadMs = Math.hypot(SPREAD.wait * times.waitMs, SPREAD.prefill * times.prefillMs);
  const finishSpreadMs = Math.hypot(ttftSpreadMs, SPREAD.decode * times.decodeMs);
  const late =
    exceeds(objectives.ttftMsMax, times.ttftMs, ttftSpreadMs) +
    exceeds(objectives.tpotMsMax, times.tpotMs, SPREAD.tpot * times.tpotMs) +
    (request.deadlineMs === undefined
      ? 0
      : exceeds(request.deadlineMs, times.finishMs, finishSpreadMs));
  return Math.min(1, late);
}

/** Cantelli's bound on P(time > limit): holds for every distribution with this mean and deviation. */
function exceeds(limitMs: number, meanMs: number, deviationMs: number): number {
  const slackMs = limitMs - meanMs;
  if (slackMs <= 0) return 1;
  const variance = deviationMs ** 2;
  return variance / (variance + slackMs ** 2);
}

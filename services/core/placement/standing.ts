import { stepsOf } from "../engine-fit.ts";
import { prefillMs, tpotMs, type EngineLoad } from "../engine.ts";
import {
  gramsPerJoule,
  hourEndsAt,
  powerNanoPerJoule,
  prefillWatts,
  pueOf,
  replicaWatts,
  restWatts,
  wattsAboveRest,
} from "../energy.ts";
import type { EngineProfile, Pool, PowerModel, Served } from "../pool.ts";
import type { Geography } from "../region.ts";
import { trustOf, type Trust } from "../trust.ts";
import type { Instant } from "../units.ts";
import { othersNanoPerMs, shadowNanoPerKvTokenMs, shadowNanoPerSlotMs } from "./congestion.ts";
import { engineOf, type Engine } from "./engine-of.ts";
import { loadOf, type Load } from "./load.ts";
import type { Policy } from "./policy.ts";

/**
 * A model at a pool as every request finds it: its figures turned into the coefficients of a
 * prediction. It holds until the pool is another value, or until the instant it names.
 */
export interface Standing {
  readonly pool: Pool;
  readonly served: Served;
  readonly load: Load;
  readonly engine: Engine;
  readonly trust: Trust;
  readonly until: Instant;
  readonly times: TimeCoefficients;
  readonly energy: EnergyCoefficients;
  readonly shadowNanoPerSlotMs: number;
  readonly shadowNanoPerKvTokenMs: number;
  /** What a ms of delay to all who are in one replica costs, in nano. */
  readonly othersNanoPerMs: number;
}

/** Of the engine as it is loaded now. */
export interface TimeCoefficients {
  readonly replicas: number;
  /** Of one replica; of those only the part that counts. */
  readonly sequencesMax: number;
  readonly kvTokensTotal: number;
  readonly inFlight: number;
  /** How many run while others wait; 0 while nobody waits. */
  readonly runningWhenFull: number;
  /** Sequences per replica with one more, while there is room. */
  readonly batch: number;
  /** KV tokens per replica of others: so many, and so many times the request's own. */
  readonly kvTokensOthers: number;
  readonly kvRequestsLikeIt: number;
  /** Its prefill and its part of the steps of those who decode meanwhile. */
  readonly msPerUncachedToken: number;
  /** The same without a turn among others: so long the next prompt waits for it. */
  readonly promptMsPerToken: number;
  /** Without the steps of those who decode: so long each of these waits for it. */
  readonly prefillMsPerToken: number;
  /** What comes on top whatever the prompt: the step that is under way, and what was learned. */
  readonly ttftOffsetMs: number;
  /** One step without the prefill of others, learned ratio included. */
  readonly stepBaseMs: number;
  readonly stepMsPerSequence: number;
  readonly stepMsPerKvToken: number;
  /** How much longer steps take because of it, at least 1. */
  readonly stretch: number;
}

/** Where power is measured, a request is charged its part of it for the time it is there. */
export interface EnergyCoefficients {
  readonly model: PowerModel;
  readonly pue: number;
  readonly gramsPerJoule: number;
  /** 0 where the operator does not pay for power. */
  readonly nanoPerJoule: number;
  /** Measured: so many watts for each request in flight. 0: by the model. */
  readonly wattsPerRequest: number;
  /** By the model: prefill at rated power, and a step's part of the batch that `times` names. */
  readonly millijoulesPerUncachedToken: number;
  readonly wattsPerSequence: number;
  /** What the site draws more for one more: of prefill, of a decoding sequence, and of those who are there for longer. */
  readonly millijoulesAddedPerUncachedToken: number;
  readonly wattsAdded: number;
  readonly wattsOthers: number;
}

export interface StandingContext {
  readonly policy: Policy;
  readonly geography: Geography;
  readonly now: Instant;
}

export function standingOf(pool: Pool, served: Served, context: StandingContext): Standing {
  const { policy, now } = context;
  const load = loadOf(pool, served, now);
  const engine = engineOf(served, policy);
  const times = timesOf(served, load, engine);
  return {
    pool,
    served,
    load,
    engine,
    trust: trustOf(served),
    until: holdsUntil(pool, served, policy, now),
    times,
    energy: energyOf(pool, {
      ...context,
      load,
      engine,
      batch: times.batch,
      replicas: served.replicas,
    }),
    shadowNanoPerSlotMs: shadowNanoPerSlotMs(policy.congestion, load),
    shadowNanoPerKvTokenMs: shadowNanoPerKvTokenMs(policy.congestion, load),
    othersNanoPerMs: othersNanoPerMs(served, load),
  };
}

/** A step of 1 ms while nothing is prefilled. */
const UNIT_STEP: EngineProfile = {
  stepBaseMs: 1,
  stepMsPerSequence: 0,
  stepMsPerKvToken: 0,
  prefillMsPerToken: 0,
  prefillChunkTokens: 1,
  kvTokensTotal: 1,
  sequencesMax: 1,
};

function timesOf(
  served: Served,
  load: Load,
  { profile, tpotRatio, ttftOffsetMs }: Engine,
): TimeCoefficients {
  const { replicas } = served;
  const prefillShare = prefillShareOf(served, profile.prefillMsPerToken);
  const idle: EngineLoad = { batch: 0, kvTokens: 0, prefillShare };
  const others = othersStepMs(profile, load, replicas) * tpotRatio;
  return {
    replicas,
    sequencesMax: profile.sequencesMax * load.slotsCountedRatio,
    kvTokensTotal: profile.kvTokensTotal,
    inFlight: load.inFlight,
    runningWhenFull: load.runningWhenFull ?? 0,
    batch: Math.max(1, (load.inFlight + 1) / replicas),
    kvTokensOthers: (load.kvTokensUsed ?? 0) / replicas,
    kvRequestsLikeIt:
      (load.kvTokensUsed === undefined ? load.inFlight : load.unreported) / replicas,
    promptMsPerToken: profile.prefillMsPerToken + others / profile.prefillChunkTokens,
    prefillMsPerToken: profile.prefillMsPerToken,
    msPerUncachedToken: prefillMs(profile, 1, idle) + others / profile.prefillChunkTokens,
    ttftOffsetMs: ttftOffsetMs + others,
    stepBaseMs: profile.stepBaseMs * tpotRatio,
    stepMsPerSequence: profile.stepMsPerSequence * tpotRatio,
    stepMsPerKvToken: profile.stepMsPerKvToken * tpotRatio,
    stretch: tpotMs(UNIT_STEP, idle),
  };
}

/**
 * A prompt goes through one step of those who decode for each of its chunks, and through the rest of the one that is
 * under way; times that were measured have it in them.
 */
function othersStepMs(profile: EngineProfile, load: Load, replicas: number): number {
  if (profile.prefillMsPerToken === 0) return 0;
  const batch = load.inFlight / replicas;
  const kvTokens = (load.kvTokensUsed ?? 0) / replicas;
  const stepMs = tpotMs(profile, { batch, kvTokens, prefillShare: 0 });
  return stepsOf(profile, 0, { batch, kvTokens, prefillTokensPerMs: 0 }) * stepMs;
}

/** Part of a replica's time that goes to prompts, from the tokens it computed of late. */
function prefillShareOf(served: Served, prefillMsPerToken: number): number {
  const tokensPerMs = (served.promptTokensPerSecond ?? 0) / 1_000 / served.replicas;
  return Math.min(1, tokensPerMs * prefillMsPerToken);
}

function energyOf(
  pool: Pool,
  options: StandingContext & {
    readonly load: Load;
    readonly engine: Engine;
    readonly batch: number;
    readonly replicas: number;
  },
): EnergyCoefficients {
  const { policy, geography, now, load, engine, batch } = options;
  const others = (load.runningWhenFull ?? load.inFlight) / options.replicas;
  const isMeasured = pool.powerModel === undefined && pool.powerWatts !== undefined;
  const model = pool.powerModel ?? policy.powerAssumed;
  const msPerToken = computeMsPerToken(engine, policy);
  return {
    model,
    pue: pueOf(pool),
    gramsPerJoule: gramsPerJoule(pool, policy.carbonAccount, geography.residualGramsPerKwh),
    nanoPerJoule: policy.powerShare * (powerNanoPerJoule(pool.region, now) ?? 0),
    wattsPerRequest: isMeasured ? pool.powerWatts.value / Math.max(1, load.inFlight) : 0,
    millijoulesPerUncachedToken: isMeasured ? 0 : msPerToken * prefillWatts(model),
    wattsPerSequence: isMeasured ? 0 : replicaWatts(model, batch) / batch,
    ...(isMeasured ? NOTHING_ADDED : addedBy(model, msPerToken, others)),
  };
}

/** Of measured power nobody knows what one request makes of it: its part is what it is charged. */
const NOTHING_ADDED = { millijoulesAddedPerUncachedToken: 0, wattsAdded: 0, wattsOthers: 0 };

function addedBy(model: PowerModel, msPerToken: number, others: number): typeof NOTHING_ADDED {
  const wattsOthers = wattsAboveRest(model, others);
  return {
    millijoulesAddedPerUncachedToken:
      msPerToken * Math.max(0, prefillWatts(model) - restWatts(model)),
    wattsAdded: Math.max(0, wattsAboveRest(model, others + 1) - wattsOthers),
    wattsOthers,
  };
}

/** Measured times do not tell computing from queueing: then the assumed engine says how long. */
function computeMsPerToken({ profile }: Engine, policy: Policy): number {
  return profile.prefillMsPerToken > 0
    ? profile.prefillMsPerToken
    : policy.engineAssumed.prefillMsPerToken;
}

/** Until its figures begin to fade, its pause ends, or the price of power changes. */
function holdsUntil(pool: Pool, served: Served, policy: Policy, now: Instant): Instant {
  const running = served.report?.runningRequests;
  const changes = [
    pool.reportedAt === undefined ? Infinity : pool.reportedAt + pool.reportValidMs,
    running === undefined ? Infinity : running.observedAt + running.validMs,
    pool.ejectedUntil !== undefined && pool.ejectedUntil > now ? pool.ejectedUntil : Infinity,
    policy.powerShare > 0 ? hourEndsAt(now) : Infinity,
  ];
  return Math.max(now, Math.min(...changes));
}

import { prefillMs, tpotMs, type EngineLoad } from "../engine.ts";
import {
  gramsPerJoule,
  hourEndsAt,
  powerNanoPerJoule,
  prefillWatts,
  pueOf,
  replicaWatts,
} from "../energy.ts";
import type { EngineProfile, Pool, PowerModel, Served } from "../pool.ts";
import type { Geography } from "../region.ts";
import type { Instant } from "../units.ts";
import { shadowNanoPerKvTokenMs, shadowNanoPerSlotMs } from "./congestion.ts";
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
  readonly until: Instant;
  readonly times: TimeCoefficients;
  readonly energy: EnergyCoefficients;
  readonly shadowNanoPerSlotMs: number;
  readonly shadowNanoPerKvTokenMs: number;
}

/** Of the engine as it is loaded now. */
export interface TimeCoefficients {
  readonly replicas: number;
  /** Of one replica. */
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
  readonly msPerUncachedToken: number;
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
}

export interface StandingContext {
  readonly policy: Policy;
  readonly geography: Geography;
  readonly now: Instant;
}

export function standingOf(pool: Pool, served: Served, context: StandingContext): Standing {
  const { policy, now } = context;
  const load = loadOf(pool, served);
  const engine = engineOf(served, policy);
  const times = timesOf(served, load, engine);
  return {
    pool,
    served,
    load,
    engine,
    until: holdsUntil(pool, served, policy, now),
    times,
    energy: energyOf(pool, { ...context, load, engine, batch: times.batch }),
    shadowNanoPerSlotMs: shadowNanoPerSlotMs(policy.congestion, load),
    shadowNanoPerKvTokenMs: shadowNanoPerKvTokenMs(policy.congestion, load),
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
  return {
    replicas,
    sequencesMax: profile.sequencesMax,
    kvTokensTotal: profile.kvTokensTotal,
    inFlight: load.inFlight,
    runningWhenFull: load.runningWhenFull ?? 0,
    batch: Math.max(1, (load.inFlight + 1) / replicas),
    kvTokensOthers: (load.kvTokensUsed ?? 0) / replicas,
    kvRequestsLikeIt:
      (load.kvTokensUsed === undefined ? load.inFlight : load.unreported) / replicas,
    msPerUncachedToken: prefillMs(profile, 1, idle),
    ttftOffsetMs,
    stepBaseMs: profile.stepBaseMs * tpotRatio,
    stepMsPerSequence: profile.stepMsPerSequence * tpotRatio,
    stepMsPerKvToken: profile.stepMsPerKvToken * tpotRatio,
    stretch: tpotMs(UNIT_STEP, idle),
  };
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
  },
): EnergyCoefficients {
  const { policy, geography, now, load, engine, batch } = options;
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

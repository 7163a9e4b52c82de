import { isFittedTo } from "../engine-fit.ts";
import type { EngineProfile, Observed, Served } from "../pool.ts";
import type { Policy } from "./policy.ts";

/**
 * Where the times of a prediction come from, best first: coefficients fitted to our own attempts, where they foretell
 * better; the profile that the vendor declares, corrected by what we learned; what we observed; what the engine
 * reports; the policy's assumption.
 */
export type EngineBasis = "fitted" | "declared" | "observed" | "reported" | "assumed";

/** The engine of a pool as far as it is known. */
export interface Engine {
  readonly basis: EngineBasis;
  /** Of one replica. */
  readonly profile: EngineProfile;
  /** Added to the time to first token that the profile gives: what it lacks, in ms. */
  readonly ttftOffsetMs: number;
  /** Times the time per output token that the profile gives. */
  readonly tpotRatio: number;
}

/** After so many attempts, half of what they teach is believed. */
const ATTEMPTS_HALF_BELIEVED = 8;
/** A fit to fewer foretells nothing yet. */
const OBSERVATIONS_MIN = 4;
/** A fit has to be better by so much of an error, so that the two do not take turns. */
const ERROR_SLACK = 0.01;
/** Faster than the policy's assumption by more than this is believed when it was seen. */
const FASTER_RATIO_MAX = 20;

export function engineOf(served: Served, policy: Policy): Engine {
  const plain = plainEngineOf(served, served.observed, policy);
  const fit = served.observed?.fit;
  if (fit === undefined || fit.observations < OBSERVATIONS_MIN) return plain;
  if (fit.errorOfFit + ERROR_SLACK > fit.errorOfPlain) return plain;
  if (!isFittedTo(fit, fitPriorOf(served, policy))) return plain;
  return {
    basis: "fitted",
    profile: served.engineProfile === undefined ? withLimits(fit.profile, served) : fit.profile,
    ttftOffsetMs: fit.schedulingMs,
    tpotRatio: 1,
  };
}

/** The same without fitted coefficients, by what was observed. */
export function plainEngineOf(
  served: Served,
  observed: Observed | undefined,
  policy: Policy,
): Engine {
  if (served.engineProfile !== undefined) {
    return learned("declared", credible(served.engineProfile, policy), observed);
  }
  const times = knownTimes(served, observed);
  if (times === undefined) return learned("assumed", policy.engineAssumed, observed);
  const { basis, ttftMs, itlMs } = times;
  return { basis, profile: measuredProfile(served, itlMs), ttftOffsetMs: ttftMs, tpotRatio: 1 };
}

/** What a fit begins from: the declared profile, or else the policy's assumption. */
export function fitPriorOf({ engineProfile }: Served, policy: Policy): EngineProfile {
  return engineProfile === undefined ? policy.engineAssumed : credible(engineProfile, policy);
}

/** A step or a prompt that takes no time is advertising: nobody gains by it before it was seen. */
function credible(declared: EngineProfile, { engineAssumed }: Policy): EngineProfile {
  const stepBaseMs = engineAssumed.stepBaseMs / FASTER_RATIO_MAX;
  const prefillMsPerToken = engineAssumed.prefillMsPerToken / FASTER_RATIO_MAX;
  if (declared.stepBaseMs >= stepBaseMs && declared.prefillMsPerToken >= prefillMsPerToken) {
    return declared;
  }
  return {
    ...declared,
    stepBaseMs: Math.max(declared.stepBaseMs, stepBaseMs),
    prefillMsPerToken: Math.max(declared.prefillMsPerToken, prefillMsPerToken),
  };
}

/** Few attempts correct little: the correction grows with their number towards all of it. */
function learned(
  basis: EngineBasis,
  profile: EngineProfile,
  observed: Observed | undefined,
): Engine {
  if (observed === undefined) return { basis, profile, ttftOffsetMs: 0, tpotRatio: 1 };
  const belief = observed.attempts / (observed.attempts + ATTEMPTS_HALF_BELIEVED);
  return {
    basis,
    profile,
    ttftOffsetMs: belief * observed.ttftOffsetMs,
    tpotRatio: 1 + belief * (observed.tpotRatio - 1),
  };
}

interface KnownTimes {
  readonly basis: EngineBasis;
  readonly ttftMs: number;
  readonly itlMs: number;
}

/** Our own observation holds a round trip or two that we cannot take out: it errs on the slow side. */
function knownTimes({ report }: Served, observed: Observed | undefined): KnownTimes | undefined {
  if (observed?.ttftMs !== undefined && observed.itlMs !== undefined) {
    return { basis: "observed", ttftMs: observed.ttftMs, itlMs: observed.itlMs };
  }
  if (report?.ttftMsP50 !== undefined && report.itlMsMean !== undefined) {
    const [ttftMs, itlMs] = [report.ttftMsP50.value, report.itlMsMean.value];
    return { basis: "reported", ttftMs, itlMs };
  }
  return undefined;
}

/** Measured times have the load in them already, so that nothing is added for it. */
function measuredProfile(served: Served, itlMs: number): EngineProfile {
  const profile = {
    stepBaseMs: itlMs,
    stepMsPerSequence: 0,
    stepMsPerKvToken: 0,
    prefillMsPerToken: 0,
    prefillChunkTokens: 1,
    kvTokensTotal: Infinity,
    sequencesMax: 1,
  };
  return withLimits(profile, served);
}

/** What an engine that declares nothing holds at once. */
function withLimits(
  profile: EngineProfile,
  { report, replicas, slotsTotal }: Served,
): EngineProfile {
  return {
    ...profile,
    kvTokensTotal: report?.kvTokensTotal ? report.kvTokensTotal.value / replicas : Infinity,
    sequencesMax: Math.max(1, (report?.slotsTotal?.value ?? slotsTotal) / replicas),
  };
}

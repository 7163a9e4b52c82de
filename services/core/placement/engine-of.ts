import type { EngineProfile, Served } from "../pool.ts";
import type { Policy } from "./policy.ts";

/**
 * Where the times of a prediction come from, best first: the profile that the vendor declares,
 * corrected by what we learned; what we observed; what the engine reports; the policy's assumption.
 */
export type EngineBasis = "declared" | "observed" | "reported" | "assumed";

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

export function engineOf(served: Served, policy: Policy): Engine {
  if (served.engineProfile !== undefined) return learned("declared", served.engineProfile, served);
  const times = knownTimes(served);
  if (times === undefined) return learned("assumed", policy.engineAssumed, served);
  const { basis, ttftMs, itlMs } = times;
  return { basis, profile: measuredProfile(served, itlMs), ttftOffsetMs: ttftMs, tpotRatio: 1 };
}

/** Few attempts correct little: the correction grows with their number towards all of it. */
function learned(basis: EngineBasis, profile: EngineProfile, { observed }: Served): Engine {
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
function knownTimes({ observed, report }: Served): KnownTimes | undefined {
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
function measuredProfile({ report, replicas, slotsTotal }: Served, itlMs: number): EngineProfile {
  return {
    stepBaseMs: itlMs,
    stepMsPerSequence: 0,
    stepMsPerKvToken: 0,
    prefillMsPerToken: 0,
    prefillChunkTokens: 1,
    kvTokensTotal: report?.kvTokensTotal ? report.kvTokensTotal.value / replicas : Infinity,
    sequencesMax: Math.max(1, (report?.slotsTotal?.value ?? slotsTotal) / replicas),
  };
}

import {
  errorOf,
  fitFrom,
  fitted,
  foretoldTpotMs,
  foretoldTtftMs,
  isFittedTo,
  type EngineConditions,
  type EngineFit,
  type EngineObservation,
} from "./engine-fit.ts";
import type { AttemptOutcome, AttemptResult } from "./lease.ts";
import { fitPriorOf, plainEngineOf, type Engine } from "./placement/engine-of.ts";
import type { Expected } from "./placement/expect.ts";
import type { Objectives, Policy } from "./placement/policy.ts";
import type { AgainstProfile, EngineProfile, Observed, Served } from "./pool.ts";
import { noErrors, withErrorsOf } from "./prediction-error.ts";
import { deliveryAfter, type Delivered } from "./trust.ts";
import type { Instant } from "./units.ts";

/** The newest attempt counts at least so much; the first ones are a plain mean. */
const WEIGHT_MIN = 0.05;
/** A single wild time moves the ratio no further. */
const TPOT_RATIO_MAX = 20;
/** The same of the offset. */
const OFFSET_MS_MAX = 60_000;
/** Where prompts take more of the time, a mean over a while tells little of a single attempt. */
const PREFILL_SHARE_TOLD_MAX = 0.3;
/** One attempt that a burst held up says no more against a pool than this. */
const AGAINST_RATIO_MAX = 5;
/** An attempt got less than was declared when it took so many times as long, and more than a blink. */
const SHORT_RATIO = 2;
const BLINK_MS = 100;

/** What an attempt says about its pool. A caller who hangs up, and his own mistakes, say nothing. */
const verdicts: Readonly<Record<AttemptResult, "success" | "failure" | "nothing">> = {
  ok: "success",
  "connect-error": "failure",
  timeout: "failure",
  "upstream-4xx": "nothing",
  "upstream-5xx": "failure",
  reset: "failure",
  cancelled: "nothing",
};

/** Under what an attempt was made. */
export interface Circumstances {
  readonly now: Instant;
  /** What was foretold of it. */
  readonly expected: Expected;
  /** The model at the pool as the decision found it. */
  readonly served: Served;
  readonly share: number;
  /** One replica when the attempt came, without it. */
  readonly others: EngineConditions;
  /** The same over its life, with it. Undefined: no time passed. */
  readonly during: EngineConditions | undefined;
  readonly cachedTokensForetold: number;
  readonly policy: Policy;
  readonly objectives: Objectives;
}

/** What the pool was known for, with one more attempt. */
export function observe(
  before: Observed | undefined,
  outcome: AttemptOutcome,
  at: Circumstances,
): Observed {
  const verdict = verdicts[outcome.result];
  const attempts = (before?.attempts ?? 0) + 1;
  const weight = Math.max(WEIGHT_MIN, 1 / attempts);
  const failed = verdict === "nothing" ? before?.errorRatio : Number(verdict === "failure");
  const { ttftMs, itlMsMean } = outcome;
  const times = timesOf(outcome, at);
  return {
    attempts,
    ttftMs: smoothed(before?.ttftMs, ttftMs, weight),
    itlMs: smoothed(before?.itlMs, itlMsMean, weight),
    errorRatio: smoothed(before?.errorRatio, failed, weight) ?? 0,
    tokensPerSecond: smoothed(before?.tokensPerSecond, tokensPerSecondOf(outcome), weight),
    ttftOffsetMs: smoothed(before?.ttftOffsetMs, times.offsetMs, weight) ?? 0,
    tpotRatio: smoothed(before?.tpotRatio, times.tpotRatio, weight) ?? 1,
    failuresInRow: failuresInRow(before?.failuresInRow ?? 0, verdict),
    ttftAgainstProfile: against(before?.ttftAgainstProfile, times.ttft, weight),
    tpotAgainstProfile: against(before?.tpotAgainstProfile, times.tpot, weight),
    fit: fitAfter(before, times.seen, at),
    errors: withErrorsOf(before?.errors ?? noErrors, foretoldOf(outcome, at.expected)),
    delivery: deliveryAfter(before, deliveredOf(outcome, verdict, times, at), at.share),
    observedAt: at.now,
  };
}

function failuresInRow(before: number, verdict: "success" | "failure" | "nothing"): number {
  if (verdict === "nothing") return before;
  return verdict === "failure" ? before + 1 : 0;
}

function smoothed(
  before: number | undefined,
  found: number | undefined,
  weight: number,
): number | undefined {
  if (found === undefined) return before;
  return before === undefined ? found : before + weight * (found - before);
}

function tokensPerSecondOf({ outputTokens, durationMs }: AttemptOutcome): number | undefined {
  if (outputTokens === undefined || durationMs === undefined || durationMs <= 0) return undefined;
  return (outputTokens * 1_000) / durationMs;
}

/** What an attempt tells of the engine, beside what the plain model says under the same load. */
interface Times {
  /** Against the model alone: nothing that was learned is in it. */
  readonly offsetMs: number | undefined;
  readonly tpotRatio: number | undefined;
  /** Without the way there. Undefined where nothing is declared. */
  readonly ttft: AgainstProfile | undefined;
  readonly tpot: AgainstProfile | undefined;
  readonly seen: EngineObservation;
}

function timesOf(outcome: AttemptOutcome, at: Circumstances): Times {
  const { expected, others, served, policy } = at;
  const { ttftMs, itlMsMean: tpotMs } = outcome;
  const during = at.during ?? { ...others, batch: others.batch + 1 };
  const uncachedTokens = uncachedOf(outcome, expected);
  const profile = fitPriorOf(served, policy);
  const modelTtftMs = foretoldTtftMs(profile, uncachedTokens, others);
  const modelTpotMs = foretoldTpotMs(profile, during);
  // Prompts ahead are no work of the engine for this one.
  const insideMs =
    ttftMs === undefined ? undefined : ttftMs - expected.roundTripMs - expected.promptsAheadMs;
  const isDeclared = isComparable(served.engineProfile, others, during);
  const isAdmittedAtOnce = expected.waitMs === 0;
  const ttft =
    insideMs === undefined || !isDeclared
      ? undefined
      : // A first token comes at the end of a step, however short its prompt.
        { observedMs: Math.max(0, insideMs), declaredMs: declaredTtftMs(at, uncachedTokens) };
  return {
    offsetMs:
      insideMs === undefined ? undefined : boundedOffset(insideMs - expected.waitMs - modelTtftMs),
    tpotRatio:
      tpotMs === undefined || !(modelTpotMs > 0)
        ? undefined
        : Math.min(TPOT_RATIO_MAX, tpotMs / modelTpotMs),
    ttft,
    tpot:
      tpotMs === undefined || !isDeclared
        ? undefined
        : { observedMs: tpotMs, declaredMs: declaredTpotMs(at, during) },
    seen: {
      tpot: tpotMs === undefined || !(tpotMs > 0) ? undefined : { ms: tpotMs, during },
      ttft:
        insideMs === undefined || !(insideMs > 0) || !isAdmittedAtOnce
          ? undefined
          : { ms: insideMs, uncachedTokens, others },
    },
  };
}

function boundedOffset(ms: number): number {
  return Math.max(-OFFSET_MS_MAX, Math.min(OFFSET_MS_MAX, ms));
}

/** The declared profile can be held to what it says only while prompts of others do not decide. */
function isComparable(
  profile: EngineProfile | undefined,
  others: EngineConditions,
  during: EngineConditions,
): boolean {
  if (profile === undefined) return false;
  const tokensPerMs = Math.max(others.prefillTokensPerMs, during.prefillTokensPerMs);
  return tokensPerMs * profile.prefillMsPerToken <= PREFILL_SHARE_TOLD_MAX;
}

/** What the engine says that it computed, or else what was foretold. */
function uncachedOf({ inputTokens, cachedTokens }: AttemptOutcome, expected: Expected): number {
  if (inputTokens === undefined || cachedTokens === undefined) return expected.uncachedTokens;
  return Math.max(0, inputTokens - cachedTokens);
}

/** By the declared profile as it stands, wait included. */
function declaredTtftMs(
  { served, expected, others }: Circumstances,
  uncachedTokens: number,
): number {
  const profile = served.engineProfile;
  if (profile === undefined) return Infinity;
  const stepMs = foretoldTpotMs(profile, { ...others, batch: others.batch + 1 });
  return expected.waitMs + Math.max(stepMs, foretoldTtftMs(profile, uncachedTokens, others));
}

function declaredTpotMs({ served }: Circumstances, during: EngineConditions): number {
  const profile = served.engineProfile;
  return profile === undefined ? Infinity : foretoldTpotMs(profile, during);
}

function against(
  before: AgainstProfile | undefined,
  found: AgainstProfile | undefined,
  weight: number,
): AgainstProfile | undefined {
  if (found === undefined) return before;
  const { declaredMs } = found;
  const observedMs = Math.min(found.observedMs, AGAINST_RATIO_MAX * declaredMs);
  if (before === undefined) return { observedMs, declaredMs };
  return {
    observedMs: before.observedMs + weight * (observedMs - before.observedMs),
    declaredMs: before.declaredMs + weight * (declaredMs - before.declaredMs),
  };
}

/** Another profile was declared: the fit begins anew. */
function fitAfter(
  before: Observed | undefined,
  seen: EngineObservation,
  { served, policy }: Circumstances,
): EngineFit | undefined {
  if (seen.tpot === undefined && seen.ttft === undefined) return before?.fit;
  const prior = fitPriorOf(served, policy);
  const known = before?.fit;
  const fit = known === undefined || !isFittedTo(known, prior) ? fitFrom(prior) : known;
  const plain = plainEngineOf(served, before, policy);
  return fitted(fit, seen, errorOf(plainly(plain), seen));
}

/** The profile with a plain ratio on its steps, and the offset beside it. */
function plainly({ profile, tpotRatio, ttftOffsetMs }: Engine): {
  readonly profile: EngineProfile;
  readonly schedulingMs: number;
} {
  return {
    profile: {
      ...profile,
      stepBaseMs: profile.stepBaseMs * tpotRatio,
      stepMsPerSequence: profile.stepMsPerSequence * tpotRatio,
      stepMsPerKvToken: profile.stepMsPerKvToken * tpotRatio,
    },
    schedulingMs: ttftOffsetMs,
  };
}

function foretoldOf({ ttftMs, itlMsMean, durationMs, result }: AttemptOutcome, expected: Expected) {
  return {
    ttft: { foretoldMs: expected.ttftMs, observedMs: ttftMs },
    tpot: { foretoldMs: expected.tpotMs, observedMs: itlMsMean },
    // One that was cut short did not finish sooner than foretold.
    finish: {
      foretoldMs: expected.finishMs,
      observedMs: result === "ok" ? durationMs : undefined,
    },
  };
}

function deliveredOf(
  { ttftMs, itlMsMean, cachedTokens }: AttemptOutcome,
  verdict: "success" | "failure" | "nothing",
  { ttft, tpot }: Times,
  { served, objectives, cachedTokensForetold }: Circumstances,
): Delivered {
  const isShort = isShortOf(ttft) || isShortOf(tpot);
  const isWithin =
    (ttftMs ?? 0) <= objectives.ttftMsMax && (itlMsMean ?? 0) <= objectives.tpotMsMax;
  const told = verdict === "success" && ttftMs !== undefined;
  return {
    isInTime: verdict === "failure" ? false : told ? isWithin || !isShort : undefined,
    isShort: verdict === "failure" ? true : told && ttft !== undefined ? isShort : undefined,
    slotsLeased: served.slotsLeased + 1,
    cachedTokensForetold,
    cachedTokensFound: cachedTokens,
  };
}

function isShortOf(times: AgainstProfile | undefined): boolean {
  if (times === undefined) return false;
  return times.observedMs > Math.max(SHORT_RATIO * times.declaredMs, times.declaredMs + BLINK_MS);
}

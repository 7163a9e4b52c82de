import type { AttemptOutcome, AttemptResult } from "./lease.ts";
import type { Expected } from "./placement/expect.ts";
import type { Observed, TtftAgainstProfile } from "./pool.ts";
import type { Instant } from "./units.ts";

/** The newest attempt counts at least so much; the first ones are a plain mean. */
const WEIGHT_MIN = 0.05;
/** A single wild time moves the ratio no further. */
const TPOT_RATIO_MAX = 20;

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

/** What the pool was known for, with one more attempt. */
export function observe(
  before: Observed | undefined,
  outcome: AttemptOutcome,
  { expected, now }: { readonly expected: Expected; readonly now: Instant },
): Observed {
  const verdict = verdicts[outcome.result];
  const attempts = (before?.attempts ?? 0) + 1;
  const weight = Math.max(WEIGHT_MIN, 1 / attempts);
  const failed = verdict === "nothing" ? before?.errorRatio : Number(verdict === "failure");
  const { ttftMs, itlMsMean } = outcome;
  return {
    attempts,
    ttftMs: smoothed(before?.ttftMs, ttftMs, weight),
    itlMs: smoothed(before?.itlMs, itlMsMean, weight),
    errorRatio: smoothed(before?.errorRatio, failed, weight) ?? 0,
    tokensPerSecond: smoothed(before?.tokensPerSecond, tokensPerSecondOf(outcome), weight),
    ttftOffsetMs: smoothed(before?.ttftOffsetMs, offsetOf(ttftMs, expected), weight) ?? 0,
    tpotRatio: smoothed(before?.tpotRatio, ratioOf(itlMsMean, expected), weight) ?? 1,
    failuresInRow: failuresInRow(before?.failuresInRow ?? 0, verdict),
    ttftAgainstProfile: againstProfile(before?.ttftAgainstProfile, ttftMs, { expected, weight }),
    observedAt: now,
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

/** Against the model alone: what had been learned before is taken out again. */
function offsetOf(ttftMs: number | undefined, expected: Expected): number | undefined {
  if (ttftMs === undefined) return undefined;
  return ttftMs - (expected.ttftMs - expected.ttftOffsetMs);
}

/**
 * Like with like: what the pool itself took beside what its declared profile says of the same prompt and queue, without
 * what was learned. A prediction that learning has brought down to nothing does not tell what it was.
 */
function againstProfile(
  before: TtftAgainstProfile | undefined,
  ttftMs: number | undefined,
  { expected, weight }: { readonly expected: Expected; readonly weight: number },
): TtftAgainstProfile | undefined {
  const { engineBasis, prefillMs, waitMs, tpotMs, roundTripMs, ttftOffsetMs, tpotRatio } = expected;
  if (ttftMs === undefined || engineBasis !== "declared" || prefillMs <= 0) return before;
  const observedMs = Math.max(0, ttftMs - roundTripMs);
  // A first token comes at the end of a step, however short its prompt.
  const declaredMs = waitMs + prefillMs - ttftOffsetMs + tpotMs / tpotRatio;
  if (before === undefined) return { observedMs, declaredMs };
  return {
    observedMs: before.observedMs + weight * (observedMs - before.observedMs),
    declaredMs: before.declaredMs + weight * (declaredMs - before.declaredMs),
  };
}

function ratioOf(itlMs: number | undefined, expected: Expected): number | undefined {
  const modelMs = expected.tpotMs / expected.tpotRatio;
  if (itlMs === undefined || !(modelMs > 0)) return undefined;
  return Math.min(TPOT_RATIO_MAX, itlMs / modelMs);
}

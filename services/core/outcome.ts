import type { AttemptOutcome } from "./lease.ts";

/** Nobody waits an hour for a token, no attempt takes a day, and no context has as many tokens. */
const WAIT_MS_MAX = 3_600_000;
const DURATION_MS_MAX = 86_400_000;
const TOKENS_MAX = 1e9;

/** The outcome without what no attempt can have: it is as good as unknown, and would stay in what is learned for good. */
export function soundOutcome(told: AttemptOutcome): AttemptOutcome {
  const { result, ttftMs, itlMsMean, headersMs, durationMs } = told;
  const inputTokens = within(told.inputTokens, TOKENS_MAX);
  return {
    result,
    ttftMs: within(ttftMs, WAIT_MS_MAX),
    itlMsMean: within(itlMsMean, WAIT_MS_MAX),
    headersMs: within(headersMs, WAIT_MS_MAX),
    inputTokens,
    cachedTokens: within(told.cachedTokens, inputTokens ?? TOKENS_MAX),
    outputTokens: within(told.outputTokens, TOKENS_MAX),
    durationMs: within(durationMs, DURATION_MS_MAX),
  };
}

function within(value: number | undefined, most: number): number | undefined {
  return value !== undefined && value >= 0 && value <= most ? value : undefined;
}

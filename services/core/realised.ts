import type { AttemptOutcome, AttemptResult } from "./lease.ts";
import { whole, type BudgetAmounts } from "./placement/budget.ts";
import type { Candidate } from "./placement/decide.ts";
import { bracketOf } from "./price-bracket.ts";
import type { ModelId } from "./units.ts";

const nothing: BudgetAmounts = { nano: 0, millijoules: 0, micrograms: 0 };

/** Results of an attempt that no engine worked on, unless it says how many tokens it was. */
const costNothing: ReadonlySet<AttemptResult> = new Set(["connect-error", "upstream-4xx"]);

/** What the grant of a candidate reserves. */
export function expectedAmounts({ terms, expected }: Candidate): BudgetAmounts {
  return {
    nano: whole(terms.price),
    millijoules: whole(expected.joules * 1_000),
    micrograms: whole(expected.gramsCo2 * 1_000_000),
  };
}

/**
 * What an attempt spent, for budgets: an estimate, no debt. Tokens at the price it was placed at; energy and carbon, which
 * nobody measures for one request, as expected and scaled with its tokens: the prefill with the prompt that was
 * in no cache, the rest with the answer. Undefined: nobody knows. No outcome: nothing was dispatched.
 */
export function realisedAmounts(
  { evidence, expected }: Candidate,
  model: ModelId,
  outcome: AttemptOutcome | undefined,
): BudgetAmounts | undefined {
  if (outcome === undefined) return nothing;
  const { result, outputTokens } = outcome;
  if (outputTokens === undefined) return costNothing.has(result) ? nothing : undefined;
  const price = evidence.served.get(model)?.price;
  if (price === undefined) return undefined;
  const inputTokens = outcome.inputTokens ?? expected.uncachedTokens + expected.cachedTokens;
  const cachedTokens = Math.min(inputTokens, outcome.cachedTokens ?? expected.cachedTokens);
  const pico = bracketOf(price, { inputTokens, outputTokens }) ?? price;
  const decodeMs = expected.finishMs - expected.ttftMs;
  const workMs = expected.prefillMs + decodeMs;
  const prefillRatio = ratio(inputTokens - cachedTokens, expected.uncachedTokens);
  const decodeRatio = ratio(outputTokens, expected.outputTokens);
  const scale =
    workMs > 0 ? (expected.prefillMs * prefillRatio + decodeMs * decodeRatio) / workMs : 1;
  return {
    nano: whole(
      ((inputTokens - cachedTokens) * pico.uncachedInputPicoPerToken +
        cachedTokens * pico.cacheReadPicoPerToken +
        outputTokens * pico.outputPicoPerToken) /
        1_000,
    ),
    millijoules: whole(expected.joules * scale * 1_000),
    micrograms: whole(expected.gramsCo2 * scale * 1_000_000),
  };
}

function ratio(realised: number, expected: number): number {
  return expected > 0 ? realised / expected : 1;
}

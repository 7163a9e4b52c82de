import type { PriceBracket, PriceEstimate } from "./pool.ts";

/** That the lengths fall in; expected lengths may be fractions. Undefined: the price has none for them. */
export function bracketOf(
  { brackets }: PriceEstimate,
  { inputTokens, outputTokens }: { readonly inputTokens: number; readonly outputTokens: number },
): PriceBracket | undefined {
  return brackets?.find(
    (each) =>
      each.inputTokensFrom <= inputTokens &&
      inputTokens < each.inputTokensTo + 1 &&
      each.outputTokensFrom <= outputTokens &&
      outputTokens < each.outputTokensTo + 1,
  );
}

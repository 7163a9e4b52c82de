import { canonicalJson } from "./canonical.ts";
import type { Contract } from "./contract.ts";
import type { PriceBook } from "./price-book.ts";
import { tokenClassNames } from "./usage.ts";

/** What is hashed of a version of a price book. */
export function bookText(book: PriceBook): string {
  return canonicalJson({
    type: "price_version",
    v: "1",
    book_id: book.id,
    vendor_id: book.vendor,
    version: book.version,
    currency: book.currency,
    effective_from_us: book.effectiveFromUs,
    effective_to_us: book.effectiveToUs ?? null,
    calendar_id: book.calendar.id,
    slots: book.slots.map(({ slot, dayKinds, startMin, endMin }) => ({
      slot,
      day_kinds: [...dayKinds].toSorted(),
      start_min: String(startMin),
      end_min: String(endMin),
    })),
    lines: book.lines.map((line) => ({
      line_id: line.id,
      model_id: line.model,
      token_class: tokenClassNames[line.tokenClass],
      slot: line.slot,
      in_from: line.input.from,
      in_to: line.input.to ?? null,
      out_from: line.output.from,
      out_to: line.output.to ?? null,
      tiers: line.tiers.map(({ fromTokens, pricePicoPerToken }) => ({
        tier_from: fromTokens,
        pico_per_token: pricePicoPerToken,
      })),
    })),
  });
}

/** What is hashed of a contract. */
export function contractText(contract: Contract): string {
  const owed = Object.entries(contract.owed).map(([ending, each]) => [
    ending,
    { vendor: each.vendor, cost: each.cost, cost_unless_winner: each.costUnlessWinner },
  ]);
  return canonicalJson({
    type: "contract",
    v: "1",
    contract_id: contract.id,
    version: contract.version,
    count_rule: contract.countRule,
    owed: Object.fromEntries(owed),
    cancel_grace_tokens: contract.cancelGraceTokens,
    on_cache_unknown: contract.onCacheUnknown,
    on_reasoning_unknown: contract.onReasoningUnknown,
    tou_basis: contract.touBasis,
    tou_grace_us: contract.touGraceUs,
    bound_slack_tokens: contract.boundSlackTokens,
    prompt_slack_tokens: contract.promptSlackTokens,
    abs_tol: contract.toleranceTokens,
    ppm_tol: contract.tolerancePpm,
    max_rate_tok_s: contract.rateTokensPerSecondMax ?? null,
    attempt_tokens_max: contract.attemptTokensMax,
    attempt_nano_max: contract.attemptNanoMax,
    period: contract.period,
    tz: contract.timeZone,
  });
}

import { canonicalJson, type Canonical } from "./canonical.ts";
import type { Contract } from "./contract.ts";
import { pairOf, priceClassNames, sideOf, type PriceBook, type PriceLine } from "./price-book.ts";

/** What is hashed and signed of a version of a price book. */
export function bookText(book: PriceBook): string {
  return canonicalJson({
    type: "price_version",
    v: "1",
    book_id: book.id,
    side: sideOf(book),
    pair_id: pairOf(book),
    version: book.version,
    currency: book.currency,
    effective_from_us: book.effectiveFromUs,
    effective_to_us: book.effectiveToUs ?? null,
    announced_us: book.announcedUs ?? null,
    calendar_id: book.calendar.id,
    base_slot: book.baseSlot ?? null,
    source: book.source,
    slots: book.slots.map(({ slot, dayKinds, startMin, endMin }) => ({
      slot,
      day_kinds: [...dayKinds].toSorted(),
      start_min: String(startMin),
      end_min: String(endMin),
    })),
    lines: book.lines.map(lineMembers),
  });
}

function lineMembers(line: PriceLine): Canonical {
  return {
    line_id: line.id,
    model_id: line.model,
    region: line.region ?? "*",
    token_class: priceClassNames[line.tokenClass],
    variant: line.variant ?? "",
    slot: line.slot,
    in_from: line.input.from,
    in_to: line.input.to ?? null,
    out_from: line.output.from,
    out_to: line.output.to ?? null,
    scope: line.scope ?? "pool",
    tier_mode: line.volumeTiers === undefined ? "graduated" : "volume",
    tiers: (line.volumeTiers ?? line.tiers).map(({ fromTokens, pricePicoPerToken }) => ({
      tier_from: fromTokens,
      pico_per_token: pricePicoPerToken,
    })),
    min_pico_per_request: line.minPicoPerRequest ?? null,
  };
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

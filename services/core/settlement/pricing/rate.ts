import { assert } from "../../assert.ts";
import type { Nano, Pico } from "../../units.ts";
import type { Tier } from "./price-book.ts";

/** What was rated so far on one key: contract, period, line, pool. */
export interface Cumulative {
  readonly tokens: bigint;
  /** Exact. */
  readonly pico: Pico;
  readonly records: bigint;
}

export const nothingRated: Cumulative = { tokens: 0n, pico: 0n, records: 0n };

/** Tokens of one line with a price on them, and the totals of the key afterwards. */
export interface Rated {
  readonly tokens: bigint;
  /** Exact. */
  readonly pico: Pico;
  /** Telescoped: the difference of two rounded totals. */
  readonly amountNano: Nano;
  readonly after: Cumulative;
}

/**
 * Telescoped: an amount is the difference of two rounded totals. So the amounts of a key add up to its
 * rounded total in whatever order they come, and rounding never drifts by more than a nano.
 */
export function rate(tokens: bigint, tiers: readonly Tier[], before: Cumulative): Rated {
  assert(tokens >= 0n, "counts are not negative");
  return moved(before, tiers, { tokens, records: recordsOf(tokens) });
}

/**
 * Takes a record's tokens out of its key again. The amount is what the key's rounded total falls by, not what
 * the record was rated at: records that came later have moved into its tiers.
 */
export function unrate(tokens: bigint, tiers: readonly Tier[], before: Cumulative): Rated {
  assert(tokens >= 0n && tokens <= before.tokens, "only what was rated can be taken out");
  return moved(before, tiers, { tokens: -tokens, records: -recordsOf(tokens) });
}

/** Exact price of the first so many tokens of a period: the graduated sum over the tiers. */
export function exactPico(tokens: bigint, tiers: readonly Tier[]): Pico {
  let pico = 0n;
  let upTo = tokens;
  for (let index = tiers.length - 1; index >= 0; index--) {
    const tier = tiers[index];
    if (tier === undefined || upTo <= tier.fromTokens) continue;
    pico += (upTo - tier.fromTokens) * tier.pricePicoPerToken;
    upTo = tier.fromTokens;
  }
  return pico;
}

/** The one place where money is rounded. Half to even, which leans to neither party. */
export function toNano(pico: Pico): Nano {
  assert(pico >= 0n, "totals are not negative");
  const nano = pico / 1_000n;
  const rest = pico % 1_000n;
  const isUp = rest > 500n || (rest === 500n && nano % 2n === 1n);
  return isUp ? nano + 1n : nano;
}

function recordsOf(tokens: bigint): bigint {
  return tokens === 0n ? 0n : 1n;
}

function moved(
  before: Cumulative,
  tiers: readonly Tier[],
  by: { readonly tokens: bigint; readonly records: bigint },
): Rated {
  const tokens = before.tokens + by.tokens;
  const pico = exactPico(tokens, tiers) - exactPico(before.tokens, tiers);
  const after = { tokens, pico: before.pico + pico, records: before.records + by.records };
  const amountNano = toNano(after.pico) - toNano(before.pico);
  return { tokens: by.tokens, pico, amountNano, after };
}

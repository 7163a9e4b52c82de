import type { Nano, Pico } from "../../units.ts";
import type { RatingKey } from "./charge.ts";
import { ppmOfOne } from "../decimal.ts";
import type { PairTerms } from "../terms/pair-terms.ts";
import type { PriceLine } from "./price-book.ts";
import { roundedQuotient } from "../ratio.ts";
import { exactPico, toNano, type Cumulative } from "./rate.ts";

/**
 * What a key owes at close beyond its records: one amount per key, whatever it is made of. Below 0 it is given back.
 *
 * - A volume line was rated at its first tier; now it is known which tier the period's tokens are in.
 * - A discount of the contract is taken off the exact pico of the key, as a fraction. A discount of a price line is in the
 *   price already, where it is a whole number of pico; where it is none, it can only be one of the contract.
 * - A minimum has a key of its own: what the pair's whole period falls short of.
 */
export interface TrueUp {
  readonly key: RatingKey;
  readonly amountNano: Nano;
}

/** Line of the key that a minimum is owed on; it is no line of a book. */
export const minimumLine = "minimum";

/** Tokens and money of a rating key at the end of its period. */
export interface ClosingKey {
  readonly key: RatingKey;
  readonly total: Cumulative;
  readonly line: PriceLine;
}

/**
 * All true-ups of a pair and period. `booked` are those that were entered before, by `trueUpText`: after a late
 * correction the period is worked out again, and only the difference is entered. The same in any order of keys.
 */
export function trueUps(
  closing: {
    readonly pair: RatingKey["pair"];
    readonly period: string;
    readonly terms: Pick<PairTerms, "minimumNano" | "discountPpm">;
    /** Of this pair and period, with money of one unit. */
    readonly keys: readonly ClosingKey[];
  },
  booked: ReadonlyMap<string, Nano> = new Map(),
): TrueUp[] {
  const { pair, period, terms, keys } = closing;
  const wanted = keys.map((each) => ({
    key: each.key,
    amountNano: finalNano(each, terms.discountPpm) - toNano(each.total.pico),
  }));
  const owed = keys.reduce((sum, each) => sum + finalNano(each, terms.discountPpm), 0n);
  const short = shortfallNano(owed, terms.minimumNano);
  const minimum = { key: { pair, period, line: minimumLine, scope: "*" }, amountNano: short };
  return [...wanted, minimum]
    .map(({ key, amountNano }) => ({
      key,
      amountNano: amountNano - (booked.get(trueUpText(key)) ?? 0n),
    }))
    .filter(({ amountNano }) => amountNano !== 0n)
    .toSorted((a, b) => (trueUpText(a.key) < trueUpText(b.key) ? -1 : 1));
}

/** What a key comes to with everything: rounded once, from its exact total. */
export function finalNano({ total, line }: ClosingKey, discountPpm: bigint): Nano {
  const pico = finalPico(total, line);
  return discountPpm === 0n
    ? toNano(pico)
    : roundedQuotient(pico * (ppmOfOne - discountPpm), ppmOfOne * 1_000n);
}

/** All tokens of a volume line at the price of the tier that their sum is in. */
function finalPico({ tokens, pico }: Cumulative, { volumeTiers, tiers }: PriceLine): Pico {
  const tier = volumeTiers?.findLast(({ fromTokens }) => fromTokens < tokens);
  if (tier === undefined) return pico;
  // Corrections have kept the total at the first tier exact, so that only the price is exchanged.
  return pico - exactPico(tokens, tiers) + tokens * tier.pricePicoPerToken;
}

function shortfallNano(owedNano: Nano, minimumNano: Nano | undefined): Nano {
  return minimumNano === undefined || owedNano >= minimumNano ? 0n : minimumNano - owedNano;
}

/** Key of a true-up in a map, and the cause of its entry. */
export function trueUpText({ pair, period, line, scope }: RatingKey): string {
  return `${pair}\n${period}\n${line}\n${scope}`;
}

import type { InstantUs, Nano } from "../../units.ts";
import { tokenClasses, type TokenClass, type Tokens } from "../counting/usage.ts";

/** An attempt as one of two parties counted it: a settled record, or a claim. */
export interface Counted {
  /** Key of the match; `~…` where the source has none. */
  readonly attempt: string;
  readonly rev: bigint;
  readonly pool: string;
  readonly model: string;
  /** Empty if it does not say: nothing was counted. */
  readonly slot: string;
  /** Of the price that was in force to this party; empty if it does not say. */
  readonly priceHash: string;
  readonly tokens: Tokens;
  /** What it comes to. Undefined: nobody has priced it. */
  readonly amountNano: Nano | undefined;
  readonly openedUs: InstantUs;
  /** Came after the period's books were closed, so it goes into the next statement. */
  readonly isLate: boolean;
  /** From a count that both parties saw in the same stream: then it must be equal. */
  readonly isExact: boolean;
}

/** By contract. */
export interface Tolerance {
  readonly tokens: bigint;
  readonly ppm: bigint;
  /** Of the sums of a pool, model and day, however small each difference. */
  readonly aggregatePpm: bigint;
}

export const million = 1_000_000n;

/** Between two counts of the same; which is whose does not matter. */
export function isWithin(a: bigint, b: bigint, tolerance: Tolerance): boolean {
  const gap = a < b ? b - a : a - b;
  const larger = a < b ? b : a;
  return gap <= tolerance.tokens || gap * million <= larger * tolerance.ppm;
}

export function isEqual(a: Tokens, b: Tokens): boolean {
  for (const each of tokenClasses) if (a[each] !== b[each]) return false;
  return true;
}

export function isNothing(tokens: Tokens): boolean {
  for (const each of tokenClasses) if (tokens[each] !== 0n) return false;
  return true;
}

export function inputOf({ uncachedInput, cacheRead, cacheWrite }: Tokens): bigint {
  return uncachedInput + cacheRead + cacheWrite;
}

export function outputOf({ response, reasoning }: Tokens): bigint {
  return response + reasoning;
}

/** Theirs less ours. */
export function difference(ours: Tokens, theirs: Tokens): Tokens {
  const by: Partial<Record<TokenClass, bigint>> = {};
  for (const each of tokenClasses) by[each] = theirs[each] - ours[each];
  return by as Tokens;
}

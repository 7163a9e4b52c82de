import { assert } from "../assert.ts";

/** An exact fraction; `den` is above 0. */
export interface Ratio {
  readonly num: bigint;
  readonly den: bigint;
}

export const one: Ratio = { num: 1n, den: 1n };

/** Half to even, as money is rounded; below 0 as above it. */
export function roundedQuotient(num: bigint, den: bigint): bigint {
  assert(den > 0n, "a divisor is above 0");
  if (num < 0n) return -roundedQuotient(-num, den);
  const whole = num / den;
  const twice = (num % den) * 2n;
  const isUp = twice > den || (twice === den && whole % 2n === 1n);
  return isUp ? whole + 1n : whole;
}

/**
 * Whole parts that add up to the total: each its share rounded down, and what is left one by one to the largest
 * remainders. Equal remainders in the order that is given.
 */
export function largestRemainder(total: bigint, weights: readonly bigint[]): bigint[] {
  const sum = weights.reduce((all, each) => all + each, 0n);
  assert(total >= 0n && weights.every((each) => each >= 0n), "only what is there can be divided");
  assert(sum > 0n || total === 0n, "something has a weight above 0");
  if (total === 0n) return weights.map(() => 0n);
  const parts = weights.map((each, index) => {
    const exact = total * each;
    return { index, amount: exact / sum, rest: exact % sum };
  });
  const left = total - parts.reduce((all, { amount }) => all + amount, 0n);
  const byRest = parts.toSorted((a, b) =>
    a.rest === b.rest ? a.index - b.index : a.rest > b.rest ? -1 : 1,
  );
  const lucky = new Set(byRest.slice(0, Number(left)).map(({ index }) => index));
  return parts.map(({ index, amount }) => (lucky.has(index) ? amount + 1n : amount));
}

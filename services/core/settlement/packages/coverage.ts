import { one, roundedQuotient, type Ratio } from "../ratio.ts";

/** What one package can give to something that would need so much of it. */
export interface Offer {
  readonly need: bigint;
  readonly available: bigint;
}

/** Units of each, and the part that none of them covers. */
export interface Coverage {
  readonly units: readonly bigint[];
  readonly uncovered: Ratio;
  /** How many of the first were asked. */
  readonly used: number;
}

const nothing: Ratio = { num: 0n, den: 1n };

/**
 * One package after the other: each covers what it can of what is left, as an exact fraction. The same for what is posted and
 * for what is promised beforehand.
 */
export function cover(offers: readonly Offer[]): Coverage {
  let uncovered = one;
  let used = 0;
  const units = offers.map(({ need, available }) => {
    if (uncovered.num === 0n) return 0n;
    used++;
    const wanted = atLeastOne(need * uncovered.num, uncovered.den);
    const taken = wanted < available ? wanted : available;
    uncovered = taken === wanted ? nothing : less(uncovered, { num: taken, den: need });
    return taken;
  });
  return { units, uncovered, used };
}

/** Rounded, but never to nothing: what a package covers takes something from it. */
export function atLeastOne(num: bigint, den: bigint): bigint {
  const units = roundedQuotient(num, den);
  return units === 0n && num > 0n ? 1n : units;
}

function less(a: Ratio, b: Ratio): Ratio {
  return { num: a.num * b.den - b.num * a.den, den: a.den * b.den };
}

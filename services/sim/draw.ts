import { assert } from "../core/assert.ts";
import type { Random } from "../core/random.ts";

/** A number from Gamma(shape 1 / cv², scale cv²): mean 1, coefficient of variation `cv`. */
export function drawGamma(random: Random, cv: number): number {
  assert(cv > 0, "a coefficient of variation is positive");
  const shape = 1 / (cv * cv);
  // Below 1 the method needs a shape one higher and a power of a uniform number.
  const boost = shape < 1 ? positive(random) ** (1 / shape) : 1;
  return (marsagliaTsang(random, shape < 1 ? shape + 1 : shape) * boost) / shape;
}

/** Marsaglia and Tsang, 2000: rejection from a cubed normal; a shape of at least 1. */
function marsagliaTsang(random: Random, shape: number): number {
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const normal = drawNormal(random);
    const v = (1 + c * normal) ** 3;
    const isTaken =
      v > 0 && Math.log(positive(random)) < 0.5 * normal * normal + d - d * v + d * Math.log(v);
    if (isTaken) return d * v;
  }
}

/** Box and Muller; the second of the pair is left unused, so that nothing is kept between calls. */
function drawNormal(random: Random): number {
  return Math.sqrt(-2 * Math.log(positive(random))) * Math.cos(2 * Math.PI * random());
}

function positive(random: Random): number {
  return 1 - random();
}

/** Values at given quantiles, both growing. Linear between them, flat beyond the first and the last. */
export interface Quantiles {
  readonly at: readonly number[];
  readonly values: readonly number[];
}

export function drawQuantile(random: Random, { at, values }: Quantiles): number {
  const u = random();
  const above = at.findIndex((quantile) => quantile >= u);
  const high = values[above] ?? values.at(-1) ?? 0;
  if (above <= 0) return high;
  const low = values[above - 1] ?? high;
  const [from = 0, to = 1] = at.slice(above - 1, above + 1);
  return Math.min(high, low + ((high - low) * (u - from)) / (to - from));
}

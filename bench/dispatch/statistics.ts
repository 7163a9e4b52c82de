/** A mean and half the width of its 95 % interval. Undefined: too few values to tell. */
export interface Estimate {
  readonly mean: number;
  readonly plusMinus: number | undefined;
}

/** Student's t, two-sided 95 %, by degrees of freedom from 1; beyond them the normal one is near. */
const t95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145,
  2.131, 2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048,
  2.045, 2.042,
];
const t95Beyond = 1.96;

/**
 * The mean of the groups' means, each group with the same weight. Groups are what is chosen (traces), values in a group
 * what is drawn (seeds): the interval is of the seeds alone.
 */
export function estimate(groups: readonly (readonly number[])[]): Estimate {
  const means = groups.map(mean);
  const freedom = groups.reduce((sum, { length }) => sum + length - 1, 0);
  if (freedom === 0 || groups.some(({ length }) => length < 2)) {
    return { mean: mean(means), plusMinus: undefined };
  }
  const variance = groups.reduce((sum, values) => sum + varianceOf(values) / values.length, 0);
  const t = t95[freedom - 1] ?? t95Beyond;
  return { mean: mean(means), plusMinus: (t * Math.sqrt(variance)) / groups.length };
}

/** Of at least one value. */
export function mean(values: readonly number[]): number {
  if (values.length === 0) throw new Error("expected at least one value, found none");
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Of a sample. */
function varianceOf(values: readonly number[]): number {
  const middle = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - middle) ** 2, 0);
  return squares / (values.length - 1);
}

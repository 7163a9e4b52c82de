/** Mean and variance as they run (Welford), of tokens per byte of text. Statistics: nothing is paid by them. */
export interface TextDensity {
  readonly records: number;
  readonly mean: number;
  /** Sum of squared distances from the mean. */
  readonly squares: number;
}

export const noText: TextDensity = { records: 0, mean: 0, squares: 0 };

/** Shorter texts say nothing: an end mark and a tool's marks weigh more than the words. */
export const textBytesMin = 64n;

export function withText(
  { records, mean, squares }: TextDensity,
  tokensPerByte: number,
): TextDensity {
  const count = records + 1;
  const moved = mean + (tokensPerByte - mean) / count;
  return {
    records: count,
    mean: moved,
    squares: squares + (tokensPerByte - mean) * (tokensPerByte - moved),
  };
}

/** Of two disjoint sets of records (Chan). */
export function joined(a: TextDensity, b: TextDensity): TextDensity {
  const records = a.records + b.records;
  if (records === 0) return noText;
  const gap = b.mean - a.mean;
  return {
    records,
    mean: a.mean + (gap * b.records) / records,
    squares: a.squares + b.squares + (gap * gap * a.records * b.records) / records,
  };
}

export function varianceOf({ records, squares }: TextDensity): number | undefined {
  return records < 2 ? undefined : squares / (records - 1);
}

/**
 * What the true mean of a reference exceeds with a probability of at most `alpha`, by Cantelli: whatever the
 * distribution, if its variance is at most twice the one that was seen. Undefined below `referenceRecordsMin`.
 */
export function densityUpperBound(reference: TextDensity, alpha: number): number | undefined {
  const variance = varianceOf(reference);
  if (variance === undefined || reference.records < referenceRecordsMin) return undefined;
  return reference.mean + Math.sqrt(((2 * variance) / reference.records) * (1 / alpha - 1));
}

/** A reference of fewer records would bound nothing. */
export const referenceRecordsMin = 1_000;

import type { Sample } from "./prometheus-text.ts";

/** Series that are remembered: more than one scrape has, so that none is forgotten while it is there. */
const SERIES_MAX = 40_000;

/**
 * Differences of counters from one scrape to the next, series by series. A counter that became smaller was
 * started again: the difference is then the value itself.
 */
export class Differences {
  readonly #lastBySeries = new Map<string, number>();

  /** Undefined for a series that was not seen before: since when it counts is not known. */
  take(sample: Sample): number | undefined {
    const key = seriesKey(sample);
    const last = this.#lastBySeries.get(key);
    if (last === undefined && this.#lastBySeries.size >= SERIES_MAX) this.#lastBySeries.clear();
    this.#lastBySeries.set(key, sample.value);
    if (last === undefined) return undefined;
    return sample.value >= last ? sample.value - last : sample.value;
  }
}

/**
 * The sum of some counters as one that only grows: when one of several engines starts again, the sum of
 * the others must not look like a restart of all.
 */
export class GrowingTotal {
  readonly #differences = new Differences();
  #total = 0;

  add(samples: readonly Sample[]): number {
    for (const sample of samples) this.#total += this.#differences.take(sample) ?? sample.value;
    return this.#total;
  }
}

/** What a histogram saw in one interval. */
export interface Interval {
  /** Upper bounds in order, the last one infinite. */
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
  readonly count: number;
  readonly sum: number;
}

/** A cumulative histogram, read as what came between two scrapes. All series of a name are added up. */
export class HistogramReader {
  readonly #name: string;
  readonly #differences = new Differences();

  constructor(name: string) {
    this.#name = name;
  }

  /** Undefined at the first scrape, and when nothing came since the last. */
  read(samples: readonly Sample[]): Interval | undefined {
    const belowByBound = new Map<number, number>();
    let [sum, count] = [0, 0];
    for (const sample of samples) {
      const difference = this.#differences.take(sample);
      if (difference === undefined) continue;
      if (sample.name === `${this.#name}_sum`) sum += difference;
      else if (sample.name === `${this.#name}_count`) count += difference;
      else {
        const bound = toBound(sample.labels.get("le"));
        belowByBound.set(bound, (belowByBound.get(bound) ?? 0) + difference);
      }
    }
    if (count === 0) return undefined;
    const bounds = [...belowByBound.keys()].toSorted((a, b) => a - b);
    const below = bounds.map((bound) => belowByBound.get(bound) ?? 0);
    const counts = below.map((each, index) => Math.max(0, each - (below[index - 1] ?? 0)));
    return { bounds, counts, count, sum };
  }
}

/**
 * Value below which a part of the observations lies, a straight line within its bucket. Undefined when it
 * lies above the last bound: that says "more than", and no number.
 */
export function quantile({ bounds, counts }: Interval, part: number): number | undefined {
  const rank = counts.reduce((sum, each) => sum + each, 0) * part;
  let below = 0;
  for (const [index, bound] of bounds.entries()) {
    const inBucket = counts[index] ?? 0;
    if (below + inBucket >= rank && inBucket > 0) {
      if (!Number.isFinite(bound)) return undefined;
      const from = index === 0 ? 0 : (bounds[index - 1] ?? 0);
      return from + (bound - from) * ((rank - below) / inBucket);
    }
    below += inBucket;
  }
  return undefined;
}

function toBound(text: string | undefined): number {
  return text === undefined || text === "+Inf" ? Infinity : Number(text);
}

function seriesKey({ name, labels }: Sample): string {
  const pairs = [...labels].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `${name} ${JSON.stringify(pairs)}`;
}

import { assert } from "./assert.ts";

/** Values at these parts of a sorted whole, within half a per cent. */
export interface Percentiles {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
}

/** A bucket is one per cent wide, so that its middle is within half a per cent of what fell into it. */
const widthLog = Math.log(1.01);

/** Smaller than this counts as this. */
const valueMin = 0.001;

/** How values are spread: counts in buckets, so that millions of gaps between tokens need no memory. */
export class Spread {
  readonly #counts: number[] = [];
  #count = 0;

  /** The value, so many times. */
  add(value: number, times = 1): void {
    assert(value >= 0 && value < Infinity, "a value of a spread is finite and not negative");
    this.#addTo(bucketOf(value), times);
  }

  /** So many values of which each is by `growth` above the one before, each so many times. */
  addSeries(
    first: number,
    {
      growth,
      values,
      times,
    }: { readonly growth: number; readonly values: number; readonly times: number },
  ): void {
    assert(first >= 0 && growth >= 0 && values >= 1, "a series does not fall, and has values");
    let [value, left] = [first, values];
    while (left > 0) {
      const bucket = bucketOf(value);
      const room = growth > 0 ? Math.floor((endOf(bucket) - value) / growth) + 1 : left;
      const count = Math.min(left, Math.max(1, room));
      this.#addTo(bucket, count * times);
      value += count * growth;
      left -= count;
    }
  }

  #addTo(bucket: number, times: number): void {
    while (this.#counts.length <= bucket) this.#counts.push(0);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + times;
    this.#count += times;
  }

  /** Undefined if there was no value. */
  get percentiles(): Percentiles | undefined {
    if (this.#count === 0) return undefined;
    return {
      count: this.#count,
      p50: this.#at(0.5),
      p90: this.#at(0.9),
      p95: this.#at(0.95),
      p99: this.#at(0.99),
    };
  }

  /** Nearest rank: the smallest value that at least this part of all does not pass. */
  #at(part: number): number {
    let left = Math.ceil(part * this.#count);
    for (const [bucket, count] of this.#counts.entries()) {
      left -= count;
      if (left <= 0) return middleOf(bucket);
    }
    return middleOf(this.#counts.length - 1);
  }
}

function bucketOf(value: number): number {
  return Math.max(0, Math.ceil(Math.log(value / valueMin) / widthLog));
}

/** The greatest value that falls into it. */
function endOf(bucket: number): number {
  return valueMin * Math.exp(bucket * widthLog);
}

function middleOf(bucket: number): number {
  return bucket === 0 ? 0 : valueMin * Math.exp((bucket - 0.5) * widthLog);
}

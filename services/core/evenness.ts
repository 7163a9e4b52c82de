/**
 * Gini coefficient: mean difference between two of them over twice the mean, 0 (all alike) to 1. Of sorted values
 * Σ (2i − n − 1)·x_i / (n·Σ x), i from 1. 0 when there are none, or nothing but zeros.
 */
export function gini(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const count = sorted.length;
  let [total, weighted] = [0, 0];
  for (const [index, value] of sorted.entries()) {
    total += value;
    weighted += (2 * index + 1 - count) * value;
  }
  return total === 0 ? 0 : weighted / (count * total);
}

interface Counted {
  last: number;
  sum: number;
  changes: number;
}

/**
 * How much the requests in flight at a pool go up and down: of samples n_0, n_1, … at equal intervals
 * Σ |n_t − n_(t−1)| / Σ n_t, the mean relative change per interval. 0 is perfectly steady; a fleet whose replicas
 * all run to the same pool and away again comes to 1 and more. The mean is over pools that had a request at all.
 */
export class Oscillation<Pool> {
  readonly #pools = new Map<Pool, Counted>();

  sample(pool: Pool, inFlight: number): void {
    const known = this.#pools.get(pool);
    if (known === undefined) {
      this.#pools.set(pool, { last: inFlight, sum: 0, changes: 0 });
      return;
    }
    known.changes += Math.abs(inFlight - known.last);
    known.sum += inFlight;
    known.last = inFlight;
  }

  get mean(): number {
    const used = [...this.#pools.values()].filter(({ sum }) => sum > 0);
    const total = used.reduce((all, { changes, sum }) => all + changes / sum, 0);
    return used.length === 0 ? 0 : total / used.length;
  }
}

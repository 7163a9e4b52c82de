import type { Instant } from "./units.ts";

/** A window is kept in so many parts, and the one that is being left counts in full. */
const BUCKETS = 60;

/** What was added in one part of time, by its number since the epoch. */
export interface Bucket {
  readonly index: number;
  readonly amount: number;
}

/**
 * A sum over a window that rolls, in bounded memory: at least what was added in the last `windowMs`, and at most what
 * was added in the last 61/60 of it, as a part leaves when all of it is over. Amounts are whole numbers, so that what
 * was added is taken off again to the last one.
 */
export class RollingSum {
  readonly windowMs: number;
  readonly #bucketMs: number;
  /** In order of time, at most `BUCKETS + 1`. */
  #buckets: Bucket[] = [];
  #sum = 0;

  constructor(windowMs: number) {
    this.windowMs = windowMs;
    this.#bucketMs = Math.max(1, Math.ceil(windowMs / BUCKETS));
  }

  add(amount: number, now: Instant): void {
    this.#forget(now);
    if (amount === 0) return;
    const index = Math.floor(now / this.#bucketMs);
    const last = this.#buckets.at(-1);
    // Time does not go back, but an amount of a moment ago may come late.
    if (last === undefined || last.index < index) this.#buckets.push({ index, amount });
    else {
      this.#buckets[this.#buckets.length - 1] = {
        index: last.index,
        amount: last.amount + amount,
      };
    }
    this.#sum += amount;
  }

  sum(now: Instant): number {
    this.#forget(now);
    return this.#sum;
  }

  /** What leaves the window and when, soonest first. */
  returns(now: Instant): readonly { readonly inMs: number; readonly amount: number }[] {
    this.#forget(now);
    return this.#buckets.map(({ index, amount }) => ({
      inMs: (index + 1) * this.#bucketMs + this.windowMs - now,
      amount,
    }));
  }

  /** A copy, oldest first. */
  get buckets(): readonly Bucket[] {
    return [...this.#buckets];
  }

  /** As another one of the same window was. */
  restore(buckets: readonly Bucket[]): void {
    this.#buckets = [...buckets];
    this.#sum = totalOf(buckets);
  }

  #forget(now: Instant): void {
    let gone = 0;
    for (const { index } of this.#buckets) {
      if ((index + 1) * this.#bucketMs + this.windowMs > now) break;
      gone += 1;
    }
    if (gone === 0) return;
    this.#buckets = this.#buckets.slice(gone);
    // Anew, so that rounding of amounts beyond reason does not stay.
    this.#sum = totalOf(this.#buckets);
  }
}

function totalOf(buckets: readonly Bucket[]): number {
  return buckets.reduce((sum, { amount }) => sum + amount, 0);
}

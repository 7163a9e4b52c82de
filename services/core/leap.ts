/** Steps of an engine that are still to be passed. */
export interface Pace {
  readonly steps: number;
  /** Of the first of them. */
  readonly firstMs: number;
  /** How much longer each is than the one before. */
  readonly growthMs: number;
}

/** Steps one after another in which the same sequences decode. */
export interface Stretch extends Pace {
  /** Of all. */
  readonly ms: number;
  /** Sequences that decoded in each of them, and gained a token in each. */
  readonly batch: number;
  /** Of all, at the replica, before the site's own use. */
  readonly joules: number;
}

/** How long the first so many steps take: n·first + growth·n·(n − 1)/2. */
export function msOf({ firstMs, growthMs }: Pace, steps: number): number {
  return steps * firstMs + (growthMs * steps * (steps - 1)) / 2;
}

/**
 * How many are over so many ms after the first began: the root of the quadratic above, put right where it was
 * rounded. The last is never over: it ends.
 */
export function stepsWithin(pace: Pace, elapsedMs: number): number {
  const { firstMs, growthMs, steps } = pace;
  if (elapsedMs <= 0) return 0;
  const half = firstMs - growthMs / 2;
  const root = (2 * elapsedMs) / (half + Math.sqrt(half * half + 2 * growthMs * elapsedMs));
  let over = Math.max(0, Math.min(steps - 1, Math.floor(root)));
  while (over > 0 && msOf(pace, over) > elapsedMs) over -= 1;
  while (over < steps - 1 && msOf(pace, over + 1) <= elapsedMs) over += 1;
  return over;
}

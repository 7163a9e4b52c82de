import fc from "fast-check";
import type { UsageClaim } from "../../../services/core/settlement/claims/claim.ts";
import type { Counted, Tolerance } from "../../../services/core/settlement/claims/counted.ts";
import type { Span } from "../../../services/core/settlement/claims/recon-judge.ts";
import type { Tokens } from "../../../services/core/settlement/counting/usage.ts";
import type { AttemptId, ModelId, PoolId } from "../../../services/core/units.ts";
import { friday } from "./fixtures.ts";

export const priceHash = "11".repeat(32);
const hourUs = 3_600_000_000n;

/** Two hours from 14:00 on. */
export const span: Span = { fromUs: friday, toUs: friday + 2n * hourUs };

export const tolerance: Tolerance = { tokens: 3n, ppm: 5_000n, aggregatePpm: 1_000n };

export function tokens(changes: Partial<Tokens> = {}): Tokens {
  return {
    uncachedInput: 60n,
    cacheRead: 40n,
    cacheWrite: 0n,
    response: 50n,
    reasoning: 0n,
    ...changes,
  };
}

/** A minute into the span, counted from what both saw. */
export function counted(attempt: string, changes: Partial<Counted> = {}): Counted {
  return {
    attempt,
    rev: 0n,
    pool: "p1",
    model: "qwen3-32b",
    slot: "any",
    priceHash,
    tokens: tokens(),
    amountNano: 1_000n,
    openedUs: span.fromUs + 60_000_000n,
    isLate: false,
    isExact: true,
    ...changes,
  };
}

export function usageClaim(attempt: string, changes: Partial<UsageClaim> = {}): UsageClaim {
  const rev = changes.rev ?? 0n;
  return {
    id: `northgrid:${attempt}:${rev}`,
    attempt: attempt as AttemptId,
    rev,
    pool: "p1" as PoolId,
    model: "qwen3-32b" as ModelId,
    tokens: tokens(),
    priceHash,
    slot: "any",
    openedUs: friday,
    closedUs: friday + 2_000_000n,
    ...changes,
  };
}

/** Few attempts and few values, so that everything meets everything. */
export const someCounted: fc.Arbitrary<Counted> = fc
  .record({
    attempt: fc.constantFrom("a1", "a2", "a3", "a4", "~x:1", "~x:2", "~x:3"),
    rev: fc.constantFrom(0n, 1n),
    pool: fc.constantFrom("p1", "p2"),
    slot: fc.constantFrom("any", "night"),
    response: fc.constantFrom(50n, 51n, 60n, 10_000n, 10_040n),
    uncachedInput: fc.constantFrom(60n, 61n),
    minutes: fc.constantFrom(-1n, 1n, 2n, 119n, 121n),
    isLate: fc.boolean(),
    isExact: fc.boolean(),
    amountNano: fc.constantFrom(undefined, 0n, 7n, 1_000n),
  })
  .map(({ response, uncachedInput, minutes, ...rest }) =>
    counted(rest.attempt, {
      ...rest,
      tokens: tokens({ response, uncachedInput }),
      openedUs: span.fromUs + minutes * 60_000_000n,
    }),
  );

export const someSource = fc
  .array(someCounted, { maxLength: 12 })
  .map((items) => items.toSorted(byAttempt));

export function byAttempt(a: Counted, b: Counted): number {
  if (a.attempt !== b.attempt) return a.attempt < b.attempt ? -1 : 1;
  return Number(a.rev - b.rev);
}

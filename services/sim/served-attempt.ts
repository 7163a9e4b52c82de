import type { PoolRegistration } from "../core/pool.ts";
import type { OwnCount } from "../core/settlement/claims/own-count.ts";
import type { AttemptId, ModelId } from "../core/units.ts";

/** Names an attempt from the gateway to the engine and, in the vendor's claim, back. */
export const attemptHeader = "x-attempt-id";

/** An attempt of which something left a simulated engine. */
export interface ServedAttempt {
  readonly attempt: string;
  readonly pool: Pick<PoolRegistration, "id" | "vendor">;
  readonly model: ModelId;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
  /** On the wall clock of the vendor. */
  readonly openedAtMs: number;
  readonly firstAtMs: number;
  readonly closedAtMs: number;
}

/** How a simulated vendor counts for itself. */
export interface Counting {
  /** Parts per million that it adds to the output, rounded up; 0 is honest. */
  readonly inflatePpm: number;
}

export const honest: Counting = { inflatePpm: 0 };

const million = 1_000_000n;

/** What the vendor says that it served. */
export function countOf(served: ServedAttempt, { inflatePpm }: Counting): OwnCount {
  const { attempt, pool, model, promptTokens, cachedTokens, outputTokens } = served;
  const output = BigInt(outputTokens);
  const more = (output * BigInt(inflatePpm) + million - 1n) / million;
  return {
    attempt: attempt as AttemptId,
    rev: 0n,
    pool: pool.id,
    model,
    tokens: {
      uncachedInput: BigInt(promptTokens - cachedTokens),
      cacheRead: BigInt(cachedTokens),
      cacheWrite: 0n,
      response: output + more,
      reasoning: 0n,
    },
    openedUs: toUs(served.openedAtMs),
    firstByteUs: toUs(served.firstAtMs),
    closedUs: toUs(served.closedAtMs),
  };
}

function toUs(ms: number): bigint {
  return BigInt(ms) * 1_000n;
}

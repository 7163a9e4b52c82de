import { assert } from "./assert.ts";
import type { Grant } from "./grants.ts";
import type { AttemptOutcome } from "./lease.ts";
import type { Observed, Served } from "./pool.ts";
import type { Instant } from "./units.ts";

export type Leased = Pick<Served, "slotsLeased" | "waitNanoPerMsLeased" | "promptsDoneAt">;

/**
 * A model at a pool after a grant or an end. Spelt out, as each comes here: to spread one object after the other takes
 * three times as long.
 */
export function afterMove(
  served: Served,
  flow: Pick<Served, "grantedSinceReport" | "endedSinceReport" | "slotsLeasedElsewhere">,
  { slotsLeased, waitNanoPerMsLeased, promptsDoneAt }: Leased,
  observed: Observed | undefined,
): Served {
  const { grantedSinceReport, endedSinceReport, slotsLeasedElsewhere } = flow;
  return {
    ...served,
    slotsLeased,
    waitNanoPerMsLeased,
    promptsDoneAt,
    grantedSinceReport,
    endedSinceReport,
    slotsLeasedElsewhere,
    observed,
  };
}

/** What our leases at a model of a pool come to, with one more. */
export function withLease(
  before: Leased,
  { decision, waitNanoPerMs }: Grant,
  now: Instant,
): Leased {
  return {
    slotsLeased: before.slotsLeased + 1,
    waitNanoPerMsLeased: before.waitNanoPerMsLeased + waitNanoPerMs,
    promptsDoneAt: Math.max(now, before.promptsDoneAt) + decision.chosen.expected.promptMs,
  };
}

/** The same without one. A prompt of which no token came is not computed any more. */
export function withoutLease(
  before: Leased,
  { decision, waitNanoPerMs }: Grant,
  { outcome, now }: { readonly outcome: AttemptOutcome | undefined; readonly now: Instant },
): Leased {
  const slotsLeased = before.slotsLeased - 1;
  assert(slotsLeased >= 0, "a pool never has fewer than no leases");
  // Without leases nothing is left of the sums, so that rounding does not add up.
  if (slotsLeased === 0) return { slotsLeased, waitNanoPerMsLeased: 0, promptsDoneAt: now };
  const isGivenUp = outcome?.ttftMs === undefined && outcome?.result !== "ok";
  const dropped = isGivenUp ? decision.chosen.expected.promptMs : 0;
  return {
    slotsLeased,
    waitNanoPerMsLeased: Math.max(0, before.waitNanoPerMsLeased - waitNanoPerMs),
    promptsDoneAt: Math.max(Math.min(now, before.promptsDoneAt), before.promptsDoneAt - dropped),
  };
}

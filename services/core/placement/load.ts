import { believedOf, slotsTotalOf } from "../health.ts";
import type { Pool, Served } from "../pool.ts";
import { slotsCounted } from "../trust.ts";
import type { Instant } from "../units.ts";

/** What a model at a pool is doing now: the last report, corrected by what we know since. */
export interface Load {
  /** Requests in the engines, running or waiting, over all replicas. */
  readonly inFlight: number;
  /** How many run while others wait. Undefined: nothing was waiting when the engines were asked. */
  readonly runningWhenFull: number | undefined;
  /** Of those in flight, more than run: 0 unless something was waiting when the engines were asked. */
  readonly waiting: number;
  /** Requests that came since the report less those that went: their KV is in no report yet. */
  readonly unreported: number;
  /** Of the KV cache in use, 0..1. Undefined is unknown. */
  readonly kvUsedRatio: number | undefined;
  /** Tokens of KV in use over all replicas. Undefined is unknown. */
  readonly kvTokensUsed: number | undefined;
  readonly kvTokensTotal: number | undefined;
  /** Of the declared slots, those that count, 0..1: no more than twice what the pool has shown. */
  readonly slotsCountedRatio: number;
  /** Part of the slots in use, 0..1, of those that count or of our share, whichever is scarcer. */
  readonly slotsUsedRatio: number;
}

/**
 * Between two reports it is corrected by what was granted and ended; without one, by our leases. As the report fades,
 * what it says gives way to our leases, and it is never believed to say less than these: they are in the engines,
 * whatever the vendor tells.
 */
export function loadOf(pool: Pool, served: Served, now: Instant): Load {
  const { report } = served;
  const running = report?.runningRequests?.value;
  const belief = running === undefined ? 1 : believedOf(pool, served, now);
  const waiting = belief * (report?.waitingRequests?.value ?? 0);
  const unreported =
    running === undefined ? 0 : served.grantedSinceReport - served.endedSinceReport;
  const leased = served.slotsLeased + served.slotsLeasedElsewhere;
  const told = Math.max(0, (running ?? leased) + waiting + unreported);
  const inFlight = Math.max(served.slotsLeased, leased + belief * (told - leased));
  const runningWhenFull = waiting > 0 ? Math.max(1, running ?? 1) : undefined;
  const kvTokensTotal = kvTokensTotalOf(served);
  const kvUsedRatio = report?.kvUsedRatio?.value;
  const counted = slotsCounted(served, pool.share);
  return {
    inFlight,
    runningWhenFull,
    waiting: runningWhenFull === undefined ? 0 : Math.max(0, inFlight - runningWhenFull),
    unreported,
    kvUsedRatio,
    kvTokensUsed:
      kvUsedRatio === undefined || kvTokensTotal === undefined
        ? undefined
        : kvUsedRatio * kvTokensTotal,
    kvTokensTotal,
    slotsCountedRatio: counted / Math.max(1, slotsTotalOf(served)),
    slotsUsedRatio: slotsUsedRatio(pool, served, { inFlight, counted }),
  };
}

function kvTokensTotalOf({ report, engineProfile, replicas }: Served): number | undefined {
  if (report?.kvTokensTotal !== undefined) return report.kvTokensTotal.value;
  return engineProfile === undefined ? undefined : engineProfile.kvTokensTotal * replicas;
}

/** The replica's own share may be used up while the pool is not, and the other way round. */
function slotsUsedRatio(
  pool: Pool,
  served: Served,
  { inFlight, counted }: { readonly inFlight: number; readonly counted: number },
): number {
  const ours = slotsTotalOf(served) * pool.share;
  const oursUsed = ours > 0 ? served.slotsLeased / ours : 1;
  return counted > 0 ? Math.min(1, Math.max(inFlight / counted, oursUsed)) : 1;
}

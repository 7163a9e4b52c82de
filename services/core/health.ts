import { confidence } from "./figure.ts";
import type { Pool, Served } from "./pool.ts";
import type { Instant } from "./units.ts";

/** What we believe of a pool. What operators want of it is its status. */
export type PoolHealth = "fresh" | "stale" | "lost" | "ejected";

/**
 * How far the last report is believed: 1 while it is valid, then down in a straight line to 0 at
 * twice that age. That is the hard limit: the pool is lost.
 */
export function believed(pool: Pool, now: Instant): number {
  if (pool.reportedAt === undefined) return 0;
  const overdueMs = now - pool.reportedAt - pool.reportValidMs;
  return Math.min(1, Math.max(0, 1 - overdueMs / pool.reportValidMs));
}

export function healthOf(pool: Pool, now: Instant): PoolHealth {
  if (isEjected(pool, now)) return "ejected";
  const belief = believed(pool, now);
  if (belief === 0) return "lost";
  return belief < 1 ? "stale" : "fresh";
}

export function isEjected(pool: Pool, now: Instant): boolean {
  return pool.ejectedUntil !== undefined && pool.ejectedUntil > now;
}

/** What the agent says now comes before what the vendor registered. */
export function slotsTotalOf(served: Served): number {
  return served.report?.slotsTotal?.value ?? served.slotsTotal;
}

/**
 * The same for one model: an agent that is heard but repeats an old scrape is believed no longer
 * than the scrape.
 */
export function believedOf(pool: Pool, served: Served, now: Instant): number {
  const belief = believed(pool, now);
  const running = served.report?.runningRequests;
  return running === undefined ? belief : Math.min(belief, confidence(running, now));
}

/** Whole slots that this replica may still grant. Old figures shrink it. Never below 0. */
export function slotsGrantable(pool: Pool, served: Served, now: Instant): number {
  const slots = Math.floor(slotsTotalOf(served) * pool.share * believedOf(pool, served, now));
  return Math.max(0, slots - served.slotsLeased);
}

export const comparedFigures = ["ttft", "tpot", "tokens_per_second", "errors"] as const;

export type ComparedFigure = (typeof comparedFigures)[number];

/**
 * (observed − declared) / declared, where both are of the same thing: times by the declared profile under the load that
 * there was, or else the gaps that the engine reports; tokens per second are of a sequence that decodes; of errors, the
 * part of attempts that succeeded against all.
 */
export function discrepancyRatios(served: Served): ReadonlyMap<ComparedFigure, number> {
  const ratios = new Map<ComparedFigure, number>();
  const { observed, report } = served;
  if (observed === undefined) return ratios;
  const { ttftAgainstProfile: ttft, tpotAgainstProfile: tpot, errorRatio } = observed;
  const found: Readonly<Record<ComparedFigure, number | undefined>> = {
    ttft: ratio(ttft?.observedMs, ttft?.declaredMs),
    tpot:
      ratio(tpot?.observedMs, tpot?.declaredMs) ?? ratio(observed.itlMs, report?.itlMsMean?.value),
    tokens_per_second: ratio(tpot?.declaredMs, tpot?.observedMs),
    errors: 0 - errorRatio,
  };
  for (const figure of comparedFigures) {
    const value = found[figure];
    if (value !== undefined) ratios.set(figure, value);
  }
  return ratios;
}

function ratio(observed: number | undefined, declared: number | undefined): number | undefined {
  if (observed === undefined || declared === undefined || declared <= 0) return undefined;
  return (observed - declared) / declared;
}

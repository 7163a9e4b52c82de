import type { Instant } from "./units.ts";

/**
 * The dual price of a budget, by online mirror descent: S. Balseiro, H. Lu, V. Mirrokni, "The Best of Many Worlds: Dual
 * Mirror Descent for Online Allocation Problems", Operations Research 71(1), 2023 (arXiv 2011.10124).
 *
 * A request is given to the candidate with the least `cost + λ · b`, where `b` is what it spends, and the price then
 * moves against the subgradient `ρ − b` of the dual: down by what the pace `ρ` allows, up by what was spent. With the
 * negative entropy as mirror map a step multiplies:
 *
 *     λ ← λ · exp(η · (b / limit ÷ tightness − time passed / window)),   0 or λmax/1000 ≤ λ ≤ λmax
 *
 * The paper paces by requests and we by time, as a rolling window has no last request: ρ is limit / window. Below a
 * thousandth of λmax the price is 0, so that a budget that nobody strains costs nothing; the paper's bound on the dual
 * domain is λmax here. From nothing to λmax it takes ln 1000 / η = 22 % of the limit spent ahead of its pace: bursts that
 * a window rides out are not priced.
 *
 * Step. The paper takes η ~ 1/√T of a request's part `b / (limit / T)` for T requests per window, which in our unit is √T.
 * η = 32 is theirs at T = 1,024. For longer windows it moves more slowly than theirs and regret grows like T / η, not √T,
 * which is the price of not knowing T. One request moves ln λ by η · b / limit, so the loop does not ring as
 * long as what is spent within the delay of a reaction is well below limit / η; the delay is that of one decision, since
 * what is granted counts at once.
 *
 * Tightness is 1 while at least an eighth of the limit is free, then falls with it to 1/8: the price comes before
 * the stop, whatever the pace was, and spending at up to 8/9 of the pace for ever is not priced.
 */
export interface DualPrice {
  /** ln (λ / λmax), from `LOG_MIN` to 0. */
  readonly log: number;
  readonly at: Instant;
}

/** η. */
const STEP = 32;
/** ln 1/1000: where the price counts as 0. */
const LOG_MIN = -Math.log(1_000);
/** Part of the limit that is free, below which steps grow. */
const TIGHT_BELOW = 1 / 8;
const TIGHTNESS_MIN = 1 / 8;

export function startingDual(now: Instant): DualPrice {
  return { log: LOG_MIN, at: now };
}

/**
 * After spending so much, below 0 where less was spent than had been counted before. `room` is what was left before,
 * both in the unit of the limit.
 */
export function dualAfter(
  dual: DualPrice,
  spending: { readonly amount: number; readonly room: number; readonly limit: number },
  { now, windowMs }: { readonly now: Instant; readonly windowMs: number },
): DualPrice {
  const { amount, room, limit } = spending;
  if (amount === 0) return dual;
  const before = faded(dual, now, windowMs);
  // A replica that may spend nothing has the dearest price.
  if (limit <= 0) return { log: amount > 0 ? 0 : before, at: now };
  const tightness = Math.min(1, Math.max(TIGHTNESS_MIN, room / limit / TIGHT_BELOW));
  const log = before + (STEP * amount) / limit / tightness;
  return { log: Math.min(0, Math.max(LOG_MIN, log)), at: now };
}

/** λ / λmax at this instant, 0..1. */
export function levelOf(dual: DualPrice, now: Instant, windowMs: number): number {
  const log = faded(dual, now, windowMs);
  return log <= LOG_MIN ? 0 : Math.exp(log);
}

function faded({ log, at }: DualPrice, now: Instant, windowMs: number): number {
  return Math.max(LOG_MIN, log - (STEP * Math.max(0, now - at)) / windowMs);
}

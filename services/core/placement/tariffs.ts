import type { RowId } from "../units.ts";
import type { Basis, Tariff } from "./policy.ts";
import type { Ask, Prospect } from "./prospect.ts";
import { matches } from "./rules.ts";

/** What one row of the policy adds or takes, in whole nano. */
export interface AppliedTariff {
  readonly row: RowId;
  readonly basis: Basis;
  readonly costNano: number;
}

/** One for each row that matches the pool and comes to something. */
export function tariffsAt(at: Prospect, ask: Ask): AppliedTariff[] {
  const { cachedTokens, uncachedTokens, outputTokens } = at.expected;
  const tokens = cachedTokens + uncachedTokens + outputTokens;
  const applied: AppliedTariff[] = [];
  for (const { id, basis, pool, tariff } of ask.rules.tariffs) {
    if (!matches(pool, at.pool, ask)) continue;
    const costNano = Math.round(tokens * tariff.nanoPerToken * scale(tariff, at));
    if (costNano !== 0) applied.push({ row: id, basis, costNano });
  }
  return applied;
}

/** 1, or the part that is missing to a target. A green share that nobody has shown is missing. */
function scale({ greenShareTarget, utilisationTarget }: Tariff, { pool, load }: Prospect): number {
  const green =
    greenShareTarget === undefined ? 1 : missing(greenShareTarget, pool.greenShare?.value ?? 0);
  const idle =
    utilisationTarget === undefined ? 1 : missing(utilisationTarget, load.slotsUsedRatio);
  return green * idle;
}

function missing(target: number, found: number): number {
  return Math.max(0, (target - found) / target);
}

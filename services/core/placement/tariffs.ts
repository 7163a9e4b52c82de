import type { RowId } from "../units.ts";
import type { Basis, Tariff } from "./policy.ts";
import type { RowsAt } from "./rules.ts";
import type { Standing } from "./standing.ts";

/** What one row of the policy adds or takes for each token at a pool. */
export interface TariffRate {
  readonly row: RowId;
  readonly basis: Basis;
  readonly nanoPerToken: number;
}

/** The same for a request, in whole nano. */
export interface AppliedTariff {
  readonly row: RowId;
  readonly basis: Basis;
  readonly costNano: number;
}

/** One for each row that speaks of the pool and comes to something. */
export function ratesAt(standing: Standing, { tariffs }: RowsAt): TariffRate[] {
  const rates: TariffRate[] = [];
  for (const { id, basis, tariff } of tariffs) {
    const nanoPerToken = tariff.nanoPerToken * scale(tariff, standing);
    if (nanoPerToken !== 0) rates.push({ row: id, basis, nanoPerToken });
  }
  return rates;
}

/**
 * What each rate comes to. Telescoped: a part is the difference of two rounded totals, so that the
 * parts add up to the rounded whole.
 */
export function partsOf(rates: readonly TariffRate[], tokens: number): AppliedTariff[] {
  const parts: AppliedTariff[] = [];
  let nanoPerToken = 0;
  for (const { row, basis, nanoPerToken: own } of rates) {
    const before = Math.round(nanoPerToken * tokens);
    nanoPerToken += own;
    const costNano = Math.round(nanoPerToken * tokens) - before;
    if (costNano !== 0) parts.push({ row, basis, costNano });
  }
  return parts;
}

/** In the order of the parts, so that both round the same. */
export function sumOf(rates: readonly TariffRate[]): number {
  let sum = 0;
  for (const { nanoPerToken } of rates) sum += nanoPerToken;
  return sum;
}

/** 1, or the part that is missing to a target. A green share that nobody has shown is missing. */
function scale({ greenShareTarget, utilisationTarget }: Tariff, { pool, load }: Standing): number {
  const green =
    greenShareTarget === undefined ? 1 : missing(greenShareTarget, pool.greenShare?.value ?? 0);
  const idle =
    utilisationTarget === undefined ? 1 : missing(utilisationTarget, load.slotsUsedRatio);
  return green * idle;
}

function missing(target: number, found: number): number {
  return Math.max(0, (target - found) / target);
}

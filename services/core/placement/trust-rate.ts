import type { RowId } from "../units.ts";
import type { Standing } from "./standing.ts";
import type { TariffRate } from "./tariffs.ts";

/** What stands on the bill for it. No row of a policy has this id: those are of capital letters and numbers. */
export const trustRow = "trust" as RowId;

/** Of its own price per input token, what a pool with no trust at all costs more for each token. House default. */
const PRICE_SHARE = 0.5;
/** As if its tokens cost so much at least, in nano: one yuan per million. */
const PRICE_NANO_MIN = 1_000;
/** Less than this is in the noise of what was measured. */
const DISTRUST_MIN = 0.05;

/**
 * The rates of the rows, and what a pool costs more for not doing what it declares: what comes late or not at all is
 * asked for again, and what cannot be relied on cannot be planned.
 */
export function withTrust(rates: TariffRate[], { trust, served }: Standing): TariffRate[] {
  const distrust = 1 - trust.trust;
  if (distrust < DISTRUST_MIN) return rates;
  const inputNano = (served.price?.uncachedInputPicoPerToken ?? 0) / 1_000;
  const nanoPerToken = distrust * PRICE_SHARE * Math.max(PRICE_NANO_MIN, inputNano);
  return [...rates, { row: trustRow, basis: "house default", nanoPerToken }];
}

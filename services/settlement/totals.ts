import type { HourKey, RatingKey } from "../core/settlement/charge.ts";
import {
  hourText,
  ratingText,
  type At,
  type Changes,
  type HourTotal,
} from "../core/settlement/posting.ts";
import type { Cumulative } from "../core/settlement/rate.ts";
import type { LedgerStore } from "../io/ledger-store.ts";

/** Totals of either kind that are remembered. More than a day of 200 pools has. */
export const totalsMax = 50_000;

/**
 * Remembers what the ledger's totals are, so that they are not read again for every batch. True because one
 * process writes: another that takes over fences this one off before it can commit by what it remembers.
 */
export class Totals {
  readonly #store: LedgerStore;
  readonly #cumulatives = new Map<string, At<RatingKey, Cumulative>>();
  readonly #hours = new Map<string, At<HourKey, HourTotal>>();

  constructor(store: LedgerStore) {
    this.#store = store;
  }

  async of(keys: { readonly rating: readonly RatingKey[]; readonly hours: readonly HourKey[] }) {
    const rating = keys.rating.filter((key) => !this.#cumulatives.has(ratingText(key)));
    const hours = keys.hours.filter((key) => !this.#hours.has(hourText(key)));
    if (rating.length + hours.length > 0) this.keep(await this.#store.totalsOf(rating, hours));
    return {
      cumulatives: keys.rating.flatMap((key) => this.#cumulatives.get(ratingText(key)) ?? []),
      hours: keys.hours.flatMap((key) => this.#hours.get(hourText(key)) ?? []),
    };
  }

  /** What was committed, or read. */
  keep({ cumulatives, hours }: Pick<Changes, "cumulatives" | "hours">): void {
    if (this.#cumulatives.size + cumulatives.length > totalsMax) this.#cumulatives.clear();
    if (this.#hours.size + hours.length > totalsMax) this.#hours.clear();
    for (const each of cumulatives) this.#cumulatives.set(ratingText(each.key), each);
    for (const each of hours) this.#hours.set(hourText(each.key), each);
  }

  /** After a commit whose outcome is not known. */
  forget(): void {
    this.#cumulatives.clear();
    this.#hours.clear();
  }
}

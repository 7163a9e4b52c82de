import type { HourKey, RatingKey } from "../../core/settlement/pricing/charge.ts";
import {
  addBalances,
  balanceText,
  noBalance,
  type AccountKey,
  type Balance,
} from "../../core/settlement/ledger/ledger.ts";
import {
  consumptionText,
  hourText,
  ratingText,
  type At,
  type Changes,
  type Consumption,
  type ConsumptionKey,
  type HourTotal,
  type Known,
  type WantedKeys,
} from "../../core/settlement/ledger/posting.ts";
import type { Cumulative } from "../../core/settlement/pricing/rate.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";

/** Totals of each kind that are remembered. More than a day of 200 pools has. */
export const totalsMax = 50_000;

/**
 * Remembers what the ledger's totals are, and which it has not, so that they are not read again for every batch. True
 * because one process writes: another that takes over fences this one off before it can commit by what it remembers.
 */
export class Totals {
  readonly #store: LedgerStore;
  readonly #max: number;
  readonly #cumulatives = new Map<string, At<RatingKey, Cumulative> | undefined>();
  readonly #hours = new Map<string, At<HourKey, HourTotal> | undefined>();
  readonly #consumption = new Map<string, At<ConsumptionKey, Consumption> | undefined>();
  readonly #balances = new Map<string, Balance>();

  constructor(store: LedgerStore, max = totalsMax) {
    this.#store = store;
    this.#max = max;
  }

  /** What was read or committed. */
  get sheets(): Pick<Known, "cumulatives" | "hours" | "consumption"> {
    return {
      cumulatives: this.#cumulatives,
      hours: this.#hours,
      consumption: this.#consumption,
    };
  }

  /** Whether there is something to `trim`. */
  get isTooMany(): boolean {
    return this.#kinds.some((each) => each.size > this.#max);
  }

  /** Before a batch, when nothing is on its way: forgets everything of a kind that has become too many. */
  trim(): void {
    for (const each of this.#kinds) if (each.size > this.#max) each.clear();
  }

  get #kinds() {
    return [this.#cumulatives, this.#hours, this.#consumption, this.#balances];
  }

  /** Reads what is not known. */
  async load(keys: WantedKeys): Promise<void> {
    const cumulatives = unread(this.#cumulatives, keys.cumulatives, ratingText);
    const hours = unread(this.#hours, keys.hours, hourText);
    const consumption = unread(this.#consumption, keys.consumption, consumptionText);
    const rated =
      cumulatives.size + hours.size === 0
        ? { cumulatives: [], hours: [] }
        : await this.#store.totalsOf([...cumulatives.values()], [...hours.values()]);
    const consumed =
      consumption.size === 0 ? [] : await this.#store.consumptionOf([...consumption.values()]);
    for (const text of cumulatives.keys()) this.#cumulatives.set(text, undefined);
    for (const text of hours.keys()) this.#hours.set(text, undefined);
    for (const text of consumption.keys()) this.#consumption.set(text, undefined);
    this.#keepTotals({ ...rated, consumption: consumed });
  }

  /** Of these accounts, by `balanceText`. */
  async balancesOf(accounts: readonly AccountKey[]): Promise<ReadonlyMap<string, Balance>> {
    const wanted = unread(this.#balances, accounts, balanceText);
    if (wanted.size > 0) {
      const found = await this.#store.balancesOf([...wanted.values()]);
      for (const text of wanted.keys()) this.#balances.set(text, found.get(text) ?? noBalance);
    }
    const asked = accounts.map(balanceText);
    return new Map(asked.map((text) => [text, this.#balances.get(text) ?? noBalance]));
  }

  /** What was committed. */
  keep(changes: Pick<Changes, "cumulatives" | "hours" | "consumption" | "movements">): void {
    this.#keepTotals(changes);
    for (const [text, by] of changes.movements) {
      const before = this.#balances.get(text);
      if (before !== undefined) this.#balances.set(text, addBalances(before, by));
    }
  }

  /** After a commit whose outcome is not known. */
  forget(): void {
    this.#cumulatives.clear();
    this.#hours.clear();
    this.#consumption.clear();
    this.#balances.clear();
  }

  #keepTotals(found: Pick<Changes, "cumulatives" | "hours" | "consumption">): void {
    for (const each of found.cumulatives) this.#cumulatives.set(ratingText(each.key), each);
    for (const each of found.hours) this.#hours.set(hourText(each.key), each);
    for (const each of found.consumption) {
      this.#consumption.set(consumptionText(each.key), each);
    }
  }
}

function unread<Key>(
  known: ReadonlyMap<string, unknown>,
  keys: readonly Key[],
  textOf: (key: Key) => string,
): Map<string, Key> {
  const wanted = new Map<string, Key>();
  for (const key of keys) {
    const text = textOf(key);
    if (!known.has(text)) wanted.set(text, key);
  }
  return wanted;
}

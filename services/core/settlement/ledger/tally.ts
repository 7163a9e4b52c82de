import type { HourKey, RatingKey } from "../pricing/charge.ts";
import type { Changes, Charge, HourTotal, Known, LineOf, WantedKeys } from "./posting.ts";
import type { Tier } from "../pricing/price-book.ts";
import {
  nothingRated as emptyKey,
  rate,
  unrate,
  type Cumulative,
  type Rated,
} from "../pricing/rate.ts";
import { Sheet } from "./sheet.ts";
import { TallyKeys, type LineKeys, type Place } from "./tally-keys.ts";

/** Tokens of a line, before they have a price. */
export interface LineTokens {
  readonly line: string;
  readonly tokens: bigint;
}

/** Rates tokens on their keys and adds them up by hour, for whoever is owed by a book. */
export class Tally {
  readonly #cumulatives: Sheet<RatingKey, Cumulative>;
  readonly #hours: Sheet<HourKey, HourTotal>;
  readonly #lineOf: LineOf;
  readonly #keys: TallyKeys;

  constructor({ cumulatives, hours }: Pick<Known, "cumulatives" | "hours">, lineOf: LineOf) {
    this.#cumulatives = new Sheet(cumulatives);
    this.#hours = new Sheet(hours);
    this.#lineOf = lineOf;
    this.#keys = keysBy(lineOf);
  }

  get changes(): Pick<Changes, "cumulatives" | "hours"> {
    return { cumulatives: this.#cumulatives.changes, hours: this.#hours.changes };
  }

  get missing(): Pick<WantedKeys, "cumulatives" | "hours"> {
    return { cumulatives: this.#cumulatives.missing, hours: this.#hours.missing };
  }

  knows(charges: readonly Charge[]): boolean {
    return charges.every(({ line }) => this.#lineOf(line) !== undefined);
  }

  /** `carried` is what an earlier revision left on its keys. */
  charge(place: Place, lines: readonly LineTokens[], carried: readonly Charge[]): Charge[] {
    const keysOf = this.#keys.at(place);
    const charges = new Map(carried.map((charge) => [charge.line, charge]));
    for (const { line, tokens } of lines) {
      const rated = this.#rate(keysOf(line), (tiers, before) => rate(tokens, tiers, before));
      const before = charges.get(line);
      charges.set(line, {
        line,
        tokens,
        pico: rated.pico + (before?.pico ?? 0n),
        amountNano: rated.amountNano + (before?.amountNano ?? 0n),
      });
    }
    const kept = [...charges.values()].filter(
      ({ tokens, pico, amountNano }) => tokens !== 0n || pico !== 0n || amountNano !== 0n,
    );
    for (const charge of kept) this.#addHour(keysOf(charge.line), charge, 1n);
    return kept;
  }

  /**
   * Takes charges out of their keys, and out of the hours of the open booking, whatever they were booked into: a closed
   * one never changes. What stays on the keys is carried into the charges of the revision that counts now.
   */
  takeBack(place: Place, charges: readonly Charge[]): Charge[] {
    const keysOf = this.#keys.at(place);
    return charges.map((charge) => {
      const { line, tokens, pico, amountNano } = charge;
      const keys = keysOf(line);
      const undone = this.#rate(keys, (tiers, before) => unrate(tokens, tiers, before));
      const taken = { line, tokens: -tokens, pico: -pico, amountNano: -amountNano };
      this.#addHour(keys, taken, -1n);
      return {
        line,
        tokens: 0n,
        pico: pico + undone.pico,
        amountNano: amountNano + undone.amountNano,
      };
    });
  }

  #rate(
    { line, rating, ratingText }: LineKeys,
    move: (tiers: readonly Tier[], before: Cumulative) => Rated,
  ): Pick<Rated, "pico" | "amountNano"> {
    if (!this.#cumulatives.has(ratingText, rating)) return nothingRated;
    const before = this.#cumulatives.get(ratingText) ?? emptyKey;
    const rated = move(line.tiers, before);
    this.#cumulatives.set(ratingText, rating, rated.after);
    return rated;
  }

  #addHour({ line, hour, hourText }: LineKeys, charge: Charge, sign: bigint): void {
    if (!this.#hours.has(hourText, hour)) return;
    const { model, tokenClass, slot } = line;
    const { tokens, pico, amountNano } = charge;
    // A rest that a correction left on a line is money without an attempt.
    const attempts = tokens === 0n ? 0n : sign;
    const by = { model, tokenClass, slot, tokens, pico, amountNano, attempts };
    const before = this.#hours.get(hourText);
    this.#hours.set(hourText, hour, before === undefined ? by : sumOf(before, by));
  }
}

/** Books never change, and who finds their lines lives as long as they are in use. */
const keysByFinder = new WeakMap<LineOf, TallyKeys>();

function keysBy(lineOf: LineOf): TallyKeys {
  const known = keysByFinder.get(lineOf) ?? new TallyKeys(lineOf);
  keysByFinder.set(lineOf, known);
  return known;
}

const nothingRated = { pico: 0n, amountNano: 0n };

function sumOf(before: HourTotal, by: HourTotal): HourTotal {
  return {
    ...before,
    tokens: before.tokens + by.tokens,
    pico: before.pico + by.pico,
    amountNano: before.amountNano + by.amountNano,
    attempts: before.attempts + by.attempts,
  };
}

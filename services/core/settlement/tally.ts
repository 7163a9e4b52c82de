import { assert } from "../assert.ts";
import type { InstantUs, PairId, PoolId, RegionId } from "../units.ts";
import type { HourKey, RatingKey } from "./charge.ts";
import { hourOf } from "./period.ts";
import {
  hourText,
  ratingText,
  type Changes,
  type Charge,
  type HourTotal,
  type Known,
  type LineOf,
  type WantedKeys,
} from "./posting.ts";
import { scopeOf, type PriceLine, type Tier } from "./price-book.ts";
import { nothingRated as emptyKey, rate, unrate, type Cumulative, type Rated } from "./rate.ts";
import { Sheet } from "./sheet.ts";
import { shownTo } from "./statement-lines.ts";

/** Where a record's charges of one pair go. */
export interface Place {
  readonly pair: PairId;
  /** Of the key on which its tokens cumulate. */
  readonly period: string;
  /** Day into whose statement they go. */
  readonly booking: string;
  readonly openedUs: InstantUs;
  readonly pool: PoolId;
  readonly region: RegionId;
}

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

  constructor({ cumulatives, hours }: Pick<Known, "cumulatives" | "hours">, lineOf: LineOf) {
    this.#cumulatives = new Sheet(cumulatives);
    this.#hours = new Sheet(hours);
    this.#lineOf = lineOf;
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
    const charges = new Map(carried.map((charge) => [charge.line, charge]));
    for (const { line, tokens } of lines) {
      const rated = this.#rate(this.#keyOf(place, line), (tiers, before) =>
        rate(tokens, tiers, before),
      );
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
    for (const charge of kept) this.#addHour(place, charge, 1n);
    return kept;
  }

  /**
   * Takes charges out of their keys, and out of the hours of the open booking, whatever they were booked into: a closed
   * one never changes. What stays on the keys is carried into the charges of the revision that counts now.
   */
  takeBack(place: Place, charges: readonly Charge[]): Charge[] {
    return charges.map((charge) => {
      const { line, tokens, pico, amountNano } = charge;
      const undone = this.#rate(this.#keyOf(place, line), (tiers, before) =>
        unrate(tokens, tiers, before),
      );
      const taken = { line, tokens: -tokens, pico: -pico, amountNano: -amountNano };
      this.#addHour(place, taken, -1n);
      return {
        line,
        tokens: 0n,
        pico: pico + undone.pico,
        amountNano: amountNano + undone.amountNano,
      };
    });
  }

  #rate(
    key: RatingKey,
    move: (tiers: readonly Tier[], before: Cumulative) => Rated,
  ): Pick<Rated, "pico" | "amountNano"> {
    const text = ratingText(key);
    if (!this.#cumulatives.has(text, key)) return nothingRated;
    const before = this.#cumulatives.get(text) ?? emptyKey;
    const rated = move(this.#line(key.line).tiers, before);
    this.#cumulatives.set(text, key, rated.after);
    return rated;
  }

  #addHour(place: Place, { line, tokens, pico, amountNano }: Charge, sign: bigint): void {
    const { model, tokenClass, slot } = this.#line(line);
    // A rest that a correction left on a line is money without an attempt.
    const attempts = tokens === 0n ? 0n : sign;
    const total = { model, tokenClass, slot, tokens, pico, amountNano, attempts };
    this.#add(hourKeyOf(place, line), total);
  }

  #add(key: HourKey, by: HourTotal): void {
    const text = hourText(key);
    if (!this.#hours.has(text, key)) return;
    const before = this.#hours.get(text);
    this.#hours.set(text, key, before === undefined ? by : sumOf(before, by));
  }

  #keyOf(place: Place, line: string): RatingKey {
    return ratingKeyOf(place, this.#line(line), line);
  }

  #line(id: string): PriceLine {
    const line = this.#lineOf(id);
    assert(line !== undefined, "the books of a batch were looked up before");
    return line;
  }
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

function ratingKeyOf(
  { pair, period, pool }: Pick<Place, "pair" | "period" | "pool">,
  line: PriceLine,
  id: string,
): RatingKey {
  return { pair, period, line: id, scope: scopeOf(line, pool) };
}

/** By what the pair is shown of where it was used. */
function hourKeyOf(place: Omit<Place, "period">, line: string): HourKey {
  const { pair, booking, openedUs } = place;
  return { pair, booking, hourUs: hourOf(openedUs), line, ...shownTo(pair, place) };
}

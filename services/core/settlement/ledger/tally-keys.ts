import { assert } from "../../assert.ts";
import type { InstantUs, PairId, PoolId, RegionId } from "../../units.ts";
import type { HourKey, RatingKey } from "../pricing/charge.ts";
import { hourOf } from "../statements/period.ts";
import { rememberHourText, rememberRatingText, type LineOf } from "./posting.ts";
import { scopeOf, type PriceLine } from "../pricing/price-book.ts";
import { shownTo } from "../statements/statement-lines.ts";

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

/** Keys of a line at a place, with their texts. */
export interface LineKeys {
  readonly line: PriceLine;
  readonly rating: RatingKey;
  readonly ratingText: string;
  readonly hour: HourKey;
  readonly hourText: string;
}

/** Places that are remembered. More than an hour of 200 pools and their tenants has. */
const placesMax = 10_000;

/** Remembers the keys of lines at places: most records of an hour share theirs with others. */
export class TallyKeys {
  readonly #lineOf: LineOf;
  readonly #keysByPlace = new Map<string, Map<string, LineKeys>>();

  constructor(lineOf: LineOf) {
    this.#lineOf = lineOf;
  }

  /** Of lines of books that were looked up before. */
  at(place: Place): (line: string) => LineKeys {
    const { pair, period, booking, openedUs, pool, region } = place;
    const text = `${pair}\n${period}\n${booking}\n${hourOf(openedUs)}\n${pool}\n${region}`;
    let known = this.#keysByPlace.get(text);
    if (known === undefined) {
      if (this.#keysByPlace.size >= placesMax) this.#keysByPlace.clear();
      known = new Map();
      this.#keysByPlace.set(text, known);
    }
    const keys = known;
    return (line) => {
      const found = keys.get(line) ?? this.#make(place, line);
      keys.set(line, found);
      return found;
    };
  }

  #make(place: Place, id: string): LineKeys {
    const line = this.#lineOf(id);
    assert(line !== undefined, "the books of a batch were looked up before");
    const { pair, period, booking, openedUs, pool } = place;
    const rating = { pair, period, line: id, scope: scopeOf(line, pool) };
    // By what the pair is shown of where it was used.
    const hour = { pair, booking, hourUs: hourOf(openedUs), line: id, ...shownTo(pair, place) };
    return {
      ...{ line, rating, hour },
      ratingText: rememberRatingText(rating),
      hourText: rememberHourText(hour),
    };
  }
}

import type { BookId, InstantUs, ModelId, Pico, VendorId } from "../units.ts";
import type { TokenClass } from "./usage.ts";

/** The price of one token within a tier that begins after `fromTokens` of the same line. */
export interface Tier {
  readonly fromTokens: bigint;
  readonly pricePicoPerToken: Pico;
}

export type DayKind = "workday" | "weekend" | "holiday" | "makeup";

/** Local minutes of the day; includes its start, excludes its end, wraps midnight if `end < start`. */
export interface TimeOfUseSlot {
  readonly slot: string;
  readonly dayKinds: ReadonlySet<DayKind>;
  readonly startMin: number;
  readonly endMin: number;
}

/** A range of request lengths in tokens, both ends included; undefined `to` has no end. */
export interface Bracket {
  readonly from: bigint;
  readonly to: bigint | undefined;
}

/** The price of one token class of one model in one slot and bracket: one line of the statement. */
export interface PriceLine {
  readonly id: string;
  readonly model: ModelId;
  readonly tokenClass: TokenClass;
  /** A slot of the book, or `any`. */
  readonly slot: string;
  readonly input: Bracket;
  readonly output: Bracket;
  /** Graduated over the tokens of the period. The first begins at 0, the others follow in order. */
  readonly tiers: readonly Tier[];
}

/** Which day is what, and the offset from UTC, so that rating needs no time-zone database. */
export interface Calendar {
  readonly id: string;
  readonly offsetMinutes: number;
  /** `2026-10-01` → kind. Days that are not named are workdays or weekends by the week. */
  readonly kindByDate: ReadonlyMap<string, DayKind>;
  /** Beyond this instant the kinds are not known: every day counts by the week. */
  readonly coversToUs: InstantUs;
}

/** One version of a vendor's prices. Never edited: a change is a new version with a later start. */
export interface PriceBook {
  readonly id: BookId;
  readonly vendor: VendorId;
  readonly version: bigint;
  readonly currency: "CNY";
  readonly effectiveFromUs: InstantUs;
  /** Undefined means until the next version. */
  readonly effectiveToUs: InstantUs | undefined;
  /** Empty: one slot, `any`. */
  readonly slots: readonly TimeOfUseSlot[];
  readonly calendar: Calendar;
  readonly lines: readonly PriceLine[];
  readonly source: string;
}

import type { BookId, InstantUs, ModelId, PairId, Pico, RegionId, VendorId } from "../../units.ts";
import {
  tokenClasses,
  tokenClassNames,
  tokenVariantKinds,
  type TokenClass,
  type TokenVariantKind,
} from "../counting/usage.ts";

/** The price of one token within a tier that begins after `fromTokens` of the same line. */
export interface Tier {
  readonly fromTokens: bigint;
  readonly pricePicoPerToken: Pico;
}

export const dayKinds = ["workday", "weekend", "holiday", "makeup"] as const;
export type DayKind = (typeof dayKinds)[number];

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

/** What a line can price: tokens of a class, or requests. */
export const priceClasses = [...tokenClasses, "request"] as const;
export type PriceClass = TokenClass | "request";

/** As books, statements and exports write them. */
export const priceClassNames: Readonly<Record<PriceClass, string>> = {
  ...tokenClassNames,
  request: "request",
};

/** A part of a class with a price of its own; `minimum` is of class `request`: what a record falls short of its floor. */
export type Variant = TokenVariantKind | "minimum";
export const variants: readonly Variant[] = [...tokenVariantKinds, "minimum"];

/**
 * The price of one class of one model in one slot and bracket: one line of the statement. What is absent stands for all
 * that has no line of its own.
 */
export interface PriceLine {
  readonly id: string;
  readonly model: ModelId;
  readonly tokenClass: PriceClass;
  /** A slot of the book, or `any`. */
  readonly slot: string;
  readonly input: Bracket;
  readonly output: Bracket;
  /**
   * What records are rated by: graduated over the tokens of the period. The first begins at 0, the others follow in
   * order. Of a volume line it is the first of its volume tiers alone.
   */
  readonly tiers: readonly Tier[];
  /**
   * All tokens of the period at the price of the tier that their sum falls in. Which one that is shows at close, where a
   * true-up settles the difference. Absent: graduated.
   */
  readonly volumeTiers?: readonly Tier[];
  readonly variant?: Variant;
  readonly region?: RegionId;
  /** Where tokens cumulate: over the whole contract; absent: at each pool by itself. */
  readonly scope?: "contract";
  /**
   * The least that a record with anything to pay costs, on a line `request`/`minimum`. What its other lines fall short of
   * it, at their first tiers, is counted on this line in pico: so it costs 1 pico a piece.
   */
  readonly minPicoPerRequest?: Pico;
}

/** An offset from UTC, from an instant on. */
export interface OffsetChange {
  readonly fromUs: InstantUs;
  readonly minutes: number;
}

/** Which day is what, and the offset from UTC, so that rating needs no time-zone database. */
export interface Calendar {
  readonly id: string;
  /** Absent in what was kept before calendars had versions: 1. */
  readonly version?: bigint;
  /** Of the zone, for people. */
  readonly timeZone?: string;
  /** From the beginning on. */
  readonly offsetMinutes: number;
  /** Later changes, in order. */
  readonly offsets?: readonly OffsetChange[];
  /** `2026-10-01` → kind. Days that are not named are workdays or weekends by the week. */
  readonly kindByDate: ReadonlyMap<string, DayKind>;
  /** Absent: the calendar reaches back without end. */
  readonly coversFromUs?: InstantUs;
  /** Excluded. Beyond it, it is not known which day is what. */
  readonly coversToUs: InstantUs;
}

/** What a vendor is owed, what a tenant owes, what the owner of a model is owed. What draws on a package is in its sku. */
export const bookSides = ["buy", "sell", "licence"] as const;
export type BookSide = (typeof bookSides)[number];

/** One version of a book of prices. Never edited: a change is a new version with a later start. */
export interface PriceBook {
  readonly id: BookId;
  /** Absent: `buy`. */
  readonly side?: BookSide;
  /** Of a buy book. Empty text on the other sides, which have a pair. */
  readonly vendor: VendorId;
  /** With whom it is agreed; `tenant:*` is a list for every tenant whose contract names it, or that has none. Absent: its vendor. */
  readonly pair?: PairId;
  readonly version: bigint;
  readonly currency: "CNY";
  readonly effectiveFromUs: InstantUs;
  /** Undefined means until the next version. */
  readonly effectiveToUs: InstantUs | undefined;
  /** When the other party was told. Absent: nobody said. */
  readonly announcedUs?: InstantUs;
  /** Empty: one slot, `any`. */
  readonly slots: readonly TimeOfUseSlot[];
  /** Applies where the calendar does not say what day it is. Absent: the day counts by the week. */
  readonly baseSlot?: string;
  readonly calendar: Calendar;
  readonly lines: readonly PriceLine[];
  readonly source: string;
}

/** A list for every tenant: of one whose contract names it, and of one without a contract. */
export const everyTenant = "tenant:*" as PairId;

export function sideOf({ side = "buy" }: PriceBook): BookSide {
  return side;
}

/** With whom the prices are agreed. */
export function pairOf({ pair, vendor }: Pick<PriceBook, "pair" | "vendor">): PairId {
  return pair ?? (`vendor:${vendor}` as PairId);
}

/** Where the tokens of a line cumulate: the second half of its rating key. */
export function scopeOf({ scope }: PriceLine, pool: string): string {
  return scope === "contract" ? "*" : pool;
}

/** Whether a length is within a bracket, both ends included. */
export function holds({ from, to }: Bracket, length: bigint): boolean {
  return length >= from && (to === undefined || length <= to);
}

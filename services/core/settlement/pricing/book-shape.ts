import type { BookId, ModelId, PairId, RegionId, VendorId } from "../../units.ts";
import type { Canonical } from "../canonical.ts";
import { decimalOf, discounted } from "../decimal.ts";
import {
  bookSides,
  dayKinds,
  priceClasses,
  priceClassNames,
  type Bracket,
  type Calendar,
  type DayKind,
  type PriceBook,
  type PriceLine,
  type Tier,
  type TimeOfUseSlot,
  type Variant,
  pairOf,
  sideOf,
  variants,
} from "./price-book.ts";
import {
  as,
  id,
  instant,
  integer,
  list,
  note,
  object,
  optional,
  otherwise,
  small,
  text,
  word,
  type Place,
  type Shape,
} from "../terms/shape.ts";

const tokensMax = 999_999_999_999_999n;
const limits = { lines: 4_096, slots: 64, tiers: 32 } as const;

const slot = object<TimeOfUseSlot>({
  slot: ["slot", id<string>("a name of a slot")],
  dayKinds: [
    "day_kinds",
    as(
      list(word(dayKinds), dayKinds.length),
      (kept: ReadonlySet<DayKind>) => [...kept].toSorted(),
      (written) => new Set(written),
    ),
    otherwise<ReadonlySet<DayKind>>(new Set(dayKinds)),
  ],
  startMin: ["start_min", small(0, 1_439)],
  endMin: ["end_min", small(1, 1_440)],
});

/** Members of a line as they are written; a bracket is two of them, and the mode of the tiers one. */
interface WrittenLine {
  readonly line: string;
  readonly model: ModelId;
  readonly region: string;
  readonly tokenClass: PriceLine["tokenClass"];
  readonly variant: string;
  readonly slot: string;
  readonly inFrom: bigint;
  readonly inTo: bigint | undefined;
  readonly outFrom: bigint;
  readonly outTo: bigint | undefined;
  readonly scope: "pool" | "contract";
  readonly tierMode: "graduated" | "volume";
  readonly tiers: readonly Tier[];
  readonly floor: bigint | undefined;
}

const tokens = integer(0n, tokensMax);
const price = integer(0n);

const tier = object<Tier>({
  fromTokens: ["tier_from", tokens, otherwise(0n)],
  pricePicoPerToken: ["pico_per_token", price],
});

const writtenLine = object<WrittenLine>({
  line: ["line_id", text(/^[\w./:-]{1,64}$/, "1 to 64 of A-Z a-z 0-9 _ . / : -")],
  model: ["model_id", id<ModelId>()],
  region: ["region", id<string>("a region or *"), otherwise("*")],
  tokenClass: ["token_class", word(priceClasses, (each) => priceClassNames[each])],
  variant: ["variant", word(["", ...variants], String), otherwise("")],
  slot: ["slot", id<string>("a slot of the book or any"), otherwise("any")],
  inFrom: ["in_from", tokens, otherwise(0n)],
  inTo: ["in_to", optional(tokens), otherwise(undefined)],
  outFrom: ["out_from", tokens, otherwise(0n)],
  outTo: ["out_to", optional(tokens), otherwise(undefined)],
  scope: ["scope", word(["pool", "contract"] as const), otherwise("pool")],
  tierMode: ["tier_mode", word(["graduated", "volume"] as const), otherwise("graduated")],
  tiers: ["tiers", list(tier, limits.tiers)],
  floor: ["min_pico_per_request", optional(price), otherwise(undefined)],
});

const line: Shape<PriceLine> = as(writtenLine, toWritten, fromWritten);

function toWritten(kept: PriceLine): WrittenLine {
  return {
    line: kept.id,
    model: kept.model,
    region: kept.region ?? "*",
    tokenClass: kept.tokenClass,
    variant: kept.variant ?? "",
    slot: kept.slot,
    inFrom: kept.input.from,
    inTo: kept.input.to,
    outFrom: kept.output.from,
    outTo: kept.output.to,
    scope: kept.scope ?? "pool",
    tierMode: kept.volumeTiers === undefined ? "graduated" : "volume",
    tiers: kept.volumeTiers ?? kept.tiers,
    floor: kept.minPicoPerRequest,
  };
}

function fromWritten(written: WrittenLine): PriceLine {
  const { region, variant, scope, tierMode, tiers, floor } = written;
  const isVolume = tierMode === "volume";
  return {
    id: written.line,
    model: written.model,
    tokenClass: written.tokenClass,
    slot: written.slot,
    input: bracket(written.inFrom, written.inTo),
    output: bracket(written.outFrom, written.outTo),
    tiers: isVolume ? tiers.slice(0, 1) : tiers,
    ...(isVolume ? { volumeTiers: tiers } : {}),
    ...(variant === "" ? {} : { variant: variant as Variant }),
    ...(region === "*" ? {} : { region: region as RegionId }),
    ...(scope === "contract" ? { scope } : {}),
    ...(floor === undefined ? {} : { minPicoPerRequest: floor }),
  };
}

function bracket(from: bigint, to: bigint | undefined): Bracket {
  return { from, to };
}

/** A book as it is written: its calendar by name alone. */
interface WrittenBook extends Omit<PriceBook, "calendar" | "vendor" | "pair" | "side"> {
  readonly side: NonNullable<PriceBook["side"]>;
  readonly pair: PairId;
  readonly calendarId: string;
}

const writtenBook = object<WrittenBook>(
  {
    id: [
      "book_id",
      text(/^[a-z0-9][a-z0-9-]{0,62}$/, "lower-case letters, digits and -") as Shape<BookId>,
    ],
    side: ["side", word(bookSides)],
    pair: [
      "pair_id",
      text(
        /^(vendor|tenant|model):[\w.*-]{1,62}$/,
        "vendor:, tenant: or model: with an id",
      ) as Shape<PairId>,
    ],
    version: ["version", integer(1n)],
    currency: ["currency", word(["CNY"] as const, String), otherwise("CNY")],
    effectiveFromUs: ["effective_from_us", instant],
    effectiveToUs: ["effective_to_us", optional(instant), otherwise(undefined)],
    announcedUs: ["announced_us", optional(instant), otherwise(undefined)],
    calendarId: ["calendar_id", id<string>("a calendar"), otherwise("cn-2026")],
    baseSlot: ["base_slot", optional(id<string>("a slot")), otherwise(undefined)],
    source: ["source", note(1_024), otherwise("")],
    slots: ["slots", list(slot, limits.slots), otherwise([])],
    lines: ["lines", list(line, limits.lines)],
  },
  { type: "price_version", v: "1" },
);

/** A version of a price book, as canonical text and as people write it. */
export function bookShape(calendarOf: (id: string) => Calendar | undefined): Shape<PriceBook> {
  return {
    write: bookMembers,
    read: (found, place) => {
      const given = place.isLenient ? plainPrices(found, place) : found;
      const read = writtenBook.read(given, place);
      if (read === undefined || place.misfits.length > 0) return undefined;
      const { calendarId, side, pair, ...book } = read;
      const calendar = calendarOf(calendarId);
      if (calendar === undefined) {
        return place.at("calendar_id").refuse("a calendar that is installed", calendarId);
      }
      const vendor = (pair.startsWith("vendor:") ? pair.slice("vendor:".length) : "") as VendorId;
      return {
        ...book,
        ...(side === "buy" ? {} : { side }),
        ...(vendor === "" ? { pair } : {}),
        vendor,
        calendar,
      };
    },
  };
}

export function bookMembers(book: PriceBook): Canonical {
  const { calendar, ...rest } = book;
  return writtenBook.write({
    ...rest,
    side: sideOf(book),
    pair: pairOf(book),
    calendarId: calendar.id,
  });
}

/** Names of a price in a file, and the decimals that a pico has in each. */
const digitsByName: Readonly<Record<string, number>> = { cny_per_million: 6, cny_per_request: 12 };

type Raw = Readonly<Record<string, unknown>>;

/**
 * What people write of prices, as lines have it: decimal text of CNY per million instead of pico per token, one price
 * instead of a list of tiers, a discount on the whole book. A price that is no whole number of pico is refused.
 */
function plainPrices(found: unknown, place: Place): unknown {
  if (!isRaw(found) || !Array.isArray(found["lines"])) return found;
  const { discount_ppm: discountText = "0", ...book } = found;
  const discountPpm = integer(0n, 1_000_000n).read(discountText, place.at("discount_ppm"));
  const rawLines: readonly unknown[] = found["lines"];
  const of = { discountPpm: discountPpm ?? 0n, isTenants: book["side"] === "sell" };
  const lines = rawLines.map((each, index) => plainLine(each, place.at("lines").at(index), of));
  return { ...book, lines };
}

interface Of {
  readonly discountPpm: bigint;
  readonly isTenants: boolean;
}

function plainLine(found: unknown, place: Place, of: Of): unknown {
  if (!isRaw(found)) return found;
  const { min_cny_per_request: floor, ...given } = found;
  const scope = of.isTenants ? { scope: "contract" } : {};
  const made = { ...scope, ...given, ...floorOf(floor, place) };
  if (Array.isArray(given["tiers"])) {
    const tiers: readonly unknown[] = given["tiers"];
    return {
      ...made,
      tiers: tiers.map((each, index) => plainTier(each, place.at("tiers").at(index), of)),
    };
  }
  const names = Object.keys(given).filter(
    (name) => name in digitsByName || name === "pico_per_token",
  );
  if (names.length === 0) return made;
  const rest = Object.fromEntries(Object.entries(made).filter(([name]) => !names.includes(name)));
  const prices = Object.fromEntries(names.map((name) => [name, given[name]]));
  return { ...rest, tiers: [plainTier(prices, place, of)] };
}

/** The shortfall is counted in pico. */
function floorOf(found: unknown, place: Place): Raw {
  if (found === undefined) return {};
  const pico = typeof found === "string" ? decimalOf(found, 12) : undefined;
  if (pico === undefined)
    place.at("min_cny_per_request").refuse("CNY with at most 12 decimals", found);
  return { min_pico_per_request: String(pico ?? 0n), tiers: [{ pico_per_token: "1" }] };
}

function plainTier(found: unknown, place: Place, of: Of): unknown {
  if (!isRaw(found)) return found;
  const names = Object.keys(found).filter((name) => name in digitsByName);
  const [name] = names;
  if (name === undefined) return found;
  const { [name]: price, ...rest } = found;
  const digits = digitsByName[name] ?? 0;
  if (names.length > 1 || "pico_per_token" in rest) {
    place
      .at(name)
      .refuse("one price", `${names.length + ("pico_per_token" in rest ? 1 : 0)} of them`);
  }
  const pico = typeof price === "string" ? decimalOf(price, digits) : undefined;
  const wanted = `decimal text with at most ${digits} decimals: a price is a whole number of pico`;
  if (pico === undefined) place.at(name).refuse(wanted, price);
  const less = discounted(pico ?? 0n, of.discountPpm);
  if (less === undefined) {
    const expected = `a price that ${of.discountPpm} ppm less is a whole number of pico`;
    place.at(name).refuse(`${expected} (a contract's discount_ppm need not be)`, price);
  }
  return { ...rest, pico_per_token: String(less ?? 0n) };
}

function isRaw(found: unknown): found is Raw {
  return typeof found === "object" && found !== null && !Array.isArray(found);
}

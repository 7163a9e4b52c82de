import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  sideOf,
  variants,
  type BookSide,
  type Bracket,
  type Calendar,
  type DayKind,
  type PriceBook,
  type PriceClass,
  type PriceLine,
  type TimeOfUseSlot,
} from "../core/settlement/pricing/price-book.ts";
import type { BookId, ModelId, PairId, RegionId, VendorId } from "../core/units.ts";
import { toConnectError } from "./errors.ts";
import { required, words } from "./field.ts";
import * as gen from "./gen/tokengrid/v1/price_pb.js";

export const priceClassWords = words<PriceClass, gen.TokenClass>({
  uncachedInput: gen.TokenClass.UNCACHED_INPUT,
  cacheRead: gen.TokenClass.CACHE_READ,
  cacheWrite: gen.TokenClass.CACHE_WRITE,
  response: gen.TokenClass.RESPONSE,
  reasoning: gen.TokenClass.REASONING,
  request: gen.TokenClass.REQUEST,
});

const sideWords = words<BookSide, gen.BookSide>({
  buy: gen.BookSide.BUY,
  sell: gen.BookSide.SELL,
  licence: gen.BookSide.LICENCE,
});

export const dayKindWords = words<DayKind, gen.DayKind>({
  workday: gen.DayKind.WORKDAY,
  weekend: gen.DayKind.WEEKEND,
  holiday: gen.DayKind.HOLIDAY,
  makeup: gen.DayKind.MAKEUP,
});

/** Throws INVALID_ARGUMENT that names the place, also for a calendar that nobody has. */
export function toPriceBook(
  message: gen.PriceBook,
  calendarOf: (id: string) => Calendar | undefined,
): PriceBook {
  const calendar = calendarOf(message.calendarId);
  if (calendar === undefined) {
    throw toConnectError(
      "BAD_REQUEST",
      `calendar_id: expected a calendar that is installed, found ${JSON.stringify(message.calendarId)}`,
      { metadata: { field: "calendar_id" } },
    );
  }
  const { side: number, pairId, announcedUs, baseSlot } = message;
  const side = number === gen.BookSide.UNSPECIFIED ? "buy" : sideWords.toWord("side", number);
  const vendor = side === "buy" ? required("vendor_id", message.vendorId) : message.vendorId;
  const pair = side === "buy" ? pairId : required("pair_id", pairId);
  return {
    id: required("book_id", message.bookId) as BookId,
    ...(side === "buy" ? {} : { side }),
    vendor: vendor as VendorId,
    ...(pair === "" || pair === `vendor:${vendor}` ? {} : { pair: pair as PairId }),
    version: message.version,
    currency: toCurrency(message.currency),
    effectiveFromUs: message.effectiveFromUs,
    effectiveToUs: message.effectiveToUs,
    ...(announcedUs === undefined ? {} : { announcedUs }),
    slots: message.slots.map(toSlot),
    ...(baseSlot === "" ? {} : { baseSlot }),
    calendar,
    lines: message.lines.map(toLine),
    source: message.source,
  };
}

function toCurrency(found: string): PriceBook["currency"] {
  if (found === "CNY") return found;
  throw toConnectError("BAD_REQUEST", `currency: expected CNY, found ${JSON.stringify(found)}`, {
    metadata: { field: "currency" },
  });
}

export function fromPriceBook(book: PriceBook): gen.PriceBook {
  return create(gen.PriceBookSchema, {
    bookId: book.id,
    // As before there were other sides: what a vendor published keeps its bytes.
    side: sideOf(book) === "buy" ? gen.BookSide.UNSPECIFIED : sideWords.fromWord(sideOf(book)),
    vendorId: book.vendor,
    pairId: book.pair ?? "",
    ...(book.announcedUs === undefined ? {} : { announcedUs: book.announcedUs }),
    baseSlot: book.baseSlot ?? "",
    version: book.version,
    currency: book.currency,
    effectiveFromUs: book.effectiveFromUs,
    ...(book.effectiveToUs === undefined ? {} : { effectiveToUs: book.effectiveToUs }),
    slots: book.slots.map((slot) => ({
      slot: slot.slot,
      dayKinds: [...slot.dayKinds].map(dayKindWords.fromWord),
      startMin: slot.startMin,
      endMin: slot.endMin,
    })),
    lines: book.lines.map(fromLine),
    calendarId: book.calendar.id,
    source: book.source,
  });
}

function toSlot(message: gen.TimeOfUseSlot): TimeOfUseSlot {
  return {
    slot: message.slot,
    dayKinds: new Set(message.dayKinds.map((each) => dayKindWords.toWord("day_kinds", each))),
    startMin: message.startMin,
    endMin: message.endMin,
  };
}

function toLine(message: gen.PriceLine): PriceLine {
  const { variant, regionId, minPicoPerRequest } = message;
  const tiers = message.tiers.map(({ fromTokens, pricePicoPerToken }) => ({
    fromTokens,
    pricePicoPerToken,
  }));
  const isVolume = message.tierMode === gen.TierMode.VOLUME;
  const known = variants.find((each) => each === variant);
  if (variant !== "" && known === undefined) {
    const expected = variants.join(", ");
    throw toConnectError("BAD_REQUEST", `variant: expected one of ${expected}, found ${variant}`, {
      metadata: { field: "variant" },
    });
  }
  return {
    id: required("line_id", message.lineId),
    model: required("model_id", message.modelId) as ModelId,
    tokenClass: priceClassWords.toWord("token_class", message.tokenClass),
    slot: required("slot", message.slot),
    input: toBracket(message.inputTokensFrom, message.inputTokensTo),
    output: toBracket(message.outputTokensFrom, message.outputTokensTo),
    tiers: isVolume ? tiers.slice(0, 1) : tiers,
    ...(isVolume ? { volumeTiers: tiers } : {}),
    ...(known === undefined ? {} : { variant: known }),
    ...(regionId === "" ? {} : { region: regionId as RegionId }),
    ...(message.isContractScope ? { scope: "contract" as const } : {}),
    ...(minPicoPerRequest === undefined ? {} : { minPicoPerRequest }),
  };
}

function fromLine(line: PriceLine): MessageInitShape<typeof gen.PriceLineSchema> {
  const { volumeTiers, minPicoPerRequest } = line;
  return {
    lineId: line.id,
    modelId: line.model,
    tokenClass: priceClassWords.fromWord(line.tokenClass),
    slot: line.slot,
    inputTokensFrom: line.input.from,
    inputTokensTo: line.input.to ?? 0n,
    outputTokensFrom: line.output.from,
    outputTokensTo: line.output.to ?? 0n,
    tiers: (volumeTiers ?? line.tiers).map(({ fromTokens, pricePicoPerToken }) => ({
      fromTokens,
      pricePicoPerToken,
    })),
    tierMode: volumeTiers === undefined ? gen.TierMode.UNSPECIFIED : gen.TierMode.VOLUME,
    variant: line.variant ?? "",
    regionId: line.region ?? "",
    isContractScope: line.scope === "contract",
    ...(minPicoPerRequest === undefined ? {} : { minPicoPerRequest }),
  };
}

/** 0 for the end means that there is none. */
function toBracket(from: bigint, to: bigint): Bracket {
  return { from, to: to === 0n ? undefined : to };
}

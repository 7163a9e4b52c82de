import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type {
  Bracket,
  Calendar,
  DayKind,
  PriceBook,
  PriceLine,
  TimeOfUseSlot,
} from "../core/settlement/price-book.ts";
import type { TokenClass } from "../core/settlement/usage.ts";
import type { BookId, ModelId, VendorId } from "../core/units.ts";
import { toConnectError } from "./errors.ts";
import { required, words } from "./field.ts";
import * as gen from "./gen/tokengrid/v1/price_pb.js";

export const tokenClassWords = words<TokenClass, gen.TokenClass>({
  uncachedInput: gen.TokenClass.UNCACHED_INPUT,
  cacheRead: gen.TokenClass.CACHE_READ,
  cacheWrite: gen.TokenClass.CACHE_WRITE,
  response: gen.TokenClass.RESPONSE,
  reasoning: gen.TokenClass.REASONING,
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
  if (message.currency !== "CNY") {
    throw toConnectError("BAD_REQUEST", `currency: expected CNY, found ${message.currency}`);
  }
  return {
    id: required("book_id", message.bookId) as BookId,
    vendor: required("vendor_id", message.vendorId) as VendorId,
    version: message.version,
    currency: message.currency,
    effectiveFromUs: message.effectiveFromUs,
    effectiveToUs: message.effectiveToUs,
    slots: message.slots.map(toSlot),
    calendar,
    lines: message.lines.map(toLine),
    source: message.source,
  };
}

export function fromPriceBook(book: PriceBook): gen.PriceBook {
  return create(gen.PriceBookSchema, {
    bookId: book.id,
    vendorId: book.vendor,
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
  return {
    id: required("line_id", message.lineId),
    model: required("model_id", message.modelId) as ModelId,
    tokenClass: tokenClassWords.toWord("token_class", message.tokenClass),
    slot: required("slot", message.slot),
    input: toBracket(message.inputTokensFrom, message.inputTokensTo),
    output: toBracket(message.outputTokensFrom, message.outputTokensTo),
    tiers: message.tiers.map(({ fromTokens, pricePicoPerToken }) => ({
      fromTokens,
      pricePicoPerToken,
    })),
  };
}

function fromLine(line: PriceLine): MessageInitShape<typeof gen.PriceLineSchema> {
  return {
    lineId: line.id,
    modelId: line.model,
    tokenClass: tokenClassWords.fromWord(line.tokenClass),
    slot: line.slot,
    inputTokensFrom: line.input.from,
    inputTokensTo: line.input.to ?? 0n,
    outputTokensFrom: line.output.from,
    outputTokensTo: line.output.to ?? 0n,
    tiers: line.tiers.map(({ fromTokens, pricePicoPerToken }) => ({
      fromTokens,
      pricePicoPerToken,
    })),
  };
}

/** 0 for the end means that there is none. */
function toBracket(from: bigint, to: bigint): Bracket {
  return { from, to: to === 0n ? undefined : to };
}

import type { InstantUs, ModelId, PairId } from "../../units.ts";
import { dayKinds, type Calendar, type DayKind, type OffsetChange } from "../pricing/price-book.ts";
import {
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
  type Shape,
} from "./shape.ts";
import { splitParts, type SplitPart, type SplitRule } from "../packages/split.ts";
import { standardBases, type StandardRow, type StandardTable } from "../pricing/standard-token.ts";
import { tokenClasses, tokenClassNames } from "../counting/usage.ts";

const rowsMax = 8_192;

interface Day {
  readonly date: string;
  readonly kind: DayKind;
}

interface Offset {
  /** Undefined: from the beginning. */
  readonly fromUs: InstantUs | undefined;
  readonly minutes: number;
}

interface WrittenCalendar {
  readonly id: string;
  readonly version: bigint;
  readonly timeZone: string;
  readonly coversFromUs: InstantUs | undefined;
  readonly coversToUs: InstantUs;
  readonly offsets: readonly Offset[];
  readonly days: readonly Day[];
}

const dateShape = text(/^\d{4}-\d\d-\d\d$/, "a date such as 2026-10-01");

const writtenCalendar = object<WrittenCalendar>(
  {
    id: ["calendar_id", id<string>()],
    version: ["version", integer(1n)],
    timeZone: ["tz", id<string>("a time zone")],
    coversFromUs: ["covers_from_us", optional(instant), otherwise(undefined)],
    coversToUs: ["covers_to_us", instant],
    offsets: [
      "offsets",
      list(
        object<Offset>({
          fromUs: ["from_us", optional(instant), otherwise(undefined)],
          minutes: ["minutes", small(-1_080, 1_080)],
        }),
        64,
      ),
    ],
    days: [
      "days",
      list(object<Day>({ date: ["date", dateShape], kind: ["kind", word(dayKinds)] }), rowsMax),
    ],
  },
  { type: "calendar", v: "1" },
);

export const calendarShape: Shape<Calendar> = {
  write: (calendar) =>
    writtenCalendar.write({
      id: calendar.id,
      version: calendar.version ?? 1n,
      timeZone: calendar.timeZone ?? "Asia/Shanghai",
      coversFromUs: calendar.coversFromUs,
      coversToUs: calendar.coversToUs,
      offsets: [
        { fromUs: undefined, minutes: calendar.offsetMinutes },
        ...(calendar.offsets ?? []),
      ],
      days: [...calendar.kindByDate]
        .map(([date, kind]) => ({ date, kind }))
        .toSorted((a, b) => (a.date < b.date ? -1 : 1)),
    }),
  read: (found, place) => {
    const read = writtenCalendar.read(found, place);
    if (read === undefined || place.misfits.length > 0) return undefined;
    const { days, offsets, coversFromUs, ...rest } = read;
    const [first, ...later] = offsets;
    if (first === undefined || first.fromUs !== undefined) {
      return place.at("offsets").refuse("a first offset without from_us", String(first?.fromUs));
    }
    const changes: OffsetChange[] = [];
    for (const [index, { fromUs, minutes }] of later.entries()) {
      if (fromUs === undefined)
        place
          .at("offsets")
          .at(index + 1)
          .refuse("from_us", undefined);
      else changes.push({ fromUs, minutes });
    }
    const kindByDate = new Map(days.map(({ date, kind }) => [date, kind]));
    if (kindByDate.size !== days.length) {
      return place.at("days").refuse(`${kindByDate.size} dates, each once`, String(days.length));
    }
    return {
      ...rest,
      offsetMinutes: first.minutes,
      ...(changes.length > 0 ? { offsets: changes } : {}),
      ...(coversFromUs === undefined ? {} : { coversFromUs }),
      kindByDate,
    };
  },
};

const splitPart = object<SplitPart>({
  part: ["part", word(splitParts)],
  party: [
    "party_id",
    text(/^(internal|\*|(vendor|model|channel):[\w.-]{1,62})$/, "internal, * or a pair") as Shape<
      SplitPart["party"]
    >,
  ],
  way: ["way", word(["rate", "share"] as const)],
  ppm: ["ppm", integer(0n, 1_000_000n), otherwise(0n)],
});

export const splitRuleShape: Shape<SplitRule> = object<SplitRule>(
  {
    id: ["split_rule_id", id<string>()],
    version: ["version", integer(1n)],
    model: ["model_id", id<ModelId>("a model or *"), otherwise<ModelId | "*">("*")],
    effectiveFromUs: ["effective_from_us", instant],
    parts: ["parts", list(splitPart, 64)],
  },
  { type: "split_rule", v: "1" },
);

const standardRow = object<StandardRow>({
  model: ["model_id", id<ModelId>()],
  tokenClass: ["token_class", word(tokenClasses, (each) => tokenClassNames[each])],
  num: ["num", integer(0n)],
  den: ["den", integer(1n), otherwise(1n)],
});

export const standardTableShape: Shape<StandardTable> = object<StandardTable>(
  {
    id: ["table_id", id<string>()],
    version: ["version", integer(1n)],
    effectiveFromUs: ["effective_from_us", instant],
    effectiveToUs: ["effective_to_us", optional(instant), otherwise(undefined)],
    basis: ["basis", word(standardBases)],
    source: ["source", note(2_048), otherwise("")],
    rows: ["rows", list(standardRow, rowsMax)],
  },
  { type: "standard_tokens", v: "1" },
);

/**
 * What was rated between two places of a pair's log is rated again by another version of its prices, or of its calendar.
 * The only way into the past, and it takes both signatures.
 */
export interface Reprice {
  readonly id: string;
  readonly pair: PairId;
  /** Leaves `usage` of the pair's log from here on. */
  readonly firstIndex: bigint;
  /** Excluded. */
  readonly endIndex: bigint;
  readonly book: string;
  /** The version that they are rated by instead of their own. */
  readonly version: bigint;
  readonly calendar: string;
  readonly calendarVersion: bigint;
  readonly reason: string;
}

export const repriceShape: Shape<Reprice> = object<Reprice>(
  {
    id: ["reprice_id", id<string>()],
    pair: ["pair_id", text(/^(vendor|tenant|model):[\w.-]{1,62}$/, "a pair") as Shape<PairId>],
    firstIndex: ["first_index", integer(0n)],
    endIndex: ["end_index", integer(1n)],
    book: ["book_id", id<string>()],
    version: ["version", integer(1n)],
    calendar: ["calendar_id", id<string>()],
    calendarVersion: ["calendar_version", integer(1n)],
    reason: ["reason", note(1_024)],
  },
  { type: "reprice", v: "1" },
);

import { expect, test } from "vitest";
import {
  checkCalendar,
  dayKind,
  daysLeft,
  isCovered,
  localTime,
  offsetAt,
  slotAt,
  slotChoiceAt,
  type SlotChoice,
} from "../../../../services/core/settlement/pricing/calendar.ts";
import {
  dayOf,
  hourOf,
  kindOfPeriod,
  monthOf,
  nameOfPeriod,
  periodNameAt,
} from "../../../../services/core/settlement/statements/period.ts";
import {
  dayKinds,
  type Calendar,
  type DayKind,
  type PriceBook,
  type TimeOfUseSlot,
} from "../../../../services/core/settlement/pricing/price-book.ts";
import { loadCalendar } from "../../../../services/io/preset.ts";
import { priceBook, us } from "../fixtures.ts";

const china = loadCalendar();

// prettier-ignore
const days: readonly [date: string, kind: DayKind, why: string][] = [
  ["2026-01-01", "holiday", "New Year"],
  ["2026-01-04", "makeup",  "a Sunday that is worked"],
  ["2026-01-05", "workday", "a Monday"],
  ["2026-02-14", "makeup",  "a Saturday before the Spring Festival"],
  ["2026-02-15", "holiday", "Spring Festival begins"],
  ["2026-02-23", "holiday", "Spring Festival ends"],
  ["2026-02-24", "workday", "the day after"],
  ["2026-02-28", "makeup",  "a Saturday that is worked"],
  ["2026-04-04", "holiday", "Qingming"],
  ["2026-05-01", "holiday", "Labour Day"],
  ["2026-05-05", "holiday", "the last of Labour Day"],
  ["2026-05-09", "makeup",  "a Saturday that is worked"],
  ["2026-06-19", "holiday", "Dragon Boat"],
  ["2026-09-20", "makeup",  "a Sunday that is worked"],
  ["2026-09-25", "holiday", "Mid-Autumn"],
  ["2026-10-01", "holiday", "National Day"],
  ["2026-10-07", "holiday", "the last of National Day"],
  ["2026-10-10", "makeup",  "a Saturday that is worked"],
  ["2026-10-11", "weekend", "a Sunday"],
  ["2026-11-21", "weekend", "a Saturday"],
  ["2027-01-01", "workday", "beyond the calendar a Friday is a Friday"],
];

for (const [date, kind, why] of days) {
  test(`dayKind() of ${date} is ${kind}: ${why}`, () => {
    expect(dayKind(china, us(`${date}T00:00:00+08:00`))).toBe(kind);
    expect(dayKind(china, us(`${date}T23:59:59.999+08:00`))).toBe(kind);
  });
}

test("every kind of day has a case above", () => {
  expect(new Set(days.map(([, kind]) => kind))).toEqual(new Set(dayKinds));
});

const workdays: ReadonlySet<DayKind> = new Set(["workday"]);
const others: ReadonlySet<DayKind> = new Set(["weekend", "holiday", "makeup"]);

/** DeepSeek's hours: peak is Monday to Friday, 9 to 12 and 14 to 18, not on holidays. */
const deepseek: readonly TimeOfUseSlot[] = [
  { slot: "peak", dayKinds: workdays, startMin: 540, endMin: 720 },
  { slot: "off-peak", dayKinds: workdays, startMin: 720, endMin: 840 },
  { slot: "peak", dayKinds: workdays, startMin: 840, endMin: 1_080 },
  { slot: "off-peak", dayKinds: workdays, startMin: 1_080, endMin: 540 },
  { slot: "off-peak", dayKinds: others, startMin: 0, endMin: 1_440 },
];
/** Bailian's: off-peak is 22 to 8, on every day. */
const bailian: readonly TimeOfUseSlot[] = [
  { slot: "off-peak", dayKinds: new Set(dayKinds), startMin: 1_320, endMin: 480 },
  { slot: "peak", dayKinds: new Set(dayKinds), startMin: 480, endMin: 1_320 },
];

// prettier-ignore
const slots: readonly [hours: "deepseek" | "bailian" | "none", at: string, slot: string][] = [
  ["deepseek", "2026-11-20T08:59:59.999999", "off-peak"],
  ["deepseek", "2026-11-20T09:00:00",        "peak"],
  ["deepseek", "2026-11-20T11:59:59.999",    "peak"],
  ["deepseek", "2026-11-20T12:00:00",        "off-peak"],
  ["deepseek", "2026-11-20T14:00:00",        "peak"],
  ["deepseek", "2026-11-20T18:00:00",        "off-peak"],
  ["deepseek", "2026-11-20T00:00:00",        "off-peak"],
  ["deepseek", "2026-11-21T10:00:00",        "off-peak"], // a Saturday
  ["deepseek", "2026-10-10T10:00:00",        "off-peak"], // a Saturday that is worked
  ["deepseek", "2026-10-01T10:00:00",        "off-peak"], // a Thursday that is a holiday
  ["bailian",  "2026-11-20T21:59:59",        "peak"],
  ["bailian",  "2026-11-20T22:00:00",        "off-peak"],
  ["bailian",  "2026-11-21T00:00:00",        "off-peak"],
  ["bailian",  "2026-11-21T07:59:59",        "off-peak"],
  ["bailian",  "2026-11-21T08:00:00",        "peak"],
  ["none",     "2026-11-21T08:00:00",        "any"],
];

for (const [hours, at, slot] of slots) {
  test(`slotAt() of ${hours} at ${at} is ${slot}`, () => {
    const book = priceBook({ calendar: china, slots: { deepseek, bailian, none: [] }[hours] });
    expect(slotAt(book, us(`${at.slice(0, 23)}+08:00`))).toBe(slot);
  });
}

test("localTime() knows the weekday and the minute on both sides of midnight and of 1970", () => {
  expect(localTime(us("2026-11-20T16:00:00Z"), 480)).toEqual({
    date: "2026-11-21",
    minute: 0,
    weekday: 6,
  });
  expect(localTime(us("2026-11-20T15:59:59Z"), 480)).toEqual({
    date: "2026-11-20",
    minute: 1_439,
    weekday: 5,
  });
  expect(localTime(-1n, 0)).toEqual({ date: "1969-12-31", minute: 1_439, weekday: 3 });
});

test("a day and a month of Shanghai begin at 16:00 UTC of the day before", () => {
  const at = us("2026-11-20T17:00:00Z");
  const day = dayOf(at, "Asia/Shanghai");
  expect([day.fromUs, day.toUs]).toEqual([us("2026-11-20T16:00:00Z"), us("2026-11-21T16:00:00Z")]);
  const month = monthOf(us("2026-12-31T15:59:59Z"), "Asia/Shanghai");
  expect([month.fromUs, month.toUs]).toEqual([
    us("2026-11-30T16:00:00Z"),
    us("2026-12-31T16:00:00Z"),
  ]);
});

test("a period is named after its day, its month or its ends", () => {
  const at = us("2026-11-20T17:00:00Z");
  const day = dayOf(at, "Asia/Shanghai");
  const month = monthOf(at, "Asia/Shanghai");
  const hour = { ...day, fromUs: hourOf(at), toUs: hourOf(at) + 3_600_000_000n };
  expect([day, month, hour].map(kindOfPeriod)).toEqual(["daily", "monthly", "custom"]);
  expect([day, month, hour].map(nameOfPeriod)).toEqual([
    "2026-11-21",
    "2026-11",
    "1795194000000000-1795197600000000",
  ]);
  expect(periodNameAt(at, "daily", "Asia/Shanghai")).toBe("2026-11-21");
  expect(periodNameAt(at, "monthly", "UTC")).toBe("2026-11");
});

const uncovered = us("2027-03-06T10:00:00+08:00");

// prettier-ignore
const choices: readonly [why: string, changes: Partial<PriceBook>, at: string, expected: SlotChoice][] = [
  ["a workday that the calendar has", { slots: deepseek }, "2026-11-20T10:00:00+08:00", { slot: "peak", isCovered: true }],
  ["a Saturday that is worked", { slots: deepseek }, "2026-10-10T10:00:00+08:00", { slot: "off-peak", isCovered: true }],
  ["a Friday beyond the calendar, by the week", { slots: deepseek }, "2027-03-05T10:00:00+08:00", { slot: "peak", isCovered: false }],
  ["the same with a base slot", { slots: deepseek, baseSlot: "off-peak" }, "2027-03-05T10:00:00+08:00", { slot: "off-peak", isCovered: false }],
  ["an evening that is off-peak on every day", { slots: deepseek, baseSlot: "peak" }, "2027-03-05T20:00:00+08:00", { slot: "off-peak", isCovered: true }],
  ["hours that are the same on every day", { slots: bailian, baseSlot: "off-peak" }, "2027-03-05T10:00:00+08:00", { slot: "peak", isCovered: true }],
  ["before the calendar begins", { slots: deepseek }, "2025-12-31T10:00:00+08:00", { slot: "peak", isCovered: false }],
];

for (const [why, changes, at, expected] of choices) {
  test(`slotChoiceAt() of ${why} is ${expected.slot}, covered ${expected.isCovered}`, () => {
    expect(slotChoiceAt(priceBook({ calendar: china, ...changes }), us(at))).toEqual(expected);
  });
}

test("offsetAt() follows the changes that the calendar carries", () => {
  const summer = us("2026-03-29T01:00:00Z");
  const berlin = { ...china, offsetMinutes: 60, offsets: [{ fromUs: summer, minutes: 120 }] };
  expect([summer - 1n, summer].map((at) => offsetAt(berlin, at))).toEqual([60, 120]);
  expect(offsetAt(china, summer)).toBe(480);
});

test("daysLeft() counts down to the end of the calendar, and on below 0", () => {
  const end = china.coversToUs;
  const day = 86_400_000_000n;
  expect(
    [end - 61n * day, end - 1n, end, end + 1n, end + day].map((at) => daysLeft(china, at)),
  ).toEqual([61, 0, 0, -1, -1]);
});

const extended: Calendar = {
  ...china,
  version: 2n,
  coversToUs: us("2028-01-01T00:00:00+08:00"),
  kindByDate: new Map([...china.kindByDate, ["2027-01-01", "holiday"]]),
};
const published = us("2026-11-22T00:00:00+08:00");

test("checkCalendar() takes a version that reaches further and leaves the past as it was", () => {
  expect(checkCalendar(china)).toEqual([]);
  expect(checkCalendar(extended, china, published)).toEqual([]);
  expect(dayKind(extended, us("2027-01-01T12:00:00+08:00"))).toBe("holiday");
  // A day that is still to come may change.
  const moved = new Map([...extended.kindByDate, ["2026-12-31", "holiday"]] as const);
  expect(checkCalendar({ ...extended, kindByDate: moved }, china, published)).toEqual([]);
});

// prettier-ignore
const wrongCalendars: Record<string, readonly [changes: Partial<Calendar>, message: string]> = {
  "a past day that becomes another": [{ kindByDate: new Map([...extended.kindByDate, ["2026-10-08", "holiday"]]) }, "days.2026-10-08: retroactive: expected workday as before, found holiday"],
  "a past holiday left out": [{ kindByDate: new Map([...extended.kindByDate].filter(([date]) => date !== "2026-10-01")) }, "days.2026-10-01: retroactive: expected holiday as before, found workday"],
  "a shorter reach": [{ coversToUs: us("2026-12-30T00:00:00+08:00"), kindByDate: china.kindByDate }, "covers_to: expected"],
  "a day beyond its reach": [{ kindByDate: new Map([...extended.kindByDate, ["2028-01-01", "holiday"]]) }, "days.2028-01-01: outside of what the calendar covers"],
  "a date that is none": [{ kindByDate: new Map([...extended.kindByDate, ["2027-02-29", "holiday"]]) }, "days.2027-02-29: no date"],
  "a version left out": [{ version: 4n }, "version: expected 2, found 4"],
  "another offset in the past": [{ offsetMinutes: 540 }, "retroactive: expected 480 minutes as before, found 540"],
  "offsets out of order": [{ offsets: [{ fromUs: 5n, minutes: 0 }, { fromUs: 5n, minutes: 60 }] }, "offsets[2].from: expected after 5, found 5"],
};

for (const [what, [changes, message]] of Object.entries(wrongCalendars)) {
  test(`checkCalendar() finds ${what}, and says where`, () => {
    const found = checkCalendar({ ...extended, ...changes }, china, published);
    expect(found.map(({ path, message: text }) => `${path}: ${text}`).join("\n")).toContain(
      message,
    );
  });
}

test("a record of a day that no calendar knows is flagged", () => {
  expect(isCovered(china, uncovered)).toBe(false);
});

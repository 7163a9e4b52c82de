import { expect, test } from "vitest";
import { localTime, parsePeriod, parseStart } from "../../services/cli/period.ts";

/** 2026-11-21, one minute past midnight in Shanghai; still the 20th in UTC. */
const now = Date.UTC(2026, 10, 20, 16, 1);

const periods: readonly (readonly [text: string, name: string, from: string, to: string])[] = [
  ["today", "2026-11-21", "2026-11-20T16:00", "2026-11-21T16:00"],
  ["yesterday", "2026-11-20", "2026-11-19T16:00", "2026-11-20T16:00"],
  ["2026-02-28", "2026-02-28", "2026-02-27T16:00", "2026-02-28T16:00"],
  ["2028-02-29", "2028-02-29", "2028-02-28T16:00", "2028-02-29T16:00"],
  ["2026-11", "2026-11", "2026-10-31T16:00", "2026-11-30T16:00"],
  ["2026-12", "2026-12", "2026-11-30T16:00", "2026-12-31T16:00"],
];

for (const [text, name, from, to] of periods) {
  test(`parsePeriod() of ${text} is ${name}, from ${from} to before ${to} UTC`, () => {
    expect(parsePeriod(text, now)).toEqual({
      name,
      fromUs: BigInt(Date.parse(`${from}Z`)) * 1_000n,
      toUs: BigInt(Date.parse(`${to}Z`)) * 1_000n,
      timeZone: "Asia/Shanghai",
    });
  });
}

test("parsePeriod() of today changes at midnight in Shanghai", () => {
  const name = (ms: number) => JSON.stringify(parsePeriod("today", ms), ["name"]);
  expect(name(Date.UTC(2026, 10, 20, 15, 59, 59, 999))).toBe('{"name":"2026-11-20"}');
  expect(name(Date.UTC(2026, 10, 20, 16))).toBe('{"name":"2026-11-21"}');
});

const refused = [
  "",
  "tomorrow",
  "2026",
  "2026-13",
  "2026-00",
  "2026-02-30",
  "2026-11-1",
  "26-11-01",
];

for (const text of refused) {
  test(`parsePeriod() of ${JSON.stringify(text)} says what was expected and found`, () => {
    expect(parsePeriod(text, now)).toBe(
      `expected today, yesterday, YYYY-MM-DD or YYYY-MM (days of Asia/Shanghai), found ${JSON.stringify(text)}`,
    );
  });
}

test("localTime() is Shanghai's", () => {
  expect(localTime(BigInt(now) * 1_000n)).toBe("2026-11-21 00:01:00");
});

// prettier-ignore
const starts: readonly (readonly [text: string, start: string])[] = [
  ["tomorrow",                  "2026-11-22T00:00:00+08:00"],
  ["next-month",                "2026-12-01T00:00:00+08:00"],
  ["2027-03-01T08:00:00Z",      "2027-03-01T16:00:00+08:00"],
  ["2027-03-01T00:00:00+08:00", "2027-03-01T00:00:00+08:00"],
];

for (const [text, start] of starts) {
  test(`parseStart() of ${text} is ${start}`, () => {
    expect(parseStart(text, now)).toBe(BigInt(Date.parse(start)) * 1_000n);
  });
}

for (const text of ["today", "2027-03-01", "2027-03-01T00:00:00", "soon"]) {
  test(`parseStart() refuses ${JSON.stringify(text)}`, () => {
    expect(parseStart(text, now)).toMatch(/^expected tomorrow, next-month/);
  });
}

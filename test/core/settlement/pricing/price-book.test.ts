import { fromJson } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { mistakesMax } from "../../../../services/core/settlement/terms/mistake.ts";
import {
  dayKinds,
  type DayKind,
  type PriceBook,
  type PriceLine,
  type TimeOfUseSlot,
} from "../../../../services/core/settlement/pricing/price-book.ts";
import {
  checkPriceBook,
  checkPrices,
} from "../../../../services/core/settlement/pricing/price-check.ts";
import { bracketsMax } from "../../../../services/core/settlement/pricing/price-coverage.ts";
import { tokenClasses } from "../../../../services/core/settlement/counting/usage.ts";
import type { BookId, ModelId, VendorId } from "../../../../services/core/units.ts";
import { PriceBookSchema } from "../../../../services/wire/gen/tokengrid/v1/price_pb.js";
import { friday, priceBook, priceLine, us } from "../fixtures.ts";

const everyDay: ReadonlySet<DayKind> = new Set(dayKinds);

function slot(name: string, startMin: number, endMin: number, kinds = everyDay): TimeOfUseSlot {
  return { slot: name, dayKinds: kinds, startMin, endMin };
}

const night: readonly TimeOfUseSlot[] = [
  slot("off-peak", 22 * 60, 8 * 60),
  slot("peak", 8 * 60, 22 * 60),
];

/** Lines of a good book with one of them changed, or more of them. */
function linesWith(changes: Partial<PriceLine>, ...more: PriceLine[]): PriceLine[] {
  const [first, ...others] = priceBook().lines;
  return [{ ...(first as PriceLine), ...changes }, ...others, ...more];
}

test("checkPriceBook() finds nothing in a good book", () => {
  expect(checkPriceBook(priceBook())).toEqual([]);
  expect(checkPriceBook(priceBook({ slots: night }))).toEqual([]);
  const next = priceBook({ version: 2n, effectiveFromUs: friday });
  expect(checkPriceBook(next, priceBook(), friday)).toEqual([]);
});

// prettier-ignore
const alone: Readonly<Record<string, [changes: Partial<PriceBook>, path: string, message: RegExp]>> = {
  "an end before its start": [{ effectiveToUs: 1n }, "effectiveToUs", /expected after/],
  "a first version that is not 1": [{ version: 2n }, "version", /expected 1, found 2/],
  "a class without a line": [{ lines: priceBook().lines.slice(0, 4) }, "lines", /gap: qwen3-32b reasoning in slot any has no line/],
  "two lines for one class": [{ lines: linesWith({}, priceLine("response", 1n, { id: "twice" })) }, "lines", /overlap: .+ has response and twice/],
  "an id used twice": [{ lines: linesWith({ id: "response" }) }, "lines[3].id", /also the id of lines\[0\]/],
  "a slot that the book does not have": [{ lines: linesWith({ slot: "peak" }) }, "lines[0].slot", /found peak/],
  "a bracket that ends before it starts": [{ lines: linesWith({ input: { from: 9n, to: 8n } }) }, "lines[0].input", /found 9\.\.8/],
  "lengths without a line": [{ lines: linesWith({ input: { from: 0n, to: 32_768n } }) }, "lines", /gap: .+ from 32769 input and 0 output tokens on/],
  "lengths with two lines": [{ lines: linesWith({}, priceLine("uncachedInput", 1n, { id: "long", input: { from: 32_769n, to: undefined } })) }, "lines", /overlap: .+ from 32769 input/],
  "a line without a tier": [{ lines: linesWith({ tiers: [] }) }, "lines[0].tiers", /no tier/],
  "a first tier that does not begin at 0": [{ lines: linesWith({ tiers: [{ fromTokens: 1n, pricePicoPerToken: 1n }] }) }, "lines[0].tiers[0].fromTokens", /expected 0, found 1/],
  "tiers out of order": [{ lines: linesWith({ tiers: [0n, 9n, 9n].map((fromTokens) => ({ fromTokens, pricePicoPerToken: 1n })) }) }, "lines[0].tiers[2].fromTokens", /expected more than 9/],
  "a price below 0": [{ lines: linesWith({ tiers: [{ fromTokens: 0n, pricePicoPerToken: -1n }] }) }, "lines[0].tiers[0].pricePicoPerToken", /found -1/],
  "minutes in no slot": [{ slots: [slot("peak", 0, 600), slot("off-peak", 601, 1_440)] }, "slots", /gap: workday 10:00 to 10:01/],
  "minutes in two slots": [{ slots: [slot("peak", 0, 601), slot("off-peak", 600, 1_440)] }, "slots", /overlap: holiday 10:00 to 10:01 is in 2/],
  "a day kind in no slot": [{ slots: [slot("peak", 0, 1_440, new Set<DayKind>(["workday", "weekend", "makeup"]))] }, "slots", /gap: holiday 00:00 to 24:00/],
  "a slot of no length": [{ slots: [...night, slot("none", 5, 5)] }, "slots[2]", /start and end are both 5/],
  "a slot beyond the day": [{ slots: [slot("peak", 0, 1_441)] }, "slots[0]", /found 0\.\.1441/],
  "a slot called any": [{ slots: [slot("any", 0, 1_440)] }, "slots[0].slot", /any stands for all/],
  "a slot of no day": [{ slots: [...night, slot("never", 0, 1, new Set())] }, "slots[2].dayKinds", /no day kind/],
};

for (const [name, [changes, path, message]] of Object.entries(alone)) {
  test(`checkPriceBook() finds ${name}, and says where`, () => {
    const found = checkPriceBook(priceBook(changes));
    expect(found.filter((each) => each.path === path).map((each) => each.message)).toEqual(
      expect.arrayContaining([expect.stringMatching(message)]),
    );
  });
}

const january = us("2026-01-01T00:00:00+08:00");
const may = us("2026-05-01T00:00:00+08:00");
const june = us("2026-06-01T00:00:00+08:00");

// prettier-ignore
const following: Readonly<Record<string, [previous: Partial<PriceBook>, changes: Partial<PriceBook>, path: string, message: RegExp]>> = {
  "a version left out": [{}, { version: 3n }, "version", /expected 2, found 3/],
  "another book": [{}, { id: "other" as BookId }, "id", /expected northgrid-list, found other/],
  "another vendor": [{}, { vendor: "south" as VendorId }, "pair", /expected vendor:northgrid, found vendor:south/],
  "a start before the version before": [{}, { effectiveFromUs: january }, "effectiveFromUs", /retroactive/],
  "a start before it was published": [{}, { effectiveFromUs: may }, "effectiveFromUs", /retroactive/],
  "a gap": [{ effectiveToUs: june }, { effectiveFromUs: june + 1n }, "effectiveFromUs", /gap: version 1 ends/],
  "an overlap": [{ effectiveToUs: june + 2n }, { effectiveFromUs: june + 1n }, "effectiveFromUs", /overlap: version 1 ends/],
};

for (const [name, [previous, changes, path, message]] of Object.entries(following)) {
  test(`checkPriceBook() finds ${name} after the version before, and says where`, () => {
    const book = priceBook({ version: 2n, effectiveFromUs: june, ...changes });
    const [first, ...others] = checkPriceBook(book, priceBook(previous), june);
    expect(first).toEqual({ path, message: expect.stringMatching(message) });
    expect(others).toEqual([]);
  });
}

test("checkPriceBook() reports all mistakes at once", () => {
  const book = priceBook({
    version: 7n,
    slots: [slot("peak", 0, 600)],
    lines: linesWith({ tiers: [] }),
  });
  const paths = new Set(checkPriceBook(book).map(({ path }) => path));
  expect([...paths]).toEqual(["version", "slots", "lines[0].tiers"]);
});

describe("a price that is no integer", () => {
  // prettier-ignore
  const prices: readonly unknown[] = [1.5, "1.5", "1e400", "a lot", true, null, "9223372036854775808", [1]];
  for (const price of prices.filter((each) => each !== null)) {
    test(`is refused before it is a book: ${JSON.stringify(price)}`, () => {
      const json = {
        lines: [{ tiers: [{ fromTokens: "0", pricePicoPerToken: price as string }] }],
      };
      expect(() => fromJson(PriceBookSchema, json)).toThrow(/price_pico_per_token/);
    });
  }
});

test("brackets and slots cover each length and minute once, or checkPrices() says so", () => {
  const edges = fc.uniqueArray(fc.bigInt(1n, 100n), { maxLength: 4 });
  fc.assert(
    fc.property(edges, edges, fc.nat(), (inputs, outputs, left) => {
      const lines = tokenClasses.flatMap((tokenClass) =>
        ranges(inputs).flatMap((input) =>
          ranges(outputs).map((output) => {
            const id = `${tokenClass} ${input.from} ${output.from}`;
            return priceLine(tokenClass, 1n, { id, input, output });
          }),
        ),
      );
      expect(checkPrices(priceBook({ lines }))).toEqual([]);
      const without = lines.toSpliced(left % lines.length, 1);
      expect(checkPrices(priceBook({ lines: without })).length).toBeGreaterThan(0);
      const [again] = lines.slice(left % lines.length);
      const twice = [...lines, { ...(again as PriceLine), id: "twice" }];
      expect(checkPrices(priceBook({ lines: twice })).length).toBeGreaterThan(0);
    }),
  );
});

describe("a book made to keep its reader busy", () => {
  const diagonal = Array.from({ length: 800 }, (_, index) => {
    const range = { from: BigInt(index * 10), to: BigInt(index * 10 + 9) };
    return priceLine("response", 1n, { id: `line ${index}`, input: range, output: range });
  });

  test("is refused for its number of brackets, before they are compared", () => {
    const found = checkPrices(priceBook({ lines: diagonal }));
    expect(found.map(({ message }) => message)).toContain(
      `qwen3-32b response in slot any: expected at most ${bracketsMax} lines, found 800`,
    );
  });

  test("is told its first mistakes, and how many more there are", () => {
    const lines = diagonal.slice(0, bracketsMax);
    const found = checkPrices(priceBook({ lines }));
    expect(found.length).toBe(mistakesMax + 1);
    expect(found.at(-1)).toEqual({
      path: "",
      message: expect.stringMatching(/^and \d+ more mistakes$/),
    });
  });
});

test("a model is priced for itself", () => {
  const other = "glm-5" as ModelId;
  const lines = [...priceBook().lines, priceLine("response", 1n, { id: "glm", model: other })];
  const found = checkPriceBook(priceBook({ lines }));
  expect(found.map(({ message }) => message)).toEqual(
    ["uncachedInput", "cacheRead", "cacheWrite", "reasoning"].map(
      (each) => `gap: glm-5 ${each} in slot any has no line`,
    ),
  );
});

function ranges(edges: readonly bigint[]): { from: bigint; to: bigint | undefined }[] {
  const starts = [0n, ...edges.toSorted((a, b) => Number(a - b))];
  return starts.map((from, index) => {
    const next = starts[index + 1];
    return { from, to: next === undefined ? undefined : next - 1n };
  });
}

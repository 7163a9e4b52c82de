import { describe, expect, test } from "vitest";
import {
  bookOfText,
  LeafPrices,
} from "../../../../services/core/settlement/statements/leaf-prices.ts";
import type { PriceBook } from "../../../../services/core/settlement/pricing/price-book.ts";
import { bookText } from "../../../../services/core/settlement/terms/terms-text.ts";
import type { AttemptId, PairId, PoolId, RequestId } from "../../../../services/core/units.ts";
import { engineCounts, friday, priceBook, sha256, usageRecord } from "../fixtures.ts";
import { licenceBook, market, owner, sellBook } from "../market.ts";
import { MemoryBooks } from "../memory-books.ts";
import { book, booksOf, frozen, northgrid, statement } from "../statement-fixtures.ts";

const whole = statement();
const log = { ...frozen().log, size: 103n, firstIndex: 100n, endIndex: 103n };
/** Of which the range has a part only: its period began before. */
const earlier = { ...whole, log, period: { ...whole.period, fromUs: friday + 86_400_000_000n } };

const tiered = priceBook({
  lines: priceBook().lines.map((line) => ({
    ...line,
    tiers: [
      { fromTokens: 0n, pricePicoPerToken: 1_000_333n },
      { fromTokens: 500n, pricePicoPerToken: 700_777n },
    ],
  })),
});

function leavesOf(books: MemoryBooks): string[] {
  return books.leaves.filter(({ log: of }) => of === northgrid).map(({ text }) => text);
}

/** Twenty attempts over two tiers, every third of them corrected. */
function corrected(): string[] {
  const books = new MemoryBooks([tiered]);
  const recordOf = (each: number, rev: bigint, output: bigint) =>
    usageRecord({
      ...{ attempt: `a${each}` as AttemptId, id: `a${each}:${rev}`, rev },
      engineCounts: engineCounts({ output }),
    });
  for (let each = 0; each < 20; each++) books.post([recordOf(each, 0n, 50n)]);
  for (let each = 0; each < 20; each += 3) books.post([recordOf(each, 1n, 41n)]);
  return leavesOf(books);
}

function wrong(texts: readonly string[], by: readonly PriceBook[], of = whole): readonly string[] {
  const prices = new LeafPrices(
    of,
    by.map((each) => ({ book: each, hash: sha256(bookText(each)) })),
  );
  for (const text of texts) prices.add(text);
  return prices.messages;
}

const leaves = leavesOf(booksOf());

describe("LeafPrices", () => {
  test("rates every leaf again to the nano, through tiers and corrections", () => {
    expect(wrong(leaves, [book])).toEqual([]);
    const texts = corrected();
    expect(texts.filter((text) => !text.includes('"taken_back":[]'))).toHaveLength(7);
    expect(wrong(texts, [tiered])).toEqual([]);
    expect(wrong(leaves, [book], earlier)).toEqual([]);
    expect(wrong(texts, [tiered], earlier)).toEqual([]);
  });

  const tenfold = (texts: readonly string[]): string[] =>
    texts.map((text) => text.replaceAll(/"(pico|nano|amount_nano)":"(\d+)"/g, '"$1":"$20"'));

  // prettier-ignore
  const changes: readonly [what: string, change: (text: string) => string, found: RegExp][] = [
    ["a nano too much",       (text) => text.replace(/"nano":"(\d+)"/, (_, nano) => `"nano":"${BigInt(nano as string) + 1n}"`), /nano of northgrid-list:1:/],
    ["another sum",           (text) => text.replace(/"amount_nano":"/, '"amount_nano":"1'),                  /amount_nano: expected/],
    ["another price hash",    (text) => text.replace(/"price_hash":"[0-9a-f]/, '"price_hash":"x'),            /price_hash of/],
    ["another version",       (text) => text.replaceAll("northgrid-list:1:", "northgrid-list:2:"),            /its book among those given, found none/],
    ["a line nobody knows",   (text) => text.replace(/"line_id":"([^"]+)"/, '"line_id":"$1x"'),               /a line of the book, found none/],
    ["another model",         (text) => text.replace('"model_id":"qwen3-32b"', '"model_id":"glm-5"'),         /model of /],
    ["another scope",         (text) => text.replace('"scope":"p1"', '"scope":"p9"'),                         /scope of /],
    ["more than was settled", (text) => text.replace(/"in_uncached":"\d+"/, '"in_uncached":"1"'),             /uncachedInput: expected at most 1/],
  ];
  for (const [what, change, found] of changes) {
    test(`finds ${what}`, () => {
      const [first = "", ...rest] = leaves;
      expect(change(first)).not.toBe(first);
      expect(wrong([change(first), ...rest], [book]).join("\n")).toMatch(found);
    });
  }

  test("finds tenfold prices, also where the range has a part of the period only", () => {
    expect(wrong(tenfold(leaves), [book]).length).toBeGreaterThan(0);
    expect(wrong(tenfold(leaves), [book], earlier).length).toBeGreaterThan(0);
    expect(wrong(tenfold(corrected()), [tiered], earlier).length).toBeGreaterThan(0);
  });

  test("rates sales and fees again, at pools that are not shown too", () => {
    const books = market();
    for (let each = 0; each < 12; each++) {
      const pool = (each % 2 === 0 ? "p1" : "p2") as PoolId;
      const [attempt, request] = [`a${each}` as AttemptId, `r${each}` as RequestId];
      books.post([usageRecord({ attempt, request, id: `${attempt}:0`, pool })]);
    }
    for (const [pair, by] of [
      [owner, licenceBook],
      ["tenant:acme", sellBook],
    ] as const) {
      const texts = books.leaves.filter(({ log: of }) => of === pair).map(({ text }) => text);
      expect(texts.length).toBe(12);
      const of = { ...whole, pair: pair as PairId };
      expect(wrong(texts, [by], of)).toEqual([]);
      expect(wrong(tenfold(texts), [by], of).length).toBeGreaterThan(0);
    }
  });

  test("finds the book of another", () => {
    const other = { ...book, vendor: "southgrid" as typeof book.vendor };
    expect(wrong(leaves, [other]).join("\n")).toMatch(/expected a book of vendor:northgrid/);
  });
});

test("a version is read from its bytes alone, without its calendar", () => {
  const read = bookOfText(bookText(book));
  expect(typeof read === "string" ? read : bookText(read)).toBe(bookText(book));
  expect(bookOfText(`${bookText(book)} `)).toMatch(/expected/);
});

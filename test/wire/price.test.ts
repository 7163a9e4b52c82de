import { fromJsonString, toJsonString } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { loadCalendar } from "../../services/io/preset.ts";
import { parseTerms } from "../../services/io/terms-file.ts";
import { readText } from "../../services/cli/document.ts";
import { BookSide, PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { fromPriceBook, toPriceBook } from "../../services/wire/price.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import { priceBook } from "../core/settlement/fixtures.ts";

const calendar = loadCalendar();

function again(book: PriceBook): PriceBook {
  const json = toJsonString(PriceBookSchema, fromPriceBook(book));
  return toPriceBook(fromJsonString(PriceBookSchema, json), () => calendar);
}

test("a book with fees, floors, variants, volume tiers and a base slot comes back as it went", () => {
  const parsed = parseTerms(readText("deploy/config/sell-book.yaml"), "price_version");
  const { value } = parsed as Extract<typeof parsed, { value: unknown }>;
  expect(again(value as PriceBook)).toEqual(value);
});

test("a vendor's plain book says nothing of what it does not have", () => {
  const plain = priceBook({ calendar });
  expect(again(plain)).toEqual(plain);
  expect(toJsonString(PriceBookSchema, fromPriceBook(plain))).not.toMatch(
    /side|pairId|tierMode|variant/,
  );
});

test("a book of another side says with whom it is", () => {
  const lost = fromPriceBook(priceBook({ side: "sell" }));
  expect(() => toPriceBook(lost, () => calendar)).toThrow("pair_id is empty");
});

const unread = {
  "side: expected one of buy, sell, licence, found 3": {
    side: BookSide.QUOTA,
    pairId: "tenant:acme",
  },
  'currency: expected CNY, found "POINT"': { currency: "POINT" },
} as const;

for (const [says, changes] of Object.entries(unread)) {
  test(`what nothing is rated by is refused: ${says}`, () => {
    const message = Object.assign(fromPriceBook(priceBook({ calendar })), changes);
    expect(() => toPriceBook(message, () => calendar)).toThrow(says);
  });
}

test("a file of a side that there is not is refused with those that there are", () => {
  const text = readText("deploy/config/sell-book.yaml").replace("side: sell", "side: quota");
  expect(parseTerms(text, "price_version")).toMatchObject({
    mistakes: [
      { message: expect.stringContaining("expected one of buy, sell, licence") as string },
    ],
  });
});

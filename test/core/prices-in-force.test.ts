import { expect, test } from "vitest";
import { PricesInForce } from "../../services/core/prices-in-force.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import type { BookId } from "../../services/core/units.ts";
import { chat, northgrid, priceBook } from "./fixtures.ts";

const hourMs = 3_600_000;
const hourUs = 3_600_000_000n;

/** The version that begins at the hour of its number. */
function version(number: number, changes: Partial<PriceBook> = {}): PriceBook {
  const effectiveFromUs = BigInt(number) * hourUs;
  return priceBook({ version: BigInt(number), effectiveFromUs, ...changes });
}

const versionAt = (prices: PricesInForce, hour: number): number | undefined =>
  prices.estimate(northgrid, chat, hour * hourMs)?.version;

const keptAt = (prices: PricesInForce, hour: number): bigint[] =>
  prices.fromNowOn(hour * hourMs).map((book) => book.version);

test("versions are in force one after the other, and none is kept beyond its end", () => {
  const prices = new PricesInForce();
  for (const number of [1, 2, 3]) prices.publish(version(number), 0);
  expect(keptAt(prices, 0)).toEqual([1n, 2n, 3n]);
  for (const hour of [1, 2, 3]) {
    expect(versionAt(prices, hour)).toBe(hour);
    prices.forgetEnded(hour * hourMs);
  }
  expect(keptAt(prices, 3)).toEqual([3n]);
});

test("what is kept does not grow with what was published", () => {
  const prices = new PricesInForce();
  for (let number = 1; number <= 1_000; number++) {
    prices.publish(version(number), number * hourMs);
    expect(prices.kept).toBe(1);
  }
  expect(versionAt(prices, 1_000)).toBe(1_000);
});

test("a book that was over before it came is not kept", () => {
  const prices = new PricesInForce();
  for (let number = 1; number <= 100; number++) {
    const id = `book-${number}` as BookId;
    prices.publish(version(1, { id, effectiveToUs: 2n * hourUs }), 5 * hourMs);
  }
  expect(prices.kept).toBe(0);
});

/** All orders in which a start may read three versions. */
const orders = [
  [1, 2, 3],
  [1, 3, 2],
  [2, 1, 3],
  [2, 3, 1],
  [3, 1, 2],
  [3, 2, 1],
];

for (const order of orders) {
  for (const hour of [1, 2, 3, 5]) {
    for (const isBounded of [false, true]) {
      const end = isBounded ? "with an end" : "without an end";
      test(`versions read as ${order.join()} at hour ${hour}, the last ${end}: the price is the same`, () => {
        const prices = new PricesInForce();
        for (const number of order) {
          const ends = isBounded && number === 3 ? { effectiveToUs: 4n * hourUs } : {};
          prices.publish(version(number, ends), hour * hourMs);
        }
        const last = isBounded ? undefined : 3;
        expect(versionAt(prices, hour)).toBe(hour > 3 ? last : hour);
        prices.publish(version(1), hour * hourMs);
        expect(versionAt(prices, hour)).toBe(hour > 3 ? last : hour);
      });
    }
  }
}

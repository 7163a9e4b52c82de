import { expect, test } from "vitest";
import { prepare } from "../../../services/core/settlement/ledger/prepare.ts";
import { Agreements } from "../../../services/settlement/terms/agreements.ts";
import { friday, priceBook, sha256, usageRecord } from "../../core/settlement/fixtures.ts";

const first = priceBook();
const changeUs = friday + 10n;
const second = { ...first, version: 2n, effectiveFromUs: changeUs };
const over = { ...second, effectiveToUs: changeUs + 5n };

function found(books: readonly (typeof first)[], openedUs: bigint, priceVersion: bigint) {
  const agreements = new Agreements({
    buyBooks: { known: () => undefined, find: async () => undefined },
  });
  for (const book of books) agreements.addBook(book);
  const record = usageRecord({ priceBook: first.id, priceVersion, openedUs });
  const { bookingOf } = agreements;
  const { finding } = prepare(record, {
    ...{ rev: 0n, terms: agreements.termsOf(record), sha256, bookingOf },
  });
  return finding.kind === "doubtful" ? finding.reason : finding.kind;
}

const cases = [
  ["the old price before the new one begins", [first, second], changeUs - 1n, 1n, "owing"],
  ["the old price from then on", [first, second], changeUs, 1n, "price-not-in-force"],
  ["the new price from then on", [first, second], changeUs, 2n, "owing"],
  ["the new price before", [first, second], changeUs - 1n, 2n, "price-not-in-force"],
  ["the old price where no other was agreed", [first], changeUs, 1n, "owing"],
  [
    "the old price when the new one is over",
    [first, over],
    changeUs + 5n,
    1n,
    "price-not-in-force",
  ],
] as const;

for (const [what, books, openedUs, version, outcome] of cases) {
  test(`a record that names ${what} is ${outcome} (I33)`, () => {
    expect(found(books, openedUs, version)).toBe(outcome);
  });
}

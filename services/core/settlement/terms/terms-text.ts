import { bookMembers } from "../pricing/book-shape.ts";
import { canonicalJson } from "../canonical.ts";
import { contractShape } from "./contract-shape.ts";
import type { AnyContract } from "./other-contracts.ts";
import type { PriceBook } from "../pricing/price-book.ts";

/** What is hashed and signed of a version of a price book. */
export function bookText(book: PriceBook): string {
  return canonicalJson(bookMembers(book));
}

/** What is hashed and signed of a contract. */
export function contractText(contract: AnyContract): string {
  return canonicalJson(contractShape.write(contract));
}

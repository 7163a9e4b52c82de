import type { ModelId, Nano, RegionId } from "../../units.ts";
import { linesFor } from "../pricing/charge.ts";
import { inputOf, outputOf } from "./counted.ts";
import { holds, type PriceBook } from "../pricing/price-book.ts";
import { roundedQuotient } from "../ratio.ts";
import { tokenClasses, type Tokens } from "../counting/usage.ts";

const picoPerNano = 1_000n;

/**
 * What tokens come to at the first tier of a version, without fees and floors: both parties' counts are valued alike, so
 * that equal counts are equal money, whatever else was rated. Undefined: the version has no price for them.
 */
export function valueOf(
  tokens: Tokens,
  book: PriceBook,
  at: { readonly model: ModelId; readonly region: RegionId; readonly slot: string },
): Nano | undefined {
  const [input, output] = [inputOf(tokens), outputOf(tokens)];
  const fit = linesFor(book, at.model, at.region).filter(
    (line) =>
      line.variant === undefined &&
      (line.slot === at.slot || line.slot === "any") &&
      holds(line.input, input) &&
      holds(line.output, output),
  );
  let pico = 0n;
  for (const tokenClass of tokenClasses) {
    if (tokens[tokenClass] === 0n) continue;
    const price = fit.find((line) => line.tokenClass === tokenClass)?.tiers[0]?.pricePicoPerToken;
    if (price === undefined) return undefined;
    pico += tokens[tokenClass] * price;
  }
  return roundedQuotient(pico, picoPerNano);
}

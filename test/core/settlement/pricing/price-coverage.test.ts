import fc from "fast-check";
import { expect, test } from "vitest";
import {
  holds,
  type Bracket,
  type PriceLine,
} from "../../../../services/core/settlement/pricing/price-book.ts";
import { coverageMistakes } from "../../../../services/core/settlement/pricing/price-coverage.ts";
import type { RegionId } from "../../../../services/core/units.ts";
import { priceBook, priceLine } from "../fixtures.ts";

/** Small enough that every length can be tried. */
const lengthMax = 6n;
const bracket = fc
  .tuple(fc.bigInt(0n, lengthMax), fc.option(fc.bigInt(0n, lengthMax), { nil: undefined }))
  .map(([from, to]): Bracket => ({ from, to: to === undefined || to >= from ? to : from }));
/** Ranges that cover each length once. */
const cuts = fc
  .uniqueArray(fc.bigInt(1n, lengthMax), { maxLength: 2 })
  .map((edges) => [0n, ...edges.toSorted((x, y) => Number(x - y))])
  .map((starts) =>
    starts.map((from, index): Bracket => {
      const next = starts[index + 1];
      return { from, to: next === undefined ? undefined : next - 1n };
    }),
  );

/** A grid that covers all; then one cell is left out, doubled or moved, or it is for one region. */
const responses = fc
  .record({
    inputs: cuts,
    outputs: cuts,
    at: fc.nat(),
    deed: fc.constantFrom("none", "leave out", "double", "move", "for west"),
    bracket,
  })
  .map(({ inputs, outputs, at, deed, bracket: other }): PriceLine[] => {
    const cells = inputs.flatMap((input) => outputs.map((output) => ({ input, output })));
    const lines = cells.map((cell, index) =>
      priceLine("response", 1n, { id: `r${index}`, ...cell }),
    );
    const index = at % lines.length;
    const line = lines[index] ?? priceLine("response", 1n);
    const changed: Record<typeof deed, PriceLine[]> = {
      none: [line],
      "leave out": [],
      double: [line, { ...line, id: "again" }],
      move: [{ ...line, input: other }],
      "for west": [{ ...line, region: "west" as RegionId }],
    };
    return [...lines.slice(0, index), ...changed[deed], ...lines.slice(index + 1)];
  });

/** Whether each region that is named has one line for each pair of lengths. */
function isCovered(lines: readonly PriceLine[]): boolean {
  // Lines of the other classes are for every region.
  const regions = new Set([undefined, ...lines.map((line) => line.region)]);
  return [...regions].every((of) => {
    const named = lines.filter((line) => line.region === of);
    const fit = named.length > 0 ? named : lines.filter((line) => line.region === undefined);
    return lengths().every(([input, output]) => {
      const found = fit.filter((line) => holds(line.input, input) && holds(line.output, output));
      return found.length === 1;
    });
  });
}

/** One beyond the largest end stands for all that are longer. */
function lengths(): [bigint, bigint][] {
  const all = Array.from({ length: Number(lengthMax) + 2 }, (_, index) => BigInt(index));
  return all.flatMap((input) => all.map((output): [bigint, bigint] => [input, output]));
}

test("coverageMistakes() finds a gap or an overlap where trying every length does, and nowhere else", () => {
  const others = priceBook().lines.filter(({ tokenClass }) => tokenClass !== "response");
  let covered = 0;
  fc.assert(
    fc.property(responses, (lines) => {
      const found = coverageMistakes(priceBook({ lines: [...others, ...lines] }));
      covered += isCovered(lines) ? 1 : 0;
      expect(found.length === 0).toBe(isCovered(lines));
    }),
    { numRuns: 2_000, seed: 7 },
  );
  expect([covered > 300, covered < 1_700]).toEqual([true, true]);
});

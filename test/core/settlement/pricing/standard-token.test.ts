import fc from "fast-check";
import { expect, test } from "vitest";
import type { Ratio } from "../../../../services/core/settlement/ratio.ts";
import {
  checkStandardTable,
  exactStandard,
  plus,
  rounded,
  standardBurn,
  standardTokens,
  type StandardRow,
  type StandardTable,
} from "../../../../services/core/settlement/pricing/standard-token.ts";
import { tokenClasses, type Tokens } from "../../../../services/core/settlement/counting/usage.ts";
import type { ModelId } from "../../../../services/core/units.ts";

const model = "glm-5" as ModelId;
const none: Ratio = { num: 0n, den: 1n };

function tableOf(ratios: readonly (readonly [num: bigint, den: bigint])[]): StandardTable {
  const rows = tokenClasses.map((tokenClass, index): StandardRow => {
    const [num, den] = ratios[index % ratios.length] ?? [1n, 1n];
    return { model, tokenClass, num, den };
  });
  return {
    id: "standard",
    version: 1n,
    effectiveFromUs: 0n,
    basis: "agreed",
    source: "a test",
    rows,
  };
}

const tables = fc
  .array(fc.tuple(fc.bigInt(0n, 9_999n), fc.bigInt(1n, 9_999n)), { minLength: 5, maxLength: 5 })
  .map(tableOf);
const count = fc.bigInt(0n, 1_000_000n);
const counts = fc
  .tuple(count, count, count, count, count)
  .map(([uncachedInput, cacheRead, cacheWrite, response, reasoning]): Tokens => {
    return { uncachedInput, cacheRead, cacheWrite, response, reasoning };
  });

test("standardTokens() of the parts add up to those of the whole, in any order (I5)", () => {
  fc.assert(
    fc.property(tables, fc.array(counts, { maxLength: 10 }), (table, all) => {
      const exact = all.map((tokens) => exactStandard(table, model, tokens) ?? none);
      const whole = rounded(exact.reduce(plus, none));
      for (const order of [exact, exact.toReversed()]) {
        let before = none;
        let sum = 0n;
        for (const each of order) {
          sum += standardTokens(each, before);
          before = plus(before, each);
        }
        expect(sum).toBe(whole);
      }
    }),
  );
});

test("standardBurn() burns exactly what the table says", () => {
  fc.assert(
    fc.property(tables, counts, (table, tokens) => {
      const { den, rates } = standardBurn(table);
      const num = rates.reduce((sum, rate) => sum + rate.num * tokens[rate.tokenClass], 0n);
      const exact = exactStandard(table, model, tokens) ?? none;
      expect(num * exact.den).toBe(exact.num * den);
    }),
  );
});

test("a table without a row for a class, or with two, is refused with the place", () => {
  const { rows, ...table } = tableOf([[1n, 1n]]);
  const [first] = rows;
  expect(checkStandardTable({ ...table, rows })).toEqual([]);
  expect(checkStandardTable({ ...table, rows: rows.slice(1) })).toEqual([
    { path: "rows", message: "gap: glm-5 uncached_input has no row" },
  ]);
  expect(
    checkStandardTable({ ...table, rows: [...rows, ...rows.slice(0, first ? 1 : 0)] }),
  ).toEqual([{ path: "rows[5]", message: "overlap: glm-5 uncachedInput is also rows[0]" }]);
});

test("a model that the table does not know has no standard tokens", () => {
  const tokens = { uncachedInput: 1n, cacheRead: 0n, cacheWrite: 0n, response: 0n, reasoning: 0n };
  expect(exactStandard(tableOf([[1n, 1n]]), "other" as ModelId, tokens)).toBeUndefined();
});

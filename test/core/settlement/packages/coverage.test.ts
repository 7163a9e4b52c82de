import { expect, test } from "vitest";
import { cover } from "../../../../services/core/settlement/packages/coverage.ts";
import { needOf } from "../../../../services/core/settlement/packages/token-package.ts";
import type { ModelId } from "../../../../services/core/units.ts";
import { noTokens } from "../../../../services/core/settlement/counting/usage.ts";

test("what is left of a record is not covered by nothing", () => {
  const { units, uncovered } = cover([
    { need: 3n, available: 2n },
    { need: 1n, available: 9n },
  ]);
  expect([units, uncovered.num]).toEqual([[2n, 1n], 0n]);
});

test("a record burns at least a unit of a coarse package, unless it burns nothing", () => {
  const model = "qwen3-32b" as ModelId;
  const burn = (num: bigint) => ({
    den: 1_000n,
    rates: [{ model, tokenClass: "*", num }] as const,
  });
  const needs = [burn(1n), burn(0n)].map((each) =>
    needOf(each, model, { ...noTokens, response: 100n }),
  );
  expect(needs).toEqual([1n, 0n]);
});

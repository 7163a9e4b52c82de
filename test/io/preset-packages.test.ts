import { expect, test } from "vitest";
import { needOf, skuMistakes } from "../../services/core/settlement/packages/token-package.ts";
import { noTokens } from "../../services/core/settlement/counting/usage.ts";
import type { ModelId } from "../../services/core/units.ts";
import { presetSkus, toNanoCny } from "../../services/io/preset-packages.ts";

const skus = presetSkus(1n);

test("every package on sale is a sku without a mistake, under an id of its own", () => {
  expect(skus.length).toBe(10);
  expect(skus.flatMap((each) => skuMistakes(each, undefined))).toEqual([]);
  expect(new Set(skus.map(({ id }) => id)).size).toBe(10);
});

test("prices and quantities are exact, in nano and in the grain of the unit", () => {
  const found = Object.fromEntries(
    skus.map(({ id, priceNano, quantity }) => [id, [priceNano, quantity]]),
  );
  expect(found).toMatchObject({
    "china-telecom-professional": [159_900_000_000n, 70_000_000n],
    "china-telecom-light": [9_900_000_000n, 10_000_000n],
    "shanghai-telecom-monthly": [9_900_000_000n, 10_000_000_000n],
    "shanghai-telecom-pay-as-you-go": [1_000_000_000n, 250_000_000n],
    "china-unicom-shanghai-opc-trial": [0n, 30_000_000n],
  });
});

test("what sources do not agree on is named", () => {
  const flagship = skus.find(({ id }) => id === "china-telecom-flagship");
  expect(flagship?.quantity).toBe(150_000_000n);
  expect(flagship?.source).toMatch(/250 million tokens for the same price - sources conflict/);
});

test("a million tokens burn the points that their list price buys one by one", () => {
  const points = skus.find(({ id }) => id === "shanghai-telecom-monthly");
  const burnt = (model: string, tokens: Partial<typeof noTokens>) =>
    points && needOf(points.burn, model as ModelId, { ...noTokens, ...tokens });
  // 2 yuan buy 500,000 points, 12 yuan 3 M; of peak and off-peak the peak counts.
  expect(burnt("qwen3.6-plus", { uncachedInput: 1_000_000n })).toBe(500_000_000n);
  expect(burnt("qwen3.6-plus", { response: 1_000_000n })).toBe(3_000_000_000n);
  expect(burnt("deepseek-v4-pro", { cacheRead: 1_000_000n })).toBe(75_000_000n);
  expect(burnt("glm-4.6", { response: 1n })).toBe(4_000n);
  expect(burnt("nobody-knows", { response: 1n })).toBeUndefined();
});

test("toNanoCny() reads decimal text and refuses what is no whole nano", () => {
  expect(["159.9", "1", "0.000000001", "0.0000000001", "1e3"].map(toNanoCny)).toEqual([
    159_900_000_000n,
    1_000_000_000n,
    1n,
    undefined,
    undefined,
  ]);
});

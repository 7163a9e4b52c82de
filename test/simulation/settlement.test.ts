import { expect, test } from "vitest";
import { testSeeds } from "./settlement-seeds.ts";
import { simulate } from "./settlement-world.ts";

testSeeds(1, 100);

test("simulate() with the same seed does the same, with another something else", async () => {
  const [first, other] = [await simulate(7), await simulate(8)];
  expect(await simulate(7)).toEqual(first);
  expect(other.digest).not.toBe(first.digest);
});

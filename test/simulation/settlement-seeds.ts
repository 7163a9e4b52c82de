import { expect, test } from "vitest";
import { crashNames, crashPoints, type CrashPoint } from "./settlement-crashes.ts";
import { simulate } from "./settlement-world.ts";

/** One seed if it is asked for: `SEED=42 npm test`. */
const asked = process.env.SEED === undefined ? undefined : Number(process.env.SEED);

/** Tests of so many seeds; over all of them, everything that can happen has happened. */
export function testSeeds(first: number, count: number): void {
  const all = Array.from({ length: count }, (_, index) => first + index);
  const seeds = asked === undefined ? all : all.filter((seed) => seed === asked);
  const times = new Map<CrashPoint, number>();
  for (const seed of seeds) {
    test(`simulate() of a grid that breaks keeps every invariant and pays what is owed (SEED=${seed})`, async () => {
      const { happened, attempts } = await simulate(seed);
      expect(attempts).toBeGreaterThan(10);
      for (const point of happened) times.set(point, (times.get(point) ?? 0) + 1);
    });
  }
  for (const point of crashNames) {
    test.skipIf(asked !== undefined)(`${point} has happened: ${crashPoints[point]}`, () => {
      expect(times.get(point) ?? 0).toBeGreaterThan(0);
    });
  }
}

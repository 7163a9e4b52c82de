import fc from "fast-check";
import { expect, test } from "vitest";
import { RollingSum } from "../../services/core/rolling-sum.ts";

const steps = fc.array(fc.record({ passedMs: fc.nat(40_000), amount: fc.nat(1_000) }), {
  minLength: 1,
  maxLength: 200,
});
const windows = fc.constantFrom(60_000, 61_007, 3_600_000);

test("RollingSum holds what was added in the window, and for a sixtieth of it longer", () => {
  fc.assert(
    fc.property(windows, steps, (windowMs, all) => {
      const sum = new RollingSum(windowMs);
      const added: { readonly at: number; readonly amount: number }[] = [];
      let now = 1_000_000;
      for (const { passedMs, amount } of all) {
        now += passedMs;
        sum.add(amount, now);
        added.push({ at: now, amount });
        const within = (ms: number) =>
          added.filter(({ at }) => at > now - ms).reduce((total, each) => total + each.amount, 0);
        expect(sum.sum(now)).toBeGreaterThanOrEqual(within(windowMs));
        expect(sum.sum(now)).toBeLessThanOrEqual(within(windowMs + Math.ceil(windowMs / 60)));
        expect(sum.buckets.length).toBeLessThanOrEqual(62);
      }
      expect(sum.sum(now + windowMs + Math.ceil(windowMs / 60))).toBe(0);
    }),
  );
});

test("RollingSum says to the millisecond what leaves and when", () => {
  fc.assert(
    fc.property(windows, steps, (windowMs, all) => {
      const sum = new RollingSum(windowMs);
      let now = 1_000_000;
      for (const { passedMs, amount } of all) {
        now += passedMs;
        sum.add(amount, now);
      }
      let left = sum.sum(now);
      const returns = sum.returns(now);
      expect(returns.reduce((total, { amount }) => total + amount, 0)).toBe(left);
      for (const { inMs, amount } of returns) {
        expect(sum.sum(now + inMs - 1)).toBe(left);
        left -= amount;
        expect(sum.sum(now + inMs)).toBe(left);
      }
    }),
  );
});

test("amounts beyond what a double holds leave nothing behind", () => {
  const amounts = fc.array(fc.constantFrom(1, 3, 1e14 + 1, 1e17, 2 ** 53 + 2), {
    minLength: 1,
    maxLength: 40,
  });
  fc.assert(
    fc.property(amounts, (all) => {
      const sum = new RollingSum(60_000);
      for (const [index, amount] of all.entries()) sum.add(amount, index * 700);
      expect(sum.sum(1_000_000)).toBe(0);
    }),
  );
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  dualAfter,
  levelOf,
  startingDual,
  type DualPrice,
} from "../../services/core/dual-price.ts";
import { RollingSum } from "../../services/core/rolling-sum.ts";

const windowMs = 3_600_000;
const limit = 1_000_000;

/** Spends at one rate for a while, as an account does. */
class Spender {
  now = 0;
  dual: DualPrice = startingDual(0);
  readonly window = new RollingSum(windowMs);

  spend(amount: number): void {
    const room = limit - this.window.sum(this.now);
    this.dual = dualAfter(this.dual, { amount, room, limit }, { now: this.now, windowMs });
    this.window.add(amount, this.now);
  }

  /** At a part of the pace that fills the limit in a window. */
  run(part: number, forMs: number): void {
    const everyMs = 1_000;
    for (const until = this.now + forMs; this.now < until; this.now += everyMs) {
      this.spend(Math.round((limit * part * everyMs) / windowMs));
    }
  }

  get level(): number {
    return levelOf(this.dual, this.now, windowMs);
  }
}

describe("dual price", () => {
  test("is 0 to begin with, and stays so at five sixths of the pace", () => {
    const spender = new Spender();
    spender.run(5 / 6, 5 * windowMs);
    expect(spender.level).toBe(0);
  });

  test("rides out a burst that the window has room for", () => {
    const spender = new Spender();
    spender.spend(limit / 5);
    expect(spender.level).toBeLessThan(0.7);
    spender.now += windowMs / 4;
    expect(spender.level).toBe(0);
  });

  test("is at its most when spending has been above the pace for a third of the window", () => {
    const spender = new Spender();
    spender.run(1.7, windowMs / 3);
    expect(spender.level).toBeGreaterThan(0.9);
  });

  test("falls from its most to 0 when nothing more is spent", () => {
    const spender = new Spender();
    spender.run(2, windowMs / 2);
    expect(spender.level).toBeGreaterThan(0.99);
    spender.now += windowMs / 4;
    expect(spender.level).toBe(0);
  });

  test.for([0.05, 0.1, 0.3, 1])(
    "is at its most before the stop, with %d of the limit free and no pace before",
    (free) => {
      const spender = new Spender();
      spender.window.add(limit * (1 - free), spender.now);
      const each = limit / 1_000;
      while (spender.window.sum(spender.now) + each <= limit) spender.spend(each);
      expect(spender.level).toBeGreaterThan(0.99);
    },
  );

  test("is between 0 and 1, grows with what is spent, and is taken back by what was not", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ amount: fc.nat(limit), passedMs: fc.nat(windowMs) }), {
          maxLength: 30,
        }),
        fc.nat(limit),
        (all, more) => {
          let dual = startingDual(0);
          let now = 0;
          for (const { amount, passedMs } of all) {
            now += passedMs;
            const before = levelOf(dual, now, windowMs);
            dual = dualAfter(dual, { amount, room: limit, limit }, { now, windowMs });
            const level = levelOf(dual, now, windowMs);
            expect(level).toBeGreaterThanOrEqual(before);
            expect(level).toBeLessThanOrEqual(1);
          }
          const at = { now, windowMs };
          const less = dualAfter(dual, { amount: -more, room: limit, limit }, at);
          expect(levelOf(less, now, windowMs)).toBeLessThanOrEqual(levelOf(dual, now, windowMs));
        },
      ),
    );
  });

  test("of a replica that may spend nothing is at its most", () => {
    const dual = dualAfter(startingDual(0), { amount: 1, room: 0, limit: 0 }, { now: 0, windowMs });
    expect(levelOf(dual, 0, windowMs)).toBe(1);
  });
});

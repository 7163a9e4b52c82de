import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { loadOf } from "../../services/core/placement/load.ts";
import { trustRow } from "../../services/core/placement/trust-rate.ts";
import { decide } from "../../services/core/placement/decide.ts";
import type { Observed } from "../../services/core/pool.ts";
import { cacheBelief, deliveryAfter, slotsCounted, trustOf } from "../../services/core/trust.ts";
import {
  chat,
  figure,
  modelReport,
  observed,
  policy,
  pool,
  poolServing,
  request,
  served,
  snapshot,
} from "./fixtures.ts";

const slow = { observedMs: 400, declaredMs: 100 };
const fair = { slotsProven: 8, shortRatio: 0, cachedTokensForetold: 0, cachedTokensFound: 0 };

describe("trust", () => {
  const cases: readonly (readonly [string, Partial<Observed>, number, number])[] = [
    ["as declared", { attempts: 100 }, 1, 1],
    ["slower to the first token", { attempts: 1_000, ttftAgainstProfile: slow }, 0.39, 0.42],
    ["slower per token", { attempts: 1_000, tpotAgainstProfile: slow }, 0.3, 0.33],
    ["slower, but seen twice only", { attempts: 2, tpotAgainstProfile: slow }, 0.8, 0.9],
    [
      "faster than declared",
      { attempts: 1_000, tpotAgainstProfile: { observedMs: 1, declaredMs: 9 } },
      1,
      1,
    ],
    ["failing every fourth time", { attempts: 1_000, errorRatio: 0.25 }, 0.75, 0.8],
    [
      "short every second time",
      { attempts: 1_000, delivery: { ...fair, shortRatio: 0.5 } },
      0.68,
      0.72,
    ],
  ];
  for (const [title, changes, least, most] of cases) {
    test(`a pool that is ${title} is trusted so far`, () => {
      const { trust, parts } = trustOf({ observed: observed(changes) });
      expect(trust).toBeGreaterThanOrEqual(least);
      expect(trust).toBeLessThanOrEqual(most);
      expect(Object.values(parts).every((part) => part >= 0 && part <= 1)).toBe(true);
    });
  }

  test("what is missing costs money, and stands on the bill", () => {
    const distrusted = observed({ attempts: 1_000, errorRatio: 1 });
    const pools = [poolServing("a", { observed: distrusted }), pool("b")];
    const { candidates } = decide(request(), snapshot(pools), policy());
    const [a, b] = candidates;
    // 0.98 missing × half of 2,000 nano per input token × 1,200 tokens.
    expect(a?.tariffs).toEqual([
      { row: trustRow, basis: "house default", costNano: expect.any(Number) },
    ]);
    expect((a?.terms.preference ?? 0) / (0.97 * 1_000 * 1_200)).toBeCloseTo(1, 1);
    expect(b?.tariffs).toEqual([]);
  });
});

describe("slots that count", () => {
  const anAttempt = { isShort: false, cachedTokensForetold: 0, cachedTokensFound: undefined };

  test("a vendor that advertises without end is believed no further than twice what it has shown", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 60 })), { maxLength: 80 }),
        (slots, attempts) => {
          let before: Observed | undefined;
          for (const [isInTime, slotsLeased] of attempts) {
            const attempt = { ...anAttempt, isInTime, slotsLeased };
            const delivery = deliveryAfter(before, attempt, 1);
            before = observed({ delivery });
          }
          const shown = Math.max(0, ...attempts.map(([, leased]) => leased));
          const counted = slotsCounted(served({ slotsTotal: slots, observed: before }), 1);
          expect(counted).toBeLessThanOrEqual(slots);
          expect(counted).toBeLessThanOrEqual(Math.max(2 * shown, 16, slots / 4));
          expect(counted).toBeGreaterThan(0);
        },
      ),
    );
  });

  test("those at which it was late shrink, those at which it was in time grow at once", () => {
    const after = (isInTime: boolean, times: number) => {
      let before: Observed | undefined;
      for (let index = 0; index < times; index++) {
        const attempt = { ...anAttempt, isInTime, slotsLeased: 40 };
        before = observed({ delivery: deliveryAfter(before, attempt, 1) });
      }
      return slotsCounted(served({ slotsTotal: 400, observed: before }), 1);
    };
    expect([after(true, 0), after(true, 1), after(true, 9)]).toEqual([16, 80, 80]);
    expect(after(false, 60)).toBeLessThan(20);
  });

  test("a replica with a part of the slots takes the others to have shown as much", () => {
    const proven = observed({ delivery: { ...fair, slotsProven: 5 } });
    expect(slotsCounted(served({ slotsTotal: 400, observed: proven }), 0.25)).toBe(40);
  });
});

describe("load", () => {
  test("a report never makes a pool emptier than our own leases say", () => {
    const report = modelReport({ runningRequests: figure(0), waitingRequests: figure(0) });
    const at = poolServing("a", { report, slotsLeased: 7 });
    expect(loadOf(at, at.served.get(chat) ?? expect.unreachable(), 0).inFlight).toBe(7);
  });

  test("as a report fades, what it says gives way to our leases, smoothly and to nothing else", () => {
    const load = (leased: number, running: number, now: number): number => {
      const report = modelReport({ runningRequests: figure(running) });
      const at = poolServing("a", { report, slotsLeased: leased });
      return loadOf(at, at.served.get(chat) ?? expect.unreachable(), now).inFlight;
    };
    expect([0, 5_000, 7_500, 10_000].map((now) => load(2, 10, now))).toEqual([10, 10, 6, 2]);
    fc.assert(
      fc.property(fc.nat(50), fc.nat(50), fc.nat(11_000), (leased, running, now) => {
        const [before, after] = [load(leased, running, now), load(leased, running, now + 10)];
        expect(Math.abs(after - before)).toBeLessThanOrEqual(0.0021 * 50);
        expect(before).toBeGreaterThanOrEqual(leased);
        expect(before).toBeLessThanOrEqual(Math.max(leased, running));
      }),
    );
  });
});

test("a cache that never has what is foretold is not believed, one that has it is", () => {
  const after = (found: number) => {
    let before: Observed | undefined;
    for (let index = 0; index < 40; index++) {
      const attempt = {
        isInTime: true,
        isShort: false,
        slotsLeased: 1,
        cachedTokensForetold: 2_000,
        cachedTokensFound: found,
      };
      before = observed({ delivery: deliveryAfter(before, attempt, 1) });
    }
    return cacheBelief(before);
  };
  expect(cacheBelief(undefined)).toBe(0.5);
  expect(after(0)).toBeLessThan(0.05);
  expect(after(2_000)).toBeGreaterThan(0.95);
});

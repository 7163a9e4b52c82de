import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ppmOfOne } from "../../../../services/core/settlement/decimal.ts";
import type { PriceLine, Tier } from "../../../../services/core/settlement/pricing/price-book.ts";
import {
  nothingRated,
  rate,
  toNano,
  type Cumulative,
} from "../../../../services/core/settlement/pricing/rate.ts";
import {
  finalNano,
  trueUps,
  trueUpText,
  type ClosingKey,
} from "../../../../services/core/settlement/pricing/true-up.ts";
import type { PairId } from "../../../../services/core/units.ts";
import { priceLine } from "../fixtures.ts";

const pair = "vendor:northgrid" as PairId;
const period = "2026-11";
const nothing = { minimumNano: undefined, discountPpm: 0n };

function volume(...tiers: readonly [from: bigint, pico: bigint][]): PriceLine {
  const all = tiers.map(([fromTokens, pricePicoPerToken]): Tier => ({
    fromTokens,
    pricePicoPerToken,
  }));
  return { ...priceLine("response", 1n), tiers: all.slice(0, 1), volumeTiers: all };
}

function closing(line: PriceLine, counts: readonly bigint[], scope = "p1"): ClosingKey {
  const total = counts.reduce<Cumulative>(
    (before, each) => rate(each, line.tiers, before).after,
    nothingRated,
  );
  return { key: { pair, period, line: `b:1:${line.id}`, scope }, total, line };
}

// prettier-ignore
const volumes: readonly [tokens: bigint, nano: bigint][] = [
  [0n, 0n],
  [1_000n, 0n], // the second tier begins after a thousand
  [1_001n, -2_002_000n],
  [5_000n, -10_000_000n],
  [10_000n, -20_000_000n],
  [10_001n, -50_005_000n],
];

for (const [tokens, nano] of volumes) {
  test(`trueUps() of ${tokens} tokens of a volume line are ${nano} nano`, () => {
    const line = volume([0n, 8_000_000n], [1_000n, 6_000_000n], [10_000n, 3_000_000n]);
    const found = trueUps({ pair, period, terms: nothing, keys: [closing(line, [tokens])] });
    expect(found.map(({ amountNano }) => amountNano)).toEqual(nano === 0n ? [] : [nano]);
  });
}

describe("a minimum", () => {
  const flat = priceLine("response", 1_000n);
  const keys = [closing(flat, [400n], "p1"), closing(flat, [300n], "p2")];

  test("is owed for the pair's whole period, on a key of its own", () => {
    const found = trueUps({ pair, period, terms: { ...nothing, minimumNano: 1_000n }, keys });
    expect(found).toEqual([
      { key: { pair, period, line: "minimum", scope: "*" }, amountNano: 300n },
    ]);
  });

  test("that was reached asks for nothing, and one of an empty period for all of it", () => {
    expect(trueUps({ pair, period, terms: { ...nothing, minimumNano: 700n }, keys })).toEqual([]);
    const empty = trueUps({ pair, period, terms: { ...nothing, minimumNano: 700n }, keys: [] });
    expect(empty.map(({ amountNano }) => amountNano)).toEqual([700n]);
  });

  test("is held against what is owed after the discount", () => {
    const terms = { minimumNano: 700n, discountPpm: 500_000n };
    const found = trueUps({ pair, period, terms, keys });
    expect(found.map(({ key, amountNano }) => [key.line, key.scope, amountNano])).toEqual([
      ["b:1:" + flat.id, "p1", -200n],
      ["b:1:" + flat.id, "p2", -150n],
      ["minimum", "*", 350n],
    ]);
  });
});

const anyLine = fc
  .array(fc.tuple(fc.bigInt(1n, 4_000n), fc.bigInt(0n, 9_999_999n)), { minLength: 2, maxLength: 4 })
  .map((steps) => {
    let from = 0n;
    const tiers = steps.map(([length, pico], index): [bigint, bigint] => {
      from = index === 0 ? 0n : from + length;
      return [from, pico];
    });
    return volume(...tiers);
  });
const anyCounts = fc.array(fc.bigInt(0n, 3_000n), { maxLength: 12 });
const anyPpm = fc.bigInt(0n, ppmOfOne - 1n);

test("what was booked and the true-up are the exact price of the whole period, rounded once (I5)", () => {
  fc.assert(
    fc.property(anyLine, anyCounts, anyPpm, (line, counts, discountPpm) => {
      const key = closing(line, counts);
      const [found] = trueUps({ pair, period, terms: { ...nothing, discountPpm }, keys: [key] });
      const booked = toNano(key.total.pico);
      const tokens = counts.reduce((sum, each) => sum + each, 0n);
      const tier = line.volumeTiers?.findLast(({ fromTokens }) => fromTokens < tokens);
      const exact = tokens * (tier?.pricePicoPerToken ?? 0n) * (ppmOfOne - discountPpm);
      const drift = (booked + (found?.amountNano ?? 0n)) * ppmOfOne * 1_000n - exact;
      const half = (ppmOfOne * 1_000n) / 2n;
      expect(drift <= half && drift >= -half).toBe(true);
      expect(booked + (found?.amountNano ?? 0n)).toBe(finalNano(key, discountPpm));
    }),
  );
});

test("a late correction enters the difference alone, and doing it again nothing", () => {
  fc.assert(
    fc.property(anyLine, anyCounts, anyCounts, anyPpm, (line, counts, late, discountPpm) => {
      const terms = { minimumNano: 5_000_000n, discountPpm };
      const at = (keys: readonly bigint[]) => ({
        pair,
        period,
        terms,
        keys: [closing(line, keys)],
      });
      const first = trueUps(at(counts));
      const booked = new Map(first.map(({ key, amountNano }) => [trueUpText(key), amountNano]));
      expect(trueUps(at(counts), booked)).toEqual([]);
      const then = trueUps(at([...counts, ...late]), booked);
      for (const { key, amountNano } of then) {
        booked.set(trueUpText(key), (booked.get(trueUpText(key)) ?? 0n) + amountNano);
      }
      const whole = trueUps(at([...late, ...counts]));
      expect(new Map([...booked].filter(([, nano]) => nano !== 0n))).toEqual(
        new Map(whole.map(({ key, amountNano }) => [trueUpText(key), amountNano])),
      );
    }),
  );
});

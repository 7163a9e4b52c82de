import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Tier } from "../../../../services/core/settlement/pricing/price-book.ts";
import {
  exactPico,
  nothingRated,
  rate,
  toNano,
  unrate,
  type Cumulative,
} from "../../../../services/core/settlement/pricing/rate.ts";

function flat(pico: bigint): Tier[] {
  return [{ fromTokens: 0n, pricePicoPerToken: pico }];
}

const response: Tier[] = [
  { fromTokens: 0n, pricePicoPerToken: 8_000_000n },
  { fromTokens: 1_000n, pricePicoPerToken: 6_000_000n },
];

// prettier-ignore
const rated: [tiers: Tier[], before: bigint, tokens: bigint, nano: bigint][] = [
  [flat(1_999_500n),    0n,     0n,          0n],
  [flat(1_999_500n),    0n,     1n,      2_000n], // 1,999.5 goes to the even 2,000
  [flat(1_999_500n),    1n,     1n,      1_999n],
  [flat(500n),          0n,     1n,          0n], // half a nano goes to the even 0
  [flat(1_500n),        0n,     1n,          2n],
  [flat(623_750n),      0n, 80_000_000n, 49_900_000_000n], // a package of 80 M for 49.9 CNY
  [response,            0n, 1_500n, 11_000_000n],
  [response,          999n,     2n,     14_000n],
  [response,        5_000n,     1n,      6_000n],
];

for (const [tiers, before, tokens, nano] of rated) {
  test(`rate() of ${tokens} after ${before} at ${tiers[0]?.pricePicoPerToken} is ${nano} nano`, () => {
    const earlier = rate(before, tiers, nothingRated).after;
    expect(rate(tokens, tiers, earlier).amountNano).toBe(nano);
  });
}

describe("the worked example of two parties that must agree to the bit", () => {
  const tiersByClass = {
    uncached: flat(876_500n),
    cacheRead: flat(17_530n),
    response: [
      { fromTokens: 0n, pricePicoPerToken: 3_506_000n },
      { fromTokens: 1_000n, pricePicoPerToken: 3_155_400n },
    ],
  };
  type Class = keyof typeof tiersByClass;
  const classes: Class[] = ["uncached", "cacheRead", "response"];
  const r1 = { uncached: 1_203n, cacheRead: 513n, response: 401n };
  const r2 = { uncached: 87n, cacheRead: 2_047n, response: 655n };
  const r3 = { uncached: 4_001n, cacheRead: 19n, response: 12n };

  function amounts(records: readonly Record<Class, bigint>[]) {
    const totals = { uncached: nothingRated, cacheRead: nothingRated, response: nothingRated };
    const nano = records.map((tokens) =>
      classes.map((each) => {
        const { amountNano, after } = rate(tokens[each], tiersByClass[each], totals[each]);
        totals[each] = after;
        return amountNano;
      }),
    );
    return { nano, totals };
  }

  test("each record by class, in the order r1 r2 r3", () => {
    expect(amounts([r1, r2, r3]).nano).toEqual([
      [1_054_430n, 8_993n, 1_405_906n],
      [76_255n, 35_884n, 2_276_796n],
      [3_506_877n, 333n, 37_865n],
    ]);
  });

  test("the totals of the records depend on the order, those of the lines do not", () => {
    const forwards = amounts([r1, r2, r3]);
    const backwards = amounts([r3, r2, r1]);
    expect(forwards.nano.map(sum)).toEqual([2_469_329n, 2_388_935n, 3_545_075n]);
    expect(backwards.nano.map(sum).toReversed()).toEqual([2_445_488n, 2_408_570n, 3_549_281n]);
    for (const { totals } of [forwards, backwards]) {
      expect(classes.map((each) => totals[each].pico)).toEqual([
        4_637_561_500n,
        45_209_870n,
        3_720_567_200n,
      ]);
      const lines = classes.map((each) => toNano(totals[each].pico));
      expect(lines).toEqual([4_637_562n, 45_210n, 3_720_567n]);
      expect(sum(lines)).toBe(8_403_339n);
    }
  });

  test("correcting r2's response to 600 takes back its amount and enters what keeps the line exact", () => {
    const { nano, totals } = amounts([r1, r2, r3]);
    const original = nano[1]?.[2] ?? 0n;
    const undone = unrate(655n, tiersByClass.response, totals.response);
    const again = rate(600n, tiersByClass.response, undone.after);
    const difference = undone.amountNano + again.amountNano;
    expect(original).toBe(2_276_796n);
    expect(difference).toBe(-173_547n);
    expect(original + difference).toBe(2_103_249n);
    expect(toNano(again.after.pico)).toBe(3_547_020n);
    expect(again.after).toEqual({
      tokens: 1_013n,
      pico: exactPico(1_013n, tiersByClass.response),
      records: 3n,
    });
  });
});

const anyTiers = fc
  .array(fc.tuple(fc.bigInt(1n, 5_000n), fc.bigInt(0n, 30_000_000n)), {
    minLength: 1,
    maxLength: 4,
  })
  .map((steps) => {
    let from = 0n;
    return steps.map(([length, pricePicoPerToken], index): Tier => {
      from = index === 0 ? 0n : from + length;
      return { fromTokens: from, pricePicoPerToken };
    });
  });
const anyCounts = fc.array(fc.bigInt(0n, 5_000n), { maxLength: 40 });

test("rate() adds up to the rounded total, whatever the order", () => {
  fc.assert(
    fc.property(anyTiers, anyCounts, (tiers, counts) => {
      const total = counts.reduce((all, each) => all + each, 0n);
      expect(totalNano(counts, tiers)).toBe(toNano(exactPico(total, tiers)));
      expect(totalNano(counts.toReversed(), tiers)).toBe(totalNano(counts, tiers));
    }),
  );
});

test("rate() adds up to the same however the tokens are divided", () => {
  fc.assert(
    fc.property(anyTiers, fc.bigInt(0n, 9_000n), fc.bigInt(0n, 9_000n), (tiers, first, second) => {
      expect(totalNano([first, second], tiers)).toBe(totalNano([first + second], tiers));
    }),
  );
});

test("rate() of one record is within a nano of its exact price, if the price is flat", () => {
  fc.assert(
    fc.property(
      fc.bigInt(0n, 9_999_999n),
      fc.bigInt(0n, 10n ** 9n),
      anyCounts,
      (pico, tokens, before) => {
        const earlier = before.reduce(
          (total, each) => rate(each, flat(pico), total).after,
          nothingRated,
        );
        const drift = rate(tokens, flat(pico), earlier).amountNano * 1_000n - tokens * pico;
        expect(drift <= 1_000n && drift >= -1_000n).toBe(true);
      },
    ),
  );
});

test("unrate() takes out what rate() put in, wherever it stood", () => {
  fc.assert(
    fc.property(anyTiers, anyCounts, fc.bigInt(0n, 5_000n), (tiers, others, tokens) => {
      const mixed = [tokens, ...others].reduce(
        (total, each) => rate(each, tiers, total).after,
        nothingRated,
      );
      const without = others.reduce((total, each) => rate(each, tiers, total).after, nothingRated);
      expect(unrate(tokens, tiers, mixed).after).toEqual(without);
    }),
  );
});

test("a million records of 12.345 nano lose nothing", () => {
  let total: Cumulative = nothingRated;
  let nano = 0n;
  for (let record = 0; record < 1_000_000; record++) {
    const each = rate(1n, flat(12_345n), total);
    total = each.after;
    nano += each.amountNano;
  }
  expect(nano).toBe(12_345_000n);
});

function totalNano(counts: readonly bigint[], tiers: readonly Tier[]): bigint {
  let total = nothingRated;
  return counts.reduce((all, each) => {
    const { amountNano, after } = rate(each, tiers, total);
    total = after;
    return all + amountNano;
  }, 0n);
}

function sum(all: readonly bigint[]): bigint {
  return all.reduce((total, each) => total + each, 0n);
}

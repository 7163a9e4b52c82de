import fc from "fast-check";
import { expect, test } from "vitest";
import { largestRemainder, roundedQuotient } from "../../../../services/core/settlement/ratio.ts";
import {
  defaultSplitRule,
  splitEarned,
  splitRuleMistakes,
  splitTrueUp,
  sumOf,
  type SplitAmount,
  type SplitParties,
  type SplitPart,
  type SplitRule,
} from "../../../../services/core/settlement/packages/split.ts";
import { SplitSums } from "../../../../services/core/settlement/packages/split-true-up.ts";
import type { ModelId, PairId } from "../../../../services/core/units.ts";

const parties: SplitParties = {
  computing: "vendor:northgrid" as PairId,
  model: "model:qwen" as PairId,
  channel: "channel:west" as PairId,
};

function share(part: SplitPart["part"], ppm: bigint): SplitPart {
  return { part, party: part === "platform" ? "internal" : "*", way: "share", ppm };
}

/** The example of the reference. */
const shares = [
  share("channel", 75_000n),
  share("computing", 620_000n),
  share("model", 180_000n),
  share("platform", 125_000n),
];

function rule(parts: readonly SplitPart[] = shares): SplitRule {
  return { ...defaultSplitRule, id: "four", parts };
}

function amounts(parts: readonly SplitAmount[]): Record<string, bigint> {
  return Object.fromEntries(parts.map(({ part, amountNano }) => [part, amountNano]));
}

test("splitEarned() of the example's first record", () => {
  const parts = splitEarned(2_469_329n, [], { rule: rule(), parties });
  expect(amounts(parts)).toEqual({
    platform: 308_666n,
    computing: 1_530_984n,
    model: 444_479n,
    channel: 185_200n,
  });
});

test("splitTrueUp() brings the example's three records to the split of their sum", () => {
  const by = { rule: rule(), parties };
  const records = [2_469_329n, 2_388_935n, 3_545_075n].map((each) => splitEarned(each, [], by));
  const booked = splitEarned(0n, [], by).map((each, index) => {
    return { ...each, amountNano: sumOf(records.map((parts) => parts[index] ?? each)) };
  });
  expect(amounts(booked)).toMatchObject({ computing: 5_210_071n, model: 1_512_600n });
  const off = splitTrueUp(booked, by);
  expect(amounts(off)).toMatchObject({ computing: -1n, model: 1n });
  expect(sumOf(off)).toBe(0n);
});

test("splitEarned() is not monotone, so it cannot be telescoped: of 21 nano the channel has less than of 20", () => {
  const channel = [20n, 21n].map(
    (each) => amounts(splitEarned(each, [], { rule: rule(), parties }))["channel"],
  );
  expect(channel).toEqual([2n, 1n]);
});

test("splitEarned() where the rates are more than was earned leaves the platform the difference", () => {
  const rate: SplitAmount = {
    part: "computing",
    party: parties.computing,
    way: "rate",
    amountNano: 1_500n,
  };
  const parts = splitEarned(1_000n, [rate], {
    rule: rule([
      share("channel", 300_000n),
      { part: "computing", party: "*", way: "rate", ppm: 0n },
      share("platform", 700_000n),
    ]),
    parties,
  });
  expect(amounts(parts)).toEqual({ platform: -500n, computing: 1_500n, channel: 0n });
});

test("splitEarned() gives the platform the share of a channel that does not exist", () => {
  const parts = splitEarned(1_000_000n, [], {
    rule: rule(),
    parties: { ...parties, channel: undefined },
  });
  expect(amounts(parts)).toEqual({ platform: 200_000n, computing: 620_000n, model: 180_000n });
});

test("splitEarned() gives the nano that two parties have an equal claim to, to the first name", () => {
  const half = rule([share("model", 500_000n), share("platform", 500_000n)]);
  expect(amounts(splitEarned(3n, [], { rule: half, parties }))).toEqual({
    platform: 1n,
    model: 2n,
  });
});

const wrong: readonly (readonly [name: string, parts: readonly SplitPart[], found: RegExp])[] = [
  ["shares short of the whole", [share("platform", 999_999n)], /found 999999/],
  ["no platform", [share("computing", 1_000_000n)], /found 0 platforms/],
  [
    "a rate with ppm",
    [share("platform", 1_000_000n), { part: "model", party: "*", way: "rate", ppm: 1n }],
    /parts\[1\].ppm: expected 0, found 1/,
  ],
  [
    "a vendor as channel",
    [
      share("platform", 1_000_000n),
      { part: "channel", party: "vendor:x" as PairId, way: "share", ppm: 0n },
    ],
    /expected \* or channel:<id>, found vendor:x/,
  ],
  [
    "a party twice",
    [share("platform", 600_000n), share("model", 200_000n), share("model", 200_000n)],
    /also parts\[1\]/,
  ],
];

for (const [name, parts, found] of wrong) {
  test(`splitRuleMistakes() of ${name}`, () => {
    expect(splitRuleMistakes(rule(parts)).join("\n")).toMatch(found);
  });
}

test("splitRuleMistakes() finds none in the example and in the default", () => {
  expect([...splitRuleMistakes(rule()), ...splitRuleMistakes(defaultSplitRule)]).toEqual([]);
});

test("splitEarned() parts add up to what was earned, each within a nano of its share", () => {
  const ppm = fc.array(fc.bigInt(0n, 1_000_000n), { minLength: 3, maxLength: 3 });
  fc.assert(
    fc.property(
      ppm,
      fc.bigInt(-(10n ** 15n), 10n ** 15n),
      fc.bigInt(0n, 10n ** 15n),
      (cut, earned, rateNano) => {
        const [a = 0n, b = 0n, c = 0n] = cut.toSorted((x, y) => Number(x - y));
        const sizes = [a, b - a, c - b, 1_000_000n - c];
        const names = ["channel", "computing", "model", "platform"] as const;
        const each = rule(names.map((name, index) => share(name, sizes[index] ?? 0n)));
        const rate = {
          part: "model",
          party: "model:other" as PairId,
          way: "rate",
          amountNano: rateNano,
        } as const;
        const parts = splitEarned(earned, [rate], { rule: each, parties });
        expect(sumOf(parts)).toBe(earned);
        const rest = earned - rateNano;
        const divided = parts.filter(({ way }) => way === "share");
        const exact = (name: SplitPart["part"]): bigint =>
          (rest < 0n ? 0n : rest) * (each.parts.find(({ part }) => part === name)?.ppm ?? 0n);
        const others = divided.filter(({ part }) => part !== "platform" || rest >= 0n);
        for (const { part, amountNano } of others) {
          const off = amountNano * 1_000_000n - exact(part);
          expect(off > -1_000_000n && off < 1_000_000n).toBe(true);
        }
      },
    ),
  );
});

test("largestRemainder() adds up exactly, whatever the weights", () => {
  const weights = fc.array(fc.bigInt(0n, 10n ** 12n), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(weights, fc.bigInt(0n, 10n ** 18n), (some, total) => {
      const all = [...some, 1n];
      expect(largestRemainder(total, all).reduce((sum, each) => sum + each, 0n)).toBe(total);
    }),
  );
});

test("roundedQuotient() rounds half to even, on both sides of 0", () => {
  const halves = [-5n, -3n, -1n, 1n, 3n, 5n, 7n].map((each) => roundedQuotient(each, 2n));
  expect(halves).toEqual([-2n, -2n, 0n, 0n, 2n, 2n, 4n]);
});

test("SplitSums has one correction for a channel, however many vendors it sold for", () => {
  const by = rule();
  const sums = new SplitSums(() => by);
  for (const vendor of ["north", "south"]) {
    const others = { ...parties, computing: `vendor:${vendor}` as PairId };
    for (const earned of [20n, 20n, 20n, 20n]) {
      const parts = splitEarned(earned, [], { rule: by, parties: others });
      sums.add({ splitRule: "four:1", model: "m" as ModelId, parts });
    }
  }
  const { corrections } = sums;
  const named = corrections.map(({ share: of }) => `${of.part} ${of.party}`);
  expect(new Set(named).size).toBe(named.length);
  const [channel] = corrections.filter(({ share: of }) => of.part === "channel");
  // 7.5 % of 80 nano is 6, of each record it was 2, and that of both vendors.
  expect(channel?.share.amountNano).toBe(2n * (6n - 8n));
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { holesMax, Sequence } from "../../../../services/core/settlement/ledger/sequence.ts";

function noted(numbers: readonly number[]): Sequence {
  const sequence = new Sequence();
  for (const number of numbers) sequence.note(BigInt(number));
  return sequence;
}

// prettier-ignore
const cases: readonly [numbers: number[], next: bigint, ahead: string, missing: bigint][] = [
  [[],                 1n, "",        0n],
  [[1, 2, 3],          4n, "",        0n],
  [[3, 1, 2],          4n, "",        0n],
  [[1, 3],             2n, "3-3",     1n],
  [[1, 5, 3, 4],       2n, "3-5",     1n],
  [[5, 9, 7, 8, 6],    1n, "5-9",     4n],
  [[2, 4, 6],          1n, "2-2,4-4,6-6", 3n],
  [[2, 4, 6, 3],       1n, "2-4,6-6", 2n],
  [[2, 4, 6, 1],       3n, "4-4,6-6", 2n],
  [[1, 1, 2, 2],       3n, "",        0n],
];

for (const [numbers, next, ahead, missing] of cases) {
  test(`Sequence after ${numbers.join(" ") || "nothing"} goes on at ${next}, beyond it ${ahead || "nothing"}`, () => {
    const sequence = noted(numbers);
    expect([sequence.next, sequence.toText(), sequence.missing]).toEqual([next, ahead, missing]);
  });
}

test("Sequence knows what it has seen, and goes on from its text", () => {
  const numbers = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 80 });
  fc.assert(
    fc.property(numbers, numbers, (first, second) => {
      const one = noted([...first, ...second]);
      const early = noted(first);
      const resumed = new Sequence(early.next, early.toText());
      const seen = new Set(first);
      for (const number of second) {
        expect(resumed.note(BigInt(number)).isNew).toBe(!seen.has(number));
        seen.add(number);
      }
      expect([resumed.next, resumed.toText()]).toEqual([one.next, one.toText()]);
      expect(Number(resumed.missing)).toBe(Math.max(0, ...seen) - seen.size);
    }),
  );
});

test("giveUp() counts the oldest hole and goes on after it", () => {
  const sequence = noted([1, 4, 5, 9]);
  expect(sequence.giveUp()).toBe(2n);
  expect([sequence.next, sequence.toText()]).toEqual([6n, "9-9"]);
  expect(sequence.giveUp()).toBe(3n);
  expect(sequence.giveUp()).toBe(0n);
});

test("the holes that are remembered are bounded: the oldest is given up", () => {
  const sequence = new Sequence();
  let lost = 0n;
  for (let index = 1; index <= holesMax + 10; index++)
    lost += sequence.note(BigInt(index * 2)).lost;
  expect(lost).toBe(10n);
  expect(sequence.toText().split(",").length).toBe(holesMax);
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { blockHashes, PrefixCache } from "../../services/core/prefix.ts";

const word = fc.constantFrom("a", "b", "ab", "ba", "漢");

test("blockHashes() are equal exactly as far as the words are", () => {
  const words = fc.array(word, { maxLength: 60 });
  fc.assert(
    fc.property(words, words, (a, b) => {
      const [hashesA, hashesB] = [blockHashes(a, 4), blockHashes(b, 4)];
      hashesA.slice(0, hashesB.length).forEach((hash, index) => {
        const end = (index + 1) * 4;
        const isSame = a.slice(0, end).join(" ") === b.slice(0, end).join(" ");
        expect(hash === hashesB[index]).toBe(isSame);
      });
    }),
  );
});

test("blockHashes() leaves out a block that is not full, and fits a double", () => {
  const hashes = blockHashes(Array.from({ length: 47 }, (_, index) => `w${index}`));
  expect(hashes.length).toBe(2);
  expect(hashes.every(Number.isSafeInteger)).toBe(true);
});

test("PrefixCache forgets the block that was not used for longest, ends before beginnings", () => {
  const cache = new PrefixCache(3, 16);
  cache.add([1, 2]);
  cache.add([5]);
  expect(cache.match([1, 2, 3])).toBe(32);
  cache.add([6]);
  expect([cache.match([5]), cache.match([1, 2]), cache.match([6])]).toEqual([0, 32, 16]);
  cache.add([7]);
  expect([cache.size, cache.match([1, 2])]).toEqual([3, 16]);
});

test("PrefixCache never holds more than it may", () => {
  const prompts = fc.array(fc.array(fc.nat({ max: 50 }), { maxLength: 10 }), { maxLength: 50 });
  fc.assert(
    fc.property(prompts, (all) => {
      const cache = new PrefixCache(8);
      for (const prompt of all) {
        cache.add(prompt);
        expect(cache.size).toBeLessThanOrEqual(8);
      }
    }),
  );
});

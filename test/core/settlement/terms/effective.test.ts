import fc from "fast-check";
import { expect, test } from "vitest";
import {
  inForceAt,
  successionMistakes,
  type Dated,
} from "../../../../services/core/settlement/terms/effective.ts";

/** Versions that follow each other as they are published: each start after the one before. */
const chains = fc
  .array(fc.tuple(fc.bigInt(1n, 20n), fc.boolean()), { minLength: 1, maxLength: 8 })
  .map((steps) => {
    let from = 0n;
    const starts = steps.map(([length]) => (from += length));
    return steps.map(([, isClosed], index): Dated => {
      const next = starts[index + 1];
      return {
        version: BigInt(index + 1),
        effectiveFromUs: starts[index] ?? 0n,
        effectiveToUs: isClosed ? next : undefined,
      };
    });
  });

test("inForceAt() is the version that has begun last, in whatever order they are kept", () => {
  fc.assert(
    fc.property(chains, fc.bigInt(0n, 180n), fc.boolean(), (versions, us, isReversed) => {
      const slow = versions.filter(({ effectiveFromUs }) => effectiveFromUs <= us).at(-1);
      expect(inForceAt(isReversed ? versions.toReversed() : versions, us)).toBe(slow);
    }),
  );
});

test("a chain that follows itself has no mistakes, and one version of it is in force at each instant", () => {
  fc.assert(
    fc.property(chains, (versions) => {
      for (const [index, each] of versions.entries()) {
        expect(successionMistakes(each, versions[index - 1], each.effectiveFromUs)).toEqual([]);
      }
    }),
  );
});

test("after its end a version is over, and an older one does not come into force again", () => {
  const first: Dated = { version: 1n, effectiveFromUs: 10n };
  const second: Dated = { version: 2n, effectiveFromUs: 20n, effectiveToUs: 30n };
  expect(
    [9n, 10n, 19n, 20n, 29n, 30n].map((us) => inForceAt([first, second], us)?.version),
  ).toEqual([undefined, 1n, 1n, 2n, 2n, undefined]);
});

const previous: Dated = { version: 1n, effectiveFromUs: 10n, effectiveToUs: 20n };
// prettier-ignore
const wrong: Record<string, readonly [next: Dated, publishedUs: bigint, message: string]> = {
  "a version left out": [{ version: 3n, effectiveFromUs: 20n }, 0n, "version: expected 2, found 3"],
  "a gap": [{ version: 2n, effectiveFromUs: 21n }, 0n, "effective_from_us: gap: version 1 ends at 20, this one starts at 21"],
  "an overlap": [{ version: 2n, effectiveFromUs: 19n }, 0n, "effective_from_us: overlap: version 1 ends at 20, this one starts at 19"],
  "a start in the past": [{ version: 2n, effectiveFromUs: 20n }, 25n, "effective_from_us: retroactive: expected 25 or later, found 20"],
  "an end before the start": [{ version: 2n, effectiveFromUs: 20n, effectiveToUs: 20n }, 0n, "effective_to_us: expected after 20, found 20"],
};

for (const [what, [next, publishedUs, message]] of Object.entries(wrong)) {
  test(`successionMistakes() finds ${what}`, () => {
    const found = successionMistakes(next, previous, publishedUs);
    expect(found.map(({ path, message: text }) => `${path}: ${text}`)).toEqual([message]);
  });
}

import { describe, expect, test } from "vitest";
import {
  afterRotation,
  firstKey,
  keyAt,
  rotationText,
  type KeyHistory,
  type KeyRotation,
} from "../../../../services/core/settlement/proof/key-history.ts";
import { newSigningKey, verify, type SigningKey } from "../../../../services/io/signing.ts";

const origin = "grid.example/tokengrid/vendor/northgrid";
const [first, second, third, root, thief] = [0, 1, 2, 3, 4].map(() => newSigningKey()) as [
  SigningKey,
  SigningKey,
  SigningKey,
  SigningKey,
  SigningKey,
];
const start = firstKey({ origin, key: first.publicKey, root: root.publicKey });

function rotation(changes: Partial<KeyRotation> = {}): KeyRotation {
  return {
    origin,
    rev: 1n,
    from: first.publicKey,
    to: second.publicKey,
    by: "old",
    reason: "yearly",
    atUs: 1_700_000_000_000_000n,
    ...changes,
  };
}

function text(changes: Partial<KeyRotation> = {}, authority = first, successor = second): string {
  return rotationText(rotation(changes), { authority: authority.sign, successor: successor.sign });
}

describe("keys of a log", () => {
  const once = history(afterRotation(start, { index: 41n, text: text() }, verify));

  test("the old key signs up to the rotation's leaf, the new one from the size that includes it", () => {
    const sizes = [0n, 41n, 42n, 43n];
    expect(sizes.map((size) => keyAt(once, size))).toEqual([
      first.publicKey,
      first.publicKey,
      second.publicKey,
      second.publicKey,
    ]);
  });

  test("a lost key is replaced by the word of the root key (C20)", () => {
    const lost = rotation({ rev: 2n, from: second.publicKey, to: third.publicKey, by: "root" });
    const leaf = rotationText(lost, { authority: root.sign, successor: third.sign });
    const twice = history(afterRotation(once, { index: 90n, text: leaf }, verify));
    expect([41n, 42n, 90n, 91n].map((size) => keyAt(twice, size))).toEqual([
      first.publicKey,
      second.publicKey,
      second.publicKey,
      third.publicKey,
    ]);
  });

  const refused: Readonly<Record<string, string>> = {
    nothing: "",
    "a list": "[]",
    "a text that is none of ours": '{"type":"seal"}',
    "a thief's signature": text({}, thief),
    "the old key in the name of the root": text({ by: "root" }),
    "a new key whose owner did not sign": text({}, first, thief),
    "another log": text({ origin: `${origin}/2` }),
    "a rotation of another key": text({ from: thief.publicKey }, thief),
    "a rotation out of order": text({ rev: 2n }),
    "a reason that was changed": text().replace("yearly", "nearly"),
    "an instant that was changed": text().replace("1700000000000000", "1700000000000001"),
  };
  for (const [what, leaf] of Object.entries(refused)) {
    test(`afterRotation() refuses ${what}, and says so`, () => {
      expect(afterRotation(start, { index: 41n, text: leaf }, verify)).toMatch(
        /expected|not signed/,
      );
    });
  }

  test("a rotation is not taken twice", () => {
    expect(afterRotation(once, { index: 50n, text: text() }, verify)).toContain(
      "expected rotation 2",
    );
  });

  test("where there is no root key, nobody speaks for it", () => {
    const alone = firstKey({ origin, key: first.publicKey, root: undefined });
    const leaf = text({ by: "root" }, root);
    expect(afterRotation(alone, { index: 41n, text: leaf }, verify)).toContain("not signed");
  });
});

function history(found: KeyHistory | string): KeyHistory {
  if (typeof found === "string") throw new Error(found);
  return found;
}

import fc from "fast-check";
import { expect, test } from "vitest";
import {
  asciiJson,
  closingQuote,
  edited,
  scanObject,
  unescaped,
} from "../../services/gateway/json-text.ts";

const limits = { depthMax: 64, keysMax: 10_000 };

function latin1(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

function utf8(text: string): string {
  return Buffer.from(text, "latin1").toString("utf8");
}

/** Well formed unicode only: a lone surrogate has no UTF-8. */
const objects = fc.dictionary(
  fc.string({ unit: "grapheme" }).filter((key) => key !== "__proto__"),
  fc.jsonValue({ stringUnit: "grapheme", maxDepth: 4 }),
);

test("scanObject() finds the members of whatever JSON.stringify writes, byte for byte", () => {
  fc.assert(
    fc.property(objects, fc.constantFrom(undefined, 2, "\t"), (object, space) => {
      const text = latin1(JSON.stringify(object, null, space));
      const scan = scanObject(text, limits);
      const found = scan.kind === "object" ? [...scan.members.values()] : [];
      expect(
        found.map(({ key, start, end }) => [utf8(key), JSON.parse(utf8(text.slice(start, end)))]),
      ).toEqual(Object.entries(JSON.parse(utf8(text)) as object));
    }),
  );
});

test("scanObject() refuses exactly what JSON.parse refuses, for text one edit away from JSON", () => {
  fc.assert(
    fc.property(
      objects.map((object) => JSON.stringify(object)),
      fc.nat(),
      fc.constantFrom("", '"', "\\", "{", "}", "[", ",", ":", "1", "e", "-", ".", " ", "\n", "t"),
      fc.boolean(),
      (json, place, inserted, isReplacing) => {
        const at = place % (json.length + 1);
        const text = json.slice(0, at) + inserted + json.slice(at + (isReplacing ? 1 : 0));
        fc.pre(text.isWellFormed());
        const scan = scanObject(latin1(text), limits);
        const isTwice = scan.kind === "malformed" && scan.problem.includes("twice");
        expect(isTwice || scan.kind === "object").toBe(isTwice || isObject(text));
      },
    ),
    { numRuns: 500 },
  );
});

function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

for (const [text, problem] of [
  ["", "expected an object at byte 0"],
  ["[]", "expected an object at byte 0"],
  ['{"a":NaN}', "expected a value at byte 5"],
  ['{"a":1', "expected a comma or the end of the object at byte 6"],
  ['{"a":1}{', "expected the end at byte 7"],
  ['{"a":01}', "expected a comma or the end of the object at byte 6"],
  ['{"a":"\n"}', "expected the end of a string, found a control character or nothing at byte 6"],
  ['{"a":"\\x"}', "expected an escape at byte 7"],
  ['{"a":1,"a":2}', 'the key "a" is there twice at byte 10'],
  ['{"a":1,"\\u0061":2}', 'the key "a" is there twice at byte 15'],
  ['{"x":[{"b":1,"b":2}]}', 'the key "b" is there twice at byte 16'],
] as const) {
  test(`scanObject() of ${JSON.stringify(text)} says: ${problem}`, () => {
    expect(scanObject(text, limits)).toEqual({ kind: "malformed", problem });
  });
}

test("scanObject() bounds depth and number of keys", () => {
  const deep = `{"a":${"[".repeat(64)}${"]".repeat(64)}}`;
  expect(scanObject(deep, limits).kind).toBe("too-deep");
  const many = JSON.stringify(Object.fromEntries(Array.from({ length: 11 }, (_, key) => [key, 0])));
  expect(scanObject(many, { depthMax: 64, keysMax: 10 }).kind).toBe("too-many-keys");
});

test("edited() replaces, adds and leaves out, and forwards the rest byte for byte", () => {
  const text = '{ "model" : "a" ,"x":1.50e3, "gone":[1], "ü":"\\u00e9"}';
  const scan = scanObject(latin1(text), limits);
  const members = scan.kind === "object" ? scan.members : new Map<string, never>();
  const changes = new Map([
    ["model", '"b"'],
    ["gone", undefined],
    ["absent", undefined],
    ["stream", "true"],
  ]);
  expect(utf8(edited(latin1(text), members, changes))).toBe(
    '{"model" : "b","x":1.50e3,"ü":"\\u00e9","stream":true}',
  );
});

test("asciiJson() and unescaped() give the text back", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      const json = asciiJson(text);
      expect(closingQuote(`${json} "more"`, 1)).toBe(json.length - 1);
      expect(utf8(unescaped(json.slice(1, -1)))).toBe(text);
    }),
  );
});

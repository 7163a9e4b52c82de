import fc from "fast-check";
import { expect, test } from "vitest";

interface Mark {
  readonly key: string;
  readonly at: readonly [number, number];
  readonly width: number;
  readonly height: number;
  readonly gap: number;
}

type PlaceLabels = (
  marks: readonly Mark[],
  frame: { readonly width: number; readonly height: number },
  taken: unknown[],
) => Map<string, readonly [left: number, middle: number]>;

// The page's modules are plain JavaScript, checked against the browser's types and not against Node's.
const source = new URL("../../services/console/labels.js", import.meta.url).href;
const { placeLabels } = (await import(source)) as { readonly placeLabels: PlaceLabels };

const frame = { width: 1_000, height: 600 };
const marks = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 1_000 }), fc.integer({ min: 0, max: 600 })), {
    maxLength: 40,
  })
  .map((points) =>
    points.map((at, index): Mark => ({ key: `${index}`, at, width: 60, height: 14, gap: 7 })),
  );

test("placeLabels() puts a lone name to the right of its place", () => {
  const mark: Mark = { key: "a", at: [100, 100], width: 60, height: 14, gap: 7 };
  expect([...placeLabels([mark], frame, [])]).toEqual([["a", [107, 100]]]);
});

test("placeLabels() moves a name to the left where the right is off the picture", () => {
  const mark: Mark = { key: "a", at: [980, 100], width: 60, height: 14, gap: 7 };
  expect([...placeLabels([mark], frame, [])]).toEqual([["a", [913, 100]]]);
});

test("placeLabels() lets no two names meet, and none leave the picture", () => {
  fc.assert(
    fc.property(marks, (all) => {
      const placed = [...placeLabels(all, frame, []).values()];
      for (const [index, [left, middle]] of placed.entries()) {
        expect(left).toBeGreaterThanOrEqual(0);
        expect(left + 60).toBeLessThanOrEqual(frame.width);
        for (const [otherLeft, otherMiddle] of placed.slice(index + 1)) {
          const isApart =
            Math.abs(left - otherLeft) >= 60 - 1e-9 || Math.abs(middle - otherMiddle) >= 14 - 1e-9;
          expect(isApart).toBe(true);
        }
      }
    }),
  );
});

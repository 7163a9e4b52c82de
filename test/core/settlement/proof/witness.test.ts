import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseCheckpoint } from "../../../../services/core/settlement/proof/checkpoint.ts";
import { parseNote } from "../../../../services/core/settlement/proof/note.ts";
import {
  formatAddCheckpoint,
  parseAddCheckpoint,
  witnessed,
  type AddCheckpoint,
  type WitnessedHead,
  type WitnessOutcome,
} from "../../../../services/core/settlement/proof/witness.ts";
import { newSigningKey } from "../../../../services/io/signing.ts";
import { means, testLog } from "../proof-fixtures.ts";
import { addCheckpoint } from "../vectors/notes.ts";

const origin = "grid.example/tokengrid/vendor/northgrid";
const signing = newSigningKey();
const texts = Array.from({ length: 20 }, (_each, index) => `leaf ${index}`);
const log = testLog(origin, texts, signing);
/** Signed by the same key, and another history from leaf 6 on. */
const fork = testLog(
  origin,
  [...texts.slice(0, 6), ...texts.slice(6).map((text) => `${text}!`)],
  signing,
);
const stranger = testLog(origin, texts);

const headOf = (size: number): WitnessedHead => ({ size: BigInt(size), root: log.root(size) });

function asked(oldSize: number, size: number, from = log): AddCheckpoint {
  const path = oldSize <= size ? from.consistency(oldSize, size) : [];
  return requestFrom({ oldSize: BigInt(oldSize), path, checkpoint: from.checkpoint(size) });
}

function decided(request: AddCheckpoint, head: WitnessedHead | undefined): WitnessOutcome {
  return witnessed(request, { keys: [log.key], head }, means);
}

describe("witnessed()", () => {
  const cases: readonly (readonly [
    what: string,
    request: AddCheckpoint,
    head: WitnessedHead | undefined,
    outcome: object,
  ])[] = [
    ["a first checkpoint", asked(0, 7), undefined, { status: 200, head: headOf(7) }],
    ["an empty log", asked(0, 0), undefined, { status: 200, head: headOf(0) }],
    ["growth", asked(7, 12), headOf(7), { status: 200, head: headOf(12) }],
    ["the same again", asked(7, 7), headOf(7), { status: 200, head: headOf(7) }],
    ["a signature of a stranger", asked(7, 12, stranger), headOf(7), { status: 403 }],
    ["an old size above the new", asked(12, 7), headOf(7), { status: 400 }],
    ["an old size that is too old", asked(5, 12), headOf(7), { status: 409, size: 7n }],
    ["an old size that is too new", asked(9, 12), headOf(7), { status: 409, size: 7n }],
    ["a log that shrank", asked(5, 5), headOf(7), { status: 409, size: 7n }],
    ["nothing known of the past", asked(0, 12), headOf(7), { status: 409, size: 7n }],
    ["a past that never was", asked(3, 7), undefined, { status: 409, size: 0n }],
    ["another history", asked(7, 12, fork), headOf(7), { status: 422 }],
    ["another root of the same size", asked(7, 7, fork), headOf(7), { status: 422 }],
    [
      "a path without its end",
      { ...asked(7, 12), path: asked(7, 12).path.slice(1) },
      headOf(7),
      { status: 422 },
    ],
    ["a path from nothing", { ...asked(0, 12), path: [log.root(3)] }, undefined, { status: 422 }],
  ];
  for (const [what, request, head, outcome] of cases) {
    test(`answers ${JSON.stringify(outcome, (_name, value: unknown) => (typeof value === "bigint" ? `${value}` : value))} to ${what}`, () => {
      expect(decided(request, head)).toMatchObject(outcome);
    });
  }

  test("answers 404 to a log that nobody knows", () => {
    expect(witnessed(asked(0, 7), undefined, means)).toMatchObject({ status: 404 });
  });

  test("takes either of two keys, as in a rotation", () => {
    const keys = [stranger.key, log.key];
    expect(witnessed(asked(0, 7), { keys, head: undefined }, means)).toMatchObject({ status: 200 });
  });

  test("never signs two roots of one size, nor a history that changes, in whatever order requests come (I21, I24)", () => {
    const step = fc.record({
      from: fc.constantFrom(log, fork, stranger),
      oldSize: fc.nat(20),
      size: fc.nat(20),
      isInformed: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let head: WitnessedHead | undefined;
        const rootBySize = new Map<bigint, string>();
        let signed = 0;
        for (const { from, oldSize, size, isInformed } of steps) {
          // Half of the requests know how far the witness is, or nothing would ever be signed.
          const old = isInformed ? Number(head?.size ?? 0n) : oldSize;
          const outcome = decided(asked(old, size, from), head);
          if (outcome.status !== 200) continue;
          expect(outcome.head.size).toBeGreaterThanOrEqual(head?.size ?? 0n);
          expect(rootBySize.get(outcome.head.size) ?? outcome.head.root).toBe(outcome.head.root);
          rootBySize.set(outcome.head.size, outcome.head.root);
          head = outcome.head;
          signed += 1;
        }
        // All of them are of one history.
        const roots = [...rootBySize];
        const isOne = [log, fork].some((each) =>
          roots.every(([size, root]) => each.root(Number(size)) === root),
        );
        expect([isOne, signed >= rootBySize.size]).toEqual([true, true]);
      }),
      { numRuns: 300 },
    );
  });
});

describe("the body of a request", () => {
  test("C2SP's example is read and written again", () => {
    const request = requestOf(addCheckpoint);
    expect([request.oldSize, request.path.length, request.checkpoint.size]).toEqual([
      20_852_014n,
      4,
      20_852_163n,
    ]);
    const checkpoint = addCheckpoint.slice(addCheckpoint.indexOf("\n\n") + 2);
    expect(formatAddCheckpoint({ oldSize: request.oldSize, path: request.path, checkpoint })).toBe(
      addCheckpoint,
    );
  });

  const good = formatAddCheckpoint({
    oldSize: 7n,
    path: log.consistency(7, 12),
    checkpoint: log.checkpoint(12),
  });
  const refused: Readonly<Record<string, string>> = {
    nothing: "",
    "no old size": good.replace("old 7\n", ""),
    "an old size with a zero before it": good.replace("old 7", "old 07"),
    "an old size below zero": good.replace("old 7", "old -7"),
    "a hash that is none": good.replace(/old 7\n[^\n]+/, "old 7\nAAAA"),
    "64 hashes": good.replace(
      "old 7\n",
      `old 7\n${`${Buffer.alloc(32).toString("base64")}\n`.repeat(64)}`,
    ),
    "no checkpoint": good.slice(0, good.indexOf("\n\n") + 2),
    "a checkpoint that is no note": `${good.slice(0, good.indexOf("\n\n") + 2)}origin\n1\n`,
    "a checkpoint without a root": good.replace(/\n12\n[^\n]+/, "\n12"),
  };
  for (const [what, body] of Object.entries(refused)) {
    test(`parseAddCheckpoint() refuses ${what}, and says so`, () => {
      expect(parseAddCheckpoint(body)).toContain("expected");
    });
  }

  test("parseAddCheckpoint() never throws, whatever comes", () => {
    fc.assert(
      fc.property(
        fc.nat(good.length),
        fc.nat(10),
        fc.string({ unit: "binary" }),
        (at, cut, text) => {
          const body = good.slice(0, at) + text + good.slice(at + cut);
          expect(["string", "object"]).toContain(typeof parseAddCheckpoint(body));
        },
      ),
      { numRuns: 1_000 },
    );
  });
});

function requestFrom(parts: {
  readonly oldSize: bigint;
  readonly path: readonly string[];
  readonly checkpoint: string;
}): AddCheckpoint {
  const note = parseNote(parts.checkpoint);
  if (typeof note === "string") throw new Error(note);
  const checkpoint = parseCheckpoint(note.text);
  if (typeof checkpoint === "string") throw new Error(checkpoint);
  return { oldSize: parts.oldSize, path: parts.path, note, checkpoint };
}

function requestOf(body: string): AddCheckpoint {
  const request = parseAddCheckpoint(body);
  if (typeof request === "string") throw new Error(request);
  return request;
}

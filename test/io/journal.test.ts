import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import type { Event } from "../../services/core/events.ts";
import type { PoolId } from "../../services/core/units.ts";
import { openJournalFile, type JournalFileOptions } from "../../services/io/journal-file.ts";
import { imageLines, LineReader } from "../../services/io/journal-image.ts";
import { readJournal } from "../../services/io/journal-reader.ts";
import { fromText, lineOf } from "../../services/io/journal-text.ts";
import type { Journal, JournalRecord } from "../../services/io/journal.ts";
import { openLog } from "../../services/io/log.ts";
import { collected } from "../collected.ts";
import { request } from "../wire/arbitraries.ts";

const root = mkdtempSync(join(tmpdir(), "tokengrid-journal-"));
afterAll(() => rmSync(root, { recursive: true }));

const log = openLog({ role: "test", level: "silent" });
let folders = 0;

function options(changes: Partial<JournalFileOptions> = {}): JournalFileOptions {
  return { folder: join(root, String((folders += 1))), image: () => "image", log, ...changes };
}

function passed(at: number): Event {
  return { kind: "time-passed", at };
}

async function recordsIn(journal: Journal): Promise<JournalRecord[]> {
  return collected(journal.read());
}

test("a journal begins with an image and has every event in order", async () => {
  const journal = await openJournalFile(options());
  for (const at of [1, 2, 3]) journal.note(passed(at));
  expect(await recordsIn(journal)).toEqual([
    { kind: "image", image: "image" },
    ...[1, 2, 3].map((at) => ({ kind: "event", event: passed(at) })),
  ]);
  await journal.close();
});

test("a journal that is opened again begins with an image behind what was there", async () => {
  const given = options();
  const first = await openJournalFile(given);
  first.note(passed(1));
  await first.close();
  const second = await openJournalFile(given);
  second.note(passed(2));
  const kinds = (await recordsIn(second)).map(({ kind }) => kind);
  expect(kinds).toEqual(["image", "event", "image", "event"]);
  await second.close();
});

test("the image is the state before the event that follows it", async () => {
  let state = 0;
  const journal = await openJournalFile(
    options({
      image: () => state,
      limits: { imageEveryBytes: 1, imageEveryTimesItsBytes: 0 },
    }),
  );
  for (const at of [1, 2]) {
    journal.note(passed(at));
    state = at;
    await journal.flush();
  }
  expect(await recordsIn(journal)).toEqual([
    { kind: "image", image: 0 },
    { kind: "event", event: passed(1) },
    { kind: "image", image: 1 },
    { kind: "event", event: passed(2) },
  ]);
  await journal.close();
});

test("events beyond the buffer are dropped, counted, and told as a gap with a new image", async () => {
  const journal = await openJournalFile(options({ limits: { bufferedEventsMax: 2 } }));
  for (const at of [1, 2, 3, 4]) journal.note(passed(at));
  await journal.flush();
  journal.note(passed(5));
  expect(journal.dropped).toBe(2);
  expect(await recordsIn(journal)).toEqual([
    { kind: "image", image: "image" },
    { kind: "event", event: passed(1) },
    { kind: "event", event: passed(2) },
    { kind: "gap", dropped: 2 },
    { kind: "image", image: "image" },
    { kind: "event", event: passed(5) },
  ]);
  await journal.close();
});

test("files in which all is too old are deleted", async () => {
  const given = options({
    limits: { segmentBytesMax: 256, imageEveryBytes: 256, keptMsMax: 60_000 },
  });
  const journal = await openJournalFile(given);
  const noteSome = async (from: number): Promise<void> => {
    for (let at = from; at < from + 40; at++) {
      journal.note(passed(at));
      await journal.flush();
    }
  };
  await noteSome(0);
  const old = readdirSync(given.folder);
  expect(old.length).toBeGreaterThan(5);
  for (const name of old) utimesSync(join(given.folder, name), 0, 0);
  await noteSome(40);
  const left = readdirSync(given.folder);
  expect(left.filter((name) => old.includes(name)).length).toBeLessThanOrEqual(1);
  expect(left.length).toBeGreaterThan(5);
  await journal.close();
});

test("old events are deleted from image to image, and what is left begins with an image", async () => {
  const given = options({
    limits: { segmentBytesMax: 256, imageEveryBytes: 256, keptBytesMax: 1_024 },
  });
  const journal = await openJournalFile(given);
  for (let at = 0; at < 200; at++) {
    journal.note(passed(at));
    await journal.flush();
  }
  const records = await recordsIn(journal);
  expect(records.length).toBeLessThan(100);
  expect(records.find(({ kind }) => kind !== "event")).toBeDefined();
  expect(records.at(-1)).toEqual({ kind: "event", event: passed(199) });
  expect(readdirSync(given.folder).length).toBeLessThan(20);
  await journal.close();
});

test("journal text keeps bigints, sets, maps and numbers that JSON has no word for", () => {
  // JSON has no minus zero, and nothing that is journalled tells the two apart.
  const number = fc.double().map((each) => (each === 0 ? 0 : each));
  const leaf = fc.oneof(number, fc.bigInt(), fc.string(), fc.boolean(), fc.constant(null));
  const value = fc.letrec((tie) => ({
    any: fc.oneof({ depthSize: "small" }, leaf, tie("list"), tie("set"), tie("map"), tie("object")),
    list: fc.array(tie("any")),
    set: fc.array(leaf).map((values) => new Set(values)),
    map: fc.array(fc.tuple(fc.string(), tie("any"))).map((pairs) => new Map(pairs)),
    object: fc.dictionary(fc.stringMatching(/^[a-z]+$/), tie("any"), { noNullPrototype: true }),
  })).any;
  fc.assert(
    fc.property(value, (image) => {
      const record = { kind: "image", image } as const;
      expect(withoutMinusZero(fromText(lineOf(record)))).toEqual(withoutMinusZero(record));
    }),
  );
});

test("a request is the same in the text of which a part is spelt out", () => {
  fc.assert(
    fc.property(request, fc.double({ min: 0, max: 2e12, noNaN: true }), (each, at) => {
      const cachedTokensAt = new Map([["a" as PoolId, 7]]);
      const event = {
        kind: "placement-requested",
        at,
        request: { ...each, cachedTokensAt },
      } as const;
      for (const given of [undefined, "+1 2 a"]) {
        expect(fromText(lineOf({ kind: "event", event, given }))).toEqual({
          kind: "event",
          event,
          ...(given === undefined ? {} : { given }),
        });
      }
    }),
  );
});

test("an image of any size is the same behind its lines, and one that is cut is none", () => {
  const items = fc.array(fc.oneof(fc.integer(), fc.string()), { maxLength: 200 });
  const image = fc.record({
    version: fc.constant(1),
    list: items,
    part: fc.record({ list: items }),
  });
  fc.assert(
    fc.property(image, fc.nat(), (each, at) => {
      const lines = [...imageLines(each)];
      const reader = new LineReader();
      const records = lines.map((line) => reader.record(line));
      expect(records.filter((record) => record !== undefined)).toEqual([
        { kind: "image", image: each },
      ]);
      if (lines.length === 1) return;
      const left = lines.toSpliced(at % lines.length, 1);
      const cut = new LineReader();
      expect(left.map((line) => cut.record(line)).filter(Boolean)).toEqual([]);
    }),
  );
});

test("what was given for an event stands beside it", async () => {
  const journal = await openJournalFile(options());
  journal.note(passed(1));
  journal.given([{ kind: "refused", lease: "a" as never, reason: "lease-gone" }]);
  journal.note(passed(2));
  journal.given([]);
  const given = (await recordsIn(journal)).map((record) =>
    record.kind === "event" ? record.given : record.kind,
  );
  expect(given).toEqual(["image", "lease-gone", ""]);
  await journal.close();
});

test("a flipped byte and a missing file are told with their place, and the rest is read", async () => {
  const given = options({ limits: { segmentBytesMax: 256 } });
  const journal = await openJournalFile(given);
  for (let at = 0; at < 40; at++) {
    journal.note(passed(at));
    await journal.flush();
  }
  await journal.close();
  const files = readdirSync(given.folder).toSorted();
  const whole = await collected(readJournal(given.folder));
  expect(files.length).toBeGreaterThan(5);
  expect(whole.filter(({ kind }) => kind === "lost")).toEqual([]);

  const flipped = join(given.folder, files[1] ?? "");
  const bytes = readFileSync(flipped);
  bytes[20] = (bytes[20] ?? 0) ^ 1;
  writeFileSync(flipped, bytes);
  rmSync(join(given.folder, files[3] ?? ""));
  const records = await collected(readJournal(given.folder));
  const lost = records.filter((record) => record.kind === "lost");
  expect(lost).toMatchObject([
    { reason: "flipped", position: Number.parseInt(files[1] ?? "", 10) },
    { reason: "missing-segment", position: Number.parseInt(files[3] ?? "", 10) },
  ]);
  expect(records.at(-1)).toMatchObject({ kind: "event", event: passed(39) });
});

test("journal text that is no record is refused", () => {
  for (const line of ["", "{", "1", "null", '{"kind":"else"}']) {
    expect(() => fromText(line)).toThrow(SyntaxError);
  }
});

/** JSON has one zero. */
function withoutMinusZero(value: unknown): unknown {
  return typeof value === "number" ? value + 0 : structuredClone(value);
}

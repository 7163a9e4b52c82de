import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemDisk, type SegmentDisk } from "../../services/io/segment-disk.ts";
import { headerBytes, type Damage } from "../../services/io/segment-records.ts";
import { openSegments, type Segments } from "../../services/io/segments.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "segments-"));
});
afterEach(() => rm(folder, { recursive: true }));

const segmentBytesMax = 1_000;

async function textsIn(segments: Segments, from = 0): Promise<string[]> {
  const texts: string[] = [];
  for await (const { bytes } of segments.read(from)) texts.push(bytes.toString());
  return texts;
}

/** Writes each text with an fsync of its own and returns the only segment's path. */
async function written(texts: readonly string[]): Promise<string> {
  const segments = await openSegments({ folder, segmentBytesMax: 1_000_000 });
  for (const text of texts) await segments.append(Buffer.from(text));
  await segments.close();
  return join(folder, "0000000000000000.seg");
}

async function reopened(): Promise<{ texts: string[]; damages: Damage[]; segments: Segments }> {
  const damages: Damage[] = [];
  const segments = await openSegments({
    folder,
    segmentBytesMax,
    onDamage: (damage) => damages.push(damage),
  });
  return { texts: await textsIn(segments), damages, segments };
}

test("openSegments() gives back what was appended, in order, over rotations and restarts", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 }), { maxLength: 4 }),
      async (lives) => {
        const own = await mkdtemp(join(folder, "run-"));
        for (const records of lives) {
          const segments = await openSegments({ folder: own, segmentBytesMax: 500 });
          await Promise.all(records.map((record) => segments.append(record)));
          await segments.close();
        }
        const segments = await openSegments({ folder: own, segmentBytesMax: 500 });
        const found: Buffer[] = [];
        for await (const { bytes } of segments.read()) found.push(bytes);
        await segments.close();
        expect(found.map((bytes) => bytes.toString("hex"))).toEqual(
          lives.flat().map((record) => Buffer.from(record).toString("hex")),
        );
      },
    ),
    { numRuns: 30 },
  );
});

test("append() of many records at once pays for one fsync", async () => {
  let syncs = 0;
  const segments = await openSegments({
    folder,
    segmentBytesMax: 1_000_000,
    onFsync: () => (syncs += 1),
  });
  await Promise.all(Array.from({ length: 500 }, () => segments.append(Buffer.from("record"))));
  expect(syncs).toBe(1);
  await segments.close();
});

test("read() from a position begins there, and positions only grow over a restart", async () => {
  await written(["a", "b"]);
  const { segments } = await reopened();
  const at = await segments.append(Buffer.from("c"));
  expect(at).toBe(2 * (headerBytes + 1));
  expect(await textsIn(segments, at)).toEqual(["c"]);
  await segments.close();
});

test("openSegments() of a file cut at any byte keeps all whole records and cuts the torn one off", async () => {
  const texts = ["first", "the second one", "third"];
  const path = await written(texts);
  const whole = await readFile(path);
  const ends = texts.map((_, index) =>
    texts.slice(0, index + 1).reduce((sum, text) => sum + headerBytes + text.length, 0),
  );
  for (let size = 0; size <= whole.length; size++) {
    await writeFile(path, whole);
    await truncate(path, size);
    const { texts: left, damages, segments } = await reopened();
    const kept = ends.filter((end) => end <= size).length;
    expect(left, `cut at ${size}`).toEqual(texts.slice(0, kept));
    expect(damages.length).toBe(size === (ends[kept - 1] ?? 0) ? 0 : 1);
    await segments.append(Buffer.from("after"));
    expect(await textsIn(segments)).toEqual([...texts.slice(0, kept), "after"]);
    await segments.close();
  }
});

test("read() finds every flipped bit of a record in the middle, and reads the others", async () => {
  const path = await written(["first", "the second one", "third"]);
  const whole = await readFile(path);
  const start = headerBytes + 5;
  for (let at = start; at < start + headerBytes + 14; at++) {
    for (const bit of [0, 3, 7]) {
      const flipped = Buffer.from(whole);
      flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << bit), at);
      await writeFile(path, flipped);
      const { texts, damages, segments } = await reopened();
      expect(texts, `bit ${bit} of byte ${at}`).toEqual(["first", "third"]);
      expect(damages).toEqual([{ position: start, bytes: headerBytes + 14, reason: "flipped" }]);
      await segments.close();
    }
  }
});

test("openSegments() keeps the bytes of a damaged last record beside the segments", async () => {
  const path = await written(["first", "second"]);
  const bytes = await readFile(path);
  bytes.writeUInt8(0, bytes.length - 1);
  await writeFile(path, bytes);
  const { texts, damages, segments } = await reopened();
  expect(texts).toEqual(["first"]);
  expect(damages).toEqual([{ position: 21, bytes: 22, reason: "torn-tail" }]);
  const kept = (await readdir(folder)).filter((name) => name.startsWith("damaged-21-"));
  expect(await readFile(join(folder, kept[0] ?? ""))).toEqual(bytes.subarray(21));
  await segments.close();
});

test("read() takes no record that another record carries inside for one of its own", async () => {
  const inner = await readFile(await written(["inner"]));
  await rm(join(folder, "0000000000000000.seg"));
  const path = await written(["first", `..${inner.toString("latin1")}`, "third"]);
  const bytes = await readFile(path);
  bytes.writeUInt8(0, headerBytes + 5);
  await writeFile(path, bytes);
  const { texts, segments } = await reopened();
  expect(texts).toEqual(["first", "third"]);
  await segments.close();
});

test("trimBefore() deletes whole segments only, and never the one that is written to", async () => {
  const segments = await openSegments({ folder, segmentBytesMax: 100 });
  const positions: number[] = [];
  for (let index = 0; index < 10; index++) {
    positions.push(await segments.append(Buffer.alloc(40, index)));
  }
  await segments.trimBefore(positions[5] ?? 0);
  expect(await readdir(folder)).toEqual([280, 336, 392, 448, 504].map(nameOf));
  await segments.trimBefore(Infinity);
  expect(await readdir(folder)).toEqual([nameOf(504)]);
  expect(segments.bytes).toBe(56);
  await segments.close();
});

function nameOf(base: number): string {
  return `${String(base).padStart(16, "0")}.seg`;
}

/** Refuses the operations whose number is named. */
function failingDisk(fails: {
  readonly writes?: number[];
  readonly syncs?: number[];
}): SegmentDisk {
  const done = { writes: 0, syncs: 0 };
  return {
    ...systemDisk,
    write: async (file, bytes, at) => {
      if (fails.writes?.includes((done.writes += 1)) !== true) {
        return systemDisk.write(file, bytes, at);
      }
      await systemDisk.write(file, bytes.subarray(0, bytes.length >> 1), at);
      throw new Error("ENOSPC");
    },
    sync: async (file) => {
      if (fails.syncs?.includes((done.syncs += 1)) === true) throw new Error("EIO");
      await systemDisk.sync(file);
    },
  };
}

test("append() on a full disk is refused, leaves no half record, and the next one succeeds", async () => {
  const disk = failingDisk({ writes: [2] });
  const segments = await openSegments({ folder, segmentBytesMax, disk });
  await segments.append(Buffer.from("first"));
  await expect(segments.append(Buffer.from("second"))).rejects.toMatchObject({
    reason: "write-failed",
  });
  await segments.append(Buffer.from("third"));
  await segments.close();
  const { texts, damages, segments: again } = await reopened();
  expect([texts, damages]).toEqual([["first", "third"], []]);
  await again.close();
});

test("append() after a failed fsync is refused for good, and the fsync is never tried again", async () => {
  let syncs = 0;
  const failing = failingDisk({ syncs: [2] });
  const disk: SegmentDisk = {
    ...failing,
    sync: (file) => {
      syncs += 1;
      return failing.sync(file);
    },
  };
  const segments = await openSegments({ folder, segmentBytesMax, disk });
  await segments.append(Buffer.from("first"));
  const second = segments.append(Buffer.from("second"));
  await expect(second).rejects.toMatchObject({ reason: "failed" });
  await expect(segments.append(Buffer.from("third"))).rejects.toMatchObject({ reason: "failed" });
  expect([syncs, segments.failure?.message]).toEqual([
    2,
    "an fsync failed, what the disk holds is not known",
  ]);
  expect(await textsIn(segments)).toEqual(["first"]);
  await segments.close();
});

test("append() beyond what may wait for the disk is refused at once", async () => {
  const segments = await openSegments({ folder, segmentBytesMax, queuedBytesMax: 10 });
  const first = segments.append(Buffer.alloc(10));
  await expect(segments.append(Buffer.alloc(1))).rejects.toMatchObject({ reason: "full" });
  await first;
  await segments.close();
});

test("note() waits for no fsync and is there after the process is gone", async () => {
  let syncs = 0;
  const segments = await openSegments({ folder, segmentBytesMax, onFsync: () => (syncs += 1) });
  expect(segments.note(Buffer.from("seen"))).toBe(true);
  await segments.close();
  expect(syncs).toBe(0);
  const { texts, segments: again } = await reopened();
  expect(texts).toEqual(["seen"]);
  await again.close();
});

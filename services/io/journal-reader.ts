import { LineReader } from "./journal-image.ts";
import type { JournalRecord, Lost } from "./journal.ts";
import { readSegment } from "./segment-reader.ts";
import type { Damage, Position } from "./segment-records.ts";
import { listSegments, type Segment } from "./segments.ts";

/** The lines of one write, or what is lost in their place. */
export type JournalBatch =
  { readonly kind: "lines"; readonly position: Position; readonly bytes: Buffer } | Lost;

/**
 * The writes of a journal's folder as they are now, oldest first, from those at `from` to those at `until`. Only reads, so that it may be done
 * beside the one who writes. A file that is missing between two others is told; one before the first cannot be.
 */
export async function* readBatches(
  folder: string,
  from: Position = 0,
  until: Position = Infinity,
): AsyncGenerator<JournalBatch> {
  const files = await listSegments(folder);
  for (const [index, file] of files.entries()) {
    const before = files[index - 1];
    const end = before === undefined ? file.base : before.base + before.size;
    if (end < file.base && end >= from) yield missing(end, file.base);
    if (file.base + file.size <= from) continue;
    for await (const batch of batchesOf(folder, file, Math.max(from, file.base))) {
      if (batch.position > until) return;
      yield batch;
    }
  }
}

function missing(position: Position, until: Position): Lost {
  return { kind: "lost", position, bytes: until - position, reason: "missing-segment" };
}

async function* batchesOf(
  folder: string,
  { base, size }: Segment,
  from: Position,
): AsyncGenerator<JournalBatch> {
  const found: Damage[] = [];
  const records = readSegment({
    folder,
    base,
    from,
    until: base + size,
    onDamage: (damage) => found.push(damage),
  });
  for await (const { position, bytes } of records) {
    for (const damage of found.splice(0)) yield { kind: "lost", ...damage };
    yield { kind: "lines", position, bytes };
  }
  for (const damage of found) yield { kind: "lost", ...damage };
}

/** Turns batches to records, many at once. Behind a loss an image that had begun does not count. */
export async function* recordBatchesOf(
  batches: AsyncIterable<JournalBatch>,
): AsyncGenerator<readonly JournalRecord[]> {
  const reader = new LineReader();
  for await (const batch of batches) {
    if (batch.kind === "lost") {
      reader.forgetImage();
      yield [batch];
      continue;
    }
    const { position, bytes } = batch;
    const records: JournalRecord[] = [];
    for (const line of bytes.toString("utf8").split("\n")) {
      addRecord(records, { reader, line, position });
    }
    yield records;
  }
  if (reader.forgetImage()) yield [{ kind: "lost", position: NaN, bytes: 0, reason: "torn-image" }];
}

/** The same one by one, which takes longer. */
export async function* recordsOf(
  batches: AsyncIterable<JournalBatch>,
): AsyncGenerator<JournalRecord> {
  for await (const records of recordBatchesOf(batches)) yield* records;
}

function addRecord(
  records: JournalRecord[],
  { reader, line, position }: { reader: LineReader; line: string; position: Position },
): void {
  try {
    const record = reader.record(line);
    if (record === undefined) return;
    // Pieces of an image come one behind the other: anything else among them ends it.
    if (record.kind !== "image" && reader.forgetImage()) {
      records.push({ kind: "lost", position, bytes: 0, reason: "torn-image" });
    }
    records.push(record);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    records.push({ kind: "lost", position, bytes: Buffer.byteLength(line), reason: "unreadable" });
  }
}

/** The records of a folder, of the writes that begin within these positions. */
export function readJournal(
  folder: string,
  from: Position = 0,
  until: Position = Infinity,
): AsyncGenerator<JournalRecord> {
  return recordsOf(readBatches(folder, from, until));
}

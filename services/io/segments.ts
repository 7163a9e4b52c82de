import { join } from "node:path";
import { assert } from "../core/assert.ts";
import { systemDisk, type SegmentDisk, type SegmentFile } from "./segment-disk.ts";
import { readSegment } from "./segment-reader.ts";
import {
  headerBytes,
  headerOf,
  recordBytesMax,
  segmentName,
  type Damage,
  type Position,
  type StoredRecord,
} from "./segment-records.ts";

/** Nothing was written; the records before it stand. */
export class SegmentsError extends Error {
  override name = "SegmentsError";
  /** `full`: the queue is. `write-failed`: this batch is lost. `failed`: nothing is written any more. */
  readonly reason: "full" | "write-failed" | "failed" | "closed";

  constructor(reason: SegmentsError["reason"], message: string, cause?: unknown) {
    super(message, { cause });
    this.reason = reason;
  }
}

export interface SegmentsOptions {
  readonly folder: string;
  /** A segment that is larger gets no more records, in bytes. */
  readonly segmentBytesMax: number;
  /** What may wait for the disk, in bytes; more is refused. */
  readonly queuedBytesMax?: number;
  readonly disk?: SegmentDisk;
  /** How long each fsync took, in ms. */
  readonly onFsync?: (durationMs: number) => void;
  /** Found when the folder was opened or read. The bytes of a damaged end are kept beside the segments. */
  readonly onDamage?: (damage: Damage) => void;
}

export interface Segment {
  /** Of its first byte. */
  readonly base: Position;
  size: number;
}

interface Pending {
  readonly record: Uint8Array;
  /** Undefined for a note, which waits for nobody. */
  readonly promise: { resolve(at: Position): void; reject(reason: Error): void } | undefined;
}

/**
 * Records in files, each with a check sum. Those that come while the disk is busy share the next fsync, so
 * that many callers pay for one. After a failed fsync nothing is written any more: what the disk then holds
 * is not known, and a second fsync would say yes to pages that were dropped.
 */
export class Segments {
  readonly #options: Required<SegmentsOptions>;
  /** Oldest first. The last one is written to. */
  readonly #segments: Segment[];
  #file: SegmentFile;
  #queue: Pending[] = [];
  #queuedBytes = 0;
  #writing: Promise<void> | undefined;
  #refusal: SegmentsError | undefined;

  constructor(options: Required<SegmentsOptions>, segments: Segment[], file: SegmentFile) {
    this.#options = options;
    this.#segments = segments;
    this.#file = file;
  }

  /** On disk, in bytes. */
  get bytes(): number {
    return this.#segments.reduce((sum, { size }) => sum + size, 0);
  }

  /** The files, oldest first. The last one is written to. */
  get files(): readonly Readonly<Segment>[] {
    return this.#segments.slice();
  }

  /** Where the next record will begin. */
  get end(): Position {
    const { base, size } = this.#active;
    return base + size;
  }

  /** Set after a failed fsync; only a new start helps. */
  get failure(): Error | undefined {
    return this.#refusal?.reason === "failed" ? this.#refusal : undefined;
  }

  /** Resolves when the record is on the medium. Throws `SegmentsError`. */
  append(record: Uint8Array): Promise<Position> {
    const refusal = this.#reasonAgainst(record);
    if (refusal !== undefined) return Promise.reject(refusal);
    return new Promise((resolve, reject) =>
      this.#enqueue({ record, promise: { resolve, reject } }),
    );
  }

  /**
   * Writes the record with the next batch and waits for no fsync: it outlives the process, not the machine.
   * False if there is no room for it.
   */
  note(record: Uint8Array): boolean {
    if (this.#reasonAgainst(record) !== undefined) return false;
    this.#enqueue({ record, promise: undefined });
    return true;
  }

  /** What is written by now, from `from` or from the oldest. Damaged places are reported and passed over. */
  async *read(from: Position = 0): AsyncGenerator<StoredRecord> {
    const until = this.end;
    for (const { base, size } of this.#segments.slice()) {
      if (base + size <= from || base >= until) continue;
      yield* readSegment({
        folder: this.#options.folder,
        disk: this.#options.disk,
        base,
        from: Math.max(from, base),
        until: Math.min(base + size, until),
        onDamage: this.#options.onDamage,
      });
    }
  }

  /** Deletes the segments that hold nothing at or after the position. */
  async trimBefore(position: Position): Promise<void> {
    while (this.#segments.length > 1) {
      const [oldest] = this.#segments;
      if (oldest === undefined || oldest.base + oldest.size > position) return;
      this.#segments.shift();
      await this.#options.disk.remove(this.#options.folder, segmentName(oldest.base));
    }
  }

  /** Writes what waits, then takes nothing more. */
  async close(): Promise<void> {
    this.#refusal ??= new SegmentsError("closed", "the segments are closed");
    await this.#writing;
    await this.#file.close();
  }

  get #active(): Segment {
    const active = this.#segments.at(-1);
    assert(active !== undefined, "there is always a segment to write to");
    return active;
  }

  #reasonAgainst(record: Uint8Array): SegmentsError | undefined {
    if (this.#refusal !== undefined) return this.#refusal;
    if (record.length > recordBytesMax) {
      return new SegmentsError(
        "full",
        `a record has ${record.length} bytes, at most ${recordBytesMax}`,
      );
    }
    return this.#queuedBytes + record.length > this.#options.queuedBytesMax
      ? new SegmentsError("full", `${this.#queuedBytes} bytes wait for the disk already`)
      : undefined;
  }

  #enqueue(pending: Pending): void {
    this.#queue.push(pending);
    this.#queuedBytes += pending.record.length;
    this.#writing ??= this.#drain();
  }

  async #drain(): Promise<void> {
    // All that is asked for in this turn of the loop shares the first batch.
    await this.#options.disk.gather();
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      this.#queuedBytes = 0;
      const outcome = await this.#commit(batch);
      if (outcome instanceof SegmentsError) {
        for (const { promise } of batch) promise?.reject(outcome);
        continue;
      }
      for (const [index, { promise }] of batch.entries()) promise?.resolve(outcome[index] ?? NaN);
    }
    this.#writing = undefined;
  }

  /** The positions of the records, or why none of them counts as written. */
  async #commit(batch: readonly Pending[]): Promise<Position[] | SegmentsError> {
    if (this.failure instanceof SegmentsError) return this.failure;
    const bytes = batch.reduce((sum, { record }) => sum + headerBytes + record.length, 0);
    try {
      await this.#rotate(bytes);
      const positions = await this.#write(batch);
      if (batch.some(({ promise }) => promise !== undefined)) await this.#sync();
      this.#active.size += bytes;
      return positions;
    } catch (cause) {
      if (cause instanceof SegmentsError) return cause;
      return this.#unwrite(cause);
    }
  }

  async #write(batch: readonly Pending[]): Promise<Position[]> {
    const { base, size } = this.#active;
    const positions: Position[] = [];
    const parts: Uint8Array[] = [];
    let position = base + size;
    for (const { record } of batch) {
      positions.push(position);
      parts.push(headerOf(record, position), record);
      position += headerBytes + record.length;
    }
    await this.#options.disk.write(this.#file, Buffer.concat(parts), size);
    return positions;
  }

  async #sync(): Promise<void> {
    const startedAt = performance.now();
    try {
      await this.#options.disk.sync(this.#file);
    } catch (cause) {
      this.#refusal = new SegmentsError(
        "failed",
        "an fsync failed, what the disk holds is not known",
        cause,
      );
      throw this.#refusal;
    }
    this.#options.onFsync(performance.now() - startedAt);
  }

  /** A write that failed, as on a full disk, leaves no half record behind, and the next one may succeed. */
  async #unwrite(cause: unknown): Promise<SegmentsError> {
    try {
      await this.#file.truncate(this.#active.size);
    } catch (second) {
      this.#refusal = new SegmentsError(
        "failed",
        "a half written batch cannot be taken back",
        second,
      );
      return this.#refusal;
    }
    return new SegmentsError("write-failed", "the batch could not be written", cause);
  }

  async #rotate(bytesComing: number): Promise<void> {
    const { base, size } = this.#active;
    if (size === 0 || size + bytesComing <= this.#options.segmentBytesMax) return;
    const { disk, folder } = this.#options;
    const file = await disk.open(folder, segmentName(base + size), "new");
    await this.#sync();
    await this.#file.close();
    this.#file = file;
    this.#segments.push({ base: base + size, size: 0 });
  }
}

/** Opens the folder, cuts a torn end off, and goes on behind the last whole record. */
export async function openSegments(given: SegmentsOptions): Promise<Segments> {
  const options: Required<SegmentsOptions> = {
    queuedBytesMax: 32 * 1024 * 1024,
    disk: systemDisk,
    onFsync: () => undefined,
    onDamage: () => undefined,
    ...given,
  };
  const { folder, disk } = options;
  await disk.folder(folder);
  const segments = await listSegments(folder, disk);
  const last = segments.at(-1);
  if (last === undefined) {
    const file = await disk.open(folder, segmentName(0), "new");
    return new Segments(options, [{ base: 0, size: 0 }], file);
  }
  const file = await disk.open(folder, segmentName(last.base), "write");
  last.size = await cutTornEnd(file, last, options);
  return new Segments(options, segments, file);
}

/** What follows the last whole record is cut, and kept in a file beside. Returns the size that is left. */
async function cutTornEnd(
  file: SegmentFile,
  { base, size }: Segment,
  { folder, disk, onDamage }: Required<SegmentsOptions>,
): Promise<number> {
  let end = base;
  const records = readSegment({
    folder,
    disk,
    base,
    from: base,
    until: base + size,
    onDamage: () => undefined,
  });
  for await (const { next } of records) end = next;
  const kept = end - base;
  if (kept === size) return size;
  const torn = Buffer.alloc(size - kept);
  await file.read(torn, 0, torn.length, kept);
  await disk.keep(folder, `damaged-${end}-${Date.now()}.bin`, torn);
  await file.truncate(kept);
  await file.sync();
  onDamage({ position: end, bytes: torn.length, reason: "torn-tail" });
  return kept;
}

/** The files of a folder as they are now, oldest first; nothing is changed. */
export async function listSegments(folder: string, disk = systemDisk): Promise<Segment[]> {
  const files = (await disk.list(folder)).filter(({ name }) => /^\d{16}\.seg$/.test(name));
  return files
    .map(({ name, size }) => ({ base: Number.parseInt(name, 10), size }))
    .toSorted((one, other) => one.base - other.base);
}

export function segmentPath(folder: string, base: Position): string {
  return join(folder, segmentName(base));
}

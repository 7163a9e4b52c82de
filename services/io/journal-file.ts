import { stat } from "node:fs/promises";
import { effectsText } from "../core/effect-text.ts";
import type { Effect, Event } from "../core/events.ts";
import type { Instant } from "../core/units.ts";
import { imageLines } from "./journal-image.ts";
import { readJournal } from "./journal-reader.ts";
import { lineOf } from "./journal-text.ts";
import type { Journal, JournalRecord } from "./journal.ts";
import type { Log } from "./log.ts";
import { openSegments, segmentPath, type Segments } from "./segments.ts";

/** Bounds of the journal. */
export const journalLimits = {
  /** Events that wait to be written; beyond it they are dropped and counted. */
  bufferedEventsMax: 16_384,
  /** Events of one record, so that encoding never holds up the work for long. */
  batchEventsMax: 512,
  /** Of an image, written at once: the rest follows behind the work. */
  batchImageBytesMax: 256 * 1024,
  flushMs: 10,
  segmentBytesMax: 16 * 1024 * 1024,
  /** An image is written after so many bytes of events, and no sooner than after so many times its own. */
  imageEveryBytes: 8 * 1024 * 1024,
  imageEveryTimesItsBytes: 8,
  /** And after so long, so that a quiet journal need not be read from far back. */
  imageEveryMs: 15 * 60_000,
  /** The oldest files go beyond it. */
  keptBytesMax: 512 * 1024 * 1024,
  /** A file goes when all in it is older. */
  keptMsMax: 30 * 24 * 3_600_000,
} as const;

export type JournalLimits = Readonly<Record<keyof typeof journalLimits, number>>;

export interface JournalFile extends Journal {
  readonly folder: string;
  /** Events that were not written, since the journal was opened. */
  readonly dropped: number;
  close(): Promise<void>;
}

export interface JournalFileOptions {
  readonly folder: string;
  /** The whole state now, as values. Called between two events, when an image is due. */
  readonly image: () => unknown;
  readonly log: Log;
  readonly limits?: Partial<JournalLimits>;
}

/** A journal in files of records. It begins with an image, so that each run of the program replays by itself. */
export async function openJournalFile(options: JournalFileOptions): Promise<JournalFile> {
  const { folder, log } = options;
  const limits = { ...journalLimits, ...options.limits };
  const segments = await openSegments({
    folder,
    segmentBytesMax: Math.min(limits.segmentBytesMax, limits.keptBytesMax / 4),
    onDamage: (damage) => log.error({ folder, ...damage }, "the journal is damaged"),
  });
  return new SegmentedJournal(segments, options, limits);
}

class SegmentedJournal implements JournalFile {
  readonly #segments: Segments;
  readonly #options: JournalFileOptions;
  readonly #limits: JournalLimits;
  /** Noted and not yet encoded, and what was given for each. */
  #events: Event[] = [];
  #given: (readonly Effect[])[] = [];
  /** What is left of an image that is being written; the events come behind it. */
  #image: Generator<string> | undefined;
  /** Encoded and not yet on disk, newest last. */
  #writing: Promise<void> = Promise.resolve();
  #batchesWaiting = 0;
  #timer: NodeJS.Timeout | undefined;
  #dropped = 0;
  #droppedUntold = 0;
  /** Behind a gap nothing makes sense before the next image. */
  #isBehindGap = false;
  #bytesSinceImage = Infinity;
  #imageBytes = 0;
  #imageAt: Instant = -Infinity;

  constructor(segments: Segments, options: JournalFileOptions, limits: JournalLimits) {
    this.#segments = segments;
    this.#options = options;
    this.#limits = limits;
  }

  get folder(): string {
    return this.#options.folder;
  }

  get dropped(): number {
    return this.#dropped;
  }

  note(event: Event): void {
    if (this.#isImageDue(event.at)) this.#beginImage(event.at);
    if (this.#isBehindGap || this.#events.length >= this.#limits.bufferedEventsMax) {
      this.#drop(1);
      return;
    }
    this.#events.push(event);
    this.#timer ??= setTimeout(() => this.#encode(), this.#limits.flushMs);
  }

  given(effects: readonly Effect[]): void {
    if (this.#given.length < this.#events.length) this.#given.push(effects);
  }

  async flush(): Promise<void> {
    while (this.#events.length > 0 || this.#image !== undefined) this.#encode();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#writing;
  }

  async *read(): AsyncGenerator<JournalRecord> {
    await this.flush();
    yield* readJournal(this.folder);
  }

  async close(): Promise<void> {
    await this.flush();
    if (this.#isBehindGap) this.#write([this.#gap()], 0);
    await this.#writing;
    await this.#segments.close();
  }

  /** After a gap as soon as the disk keeps up again; else when enough was written since the last. */
  #isImageDue(now: Instant): boolean {
    if (this.#events.length > 0 || this.#image !== undefined) return false;
    if (this.#isBehindGap) return this.#batchesWaiting === 0;
    const { imageEveryBytes, imageEveryTimesItsBytes, imageEveryMs } = this.#limits;
    const bytes = Math.max(imageEveryBytes, imageEveryTimesItsBytes * this.#imageBytes);
    return this.#bytesSinceImage >= bytes || now - this.#imageAt >= imageEveryMs;
  }

  #beginImage(now: Instant): void {
    if (this.#isBehindGap) this.#write([this.#gap()], 0);
    this.#bytesSinceImage = 0;
    this.#imageBytes = 0;
    this.#imageAt = now;
    this.#image = imageLines(this.#options.image());
    this.#timer ??= setTimeout(() => this.#encode(), 0);
  }

  #encode(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#image === undefined) this.#encodeEvents();
    else this.#encodeImage(this.#image);
    if (this.#events.length > 0 || this.#image !== undefined) {
      this.#timer = setTimeout(() => this.#encode(), 0);
    }
  }

  #encodeImage(image: Generator<string>): void {
    const lines: string[] = [];
    let characters = 0;
    while (characters < this.#limits.batchImageBytesMax) {
      const { value, done } = image.next();
      if (done === true) {
        this.#image = undefined;
        this.#forgetLater();
        break;
      }
      lines.push(value);
      characters += value.length;
    }
    if (lines.length > 0) this.#imageBytes += this.#write(lines, 0);
  }

  #encodeEvents(): void {
    const events = this.#events.splice(0, this.#limits.batchEventsMax);
    const given = this.#given.splice(0, events.length);
    if (events.length === 0) return;
    this.#bytesSinceImage += this.#write(
      events.map((event, index) => {
        const effects = given[index];
        return lineOf({
          kind: "event",
          event,
          given: effects === undefined ? undefined : effectsText(effects),
        });
      }),
      events.length,
    );
  }

  #gap(): string {
    const dropped = this.#droppedUntold;
    this.#droppedUntold = 0;
    this.#isBehindGap = false;
    return lineOf({ kind: "gap", dropped });
  }

  /** Returns the bytes of the lines. */
  #write(lines: readonly string[], events: number): number {
    const bytes = Buffer.from(lines.join("\n"));
    this.#batchesWaiting += 1;
    const before = this.#writing;
    const appended = this.#segments.append(bytes);
    const done = async (): Promise<void> => {
      try {
        await appended;
      } catch (error) {
        this.#options.log.error({ error }, "the journal cannot be written");
        this.#drop(events);
      }
      this.#batchesWaiting -= 1;
      await before;
    };
    this.#writing = done();
    return bytes.length;
  }

  /** None: what is lost is a part of an image. */
  #drop(events: number): void {
    this.#isBehindGap = true;
    this.#dropped += events;
    this.#droppedUntold += events;
  }

  #forgetLater(): void {
    const before = this.#writing;
    const done = async (): Promise<void> => {
      await before;
      try {
        await this.#forget();
      } catch (error) {
        this.#options.log.error({ error }, "old files of the journal cannot be deleted");
      }
    };
    this.#writing = done();
  }

  /** From the oldest on, as long as there is too much or all in a file is too old. Never the one that is written to. */
  async #forget(): Promise<void> {
    const oldestMs = Date.now() - this.#limits.keptMsMax;
    for (const { base, size } of this.#segments.files.slice(0, -1)) {
      const isOver = this.#segments.bytes > this.#limits.keptBytesMax;
      if (!isOver && (await stat(segmentPath(this.folder, base))).mtimeMs >= oldestMs) return;
      await this.#segments.trimBefore(base + size);
    }
  }
}

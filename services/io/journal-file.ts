import type { Event } from "../core/events.ts";
import { eventToText, fromText, toText } from "./journal-text.ts";
import type { Journal, JournalRecord } from "./journal.ts";
import type { Log } from "./log.ts";
import { openSegments, type Segments } from "./segments.ts";
import type { Position } from "./segment-records.ts";

/** Bounds of the journal. */
export const journalLimits = {
  /** Events that wait to be written; beyond it they are dropped and counted. */
  bufferedEventsMax: 16_384,
  /** Events of one record, so that encoding never holds up the work for long. */
  batchEventsMax: 512,
  flushMs: 10,
  segmentBytesMax: 16 * 1024 * 1024,
  /** An image is written after so many bytes of events. */
  imageEveryBytes: 8 * 1024 * 1024,
  /** Older events are deleted, from image to image. */
  keptBytesMax: 512 * 1024 * 1024,
} as const;

export interface JournalFile extends Journal {
  /** Events that were not written, since the journal was opened. */
  readonly dropped: number;
  close(): Promise<void>;
}

export interface JournalFileOptions {
  readonly folder: string;
  /** The whole state now. Called between two events, when an image is due. */
  readonly image: () => unknown;
  readonly log: Log;
  readonly limits?: Partial<Record<keyof typeof journalLimits, number>>;
}

/** A journal in files of records. It begins with an image, so that each run of the program replays by itself. */
export async function openJournalFile(options: JournalFileOptions): Promise<JournalFile> {
  const { folder, log } = options;
  const limits = { ...journalLimits, ...options.limits };
  const segments = await openSegments({
    folder,
    segmentBytesMax: limits.segmentBytesMax,
    onDamage: (damage) => log.error({ folder, ...damage }, "the journal is damaged"),
  });
  return new SegmentedJournal(segments, options, limits);
}

class SegmentedJournal implements JournalFile {
  readonly #segments: Segments;
  readonly #options: JournalFileOptions;
  readonly #limits: Readonly<Record<keyof typeof journalLimits, number>>;
  /** Noted and not yet encoded. */
  #events: Event[] = [];
  /** Encoded and not yet on disk, newest last. */
  #writing: Promise<void> = Promise.resolve();
  #batchesWaiting = 0;
  #timer: NodeJS.Timeout | undefined;
  #dropped = 0;
  #droppedUntold = 0;
  #bytesSinceImage = Infinity;
  /** Where the images are that are still kept, oldest first. */
  readonly #images: Position[] = [];

  constructor(
    segments: Segments,
    options: JournalFileOptions,
    limits: Readonly<Record<keyof typeof journalLimits, number>>,
  ) {
    this.#segments = segments;
    this.#options = options;
    this.#limits = limits;
  }

  get dropped(): number {
    return this.#dropped;
  }

  note(event: Event): void {
    if (this.#isImageDue) this.#writeImage();
    // Behind a gap nothing makes sense before the next image.
    if (this.#droppedUntold > 0 || this.#events.length >= this.#limits.bufferedEventsMax) {
      this.#drop(1);
      return;
    }
    this.#events.push(event);
    this.#timer ??= setTimeout(() => this.#encode(), this.#limits.flushMs);
  }

  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    while (this.#events.length > 0) this.#encode();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#writing;
  }

  async *read(): AsyncGenerator<JournalRecord> {
    await this.flush();
    for await (const { bytes } of this.#segments.read()) {
      for (const line of bytes.toString("utf8").split("\n")) yield fromText(line);
    }
  }

  async close(): Promise<void> {
    await this.flush();
    if (this.#droppedUntold > 0) this.#write(this.#gap(), 0, false);
    await this.#writing;
    await this.#segments.close();
  }

  /** After a gap as soon as the disk keeps up again; else when enough was written since the last. */
  get #isImageDue(): boolean {
    if (this.#events.length > 0) return false;
    const isBehind = this.#droppedUntold > 0 && this.#batchesWaiting === 0;
    return isBehind || this.#bytesSinceImage >= this.#limits.imageEveryBytes;
  }

  #writeImage(): void {
    this.#bytesSinceImage = 0;
    const image = toText({ kind: "image", image: this.#options.image() });
    this.#write([...this.#gap(), image], 0, true);
  }

  #encode(): void {
    this.#timer = undefined;
    const events = this.#events.splice(0, this.#limits.batchEventsMax);
    if (events.length === 0) return;
    this.#write(events.map(eventToText), events.length, false);
    if (this.#events.length > 0) this.#timer = setTimeout(() => this.#encode(), 0);
  }

  #gap(): string[] {
    if (this.#droppedUntold === 0) return [];
    const dropped = this.#droppedUntold;
    this.#droppedUntold = 0;
    return [toText({ kind: "gap", dropped })];
  }

  #write(lines: readonly string[], events: number, isImage: boolean): void {
    const bytes = Buffer.from(lines.join("\n"));
    this.#bytesSinceImage += bytes.length;
    this.#batchesWaiting += 1;
    const before = this.#writing;
    const appended = this.#segments.append(bytes);
    const done = async (): Promise<void> => {
      try {
        const position = await appended;
        if (isImage) await this.#forget(position);
      } catch (error) {
        this.#options.log.error({ error }, "the journal cannot be written");
        this.#drop(events);
      }
      this.#batchesWaiting -= 1;
      await before;
    };
    this.#writing = done();
  }

  #drop(events: number): void {
    this.#dropped += events;
    this.#droppedUntold += events;
  }

  /** Keeps whole stretches from image to image, as many as fit. */
  async #forget(image: Position): Promise<void> {
    this.#images.push(image);
    const oldest = this.#segments.end - this.#limits.keptBytesMax;
    while (this.#images.length > 1 && (this.#images[1] ?? Infinity) <= oldest) this.#images.shift();
    const [first] = this.#images;
    const isOver = this.#segments.bytes > this.#limits.keptBytesMax;
    if (first !== undefined && isOver) await this.#segments.trimBefore(first);
  }
}

import { Dispatcher } from "../core/dispatcher.ts";
import { IMAGE_VERSION, type DispatcherImage } from "../core/dispatcher-image.ts";
import { effectsText } from "../core/effect-text.ts";
import type { Effect, Event } from "../core/events.ts";
import { canonicalText } from "./journal-text.ts";
import type { JournalRecord, Lost } from "./journal.ts";

export type Replayed =
  /** Replay begins here, or goes on behind something that is missing. */
  | { readonly kind: "restored"; readonly image: DispatcherImage; readonly dispatcher: Dispatcher }
  | {
      readonly kind: "step";
      readonly event: Event;
      readonly effects: readonly Effect[];
      /** As `effectsText` says it: what the journal has, and what came of it now. Undefined: it does not say. */
      readonly given: string | undefined;
      readonly text: string;
    }
  /** A later image of the same run: is the state that was replayed the same, to its last figure? */
  | { readonly kind: "compared"; readonly image: DispatcherImage; readonly isSame: boolean }
  /** Not replayed: nothing is known of the state before it. */
  | { readonly kind: "skipped"; readonly event: Event }
  | { readonly kind: "gap"; readonly dropped: number }
  | Lost;

/** Makes every decision again, from the first image on. What is behind a gap or a loss waits for the next image. */
export class Replay {
  #dispatcher: Dispatcher | undefined;

  /** What becomes of the next record: one thing, or two for an image. */
  take(record: JournalRecord, emit: (each: Replayed) => void): void {
    switch (record.kind) {
      case "image":
        return this.#restore(record.image, emit);
      case "event":
        return this.#step(record, emit);
      case "gap":
      case "lost":
        this.#dispatcher = undefined;
        emit(record);
    }
  }

  #restore(image: unknown, emit: (each: Replayed) => void): void {
    const before = this.#dispatcher;
    this.#dispatcher = undefined;
    if (!isImage(image)) {
      emit({ kind: "lost", position: NaN, bytes: 0, reason: "unreadable" });
      return;
    }
    // A run of the program begins with nothing: that is no continuation of the one before.
    if (before !== undefined && image.revision > 0) {
      emit({ kind: "compared", image, isSame: isSameState(before, image) });
    }
    const dispatcher = Dispatcher.restored(image);
    this.#dispatcher = dispatcher;
    emit({ kind: "restored", image, dispatcher });
  }

  #step(
    { event, given }: Extract<JournalRecord, { readonly kind: "event" }>,
    emit: (each: Replayed) => void,
  ): void {
    if (this.#dispatcher === undefined) emit({ kind: "skipped", event });
    else {
      const effects = this.#dispatcher.step(event);
      emit({ kind: "step", event, effects, given, text: effectsText(effects) });
    }
  }
}

/** The same as a stream, for those who are in no hurry. */
export async function* replay(records: AsyncIterable<JournalRecord>): AsyncGenerator<Replayed> {
  const machine = new Replay();
  for await (const record of records) {
    const found: Replayed[] = [];
    machine.take(record, (each) => found.push(each));
    yield* found;
  }
}

/** Those of another version would not restore all of the state. */
export function isImage(value: unknown): value is DispatcherImage {
  return (
    typeof value === "object" &&
    value !== null &&
    "version" in value &&
    value.version === IMAGE_VERSION
  );
}

export function isSameState(dispatcher: Dispatcher, image: DispatcherImage): boolean {
  return canonicalText(dispatcher.image()) === canonicalText(image);
}

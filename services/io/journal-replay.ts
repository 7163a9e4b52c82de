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
export async function* replay(records: AsyncIterable<JournalRecord>): AsyncGenerator<Replayed> {
  let dispatcher: Dispatcher | undefined;
  for await (const record of records) {
    switch (record.kind) {
      case "image": {
        if (!isImage(record.image)) {
          dispatcher = undefined;
          yield { kind: "lost", position: NaN, bytes: 0, reason: "unreadable" };
          continue;
        }
        const { image } = record;
        // A run of the program begins with nothing: that is no continuation of the one before.
        if (dispatcher !== undefined && image.revision > 0) {
          yield { kind: "compared", image, isSame: isSameState(dispatcher, image) };
        }
        dispatcher = Dispatcher.restored(image);
        yield { kind: "restored", image, dispatcher };
        continue;
      }
      case "event": {
        const { event, given } = record;
        if (dispatcher === undefined) yield { kind: "skipped", event };
        else {
          const effects = dispatcher.step(event);
          yield { kind: "step", event, effects, given, text: effectsText(effects) };
        }
        continue;
      }
      case "gap":
      case "lost":
        dispatcher = undefined;
        yield record;
    }
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

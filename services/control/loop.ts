import type { Dispatcher } from "../core/dispatcher.ts";
import type { Effect, Event } from "../core/events.ts";
import type { Journal, JournalRecord } from "../io/journal.ts";

/** Lets something happen to the replica, and returns what it asks of the world. */
export type Step = (event: Event) => readonly Effect[];

/**
 * A control replica at work: the caller has its answer before the journal has the event on disk. Leases are soft, and a
 * placement that is lost in a crash expires by itself. What must not be lost, the registry, is durable before it
 * arrives here, and usage is durable at the gateway.
 */
export function loop(options: {
  readonly dispatcher: Dispatcher;
  readonly journal: Pick<Journal, "note">;
  /** Counts what happened. Told in order, and after the state has changed. */
  readonly perform: (effect: Effect, event: Event) => void;
}): Step {
  const { dispatcher, journal, perform } = options;
  return (event) => {
    // First the note: an image that the journal takes now is the state before the event.
    journal.note(event);
    const effects = dispatcher.step(event);
    for (const effect of effects) perform(effect, event);
    return effects;
  };
}

export type Replayed =
  | { readonly kind: "step"; readonly event: Event; readonly effects: readonly Effect[] }
  /** Events are missing: what would follow is not what happened, so it is left out until the next image. */
  | { readonly kind: "gap"; readonly dropped: number };

/** Makes every decision again, from the first image on. The effects are the decisions that were given. */
export async function* replay(
  records: AsyncIterable<JournalRecord>,
  restore: (image: unknown) => Dispatcher,
): AsyncGenerator<Replayed> {
  let dispatcher: Dispatcher | undefined;
  for await (const record of records) {
    if (record.kind === "image") dispatcher = restore(record.image);
    else if (record.kind === "gap") {
      dispatcher = undefined;
      yield record;
    } else if (dispatcher !== undefined) {
      yield { kind: "step", event: record.event, effects: dispatcher.step(record.event) };
    }
  }
}

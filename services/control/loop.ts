import type { Dispatcher } from "../core/dispatcher.ts";
import type { Effect, Event } from "../core/events.ts";
import type { Journal } from "../io/journal.ts";

/** Lets something happen to the replica, and returns what it asks of the world. */
export type Step = (event: Event) => readonly Effect[];

/**
 * A control replica at work: the caller has its answer before the journal has the event on disk. Leases are soft, and a
 * placement that is lost in a crash expires by itself. What must not be lost, the registry, is durable before it
 * arrives here, and usage is durable at the gateway.
 */
export function loop(options: {
  readonly dispatcher: Dispatcher;
  readonly journal: Pick<Journal, "note" | "given">;
  /** Counts what happened. Told in order, and after the state has changed. */
  readonly perform: (effect: Effect, event: Event) => void;
}): Step {
  const { dispatcher, journal, perform } = options;
  return (event) => {
    // First the note: an image that the journal takes now is the state before the event.
    journal.note(event);
    const effects = dispatcher.step(event);
    journal.given(effects);
    for (const effect of effects) perform(effect, event);
    return effects;
  };
}

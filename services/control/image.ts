import { Dispatcher } from "../core/dispatcher.ts";
import type { Event } from "../core/events.ts";
import type { Policy } from "../core/placement/policy.ts";
import type { ReplicaId } from "../core/units.ts";

/** A point of the journal at which replay may start. */
export interface Image {
  readonly replica: ReplicaId;
  readonly policy: Policy;
  /**
   * True at the start of a run, when there is nothing but the policy: what follows replays bit for bit. False later:
   * definitions and newest reports are here, leases and what was learned from attempts are not.
   */
  readonly isExact: boolean;
  readonly events: readonly Event[];
}

/** Remembers the events that still say something: the newest of each thing that is defined or reported. */
export class Definitions {
  readonly #newest = new Map<string, Event>();

  note(event: Event): void {
    const key = keyOf(event);
    if (key !== undefined) this.#newest.set(key, event);
  }

  get isEmpty(): boolean {
    return this.#newest.size === 0;
  }

  /** In the order in which they happened; of the same instant, what is defined before what is said of it. */
  get events(): readonly Event[] {
    return [...this.#newest.values()].toSorted((a, b) => a.at - b.at);
  }
}

export function restore(image: Image): Dispatcher {
  const dispatcher = new Dispatcher(image.replica, image.policy);
  for (const event of image.events) dispatcher.step(event);
  return dispatcher;
}

function keyOf(event: Event): string | undefined {
  switch (event.kind) {
    case "geography-set":
      return event.kind;
    case "pool-registered":
      return `${event.kind} ${event.registration.id}`;
    case "pool-marked":
    case "share-set":
      return `${event.kind} ${event.pool}`;
    case "pool-reported":
      return `${event.kind} ${event.report.pool}`;
    case "prices-published":
      return `${event.kind} ${event.book.id}@${event.book.version}`;
    case "paths-observed":
      return `${event.kind} ${event.origin}`;
    // The policy is in the image itself; the rest is soft.
    case "policy-set":
    case "pool-cut":
    case "placement-requested":
    case "lease-renewed":
    case "lease-released":
    case "time-passed":
      return undefined;
  }
}

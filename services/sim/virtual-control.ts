import { assert } from "../core/assert.ts";
import { Dispatcher } from "../core/dispatcher.ts";
import type { Effect, Event } from "../core/events.ts";
import type { Policy } from "../core/placement/policy.ts";
import type { PoolRegistration } from "../core/pool.ts";
import { seedFromText } from "../core/random.ts";
import type { ReplicaId, RequestId } from "../core/units.ts";
import { LeaseWatch } from "./lease-watch.ts";
import type { Rival } from "./world-options.ts";

/** More than there are slots in a small pool would leave each replica without one. */
const DISPATCHERS_MAX = 16;

interface Replica {
  readonly dispatcher: Dispatcher;
  readonly leases: LeaseWatch;
  readonly see: Rival["see"];
}

/** The control replicas of a world, each with an equal share of every pool. They do not talk to each other. */
export class VirtualControl {
  readonly #replicas: readonly [Replica, ...Replica[]];
  /** Part of each pool that a replica may grant. */
  readonly share: number;

  constructor(options: {
    readonly policy: Policy;
    readonly registrations: readonly PoolRegistration[];
    readonly dispatchers: number;
    readonly makeRival: ((replica: ReplicaId) => Rival) | undefined;
  }) {
    const { policy, registrations, dispatchers, makeRival } = options;
    assert(dispatchers >= 1 && dispatchers <= DISPATCHERS_MAX, "a world has 1 to 16 dispatchers");
    this.share = 1 / dispatchers;
    const replica = (number: number): Replica => {
      const id = `control-${number}` as ReplicaId;
      const rival = makeRival?.(id);
      return {
        dispatcher: new Dispatcher(id, policy, rival?.choose),
        leases: new LeaseWatch(registrations, this.share),
        see: rival?.see,
      };
    };
    const others = Array.from({ length: dispatchers - 1 }, (_, index) => replica(index + 2));
    this.#replicas = [replica(1), ...others];
  }

  /** What all replicas hear. */
  tell(event: Event): void {
    for (const replica of this.#replicas) happen(replica, event);
  }

  /** What happens to the replica that a request belongs to, by the hash of its id. */
  happen(request: RequestId, event: Event): readonly Effect[] {
    return happen(this.#of(request), event);
  }

  /** As a replica knows its pools; all know the same of prices and places. */
  get pools(): Dispatcher["pools"] {
    return this.#replicas[0].dispatcher.pools;
  }

  /** Leases that were ever granted. */
  get granted(): number {
    return this.#replicas.reduce((sum, { leases }) => sum + leases.granted, 0);
  }

  get held(): number {
    return this.#replicas.reduce((sum, { leases }) => sum + leases.held, 0);
  }

  /** What the replicas believe is what was granted. */
  check(): void {
    for (const { leases, dispatcher } of this.#replicas) leases.check(dispatcher.pools);
  }

  #of(request: RequestId): Replica {
    const [first, ...others] = this.#replicas;
    if (others.length === 0) return first;
    return this.#replicas[seedFromText(request) % this.#replicas.length] ?? first;
  }
}

function happen({ dispatcher, leases, see }: Replica, event: Event): readonly Effect[] {
  const effects = dispatcher.step(event);
  leases.see(event, effects);
  see?.(event, effects);
  return effects;
}

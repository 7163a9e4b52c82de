import type { Instant, ModelId, PoolId, ReplicaId } from "./units.ts";

/**
 * What one replica tells the others of its placements: how many leases it holds, and what came and went in the last
 * seconds. Each tells all of it anew, so that one that is lost, late or doubled is made good by the next. Ages, never
 * instants: clocks differ.
 */
export interface PlacementDigest {
  readonly replica: ReplicaId;
  /** The clock of the replica in ms, which never goes back. A digest that is not newer changes nothing. */
  readonly sequence: number;
  readonly models: readonly DigestModel[];
}

/** One model at one pool. */
export interface DigestModel {
  readonly pool: PoolId;
  readonly model: ModelId;
  readonly slotsLeased: number;
  readonly steps: readonly {
    readonly agoMs: number;
    readonly granted: number;
    readonly ended: number;
  }[];
}

/** What other replicas did at one model of a pool since its engine was last asked. */
export interface FlowElsewhere {
  readonly granted: number;
  readonly ended: number;
  readonly slotsLeased: number;
}

interface Step {
  readonly at: Instant;
  granted: number;
  ended: number;
}

interface PeerModel {
  readonly slotsLeased: number;
  readonly steps: readonly Readonly<Step>[];
}

interface Peer {
  readonly replica: ReplicaId;
  readonly sequence: number;
  readonly heardAt: Instant;
  readonly byPool: ReadonlyMap<PoolId, ReadonlyMap<ModelId, PeerModel>>;
}

export interface Place {
  readonly pool: PoolId;
  readonly model: ModelId;
}

/** Longer than a report is believed, with one lost. */
const WINDOW_MS = 15_000;
const STEP_MS = 100;
/** A replica that says nothing for so long holds no leases that count. */
const SILENT_MS = 30_000;
/** Beyond it the one not heard for the longest is forgotten. */
const PEERS_MAX = 64;

const nothing: FlowElsewhere = { granted: 0, ended: 0, slotsLeased: 0 };

export interface ElsewhereImage {
  readonly own: readonly (Place & { readonly steps: readonly Readonly<Step>[] })[];
  readonly peers: readonly Peer[];
  readonly observed: readonly (Place & { readonly at: Instant })[];
  readonly flows: readonly (Place & FlowElsewhere)[];
}

/** A table by pool and model. */
class ByPlace<Value> {
  readonly #byPool = new Map<PoolId, Map<ModelId, Value>>();

  get(pool: PoolId, model: ModelId): Value | undefined {
    return this.#byPool.get(pool)?.get(model);
  }

  set(pool: PoolId, model: ModelId, value: Value): void {
    const byModel = this.#byPool.get(pool) ?? new Map<ModelId, Value>();
    this.#byPool.set(pool, byModel.set(model, value));
  }

  entries(): (Place & { readonly value: Value })[] {
    return [...this.#byPool].flatMap(([pool, byModel]) =>
      [...byModel].map(([model, value]) => ({ pool, model, value })),
    );
  }
}

/** Our own placements of late, to tell others, and theirs, to correct what pools report. */
export class Elsewhere {
  readonly #own = new ByPlace<Step[]>();
  readonly #peers = new Map<ReplicaId, Peer>();
  readonly #observedAt = new ByPlace<Instant>();
  readonly #flows = new ByPlace<FlowElsewhere>();

  granted(pool: PoolId, model: ModelId, at: Instant): void {
    this.#step(pool, model, at).granted += 1;
  }

  ended(pool: PoolId, model: ModelId, at: Instant): void {
    this.#step(pool, model, at).ended += 1;
  }

  /** For the other replicas. `leasedAt` are the models at pools where this replica has leases. */
  digest(
    replica: ReplicaId,
    now: Instant,
    leasedAt: readonly (Place & { readonly slotsLeased: number })[],
  ): PlacementDigest {
    const leased = new ByPlace<number>();
    for (const each of leasedAt) leased.set(each.pool, each.model, each.slotsLeased);
    const quiet = leasedAt.filter(({ pool, model }) => this.#own.get(pool, model) === undefined);
    const places = [...this.#own.entries(), ...quiet.map((each) => ({ ...each, value: [] }))];
    const models = places.flatMap(({ pool, model, value }) => {
      const slotsLeased = leased.get(pool, model) ?? 0;
      const steps = value.filter(({ at }) => now - at <= WINDOW_MS);
      if (slotsLeased === 0 && steps.length === 0) return [];
      const told = steps.map(({ at, granted, ended }) => ({ agoMs: now - at, granted, ended }));
      return [{ pool, model, slotsLeased, steps: told }];
    });
    return { replica, sequence: Math.floor(now), models };
  }

  /** Another replica has told: where what it said changes what we know. */
  heard(digest: PlacementDigest, now: Instant): readonly Place[] {
    const before = this.#peers.get(digest.replica);
    if (before !== undefined && digest.sequence <= before.sequence) return [];
    const peer = toPeer(digest, now);
    this.#peers.delete(digest.replica);
    this.#peers.set(digest.replica, peer);
    return this.#counted([...placesOf(before), ...placesOf(peer), ...this.#forgetSilent(now)]);
  }

  /** Nobody need tell anything for a silent replica to be forgotten: where it changes what we know. */
  passed(now: Instant): readonly Place[] {
    return this.#counted(this.#forgetSilent(now));
  }

  /** The pool's engine was asked: only what came later corrects what it said. */
  observed(pool: PoolId, model: ModelId, at: Instant): FlowElsewhere {
    if (this.#peers.size === 0) return nothing;
    this.#observedAt.set(pool, model, at);
    this.#count(pool, model);
    return this.flow(pool, model);
  }

  flow(pool: PoolId, model: ModelId): FlowElsewhere {
    return this.#flows.get(pool, model) ?? nothing;
  }

  image(): ElsewhereImage {
    return {
      own: this.#own.entries().map(({ pool, model, value }) => ({
        pool,
        model,
        steps: value.map((step) => ({ ...step })),
      })),
      peers: [...this.#peers.values()],
      observed: this.#observedAt.entries().map(({ value: at, ...place }) => ({ ...place, at })),
      flows: this.#flows.entries().map(({ value, ...place }) => ({ ...place, ...value })),
    };
  }

  restore({ own, peers, observed, flows }: ElsewhereImage): void {
    for (const { pool, model, steps } of own) {
      this.#own.set(
        pool,
        model,
        steps.map((step) => ({ ...step })),
      );
    }
    for (const peer of peers) this.#peers.set(peer.replica, peer);
    for (const { pool, model, at } of observed) this.#observedAt.set(pool, model, at);
    for (const { pool, model, ...flow } of flows) this.#flows.set(pool, model, flow);
  }

  /** That of the last tenth of a second. Those that nobody needs any more go as new ones come. */
  #step(pool: PoolId, model: ModelId, now: Instant): Step {
    let steps = this.#own.get(pool, model);
    if (steps === undefined) {
      steps = [];
      this.#own.set(pool, model, steps);
    }
    const last = steps.at(-1);
    if (last !== undefined && now - last.at < STEP_MS) return last;
    const [first] = steps;
    if (first !== undefined && now - first.at > 2 * WINDOW_MS) {
      steps.splice(0, steps.findLastIndex(({ at }) => now - at > WINDOW_MS) + 1);
    }
    const step = { at: now, granted: 0, ended: 0 };
    steps.push(step);
    return step;
  }

  #counted(places: readonly Place[]): readonly Place[] {
    for (const { pool, model } of places) this.#count(pool, model);
    return places;
  }

  #count(pool: PoolId, model: ModelId): void {
    const since = this.#observedAt.get(pool, model) ?? -Infinity;
    const flow = { granted: 0, ended: 0, slotsLeased: 0 };
    for (const { byPool } of this.#peers.values()) {
      const known = byPool.get(pool)?.get(model);
      if (known === undefined) continue;
      flow.slotsLeased += known.slotsLeased;
      for (const { at, granted, ended } of known.steps) {
        if (at <= since) continue;
        flow.granted += granted;
        flow.ended += ended;
      }
    }
    this.#flows.set(pool, model, flow);
  }

  #forgetSilent(now: Instant): Place[] {
    const gone = [...this.#peers.values()].filter(
      ({ heardAt }, index) => now - heardAt > SILENT_MS || index < this.#peers.size - PEERS_MAX,
    );
    for (const { replica } of gone) this.#peers.delete(replica);
    return gone.flatMap(placesOf);
  }
}

function toPeer({ replica, sequence, models }: PlacementDigest, now: Instant): Peer {
  const byPool = new Map<PoolId, Map<ModelId, PeerModel>>();
  for (const { pool, model, slotsLeased, steps } of models) {
    const byModel = byPool.get(pool) ?? new Map<ModelId, PeerModel>();
    const since = steps.map(({ agoMs, granted, ended }) => ({ at: now - agoMs, granted, ended }));
    byPool.set(pool, byModel.set(model, { slotsLeased, steps: since }));
  }
  return { replica, sequence, heardAt: now, byPool };
}

function placesOf(peer: Peer | undefined): Place[] {
  if (peer === undefined) return [];
  return [...peer.byPool].flatMap(([pool, byModel]) =>
    [...byModel.keys()].map((model) => ({ pool, model })),
  );
}

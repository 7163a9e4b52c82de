/**
 * What all baselines have in common. A rival chooses among the pools that our hard filters admit; it counts
 * what it granted and what ended by itself, and hears the pools' reports. Sections named `§` are those of
 * the notes on peers that the formulas are taken from.
 */

import { assert } from "../../services/core/assert.ts";
import type { Effect, Event } from "../../services/core/events.ts";
import { slotsTotalOf } from "../../services/core/health.ts";
import type { AttemptOutcome } from "../../services/core/lease.ts";
import { placedAt } from "../../services/core/placement/chooser.ts";
import { Refused } from "../../services/core/placement/chosen.ts";
import {
  decide,
  type Choose,
  type Decision,
  type Snapshot,
} from "../../services/core/placement/decide.ts";
import type { Policy } from "../../services/core/placement/policy.ts";
import type { Ask, Prospect } from "../../services/core/placement/prospect.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import type { ModelReport } from "../../services/core/pool.ts";
import { randomFromSeed, seedFromText, type Random } from "../../services/core/random.ts";
import type { Instant, LeaseId, ModelId, PoolId } from "../../services/core/units.ts";
import { Admission } from "./admission.ts";
import { Endpoints, type Flight } from "./endpoints.ts";

/** Another way to place, one for each dispatcher. Told of each event after the dispatcher has stepped it. */
export interface Rival {
  readonly choose: Choose;
  readonly see: (event: Event, effects: readonly Effect[]) => void;
}

export interface RivalOptions {
  readonly seed: number;
  /** Name of the dispatcher: each draws for itself. */
  readonly replica: string;
  /** How often it looks at the figures of a pool. Default: as its peer does. */
  readonly reportIntervalMs?: number;
  /** What pools answer to probes: the same one for all dispatchers of a run. Default: one of its own. */
  readonly endpoints?: Endpoints;
}

export type MakeRival = (options: RivalOptions) => Rival;

/** A policy of a peer. */
export interface Baseline {
  readonly name: string;
  /** Where its formula stands in the notes on peers. */
  readonly source: string;
  /** How often its peer looks at the figures of an endpoint. Undefined: not stated, or it uses none. */
  readonly reportIntervalMs: number | undefined;
  /** `as published`, `capacity-weighted` and what else is worth a run; a house value is in the name. */
  readonly variants: Readonly<Record<string, MakeRival>>;
}

/** What a policy can see of the world besides the pools that it is offered. */
export interface Sight {
  readonly random: Random;
  readonly endpoints: Endpoints;
  /** In flight by our own count: exact, never below 0. */
  readonly inFlight: (pool: PoolId) => number;
  /** The last report that it looked at. Undefined: none yet. */
  readonly report: (at: Prospect) => ModelReport | undefined;
}

/** A policy for one model. What it knows it keeps between the calls. */
export interface Way {
  /** Among at least one pool. Undefined: wait, the caller asks again. */
  readonly pick: (among: readonly Prospect[], ask: Ask, snapshot: Snapshot) => Prospect | undefined;
  /** Time has come so far: called before the counts change. */
  readonly onTime?: (now: Instant) => void;
  readonly onGrant?: (flight: Flight) => void;
  /** No outcome: nobody said how it went. */
  readonly onEnd?: (flight: Flight, outcome: AttemptOutcome | undefined, now: Instant) => void;
  readonly onReport?: (pool: PoolId, report: ModelReport) => void;
}

/** Makes rivals of a policy; `pollMs` is how often it looks at figures, and 0 each time that there are some. */
export function rivalOf(wayWith: (sight: Sight) => Way, pollMs = 0): MakeRival {
  return ({ seed, replica, reportIntervalMs = pollMs, endpoints = new Endpoints() }) => {
    const watch = new Watch(wayWith, {
      random: randomFromSeed(seedFromText(`${seed}/${replica}`)),
      pollMs: reportIntervalMs,
      endpoints,
    });
    return {
      choose: (request, snapshot, policy) => watch.choose(request, snapshot, policy),
      see: (event, effects) => watch.see(event, effects),
    };
  };
}

/** Scrapes are on time but for what adding up fractions takes. */
const POLL_SLACK_MS = 1;

interface OfModel {
  readonly way: Way;
  readonly admission: Admission;
  readonly inFlight: Map<PoolId, number>;
  readonly reports: Map<PoolId, { readonly report: ModelReport; readonly scrapedAt: Instant }>;
}

/** Bounded by the dispatcher's own leases and registry: nothing is kept that it does not have too. */
class Watch {
  readonly #wayWith: (sight: Sight) => Way;
  readonly #random: Random;
  readonly #pollMs: number;
  readonly #endpoints: Endpoints;
  readonly #models = new Map<ModelId, OfModel>();
  readonly #flights = new Map<LeaseId, Flight>();

  constructor(
    wayWith: (sight: Sight) => Way,
    options: {
      readonly random: Random;
      readonly pollMs: number;
      readonly endpoints: Endpoints;
    },
  ) {
    this.#wayWith = wayWith;
    this.#random = options.random;
    this.#pollMs = options.pollMs;
    this.#endpoints = options.endpoints;
  }

  choose(request: PlacementRequest, snapshot: Snapshot, policy: Policy): Decision {
    const { way, admission } = this.#of(request.model);
    const { ask, prospects } = admission.admitted(request, snapshot, policy);
    if (prospects.length === 0) return decide(request, snapshot, policy);
    way.onTime?.(snapshot.now);
    const chosen = way.pick(prospects, ask, snapshot);
    return chosen === undefined ? waiting(ask, snapshot) : placedAt(chosen, ask, snapshot);
  }

  see(event: Event, effects: readonly Effect[]): void {
    for (const { way } of this.#models.values()) way.onTime?.(event.at);
    if (event.kind === "lease-released") {
      const flight = this.#flights.get(event.lease);
      if (flight?.lease.fence === event.fence) this.#end(flight, event.outcome, event.at);
    }
    if (event.kind === "pool-reported" && isAccepted(effects)) {
      const { pool, models } = event.report;
      for (const report of models) this.#look(pool, report, event.at);
    }
    for (const effect of effects) {
      if (effect.kind === "answer") this.#answered(effect);
      if (effect.kind === "revoke") this.#revoked(effect.lease.id, event.at);
    }
  }

  #of(model: ModelId): OfModel {
    const known = this.#models.get(model);
    if (known !== undefined) return known;
    const inFlight: OfModel["inFlight"] = new Map();
    const reports: OfModel["reports"] = new Map();
    const way = this.#wayWith({
      random: this.#random,
      endpoints: this.#endpoints,
      inFlight: (pool) => inFlight.get(pool) ?? 0,
      // Before it heard any itself, it takes what the dispatcher knows.
      report: ({ pool, served }) => reports.get(pool.id)?.report ?? served.report,
    });
    const made = { way, admission: new Admission(), inFlight, reports };
    this.#models.set(model, made);
    return made;
  }

  /** An attempt that is asked for again gets the answer that it had. */
  #answered({ decision, lease }: Effect & { readonly kind: "answer" }): void {
    if (decision.kind === "unplaceable" || lease === undefined || this.#flights.has(lease.id))
      return;
    const others = this.#endpoints.came(lease.pool, lease.model);
    const flight = { lease, decision, others };
    this.#flights.set(lease.id, flight);
    const { way, inFlight } = this.#of(lease.model);
    inFlight.set(lease.pool, (inFlight.get(lease.pool) ?? 0) + 1);
    way.onGrant?.(flight);
  }

  #revoked(lease: LeaseId, now: Instant): void {
    const flight = this.#flights.get(lease);
    if (flight !== undefined) this.#end(flight, undefined, now);
  }

  #end(flight: Flight, outcome: AttemptOutcome | undefined, now: Instant): void {
    const { id, pool, model } = flight.lease;
    this.#flights.delete(id);
    const { way, inFlight } = this.#of(model);
    const left = (inFlight.get(pool) ?? 0) - 1;
    assert(left >= 0, "a lease ends once");
    inFlight.set(pool, left);
    this.#endpoints.went(flight, outcome);
    way.onEnd?.(flight, outcome, now);
  }

  #look(pool: PoolId, report: ModelReport, now: Instant): void {
    const { way, reports } = this.#of(report.model);
    const scrapedAt = report.runningRequests?.observedAt ?? now;
    const last = reports.get(pool);
    if (last !== undefined && scrapedAt - last.scrapedAt < this.#pollMs - POLL_SLACK_MS) return;
    reports.set(pool, { report, scrapedAt });
    way.onReport?.(pool, report);
  }
}

function isAccepted(effects: readonly Effect[]): boolean {
  return effects.some(
    (effect) => effect.kind === "report-answered" && effect.result === "accepted",
  );
}

/** Pools would do, and the policy wants none of them now. */
function waiting(ask: Ask, snapshot: Snapshot): Decision {
  const seed = seedFromText(ask.request.attempt);
  const refusal = { reason: "no-eligible-pool", soonest: undefined } as const;
  return new Refused(refusal, { ask, snapshot, seed, tally: undefined });
}

/** Concurrent requests that the pool serves within its objectives. */
export function slotsOf({ served }: Prospect): number {
  return slotsTotalOf(served);
}

/** By what a load is divided: where policies are weighted by capacity, the pool's replicas. */
export function unitsOf({ served }: Prospect, isWeighted: boolean): number {
  return isWeighted ? served.replicas : 1;
}

/** Those with the lowest score, in order. */
export function lowestAll<Item>(
  items: readonly Item[],
  scoreOf: (item: Item) => number,
): readonly Item[] {
  let lowest: Item[] = [];
  let least = Infinity;
  for (const item of items) {
    const score = scoreOf(item);
    if (score < least) {
      least = score;
      lowest = [item];
    } else if (score === least) lowest.push(item);
  }
  return lowest;
}

/** Of a list that is not empty, one at random. */
export function drawn<Item>(items: readonly Item[], random: Random): Item {
  const item = items[items.length === 1 ? 0 : Math.floor(random() * items.length)];
  assert(item !== undefined, "one is drawn from at least one");
  return item;
}

/** Ties go to one at random. */
export function lowest<Item>(
  items: readonly Item[],
  scoreOf: (item: Item) => number,
  random: Random,
): Item {
  return drawn(lowestAll(items, scoreOf), random);
}

/** With a probability in proportion to weights above 0; where one is infinite, among those that are. */
export function drawnByWeight<Item>(
  items: readonly Item[],
  weightOf: (item: Item) => number,
  random: Random,
): Item {
  const endless = items.filter((item) => weightOf(item) === Infinity);
  if (endless.length > 0) return drawn(endless, random);
  const total = items.reduce((sum, item) => sum + weightOf(item), 0);
  let left = random() * total;
  for (const item of items) {
    left -= weightOf(item);
    if (left < 0) return item;
  }
  return drawn(items.slice(-1), random);
}

/** So many different ones at random, or all. */
export function sampled<Item>(items: readonly Item[], count: number, random: Random): Item[] {
  const rest = [...items];
  const sample: Item[] = [];
  while (sample.length < count && rest.length > 0) {
    const place = Math.floor(random() * rest.length);
    sample.push(...rest.slice(place, place + 1));
    rest[place] = rest[rest.length - 1] ?? drawn(rest, random);
    rest.pop();
  }
  return sample;
}

/** In the order of the pools' ids. */
export function byId(among: readonly Prospect[]): readonly Prospect[] {
  return among.toSorted((a, b) => (a.pool.id < b.pool.id ? -1 : 1));
}

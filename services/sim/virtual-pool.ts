import { assert } from "../core/assert.ts";
import { serviceClasses, type ServiceClass } from "../core/placement/request.ts";
import type { PoolRegistration, PoolReport } from "../core/pool.ts";
import type { Instant, ModelId } from "../core/units.ts";
import type { FleetPool } from "./fleet.ts";
import type { Timeline } from "./timeline.ts";
import { ModelServer, type Gaps, type VirtualJob } from "./virtual-server.ts";

export interface VirtualPoolOptions {
  readonly pool: FleetPool;
  readonly registration: PoolRegistration;
  readonly timeline: Timeline;
  /** Epoch time at 0 of the timeline. */
  readonly epoch: Instant;
  /** How long its agent says that its figures may be believed. */
  readonly reportValidMs: number;
  readonly onGaps: (gaps: Gaps) => void;
}

/** A pool in virtual time: the replicas of each of its models, and the agent that reads their counters. */
export class VirtualPool {
  readonly registration: PoolRegistration;
  readonly #servers: ReadonlyMap<ModelId, ModelServer>;
  readonly #timeline: Timeline;
  readonly #epoch: Instant;
  readonly #reportValidMs: number;
  #sequence = 0;
  #isDead = false;

  constructor(options: VirtualPoolOptions) {
    const { pool, registration, timeline, epoch, reportValidMs, onGaps } = options;
    this.registration = registration;
    this.#timeline = timeline;
    this.#epoch = epoch;
    this.#reportValidMs = reportValidMs;
    this.#servers = new Map(
      [...pool.engines].map(([model, engine]) => [
        model,
        new ModelServer({ model, engine, timeline, onGaps }),
      ]),
    );
  }

  /** As many as there are for these models, whatever is declared. */
  slotsOf(models: ReadonlySet<ModelId>): number {
    let slots = 0;
    for (const [model, server] of this.#servers) if (models.has(model)) slots += server.slots;
    return slots;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** False: nobody answers, or the request could never be admitted. */
  submit(job: VirtualJob): boolean {
    const server = this.#servers.get(job.model);
    return !this.#isDead && server !== undefined && server.submit(job);
  }

  /** Everything in it is cut, and nothing is answered until it comes back, with counters at 0. */
  die(): void {
    assert(!this.#isDead, "a pool dies once at a time");
    this.#isDead = true;
    for (const server of this.#servers.values()) server.halt();
  }

  recover(): void {
    this.#isDead = false;
    for (const server of this.#servers.values()) server.start();
  }

  /** Tokens that its engines have made since the start, also before they died. */
  get tokensMade(): number {
    let made = 0;
    for (const server of this.#servers.values()) made += server.tokensMadeEver;
    return made;
  }

  get jobs(): number {
    return [...this.#servers.values()].reduce((sum, server) => sum + server.jobs, 0);
  }

  /** IT energy since the start, in joules; a dead pool draws nothing. */
  get joules(): number {
    return [...this.#servers.values()].reduce((sum, server) => sum + server.joules, 0);
  }

  /** The part of it above rest since it was last taken, by the class that it was drawn for. */
  takeActiveJoules(): readonly (readonly [ServiceClass, number])[] {
    const taken = [...this.#servers.values()].map((server) => server.takeActiveJoules());
    return serviceClasses.map((each) => [each, taken.reduce((sum, of) => sum + of[each], 0)]);
  }

  /** What its agent finds when it looks now. */
  report(): PoolReport {
    assert(!this.#isDead, "a dead pool says nothing");
    const now = this.#epoch + this.#timeline.now;
    const validMs = this.#reportValidMs;
    this.#sequence += 1;
    const { id, generation, pue, greenShare } = this.registration;
    return {
      pool: id,
      generation,
      sequence: this.#sequence,
      models: [...this.#servers.values()].map((server) => server.report(now, validMs)),
      powerWatts: undefined,
      energyJoulesTotal: { value: this.joules, source: "measured", observedAt: now, validMs },
      pue,
      greenShare,
    };
  }
}

import { assert } from "../core/assert.ts";
import { EngineReplica, type EngineJob, type StepResult } from "../core/engine-replica.ts";
import type { Figure } from "../core/figure.ts";
import type { ModelReport, PoolRegistration, PoolReport } from "../core/pool.ts";
import { PREFIX_BLOCK_TOKENS } from "../core/prefix.ts";
import type { Instant, ModelId } from "../core/units.ts";
import type { FleetPool, ServedEngine } from "./fleet.ts";
import type { Timeline } from "./timeline.ts";

/** A request inside a simulated engine. */
export interface VirtualJob extends EngineJob {
  readonly model: ModelId;
  readonly submittedAt: Instant;
  /** Of the prompt, what the prefix cache had; known when the first token is made. */
  cachedTokens: number;
  /** Tokens made so far; exact when the job has left. */
  tokensMade: number;
  readonly onFirstToken: () => void;
  readonly onFinished: () => void;
  /** The engine died under it. */
  readonly onCut: () => void;
}

export interface VirtualPoolOptions {
  readonly pool: FleetPool;
  readonly registration: PoolRegistration;
  readonly timeline: Timeline;
  /** Epoch time at 0 of the timeline. */
  readonly epoch: Instant;
  /** One gap between tokens, of so many sequences at once. */
  readonly onGaps: (itlMs: number, sequences: number) => void;
}

/** How long an agent says that its figures may be believed. */
const reportValidMs = 5_000;

/** A pool in virtual time: the replicas of each of its models, and the agent that reads their counters. */
export class VirtualPool {
  readonly registration: PoolRegistration;
  readonly #servers: ReadonlyMap<ModelId, ModelServer>;
  readonly #timeline: Timeline;
  readonly #epoch: Instant;
  #sequence = 0;
  #isDead = false;

  constructor({ pool, registration, timeline, epoch, onGaps }: VirtualPoolOptions) {
    this.registration = registration;
    this.#timeline = timeline;
    this.#epoch = epoch;
    this.#servers = new Map(
      [...pool.engines].map(([model, engine]) => [
        model,
        new ModelServer({ model, engine, timeline, onGaps }),
      ]),
    );
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
    return [...this.#servers.values()].reduce((sum, server) => sum + server.tokensMadeEver, 0);
  }

  get jobs(): number {
    return [...this.#servers.values()].reduce((sum, server) => sum + server.jobs, 0);
  }

  /** IT energy since the start, in joules; a dead pool draws nothing. */
  get joules(): number {
    return [...this.#servers.values()].reduce((sum, server) => sum + server.joules, 0);
  }

  /** What its agent finds when it looks now. */
  report(): PoolReport {
    assert(!this.#isDead, "a dead pool says nothing");
    const now = this.#epoch + this.#timeline.now;
    this.#sequence += 1;
    const { id, generation, pue, greenShare } = this.registration;
    return {
      pool: id,
      generation,
      sequence: this.#sequence,
      models: [...this.#servers.values()].map((server) => server.report(now)),
      powerWatts: undefined,
      energyJoulesTotal: measured(this.joules, now),
      pue,
      greenShare,
    };
  }
}

function measured(value: number, observedAt: Instant): Figure {
  return { value, source: "measured", observedAt, validMs: reportValidMs };
}

interface Server {
  readonly engine: EngineReplica<VirtualJob>;
  /** Not begun, and with blocks that the cache may have. */
  readonly maybeCached: Set<VirtualJob>;
  isStepping: boolean;
  idleSince: Instant;
}

/** The replicas of one model; a request goes to the one with the fewest. */
class ModelServer {
  readonly #model: ModelId;
  readonly #served: ServedEngine;
  readonly #timeline: Timeline;
  readonly #onGaps: (itlMs: number, sequences: number) => void;
  readonly #jobs = new Set<VirtualJob>();
  #replicas: Server[];
  #busyJoules = 0;
  #restJoules = 0;
  #tokensMadeEver = 0;
  #totals = { prompt: 0, cached: 0, output: 0 };
  /** Since the last report. */
  #ttftMs: number[] = [];
  #gapMs = 0;
  #gaps = 0;

  constructor(options: {
    readonly model: ModelId;
    readonly engine: ServedEngine;
    readonly timeline: Timeline;
    readonly onGaps: (itlMs: number, sequences: number) => void;
  }) {
    this.#model = options.model;
    this.#served = options.engine;
    this.#timeline = options.timeline;
    this.#onGaps = options.onGaps;
    this.#replicas = [];
    this.start();
  }

  get jobs(): number {
    return this.#jobs.size;
  }

  get tokensMadeEver(): number {
    return this.#tokensMadeEver;
  }

  get joules(): number {
    const { now } = this.#timeline;
    const resting = this.#replicas
      .filter(({ isStepping }) => !isStepping)
      .reduce(
        (sum, { engine, idleSince }) => sum + (engine.restWatts * (now - idleSince)) / 1_000,
        0,
      );
    return this.#busyJoules + this.#restJoules + resting;
  }

  submit(job: VirtualJob): boolean {
    const server = leastLoaded(this.#replicas);
    if (server === undefined || !server.engine.fits(job)) return false;
    server.engine.submit(job);
    this.#jobs.add(job);
    if (job.blocks.length > 0) server.maybeCached.add(job);
    if (!server.isStepping) this.#wake(server);
    return true;
  }

  /** Without replicas nothing is drawn and nothing runs. */
  halt(): void {
    for (const server of this.#replicas) if (!server.isStepping) this.#rest(server);
    const cut = [...this.#jobs];
    for (const job of cut) job.tokensMade = this.#madeBy(job);
    this.#jobs.clear();
    this.#replicas = [];
    this.#totals = { prompt: 0, cached: 0, output: 0 };
    for (const job of cut) job.onCut();
  }

  start(): void {
    this.#replicas = this.#started();
  }

  report(now: Instant): ModelReport {
    const figure = (value: number | undefined): Figure | undefined =>
      value === undefined ? undefined : measured(value, now);
    const sum = (each: (engine: EngineReplica<VirtualJob>) => number): number =>
      this.#replicas.reduce((total, { engine }) => total + each(engine), 0);
    const { replicas, profile } = this.#served;
    const kvTokensTotal = replicas * profile.kvTokensTotal;
    const ttftMs = this.#ttftMs.toSorted((a, b) => a - b);
    const itlMsMean = this.#gaps === 0 ? undefined : this.#gapMs / this.#gaps;
    this.#ttftMs = [];
    this.#gapMs = 0;
    this.#gaps = 0;
    return {
      model: this.#model,
      runningRequests: figure(sum((engine) => engine.runningRequests)),
      waitingRequests: figure(sum((engine) => engine.waitingRequests)),
      kvUsedRatio: figure(sum((engine) => engine.kvTokensHeld) / kvTokensTotal),
      promptTokensTotal: figure(this.#totals.prompt),
      cachedPromptTokensTotal: figure(this.#totals.cached),
      outputTokensTotal: figure(this.#totals.output),
      ttftMsP50: figure(ttftMs[Math.floor(ttftMs.length * 0.5)]),
      ttftMsP95: figure(ttftMs[Math.floor(ttftMs.length * 0.95)]),
      itlMsMean: figure(itlMsMean),
      slotsTotal: undefined,
      kvTokensTotal: figure(kvTokensTotal),
    };
  }

  #started(): Server[] {
    const { replicas, profile, power } = this.#served;
    return Array.from({ length: replicas }, () => ({
      engine: new EngineReplica<VirtualJob>(profile, {
        power,
        prefixBlockTokens: PREFIX_BLOCK_TOKENS,
      }),
      maybeCached: new Set<VirtualJob>(),
      isStepping: false,
      idleSince: this.#timeline.now,
    }));
  }

  #wake(server: Server): void {
    this.#rest(server);
    this.#step(server);
  }

  /** Books what a replica drew since it had nothing to do. */
  #rest(server: Server): void {
    const { now } = this.#timeline;
    this.#restJoules += (server.engine.restWatts * (now - server.idleSince)) / 1_000;
    server.idleSince = now;
  }

  #step(server: Server): void {
    const { engine } = server;
    const ms = engine.begin();
    server.isStepping = ms !== undefined;
    server.idleSince = this.#timeline.now;
    if (ms === undefined) return;
    for (const job of server.maybeCached) job.cachedTokens = engine.cachedTokens(job);
    const replicas = this.#replicas;
    this.#timeline.after(ms, () => {
      // The pool may have died in the middle of the step.
      if (replicas !== this.#replicas) return;
      this.#account(server, engine.end());
      this.#step(server);
    });
  }

  #account(server: Server, result: StepResult<VirtualJob>): void {
    const { ms, batch, joules, started, finished } = result;
    this.#busyJoules += joules;
    this.#totals.output += started.length + batch;
    this.#tokensMadeEver += started.length + batch;
    if (batch > 0) {
      this.#gapMs += ms * batch;
      this.#gaps += batch;
      this.#onGaps(ms, batch);
    }
    for (const job of started) this.#start(server, job);
    for (const job of finished) this.#finish(job);
  }

  #start(server: Server, job: VirtualJob): void {
    server.maybeCached.delete(job);
    this.#totals.prompt += job.promptTokens;
    this.#totals.cached += job.cachedTokens;
    this.#ttftMs.push(this.#timeline.now - job.submittedAt);
    job.onFirstToken();
  }

  #finish(job: VirtualJob): void {
    job.tokensMade = job.outputTokens;
    this.#jobs.delete(job);
    job.onFinished();
  }

  #madeBy(job: VirtualJob): number {
    return this.#replicas.reduce((made, { engine }) => made + engine.outputTokens(job), 0);
  }
}

function leastLoaded(replicas: readonly Server[]): Server | undefined {
  const loadOf = ({ engine }: Server): number => engine.runningRequests + engine.waitingRequests;
  let least: Server | undefined;
  for (const server of replicas) {
    if (least === undefined || loadOf(server) < loadOf(least)) least = server;
  }
  return least;
}

import { prefillWatts } from "../core/energy.ts";
import { EngineReplica, type EngineJob, type StepResult } from "../core/engine-replica.ts";
import type { Figure } from "../core/figure.ts";
import type { Stretch } from "../core/leap.ts";
import { serviceClasses, type ServiceClass } from "../core/placement/request.ts";
import type { ModelReport } from "../core/pool.ts";
import { PREFIX_BLOCK_TOKENS } from "../core/prefix.ts";
import type { Instant, ModelId } from "../core/units.ts";
import type { ServedEngine } from "./fleet.ts";
import type { Timeline } from "./timeline.ts";

/** A request inside a simulated engine. */
export interface VirtualJob extends EngineJob {
  readonly model: ModelId;
  readonly class: ServiceClass;
  /** When it came to the engine. */
  submittedAt: Instant;
  /** Of the prompt, what the prefix cache had; known when it is admitted. */
  cachedTokens: number;
  /** Tokens made so far; exact when the job has left. */
  tokensMade: number;
  readonly onFirstToken: () => void;
  readonly onFinished: () => void;
  /** The engine died under it. */
  readonly onCut: () => void;
}

/** Gaps between tokens: of so many sequences at once, step by step longer. */
export interface Gaps {
  readonly firstMs: number;
  readonly growthMs: number;
  readonly steps: number;
  readonly sequences: number;
}

export interface ModelServerOptions {
  readonly model: ModelId;
  readonly engine: ServedEngine;
  readonly timeline: Timeline;
  readonly onGaps: (gaps: Gaps) => void;
}

/** One replica in time. */
interface Server {
  readonly engine: EngineReplica<VirtualJob>;
  /** Sequences that decode now. */
  readonly decoding: Record<ServiceClass, number>;
  isStepping: boolean;
  /** When the first step that was not passed began; when it is idle, when that was booked last. */
  since: Instant;
  /** Number of the end that is planned; ends that were planned before are void. */
  plan: number;
}

/** An end that never comes: of a replica that is gone. */
const NO_PLAN = -1;

/** The replicas of one model; a request goes to the one with the fewest. */
export class ModelServer {
  readonly #options: ModelServerOptions;
  readonly #jobs = new Set<VirtualJob>();
  readonly #prefillJoulesPerToken: number;
  #activeJoules = perClass();
  #replicas: Server[] = [];
  #busyJoules = 0;
  #restJoules = 0;
  #tokensMadeEver = 0;
  #totals = { prompt: 0, cached: 0, output: 0 };
  /** Since the last report. */
  #ttftMs: number[] = [];
  #gapMs = 0;
  #gaps = 0;

  constructor(options: ModelServerOptions) {
    this.#options = options;
    this.start();
    const { profile, power } = options.engine;
    const restWatts = this.#replicas[0]?.engine.restWatts ?? 0;
    const activeWatts = prefillWatts(power) - restWatts;
    this.#prefillJoulesPerToken = (profile.prefillMsPerToken * activeWatts) / 1_000;
  }

  get slots(): number {
    const { replicas, profile } = this.#options.engine;
    return replicas * profile.sequencesMax;
  }

  get jobs(): number {
    return this.#jobs.size;
  }

  /** Of steps that were passed. */
  get tokensMadeEver(): number {
    return this.#tokensMadeEver;
  }

  get joules(): number {
    this.#passAll();
    return this.#busyJoules + this.#restJoules;
  }

  /** What was drawn above rest since it was last taken, by whom it was drawn for: of a step, its part of the batch. */
  takeActiveJoules(): Readonly<Record<ServiceClass, number>> {
    this.#passAll();
    const taken = this.#activeJoules;
    this.#activeJoules = perClass();
    return taken;
  }

  submit(job: VirtualJob): boolean {
    const server = leastLoaded(this.#replicas);
    if (server === undefined || !server.engine.fits(job)) return false;
    server.engine.submit(job);
    this.#jobs.add(job);
    job.submittedAt = this.#options.timeline.now;
    if (!server.isStepping) this.#wake(server);
    else if (server.engine.isLeaping && server.engine.admitsNext) this.#cut(server);
    return true;
  }

  /** Without replicas nothing is drawn and nothing runs. */
  halt(): void {
    this.#passAll();
    const cut = [...this.#jobs];
    for (const job of cut) job.tokensMade = this.#madeBy(job);
    this.#jobs.clear();
    for (const server of this.#replicas) server.plan = NO_PLAN;
    this.#replicas = [];
    this.#totals = { prompt: 0, cached: 0, output: 0 };
    for (const job of cut) job.onCut();
  }

  start(): void {
    const { replicas, profile, power } = this.#options.engine;
    this.#replicas = Array.from({ length: replicas }, () => ({
      engine: new EngineReplica<VirtualJob>(profile, {
        power,
        prefixBlockTokens: PREFIX_BLOCK_TOKENS,
      }),
      decoding: perClass(),
      isStepping: false,
      since: this.#options.timeline.now,
      plan: 0,
    }));
  }

  report(now: Instant, validMs: number): ModelReport {
    this.#passAll();
    const figure = (value: number | undefined): Figure | undefined =>
      value === undefined ? undefined : { value, source: "measured", observedAt: now, validMs };
    const sum = (each: (engine: EngineReplica<VirtualJob>) => number): number =>
      this.#replicas.reduce((total, { engine }) => total + each(engine), 0);
    const { replicas, profile } = this.#options.engine;
    const kvTokensTotal = replicas * profile.kvTokensTotal;
    const ttftMs = this.#ttftMs.toSorted((a, b) => a - b);
    const itlMsMean = this.#gaps === 0 ? undefined : this.#gapMs / this.#gaps;
    this.#ttftMs = [];
    this.#gapMs = 0;
    this.#gaps = 0;
    return {
      model: this.#options.model,
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

  #wake(server: Server): void {
    this.#rest(server);
    this.#begin(server);
  }

  /** Books what a replica drew since it had nothing to do. */
  #rest(server: Server): void {
    const { now } = this.#options.timeline;
    this.#restJoules += (server.engine.restWatts * (now - server.since)) / 1_000;
    server.since = now;
  }

  #begin(server: Server): void {
    const { engine } = server;
    const ms = engine.begin(Infinity);
    server.isStepping = ms !== undefined;
    server.since = this.#options.timeline.now;
    if (ms === undefined) return;
    for (const job of engine.admitted) {
      if (job.blocks.length > 0) job.cachedTokens = engine.cachedTokens(job);
    }
    this.#endAfter(server, ms);
  }

  #endAfter(server: Server, ms: number): void {
    const { timeline } = this.#options;
    server.plan += 1;
    const { plan } = server;
    timeline.at(Math.max(timeline.now, server.since + ms), () => {
      if (server.plan !== plan) return;
      this.#end(server, server.engine.end());
      this.#begin(server);
    });
  }

  /** Whoever comes or goes in the middle of a step is minded when it ends. */
  #cut(server: Server): void {
    this.#pass(server);
    if (server.engine.isLeaping) this.#endAfter(server, server.engine.cut());
  }

  #passAll(): void {
    for (const server of this.#replicas) {
      if (server.isStepping) this.#pass(server);
      else this.#rest(server);
    }
  }

  #pass(server: Server): void {
    const stretch = server.engine.pass(this.#options.timeline.now - server.since);
    if (stretch === undefined) return;
    server.since += stretch.ms;
    this.#account(server, stretch, stretch.joules);
  }

  #end(server: Server, result: StepResult<VirtualJob>): void {
    const { joules, started, finished, takes, prefillTokens } = result;
    for (const { job, tokens } of takes) {
      this.#activeJoules[job.class] += tokens * this.#prefillJoulesPerToken;
    }
    const activeOfPrefill = prefillTokens * this.#prefillJoulesPerToken;
    this.#account(server, result, joules - activeOfPrefill);
    for (const job of started) this.#start(server, job);
    for (const job of finished) this.#finish(server, job);
  }

  /** `joules` without what a prefill drew above rest. */
  #account(server: Server, stretch: Stretch, joules: number): void {
    const { firstMs, growthMs, steps, ms, batch } = stretch;
    this.#busyJoules += stretch.joules;
    if (batch === 0) return;
    const tokens = batch * steps;
    this.#totals.output += tokens;
    this.#tokensMadeEver += tokens;
    this.#gapMs += ms * batch;
    this.#gaps += tokens;
    this.#options.onGaps({ firstMs, growthMs, steps, sequences: batch });
    const activeEach = (joules - (server.engine.restWatts * ms) / 1_000) / batch;
    for (const each of serviceClasses) {
      this.#activeJoules[each] += activeEach * server.decoding[each];
    }
  }

  #start(server: Server, job: VirtualJob): void {
    server.decoding[job.class] += 1;
    this.#totals.prompt += job.promptTokens;
    this.#totals.cached += job.cachedTokens;
    this.#totals.output += 1;
    this.#tokensMadeEver += 1;
    this.#ttftMs.push(this.#options.timeline.now - job.submittedAt);
    job.onFirstToken();
  }

  #finish(server: Server, job: VirtualJob): void {
    server.decoding[job.class] -= 1;
    job.tokensMade = job.outputTokens;
    this.#jobs.delete(job);
    job.onFinished();
  }

  #madeBy(job: VirtualJob): number {
    return this.#replicas.reduce((made, { engine }) => made + engine.outputTokens(job), 0);
  }
}

function perClass(): Record<ServiceClass, number> {
  return {
    "metro-realtime": 0,
    "realtime-interactive": 0,
    "llm-interactive": 0,
    "batch-offline": 0,
    archival: 0,
  };
}

function leastLoaded(replicas: readonly Server[]): Server | undefined {
  let least: Server | undefined;
  let leastLoad = Infinity;
  for (const server of replicas) {
    const load = server.engine.runningRequests + server.engine.waitingRequests;
    if (load >= leastLoad) continue;
    least = server;
    leastLoad = load;
  }
  return least;
}

import { EngineReplica, type EngineJob, type StepResult } from "../core/engine-replica.ts";
import { PREFIX_BLOCK_TOKENS } from "../core/prefix.ts";
import type { ServedModel } from "../core/pool.ts";
import type { ModelId } from "../core/units.ts";
import { EngineClock } from "./engine-clock.ts";
import type { FleetPool, ServedEngine } from "./fleet.ts";
import {
  dcgmText,
  EngineMetrics,
  vllmText,
  type Accelerator,
  type FinishedReason,
} from "./vllm-metrics.ts";

/** A request inside an engine, and who hears of its tokens. */
export interface Job extends EngineJob {
  readonly finishReason: FinishedReason;
  readonly submittedAtMs: number;
  /** One more token was made. */
  readonly onToken: (cachedTokens: number) => void;
  readonly onEnd: () => void;
  admittedAtMs: number;
  firstTokenAtMs: number;
  cachedTokens: number;
}

/** The engines of one pool in real time: some replicas per model, and what they tell about themselves. */
export class EnginePool {
  readonly id: string;
  /** By the engine's own name of the model. */
  readonly served: ReadonlyMap<string, ServedModel>;
  readonly #enginesByModel: ReadonlyMap<string, readonly Engine[]>;

  constructor({ registration, engines }: FleetPool) {
    this.id = registration.id;
    this.served = new Map(registration.models.map((each) => [each.engineModelName, each]));
    this.#enginesByModel = new Map(
      registration.models.map(({ model, engineModelName }) => [
        engineModelName,
        openEngines(engines, model),
      ]),
    );
  }

  /** False if no replica could ever hold it. */
  fits(model: string, job: EngineJob): boolean {
    return this.#enginesByModel.get(model)?.[0]?.clock.replica.fits(job) ?? false;
  }

  /** To the replica with the fewest requests. Returns what takes it out again. */
  submit(model: string, job: Job): () => void {
    const engines = this.#enginesByModel.get(model) ?? [];
    const engine = engines.reduce<Engine | undefined>(
      (best, each) => (best === undefined || each.requests < best.requests ? each : best),
      undefined,
    );
    engine?.clock.submit(job);
    return () => engine?.abort(job);
  }

  /** Prometheus text with vLLM's names. */
  metricsText(): string {
    const all = [...this.#enginesByModel];
    return vllmText(
      all.flatMap(([modelName, engines]) =>
        engines.map((each, engine) => ({ modelName, engine, ...each.gauges() })),
      ),
    );
  }

  /** Prometheus text with the names of the DCGM exporter. Accelerators of a replica are alike. */
  powerText(): string {
    const engines = [...this.#enginesByModel.values()].flat();
    return dcgmText(
      this.id,
      engines.flatMap((each) => each.accelerators()),
    );
  }

  close(): void {
    for (const engines of this.#enginesByModel.values()) {
      for (const { clock } of engines) clock.close();
    }
  }
}

function openEngines(engines: ReadonlyMap<ModelId, ServedEngine>, model: ModelId): Engine[] {
  const served = engines.get(model);
  if (served === undefined) return [];
  return Array.from({ length: served.replicas }, () => new Engine(served));
}

/** One replica and its counters. */
class Engine {
  readonly clock: EngineClock<Job>;
  readonly metrics = new EngineMetrics();
  readonly #acceleratorCount: number;
  #stepEndedAtMs = 0;

  constructor({ profile, power }: ServedEngine) {
    // The exporter of an accelerator knows nothing of the rest of the node.
    const replica = new EngineReplica<Job>(profile, {
      power: { ...power, hostWatts: 0 },
      prefixBlockTokens: PREFIX_BLOCK_TOKENS,
    });
    this.#acceleratorCount = power.accelerators;
    this.clock = new EngineClock(replica, (result, beganAtMs) => this.#stepped(result, beganAtMs));
  }

  get requests(): number {
    return this.clock.replica.runningRequests + this.clock.replica.waitingRequests;
  }

  gauges() {
    const { replica } = this.clock;
    const { kvTokensTotal } = replica.profile;
    return {
      running: replica.runningRequests,
      waiting: replica.waitingRequests,
      kvUsedRatio: replica.kvTokensHeld / kvTokensTotal,
      kvTokensTotal,
      metrics: this.metrics,
    };
  }

  accelerators(): Accelerator[] {
    const count = this.#acceleratorCount;
    const each = { watts: this.clock.watts / count, joulesTotal: this.clock.joulesTotal / count };
    return Array.from({ length: count }, () => each);
  }

  abort(job: Job): void {
    if (this.clock.abort(job)) this.metrics.success.abort += 1;
  }

  #stepped(result: StepResult<Job>, beganAtMs: number): void {
    const { metrics } = this;
    const { replica } = this.clock;
    const endedAtMs = beganAtMs + result.ms;
    const sinceLastMs = this.#stepEndedAtMs === 0 ? result.ms : endedAtMs - this.#stepEndedAtMs;
    this.#stepEndedAtMs = endedAtMs;
    for (const job of result.admitted) job.admittedAtMs = beganAtMs;
    for (const job of result.started) this.#started(job, endedAtMs);
    let tokens = 0;
    for (const job of replica.decoding()) {
      job.onToken(job.cachedTokens);
      tokens += 1;
    }
    for (const job of result.finished) {
      job.onToken(job.cachedTokens);
      tokens += 1;
      this.#finished(job, endedAtMs);
    }
    metrics.generationTokens += tokens;
    metrics.histograms["vllm:iteration_tokens_total"].observe(result.prefillTokens + result.batch);
    const later = tokens - result.started.length;
    if (later > 0) {
      metrics.histograms["vllm:inter_token_latency_seconds"].observe(sinceLastMs / 1_000, later);
    }
  }

  #started(job: Job, atMs: number): void {
    const { metrics } = this;
    const { histograms } = metrics;
    job.firstTokenAtMs = atMs;
    job.cachedTokens = this.clock.replica.cachedTokens(job);
    metrics.promptTokens += job.promptTokens;
    metrics.cachedPromptTokens += job.cachedTokens;
    histograms["vllm:time_to_first_token_seconds"].observe((atMs - job.submittedAtMs) / 1_000);
    histograms["vllm:request_queue_time_seconds"].observe(
      Math.max(0, job.admittedAtMs - job.submittedAtMs) / 1_000,
    );
    histograms["vllm:request_prefill_time_seconds"].observe((atMs - job.admittedAtMs) / 1_000);
  }

  #finished(job: Job, atMs: number): void {
    const { histograms, success } = this.metrics;
    success[job.finishReason] += 1;
    histograms["vllm:e2e_request_latency_seconds"].observe((atMs - job.submittedAtMs) / 1_000);
    histograms["vllm:request_decode_time_seconds"].observe((atMs - job.firstTokenAtMs) / 1_000);
    histograms["vllm:request_inference_time_seconds"].observe((atMs - job.admittedAtMs) / 1_000);
    histograms["vllm:request_prompt_tokens"].observe(job.promptTokens);
    histograms["vllm:request_generation_tokens"].observe(job.outputTokens);
    job.onEnd();
  }
}

import { assert } from "./assert.ts";
import { prefillWatts, replicaWatts } from "./energy.ts";
import { msOf, stepsWithin, type Pace, type Stretch } from "./leap.ts";
import type { EngineProfile, PowerModel } from "./pool.ts";
import { PrefixCache } from "./prefix.ts";

/** What one replica has to do for a request, in tokens. */
export interface EngineJob {
  readonly promptTokens: number;
  /** Will be made: a simulated engine knows. */
  readonly outputTokens: number;
  /** Reserved in the KV cache; at least `outputTokens`. */
  readonly outputTokensMax: number;
  /** Ids of the prompt's whole blocks, see `blockHashes`. Empty means that nothing is shared. */
  readonly blocks: readonly number[];
}

/** Steps that ended: who decodes after them, and who finished in the last of them, gained a token in each. */
export interface StepResult<Job> extends Stretch {
  /** Uncached prompt tokens that were taken, and of whom. */
  readonly prefillTokens: number;
  readonly takes: readonly Take<Job>[];
  /** Came out of the queue when they began. */
  readonly admitted: readonly Job[];
  /** Got their first token. */
  readonly started: readonly Job[];
  readonly finished: readonly Job[];
}

export interface Take<Job> {
  readonly job: Job;
  readonly tokens: number;
}

/** Draw of a loaded accelerator without a request: the middle of 80 to 110 W, general knowledge. */
const REST_WATTS_PER_ACCELERATOR = 95;

interface Sequence<Job> {
  readonly job: Job;
  cachedTokens: number;
  uncachedTokensLeft: number;
  /** Number of the step in which it got its first token. */
  startedAtStep: number;
  isGone: boolean;
}

interface SequenceTake<Job> extends Take<Job> {
  readonly sequence: Sequence<Job>;
}

interface Plan<Job> extends Pace {
  readonly admitted: readonly Job[];
  readonly takes: readonly SequenceTake<Job>[];
  readonly prefillTokens: number;
  readonly batch: number;
  steps: number;
  firstMs: number;
}

/**
 * One set of accelerators that forms batches together, step by step, by the validated rule of the engine
 * model. It knows no clock: who steps it lets the time pass that a step takes.
 *
 * A step costs as much as what changes in it, not as much as what runs: a sequence is touched when it is
 * admitted, prefilled, begins and ends. Steps in which nothing changes can be taken in one leap: between
 * admissions, prefill and ends the batch B is the same and the KV grows by B per step, so that n steps take
 * n·(W + a·B + h·K) + h·B·n·(n − 1)/2. Who leaps passes what is over before he looks, and cuts the leap when
 * somebody comes who finds room, or leaves: then it ends with the step that runs.
 */
export class EngineReplica<Job extends EngineJob = EngineJob> {
  readonly profile: EngineProfile;
  readonly #power: PowerModel | undefined;
  readonly #prefixCache: PrefixCache | undefined;
  readonly #sequences = new Map<Job, Sequence<Job>>();
  readonly #waiting = new Set<Sequence<Job>>();
  readonly #prefilling = new Set<Sequence<Job>>();
  readonly #decoding = new Set<Sequence<Job>>();
  readonly #endingAtStep = new Map<number, Sequence<Job>[]>();
  #step = 0;
  #plan: Plan<Job> | undefined;
  #kvTokensReserved = 0;
  #kvTokensPrefilling = 0;
  #kvTokensDecoding = 0;

  constructor(
    profile: EngineProfile,
    options: { readonly power?: PowerModel | undefined; readonly prefixBlockTokens?: number } = {},
  ) {
    this.profile = profile;
    this.#power = options.power;
    if (options.prefixBlockTokens !== undefined) {
      const blocksMax = Math.floor(profile.kvTokensTotal / options.prefixBlockTokens);
      this.#prefixCache = new PrefixCache(blocksMax, options.prefixBlockTokens);
    }
  }

  get waitingRequests(): number {
    return this.#waiting.size;
  }

  /** Prefilling and decoding. */
  get runningRequests(): number {
    return this.#prefilling.size + this.#decoding.size;
  }

  /** Tokens that running requests hold in the KV cache. */
  get kvTokensHeld(): number {
    return this.#kvTokensPrefilling + this.#kvTokensDecoding;
  }

  /** What they may come to hold: admission goes by it. */
  get kvTokensReserved(): number {
    return this.#kvTokensReserved;
  }

  /** Between two steps: those that gained a token in the last one and are not complete. */
  *decoding(): Generator<Job> {
    for (const { job } of this.#decoding) yield job;
  }

  /** What the replica draws while it has nothing to do. 0 without a power model. */
  get restWatts(): number {
    if (this.#power === undefined) return 0;
    return this.#power.accelerators * REST_WATTS_PER_ACCELERATOR + this.#power.hostWatts;
  }

  /** False means that it could never be admitted. */
  fits(job: EngineJob): boolean {
    return job.promptTokens + job.outputTokensMax <= this.profile.kvTokensTotal;
  }

  submit(job: Job): void {
    assert(job.promptTokens >= 1 && job.outputTokens >= 1, "a request has tokens in and out");
    assert(job.outputTokensMax >= job.outputTokens, "what is made was reserved");
    assert(this.fits(job) && !this.#sequences.has(job), "a request fits and is submitted once");
    const sequence: Sequence<Job> = {
      job,
      cachedTokens: 0,
      uncachedTokensLeft: job.promptTokens,
      startedAtStep: -1,
      isGone: false,
    };
    this.#sequences.set(job, sequence);
    this.#waiting.add(sequence);
  }

  /** Frees what the job holds, also in the middle of a step. False if it is not here any more. */
  abort(job: Job): boolean {
    const sequence = this.#sequences.get(job);
    if (sequence === undefined) return false;
    assert(!this.isLeaping || this.#waiting.has(sequence), "a leap is cut before somebody leaves");
    this.#leave(sequence);
    return true;
  }

  /** Of the prompt, what the prefix cache had. 0 before it is admitted. */
  cachedTokens(job: Job): number {
    return this.#sequences.get(job)?.cachedTokens ?? 0;
  }

  /** Tokens made for a job so far. */
  outputTokens(job: Job): number {
    const sequence = this.#sequences.get(job);
    return sequence === undefined || !this.#decoding.has(sequence) ? 0 : this.#produced(sequence);
  }

  /** Came out of the queue when the step that runs began. */
  get admitted(): readonly Job[] {
    return this.#plan?.admitted ?? [];
  }

  /** More than one step is still to be passed. */
  get isLeaping(): boolean {
    return this.#plan !== undefined && this.#plan.steps > 1;
  }

  /** Who is first in the queue will be admitted when the next step begins. */
  get admitsNext(): boolean {
    for (const { job } of this.#waiting) return this.#hasRoomFor(job);
    return false;
  }

  /** Both halves at once, for a world that lets the time pass afterwards. Undefined when idle. */
  step(): StepResult<Job> | undefined {
    return this.begin() === undefined ? undefined : this.end();
  }

  /**
   * Begins a step, or up to so many in which nothing will change, and tells how long all of them will take,
   * in ms. Undefined when there is nothing to do.
   */
  begin(stepsMax = 1): number | undefined {
    assert(this.#plan === undefined, "a step ends before the next begins");
    const admitted = this.#admit();
    if (this.runningRequests === 0) return undefined;
    const plan = this.#planned(admitted);
    if (stepsMax > 1 && plan.prefillTokens === 0) {
      plan.steps = Math.min(stepsMax, this.#stepsToNextEnd());
    }
    this.#plan = plan;
    return msOf(plan, plan.steps);
  }

  /**
   * Passes the steps of a leap that are over so many ms after the first that was not passed had begun; the last step is
   * never passed, it ends. Undefined: none is over.
   */
  pass(elapsedMs: number): Stretch | undefined {
    const plan = this.#plan;
    if (plan === undefined || plan.steps === 1) return undefined;
    const steps = stepsWithin(plan, elapsedMs);
    if (steps === 0) return undefined;
    const stretch = this.#stretch(plan, steps);
    this.#step += steps;
    this.#kvTokensDecoding += plan.batch * steps;
    plan.steps -= steps;
    plan.firstMs = this.#decodeMs(plan.batch);
    return stretch;
  }

  /** Of a leap whose past steps have been passed only the step that runs is left. Tells how long that takes, in ms. */
  cut(): number {
    assert(this.#plan !== undefined, "what is cut was begun");
    this.#plan.steps = 1;
    return this.#plan.firstMs;
  }

  /** Ends the steps that were begun. */
  end(): StepResult<Job> {
    const plan = this.#plan;
    assert(plan !== undefined, "a step begins before it ends");
    const stretch = this.#stretch(plan, plan.steps);
    this.#plan = undefined;
    this.#step += plan.steps;
    this.#kvTokensDecoding += this.#decoding.size * plan.steps;
    const finished = this.#endingNow();
    const started = this.#prefill(plan);
    for (const sequence of started) this.#start(sequence, finished);
    const { prefillTokens, takes, admitted } = plan;
    return {
      ...stretch,
      prefillTokens,
      takes,
      admitted,
      started: started.map(({ job }) => job),
      finished: finished.map(({ job }) => job),
    };
  }

  /** In order, up to the first that does not fit: nobody is overtaken. */
  #admit(): Job[] {
    const admitted: Job[] = [];
    for (const sequence of this.#waiting) {
      if (!this.#hasRoomFor(sequence.job)) break;
      const { promptTokens, outputTokensMax, blocks } = sequence.job;
      // The last token is always computed: its output is the first token of the answer.
      const known = this.#prefixCache?.match(blocks) ?? 0;
      sequence.cachedTokens = Math.min(known, promptTokens - 1);
      sequence.uncachedTokensLeft = promptTokens - sequence.cachedTokens;
      this.#kvTokensReserved += promptTokens + outputTokensMax;
      this.#kvTokensPrefilling += sequence.cachedTokens;
      this.#waiting.delete(sequence);
      this.#prefilling.add(sequence);
      admitted.push(sequence.job);
    }
    return admitted;
  }

  #hasRoomFor({ promptTokens, outputTokensMax }: EngineJob): boolean {
    const reserved = this.#kvTokensReserved + promptTokens + outputTokensMax;
    const { sequencesMax, kvTokensTotal } = this.profile;
    return this.runningRequests < sequencesMax && reserved <= kvTokensTotal;
  }

  #planned(admitted: readonly Job[]): Plan<Job> {
    const { stepMsPerKvToken, prefillMsPerToken } = this.profile;
    const takes: SequenceTake<Job>[] = [];
    let room = this.profile.prefillChunkTokens;
    for (const sequence of this.#prefilling) {
      if (room === 0) break;
      const tokens = Math.min(room, sequence.uncachedTokensLeft);
      takes.push({ sequence, job: sequence.job, tokens });
      room -= tokens;
    }
    const prefillTokens = this.profile.prefillChunkTokens - room;
    const batch = this.#decoding.size;
    const firstMs = this.#decodeMs(batch) + prefillMsPerToken * prefillTokens;
    const growthMs = stepMsPerKvToken * batch;
    return { admitted, takes, prefillTokens, batch, growthMs, steps: 1, firstMs };
  }

  #decodeMs(batch: number): number {
    if (batch === 0) return 0;
    const { stepBaseMs, stepMsPerSequence, stepMsPerKvToken } = this.profile;
    return stepBaseMs + stepMsPerSequence * batch + stepMsPerKvToken * this.#kvTokensDecoding;
  }

  /** Who is gone may still be among those that end: then nobody does, and the next leap begins. */
  #stepsToNextEnd(): number {
    let next = Infinity;
    for (const step of this.#endingAtStep.keys()) next = Math.min(next, step);
    assert(next > this.#step && next < Infinity, "who decodes ends at a step to come");
    return next - this.#step;
  }

  #endingNow(): Sequence<Job>[] {
    const ending = this.#endingAtStep.get(this.#step) ?? [];
    this.#endingAtStep.delete(this.#step);
    const finished = ending.filter((sequence) => !sequence.isGone);
    for (const sequence of finished) this.#leave(sequence);
    return finished;
  }

  /** Those whose prompt is complete now. */
  #prefill(plan: Plan<Job>): Sequence<Job>[] {
    const complete: Sequence<Job>[] = [];
    for (const { sequence, tokens } of plan.takes) {
      if (sequence.isGone) continue;
      sequence.uncachedTokensLeft -= tokens;
      this.#kvTokensPrefilling += tokens;
      if (sequence.uncachedTokensLeft === 0) complete.push(sequence);
    }
    return complete;
  }

  #start(sequence: Sequence<Job>, finished: Sequence<Job>[]): void {
    const { promptTokens, outputTokens, blocks } = sequence.job;
    this.#prefixCache?.add(blocks);
    this.#prefilling.delete(sequence);
    this.#kvTokensPrefilling -= promptTokens;
    sequence.startedAtStep = this.#step;
    this.#decoding.add(sequence);
    this.#kvTokensDecoding += promptTokens + 1;
    if (outputTokens === 1) {
      this.#leave(sequence);
      finished.push(sequence);
      return;
    }
    const endsAtStep = this.#step + outputTokens - 1;
    const ending = this.#endingAtStep.get(endsAtStep);
    if (ending === undefined) this.#endingAtStep.set(endsAtStep, [sequence]);
    else ending.push(sequence);
  }

  #leave(sequence: Sequence<Job>): void {
    const { job } = sequence;
    sequence.isGone = true;
    this.#sequences.delete(job);
    if (this.#waiting.delete(sequence)) return;
    this.#kvTokensReserved -= job.promptTokens + job.outputTokensMax;
    if (this.#prefilling.delete(sequence)) {
      this.#kvTokensPrefilling -= job.promptTokens - sequence.uncachedTokensLeft;
      return;
    }
    this.#kvTokensDecoding -= job.promptTokens + this.#produced(sequence);
    this.#decoding.delete(sequence);
  }

  #produced(sequence: Sequence<Job>): number {
    return this.#step - sequence.startedAtStep + 1;
  }

  /** Prefill draws what the card is rated for, decode what its batch takes. */
  #stretch(plan: Plan<Job>, steps: number): Stretch {
    const { batch, firstMs, growthMs, prefillTokens } = plan;
    const ms = msOf(plan, steps);
    const power = this.#power;
    if (power === undefined) return { steps, firstMs, growthMs, ms, batch, joules: 0 };
    const prefillMs = prefillTokens * this.profile.prefillMsPerToken;
    const decodeMs = ms - prefillMs;
    const joules =
      (prefillMs * prefillWatts(power) + decodeMs * replicaWatts(power, batch)) / 1_000;
    return { steps, firstMs, growthMs, ms, batch, joules };
  }
}

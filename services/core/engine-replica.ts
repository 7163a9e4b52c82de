import { assert } from "./assert.ts";
import { prefillWatts, replicaWatts } from "./energy.ts";
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

/** One step: every job that decodes after it, and every one that finished in it, gained one token. */
export interface StepResult<Job> {
  readonly ms: number;
  /** Uncached prompt tokens that were taken. */
  readonly prefillTokens: number;
  /** Sequences that decoded in it. */
  readonly batch: number;
  /** At the replica, before the site's own use. */
  readonly joules: number;
  /** Came out of the queue when it began. */
  readonly admitted: readonly Job[];
  /** Got their first token. */
  readonly started: readonly Job[];
  readonly finished: readonly Job[];
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

interface Plan<Job> {
  readonly admitted: readonly Job[];
  readonly takes: readonly { readonly sequence: Sequence<Job>; readonly tokens: number }[];
  readonly prefillTokens: number;
  readonly batch: number;
  readonly ms: number;
}

/**
 * One set of accelerators that forms batches together, step by step, by the validated rule of the engine
 * model. It knows no clock: who steps it lets the time pass that a step takes.
 *
 * A step costs as much as what changes in it, not as much as what runs: a sequence is touched when it is
 * admitted, prefilled, begins and ends.
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

  /** Both halves at once, for a world that lets the time pass afterwards. Undefined when idle. */
  step(): StepResult<Job> | undefined {
    return this.begin() === undefined ? undefined : this.end();
  }

  /** Begins a step and tells how long it will take, in ms. Undefined when there is nothing to do. */
  begin(): number | undefined {
    assert(this.#plan === undefined, "a step ends before the next begins");
    const admitted = this.#admit();
    if (this.runningRequests === 0) return undefined;
    this.#plan = this.#planned(admitted);
    return this.#plan.ms;
  }

  /** Ends the step that was begun. */
  end(): StepResult<Job> {
    const plan = this.#plan;
    assert(plan !== undefined, "a step begins before it ends");
    this.#plan = undefined;
    this.#step += 1;
    this.#kvTokensDecoding += this.#decoding.size;
    const finished = this.#endingNow();
    const started = this.#prefill(plan);
    for (const sequence of started) this.#start(sequence, finished);
    const { ms, prefillTokens, batch, admitted } = plan;
    return {
      admitted,
      ms,
      prefillTokens,
      batch,
      joules: this.#joules(plan),
      started: started.map(({ job }) => job),
      finished: finished.map(({ job }) => job),
    };
  }

  /** In order, up to the first that does not fit: nobody is overtaken. */
  #admit(): Job[] {
    const admitted: Job[] = [];
    for (const sequence of this.#waiting) {
      const { promptTokens, outputTokensMax, blocks } = sequence.job;
      const reserved = this.#kvTokensReserved + promptTokens + outputTokensMax;
      const isFull = this.runningRequests >= this.profile.sequencesMax;
      if (isFull || reserved > this.profile.kvTokensTotal) break;
      // The last token is always computed: its output is the first token of the answer.
      const known = this.#prefixCache?.match(blocks) ?? 0;
      sequence.cachedTokens = Math.min(known, promptTokens - 1);
      sequence.uncachedTokensLeft = promptTokens - sequence.cachedTokens;
      this.#kvTokensReserved = reserved;
      this.#kvTokensPrefilling += sequence.cachedTokens;
      this.#waiting.delete(sequence);
      this.#prefilling.add(sequence);
      admitted.push(sequence.job);
    }
    return admitted;
  }

  #planned(admitted: readonly Job[]): Plan<Job> {
    const { stepBaseMs, stepMsPerSequence, stepMsPerKvToken, prefillMsPerToken } = this.profile;
    const takes = [];
    let room = this.profile.prefillChunkTokens;
    for (const sequence of this.#prefilling) {
      if (room === 0) break;
      const tokens = Math.min(room, sequence.uncachedTokensLeft);
      takes.push({ sequence, tokens });
      room -= tokens;
    }
    const prefillTokens = this.profile.prefillChunkTokens - room;
    const batch = this.#decoding.size;
    const decodeMs =
      batch === 0
        ? 0
        : stepBaseMs + stepMsPerSequence * batch + stepMsPerKvToken * this.#kvTokensDecoding;
    const ms = decodeMs + prefillMsPerToken * prefillTokens;
    return { admitted, takes, prefillTokens, batch, ms };
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
  #joules({ prefillTokens, batch, ms }: Plan<Job>): number {
    const power = this.#power;
    if (power === undefined) return 0;
    const prefillMs = prefillTokens * this.profile.prefillMsPerToken;
    const decodeMs = ms - prefillMs;
    return (prefillMs * prefillWatts(power) + decodeMs * replicaWatts(power, batch)) / 1_000;
  }
}

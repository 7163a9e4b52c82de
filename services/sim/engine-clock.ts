import type { EngineJob, EngineReplica, StepResult } from "../core/engine-replica.ts";

/** A replica that is behind by more than this gives the time up instead of making it good in a burst. */
const LAG_MS_MAX = 1_000;

/** Steps that are due already run at once, but so many at most before others have their turn. */
const STEPS_PER_TURN_MAX = 64;

/**
 * Steps one replica in real time, with one timer however many sequences run. A step that took longer than
 * it should shortens the wait for the next, so that the speed holds on average.
 */
export class EngineClock<Job extends EngineJob> {
  readonly replica: EngineReplica<Job>;
  readonly #onStep: (result: StepResult<Job>, beganAtMs: number) => void;
  #timer: NodeJS.Timeout | undefined;
  /** Of the step that runs; undefined at rest. */
  #dueAtMs: number | undefined;
  #stepMs = 0;
  #restSinceMs = performance.now();
  #joules = 0;
  #busyWatts = 0;

  constructor(
    replica: EngineReplica<Job>,
    /** Called at the end of each step. */
    onStep: (result: StepResult<Job>, beganAtMs: number) => void,
  ) {
    this.replica = replica;
    this.#onStep = onStep;
  }

  submit(job: Job): void {
    this.replica.submit(job);
    if (this.#dueAtMs !== undefined) return;
    const now = performance.now();
    this.#joules += this.#restJoules(now);
    this.#begin(now);
    this.#wait(now);
  }

  abort(job: Job): boolean {
    return this.replica.abort(job);
  }

  /** Since the start, up to the end of the last step. */
  get joulesTotal(): number {
    return this.#joules + this.#restJoules(performance.now());
  }

  /** Of the last step while it works, at rest otherwise. */
  get watts(): number {
    return this.#dueAtMs === undefined ? this.replica.restWatts : this.#busyWatts;
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #begin(atMs: number): void {
    const stepMs = this.replica.begin();
    if (stepMs === undefined) {
      this.#dueAtMs = undefined;
      this.#restSinceMs = performance.now();
      return;
    }
    this.#stepMs = stepMs;
    this.#dueAtMs = atMs + stepMs;
  }

  #wait(now: number): void {
    if (this.#dueAtMs === undefined) return;
    this.#timer = setTimeout(() => this.#run(), Math.max(0, this.#dueAtMs - now));
  }

  #run(): void {
    let now = performance.now();
    for (let steps = 0; steps < STEPS_PER_TURN_MAX; steps++) {
      const dueAtMs = this.#dueAtMs;
      if (dueAtMs === undefined || dueAtMs > now) break;
      const result = this.replica.end();
      this.#joules += result.joules;
      this.#busyWatts = result.ms > 0 ? (result.joules / result.ms) * 1_000 : 0;
      this.#onStep(result, dueAtMs - this.#stepMs);
      now = performance.now();
      this.#begin(now - dueAtMs > LAG_MS_MAX ? now : dueAtMs);
    }
    this.#wait(now);
  }

  #restJoules(now: number): number {
    if (this.#dueAtMs !== undefined) return 0;
    return ((now - this.#restSinceMs) / 1_000) * this.replica.restWatts;
  }
}

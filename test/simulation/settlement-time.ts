import { createHash } from "node:crypto";
import { randomFromSeed, seedFromText, type Random } from "../../services/core/random.ts";
import type { Instant } from "../../services/core/units.ts";
import type { Clock, Timers } from "../../services/io/clock.ts";
import { Timeline } from "../../services/sim/timeline.ts";

/** The last events that a failure shows. */
const eventsShown = 60;

/** One run: virtual time, one source of chance, and a hash of all that happened. */
export class Run {
  readonly timeline: Timeline;
  readonly random: Random;
  readonly #hash = createHash("sha256");
  readonly #events: string[] = [];
  #failure: Error | undefined;

  constructor(seed: number, startAt: Instant) {
    this.timeline = new Timeline(startAt);
    this.random = randomFromSeed(seedFromText(`settlement ${seed}`));
  }

  get now(): Instant {
    return this.timeline.now;
  }

  /** From `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.random() * (high - low + 1));
  }

  isDrawn(likelihood: number): boolean {
    return this.random() < likelihood;
  }

  one<Item>(items: readonly Item[]): Item {
    const item = items[Math.floor(this.random() * items.length)];
    if (item === undefined) throw new Error("expected something to choose from, found nothing");
    return item;
  }

  note(event: string): void {
    const line = `${this.now.toFixed(3)} ${event}`;
    this.#hash.update(`${line}\n`);
    this.#events.push(line);
    if (this.#events.length > 2 * eventsShown) this.#events.splice(0, eventsShown);
  }

  /** Something is as it must never be: the run ends with the next step. */
  fail(reason: unknown): void {
    this.#failure ??= reason instanceof Error ? reason : new Error(String(reason));
  }

  /** What must be true, by the number of the invariant. */
  expect(isTrue: boolean, invariant: string, found: () => string): void {
    if (!isTrue) this.fail(new Error(`${invariant}: ${found()}`));
  }

  get digest(): string {
    return this.#hash.copy().digest("hex");
  }

  /** Starts work that nobody waits for. Only a defect makes it fail. */
  spawn(work: () => Promise<unknown>): void {
    work().catch((error: unknown) => this.fail(error));
  }

  /** Runs what is due until then, one action after the other, each to its end. */
  async until(end: Instant): Promise<void> {
    while (this.timeline.nextAt !== undefined && this.timeline.nextAt <= end) {
      this.timeline.runNext();
      await settled();
      if (this.#failure !== undefined) throw this.#failed();
    }
    this.timeline.runUntil(end);
  }

  async forMs(ms: number): Promise<void> {
    await this.until(this.now + ms);
  }

  /** The result of work that goes on in virtual time. */
  async during<Result>(work: Promise<Result>, msMax: number): Promise<Result> {
    let outcome: { readonly value: Result } | undefined;
    work.then(
      (value) => {
        outcome = { value };
      },
      (error: unknown) => this.fail(error),
    );
    const end = this.now + msMax;
    await settled();
    while (outcome === undefined && this.timeline.nextAt !== undefined) {
      if (this.timeline.nextAt > end) break;
      await this.until(this.timeline.nextAt);
    }
    if (this.#failure !== undefined) throw this.#failed();
    if (outcome === undefined) {
      this.fail(`expected an end within ${msMax} ms, found none`);
      throw this.#failed();
    }
    return outcome.value;
  }

  #failed(): Error {
    const events = this.#events.slice(-eventsShown).join("\n");
    const { message } = this.#failure ?? new Error("nothing failed");
    return new Error(`${message}\n${events}`, { cause: this.#failure });
  }
}

/** Nothing here waits for the machine, so after a turn of the loop all promises have gone as far as they can. */
async function settled(): Promise<void> {
  await new Promise(setImmediate);
}

/** A process that can die at any moment. What it was about to do is never done, and nobody hears of it. */
export class Process implements Clock, Timers {
  readonly name: string;
  readonly run: Run;
  isAlive = true;
  /** How far its clock is off. Clocks of a process never go back: a jump is seen at the next start. */
  readonly skewMs: number;
  readonly stop = new AbortController();

  constructor(run: Run, name: string, skewMs = 0) {
    this.run = run;
    this.name = name;
    this.skewMs = skewMs;
  }

  now(): Instant {
    return this.run.now + this.skewMs;
  }

  nowUs(): bigint {
    return BigInt(Math.round(this.now() * 1_000));
  }

  /** Looked at again: it may have died meanwhile. */
  hasDied(): boolean {
    return !this.isAlive;
  }

  kill(why: string): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.run.note(`${this.name} dies: ${why}`);
  }

  async wait(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const goOn = (): void => {
        if (this.isAlive) resolve();
      };
      signal?.addEventListener("abort", goOn, { once: true });
      this.run.timeline.after(ms, goOn);
    });
  }

  /** Begins something in a while, if it lives. */
  after(ms: number, work: () => Promise<unknown>): void {
    this.run.timeline.after(ms, () => {
      if (this.isAlive) this.run.spawn(work);
    });
  }

  /** Again and again, one after the other. */
  every(ms: () => number, work: () => Promise<unknown>): void {
    const again = (): void => {
      this.after(ms(), async () => {
        await work();
        again();
      });
    };
    again();
  }

  /** Resolves like the work, unless the process has died meanwhile. */
  async alive<Result>(work: () => Promise<Result>): Promise<Result> {
    if (!this.isAlive) return never();
    const outcome = await work().then(
      (value) => ({ kind: "done", value }) as const,
      (error: unknown) => ({ kind: "failed", error }) as const,
    );
    if (this.hasDied()) return never();
    if (outcome.kind === "failed") throw outcome.error;
    return outcome.value;
  }
}

/** What a dead process would have said. */
export async function never<Result>(): Promise<Result> {
  return new Promise(() => undefined);
}

import fc from "fast-check";
import { expect, test } from "vitest";
import { EngineReplica, type EngineJob } from "../../services/core/engine-replica.ts";
import { msOf, stepsWithin, type Stretch } from "../../services/core/leap.ts";
import type { EngineProfile, PowerModel } from "../../services/core/pool.ts";
import { Timeline } from "../../services/sim/timeline.ts";

const power: PowerModel = {
  accelerators: 2,
  idleWatts: 300,
  nominalWatts: 600,
  steepness: 1,
  midpointLog2: 4.2,
  hostWatts: 700,
};

const profiles: fc.Arbitrary<EngineProfile> = fc.record({
  stepBaseMs: fc.constantFrom(0.5, 7.3, 23),
  stepMsPerSequence: fc.constantFrom(0, 0.08, 1.7),
  stepMsPerKvToken: fc.constantFrom(0, 1.8e-5, 0.013),
  prefillMsPerToken: fc.constantFrom(0.043, 0.11),
  prefillChunkTokens: fc.constantFrom(32, 100, 2_048),
  kvTokensTotal: fc.constantFrom(320, 1_000, 100_000),
  sequencesMax: fc.integer({ min: 1, max: 9 }),
});

/** Odd parts of a ms, so that nothing happens at the very end of a step, where rounding would decide. */
const instant = fc.integer({ min: 0, max: 4_000_000 }).map((us) => us / 1_000 + Math.SQRT2 / 1e5);

interface Visit {
  readonly atMs: number;
  readonly job: EngineJob;
  /** Undefined: it stays to its end. */
  readonly leavesAfterMs: number | undefined;
}

const visits: fc.Arbitrary<Visit[]> = fc.array(
  fc
    .record({
      atMs: instant,
      promptTokens: fc.integer({ min: 1, max: 200 }),
      outputTokens: fc.integer({ min: 1, max: 80 }),
      spare: fc.constantFrom(0, 0, 40),
      shared: fc.integer({ min: 0, max: 3 }),
      leavesAfterMs: fc.option(instant, { nil: undefined, freq: 3 }),
    })
    .map(({ atMs, leavesAfterMs, promptTokens, outputTokens, spare, shared }) => ({
      atMs,
      leavesAfterMs,
      job: {
        promptTokens,
        outputTokens,
        outputTokensMax: outputTokens + spare,
        blocks: Array.from({ length: Math.floor(promptTokens / 16) }, (_, at) => 100 * shared + at),
      },
    })),
  { maxLength: 40 },
);

interface Seen {
  /** What happened to whom, by number, in order, and when. */
  readonly events: { readonly what: string; readonly atMs: number }[];
  /** What somebody finds who looks. */
  readonly looks: number[][];
  steps: number;
  leaps: number;
}

/** One replica in virtual time, as the rule would have it when it takes at most so many steps at once. */
class Run {
  readonly seen: Seen = { events: [], looks: [], steps: 0, leaps: 0 };
  readonly #timeline = new Timeline();
  readonly #replica: EngineReplica;
  readonly #stepsMax: number;
  readonly #numbers = new Map<EngineJob, number>();
  readonly #totals = { joules: 0, tokens: 0, gapMs: 0, gapMsSquared: 0 };
  #sinceMs = 0;
  #plan = 0;
  #isStepping = false;

  constructor(profile: EngineProfile, stepsMax: number, hasCache: boolean) {
    this.#replica = new EngineReplica(profile, {
      power,
      ...(hasCache && { prefixBlockTokens: 16 }),
    });
    this.#stepsMax = stepsMax;
  }

  play(all: readonly Visit[], looksAtMs: readonly number[]): Seen {
    for (const [number, { atMs, job, leavesAfterMs }] of all.entries()) {
      if (!this.#replica.fits(job)) continue;
      this.#numbers.set(job, number);
      this.#timeline.at(atMs, () => this.#submit(job));
      if (leavesAfterMs !== undefined) {
        this.#timeline.at(atMs + leavesAfterMs, () => this.#abort(job));
      }
    }
    for (const atMs of looksAtMs) this.#timeline.at(atMs, () => this.#look());
    while (this.#timeline.runNext());
    this.#look();
    return this.seen;
  }

  #submit(job: EngineJob): void {
    this.#replica.submit(job);
    if (!this.#isStepping) this.#begin();
    else if (this.#replica.isLeaping && this.#replica.admitsNext) this.#cut();
  }

  #abort(job: EngineJob): void {
    this.#cut();
    const hasLeft = this.#replica.abort(job);
    if (hasLeft) this.#note("left", job);
  }

  #begin(): void {
    const ms = this.#replica.begin(this.#stepsMax);
    this.#isStepping = ms !== undefined;
    this.#sinceMs = this.#timeline.now;
    for (const job of this.#replica.admitted) {
      this.#note(`admitted with ${this.#replica.cachedTokens(job)}`, job);
    }
    if (ms !== undefined) this.#endAfter(ms);
  }

  #endAfter(ms: number): void {
    this.#plan += 1;
    const plan = this.#plan;
    this.#timeline.at(Math.max(this.#timeline.now, this.#sinceMs + ms), () => {
      if (plan !== this.#plan) return;
      const result = this.#replica.end();
      this.#add(result);
      this.#totals.tokens += result.started.length;
      for (const job of result.started) this.#note("started", job);
      for (const job of result.finished) this.#note("finished", job);
      this.#begin();
    });
  }

  #cut(): void {
    this.#pass();
    if (this.#replica.isLeaping) this.#endAfter(this.#replica.cut());
  }

  #pass(): void {
    const stretch = this.#replica.pass(this.#timeline.now - this.#sinceMs);
    if (stretch === undefined) return;
    this.#sinceMs += stretch.ms;
    this.#add(stretch);
  }

  #add({ steps, firstMs, growthMs, ms, batch, joules }: Stretch): void {
    this.seen.steps += steps;
    this.seen.leaps += 1;
    this.#totals.joules += joules;
    this.#totals.tokens += batch * steps;
    this.#totals.gapMs += batch * ms;
    for (let step = 0; step < steps; step++) {
      this.#totals.gapMsSquared += batch * (firstMs + step * growthMs) ** 2;
    }
  }

  #look(): void {
    this.#pass();
    const { joules, tokens, gapMs, gapMsSquared } = this.#totals;
    const { runningRequests, waitingRequests, kvTokensHeld, kvTokensReserved } = this.#replica;
    const made = [...this.#numbers.keys()].map((job) => this.#replica.outputTokens(job));
    const state = [runningRequests, waitingRequests, kvTokensHeld, kvTokensReserved, ...made];
    this.seen.looks.push([tokens, joules, gapMs, gapMsSquared, ...state]);
  }

  #note(what: string, job: EngineJob): void {
    const atMs = this.#timeline.now;
    this.seen.events.push({ what: `${this.#numbers.get(job)} ${what}`, atMs });
  }
}

function both(
  profile: EngineProfile,
  all: readonly Visit[],
  { looksAtMs, hasCache }: { readonly looksAtMs: readonly number[]; readonly hasCache: boolean },
): readonly [Seen, Seen] {
  const seen = (stepsMax: number): Seen =>
    new Run(profile, stepsMax, hasCache).play(all, looksAtMs);
  return [seen(1), seen(Infinity)];
}

function expectClose(found: readonly number[], wanted: readonly number[]): void {
  expect(found.length).toBe(wanted.length);
  for (const [at, value] of wanted.entries()) {
    expect(Math.abs((found[at] ?? NaN) - value)).toBeLessThanOrEqual(1e-7 * Math.max(1, value));
  }
}

test("a replica that leaps does what one does that steps, at the same instants, and shows the same whenever one looks", () => {
  fc.assert(
    fc.property(
      profiles,
      visits,
      fc.array(instant, { maxLength: 12 }),
      fc.boolean(),
      (profile, all, looksAtMs, hasCache) => {
        const [stepped, leapt] = both(profile, all, { looksAtMs, hasCache });
        expect(leapt.events.map(({ what }) => what)).toEqual(
          stepped.events.map(({ what }) => what),
        );
        expectClose(
          leapt.events.map(({ atMs }) => atMs),
          stepped.events.map(({ atMs }) => atMs),
        );
        for (const [at, look] of stepped.looks.entries()) expectClose(leapt.looks[at] ?? [], look);
        expect(leapt.steps).toBe(stepped.steps);
        expect(leapt.leaps).toBeLessThanOrEqual(stepped.leaps);
      },
    ),
    { numRuns: 400 },
  );
});

test("a long answer alone is one leap, and who comes in the middle waits for the end of its step", () => {
  const profile: EngineProfile = {
    stepBaseMs: 10,
    stepMsPerSequence: 0,
    stepMsPerKvToken: 0,
    prefillMsPerToken: 0.1,
    prefillChunkTokens: 100,
    kvTokensTotal: 10_000,
    sequencesMax: 4,
  };
  const job = (outputTokens: number): EngineJob => {
    return { promptTokens: 10, outputTokens, outputTokensMax: outputTokens, blocks: [] };
  };
  const visit = (atMs: number, outputTokens: number): Visit => {
    return { atMs, job: job(outputTokens), leavesAfterMs: undefined };
  };
  const [, alone] = both(profile, [visit(0, 501)], { looksAtMs: [], hasCache: false });
  expect([alone.steps, alone.leaps]).toEqual([501, 2]);
  // Prefill of 1 ms, then steps of 10 ms from 1 on: 234 is within the one that ends at 241.
  const [, two] = both(profile, [visit(0, 501), visit(234, 1)], { looksAtMs: [], hasCache: false });
  expect(two.events.find(({ what }) => what === "1 admitted with 0")?.atMs).toBeCloseTo(241, 9);
  expect(two.events.find(({ what }) => what === "1 started")?.atMs).toBeCloseTo(252, 9);
});

test("who comes and finds no room does not cut a leap", () => {
  const replica = new EngineReplica({
    stepBaseMs: 10,
    stepMsPerSequence: 0,
    stepMsPerKvToken: 0,
    prefillMsPerToken: 1,
    prefillChunkTokens: 100,
    kvTokensTotal: 10_000,
    sequencesMax: 1,
  });
  const job = (): EngineJob => {
    return { promptTokens: 1, outputTokens: 100, outputTokensMax: 100, blocks: [] };
  };
  replica.submit(job());
  replica.step();
  expect(replica.begin(Infinity)).toBe(990);
  replica.submit(job());
  expect([replica.isLeaping, replica.admitsNext]).toEqual([true, false]);
  replica.end();
  expect(replica.admitsNext).toBe(true);
});

test("stepsWithin() counts the steps that are over, and never the last", () => {
  fc.assert(
    fc.property(
      fc.record({
        steps: fc.integer({ min: 1, max: 3_000 }),
        firstMs: fc.double({ min: 1e-3, max: 100, noNaN: true }),
        growthMs: fc.oneof(fc.constant(0), fc.double({ min: 1e-9, max: 1, noNaN: true })),
      }),
      fc.double({ min: 0, max: 1.2, noNaN: true }),
      (pace, part) => {
        const elapsedMs = part * msOf(pace, pace.steps);
        const over = stepsWithin(pace, elapsedMs);
        expect(over).toBeGreaterThanOrEqual(0);
        expect(over).toBeLessThanOrEqual(pace.steps - 1);
        expect(msOf(pace, over)).toBeLessThanOrEqual(elapsedMs);
        expect(over === pace.steps - 1 || msOf(pace, over + 1) > elapsedMs).toBe(true);
      },
    ),
  );
});

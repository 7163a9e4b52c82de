import fc from "fast-check";
import { expect, test } from "vitest";
import { EngineReplica, type EngineJob } from "../../services/core/engine-replica.ts";
import { replicaWatts } from "../../services/core/energy.ts";
import type { EngineProfile, PowerModel } from "../../services/core/pool.ts";

const profile: EngineProfile = {
  stepBaseMs: 20,
  stepMsPerSequence: 0.5,
  stepMsPerKvToken: 0.01,
  prefillMsPerToken: 0.1,
  prefillChunkTokens: 32,
  kvTokensTotal: 300,
  sequencesMax: 4,
};

const power: PowerModel = {
  accelerators: 2,
  idleWatts: 300,
  nominalWatts: 600,
  steepness: 1,
  midpointLog2: 4.2,
  hostWatts: 700,
};

function job(
  promptTokens: number,
  outputTokens: number,
  changes: Partial<EngineJob> = {},
): EngineJob {
  return { promptTokens, outputTokens, outputTokensMax: outputTokens, blocks: [], ...changes };
}

const jobs = fc
  .record({
    promptTokens: fc.integer({ min: 1, max: 120 }),
    outputTokens: fc.integer({ min: 1, max: 30 }),
    spare: fc.integer({ min: 0, max: 60 }),
  })
  .map(({ promptTokens, outputTokens, spare }) =>
    job(promptTokens, outputTokens, { outputTokensMax: outputTokens + spare }),
  );

type Act = { readonly submit: EngineJob } | { readonly abort: number } | { readonly step: true };

/** What happens to a replica: a job comes, one leaves by the number it came with, or time passes. */
const acts: fc.Arbitrary<Act[]> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: jobs.map((submit) => ({ submit })) },
    { weight: 1, arbitrary: fc.nat({ max: 40 }).map((abort) => ({ abort })) },
    { weight: 6, arbitrary: fc.constant({ step: true as const }) },
  ),
  { maxLength: 120 },
);

/** The five sentences of the rule, told by going through every sequence at every step. */
class PlainReplica {
  readonly #queue: EngineJob[] = [];
  #admitted: { job: EngineJob; left: number; made: number }[] = [];

  submit(each: EngineJob): void {
    this.#queue.push(each);
  }

  abort(each: EngineJob): void {
    const at = this.#queue.indexOf(each);
    if (at >= 0) this.#queue.splice(at, 1);
    this.#admitted = this.#admitted.filter(({ job: held }) => held !== each);
  }

  step(): { ms: number; batch: number; prefillTokens: number; finished: EngineJob[] } | undefined {
    const reserved = (): number =>
      this.#admitted.reduce(
        (sum, { job: held }) => sum + held.promptTokens + held.outputTokensMax,
        0,
      );
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const isFull = this.#admitted.length >= profile.sequencesMax;
      const needed = next.promptTokens + next.outputTokensMax;
      if (isFull || reserved() + needed > profile.kvTokensTotal) break;
      this.#queue.shift();
      this.#admitted.push({ job: next, left: next.promptTokens, made: 0 });
    }
    if (this.#admitted.length === 0) return undefined;
    const decoding = this.#admitted.filter(({ left }) => left === 0);
    const kvTokens = decoding.reduce((sum, each) => sum + each.job.promptTokens + each.made, 0);
    let room = profile.prefillChunkTokens;
    for (const each of this.#admitted) {
      if (decoding.includes(each)) continue;
      const taken = Math.min(room, each.left);
      each.left -= taken;
      room -= taken;
      if (each.left === 0) each.made = 1;
    }
    for (const each of decoding) each.made += 1;
    const batch = decoding.length;
    const prefillTokens = profile.prefillChunkTokens - room;
    const decodeMs =
      profile.stepBaseMs + profile.stepMsPerSequence * batch + profile.stepMsPerKvToken * kvTokens;
    const finished = this.#admitted.filter((each) => each.made === each.job.outputTokens);
    this.#admitted = this.#admitted.filter((each) => !finished.includes(each));
    return {
      ms: (batch > 0 ? decodeMs : 0) + profile.prefillMsPerToken * prefillTokens,
      batch,
      prefillTokens,
      finished: finished.map((each) => each.job),
    };
  }
}

interface Player {
  readonly submit: (each: EngineJob) => void;
  readonly abort: (each: EngineJob) => void;
  readonly step: () => void;
}

/** Does what is in the list; a job that has not come cannot leave. */
function play(all: readonly Act[], player: Player): void {
  const seen: EngineJob[] = [];
  for (const act of all) {
    if ("submit" in act) {
      seen.push(act.submit);
      player.submit(act.submit);
    } else if ("abort" in act) {
      const leaving = seen[act.abort];
      if (leaving !== undefined) player.abort(leaving);
    } else player.step();
  }
}

test("EngineReplica steps as the plain rule does, whatever comes and leaves", () => {
  fc.assert(
    fc.property(acts, (all) => {
      const [replica, plain] = [new EngineReplica(profile), new PlainReplica()];
      play(all, {
        submit: (each) => {
          replica.submit(each);
          plain.submit(each);
        },
        abort: (each) => {
          replica.abort(each);
          plain.abort(each);
        },
        step: () => {
          const [ours, theirs] = [replica.step(), plain.step()];
          expect(ours?.ms ?? 0).toBeCloseTo(theirs?.ms ?? 0, 9);
          expect(ours?.batch).toBe(theirs?.batch);
          expect(ours?.prefillTokens).toBe(theirs?.prefillTokens);
          expect(new Set(ours?.finished)).toEqual(new Set(theirs?.finished));
        },
      });
    }),
  );
});

test("EngineReplica never holds more than its KV cache, and gives all of it back", () => {
  fc.assert(
    fc.property(acts, (all) => {
      const replica = new EngineReplica(profile);
      const check = (): void => {
        expect(replica.kvTokensReserved).toBeLessThanOrEqual(profile.kvTokensTotal);
        expect(replica.kvTokensHeld).toBeLessThanOrEqual(replica.kvTokensReserved);
        expect(replica.runningRequests).toBeLessThanOrEqual(profile.sequencesMax);
      };
      const step = (inTheMiddle: () => void): void => {
        const ms = replica.begin();
        inTheMiddle();
        check();
        if (ms !== undefined) replica.end();
        check();
      };
      play(all, {
        submit: (each) => replica.submit(each),
        abort: (each) => step(() => replica.abort(each)),
        step: () => step(() => undefined),
      });
      while (replica.step() !== undefined) check();
      expect([replica.kvTokensHeld, replica.kvTokensReserved]).toEqual([0, 0]);
      expect([replica.runningRequests, replica.waitingRequests]).toEqual([0, 0]);
    }),
  );
});

test("EngineReplica makes exactly the tokens of every job, and overtakes nobody", () => {
  fc.assert(
    fc.property(fc.array(jobs, { maxLength: 40 }), (all) => {
      const replica = new EngineReplica(profile);
      const tokens = new Map<EngineJob, number>();
      const [admitted, started, finished]: EngineJob[][] = [[], [], []];
      for (const each of all) replica.submit(each);
      for (let result = replica.step(); result !== undefined; result = replica.step()) {
        admitted?.push(...result.admitted);
        started?.push(...result.started);
        finished?.push(...result.finished);
        for (const each of [...replica.decoding(), ...result.finished]) {
          tokens.set(each, (tokens.get(each) ?? 0) + 1);
        }
      }
      expect(admitted).toEqual(all);
      expect(started).toEqual(all);
      expect(new Set(finished)).toEqual(new Set(all));
      expect(finished?.length).toBe(all.length);
      expect(all.map((each) => tokens.get(each))).toEqual(all.map((each) => each.outputTokens));
    }),
  );
});

test("abort() frees the place and the KV for the next in the queue", () => {
  const replica = new EngineReplica(profile);
  const [first, second] = [job(100, 100), job(100, 100)];
  replica.submit(first);
  replica.submit(second);
  replica.step();
  expect([replica.runningRequests, replica.waitingRequests]).toEqual([1, 1]);
  expect(replica.abort(first)).toBe(true);
  expect(replica.abort(first)).toBe(false);
  expect(replica.step()?.admitted).toEqual([second]);
  expect(replica.kvTokensReserved).toBe(200);
});

test("fits() says what could never be admitted", () => {
  const replica = new EngineReplica(profile);
  expect(replica.fits(job(200, 100))).toBe(true);
  expect(replica.fits(job(200, 101))).toBe(false);
});

test("a warm prefix cache leaves only the rest of the prompt, and always the last token", () => {
  const replica = new EngineReplica(profile, { prefixBlockTokens: 16 });
  const warm = (each: EngineJob): number => {
    replica.submit(each);
    const cached = replica.step()?.prefillTokens ?? 0;
    while (replica.step() !== undefined);
    return cached;
  };
  expect(warm(job(32, 2, { blocks: [1, 2] }))).toBe(32);
  expect(warm(job(32, 2, { blocks: [1, 2] }))).toBe(1);
  expect(warm(job(32, 2, { blocks: [1, 3] }))).toBe(16);
  expect(warm(job(32, 2, { blocks: [4, 2] }))).toBe(32);
});

test("without being asked nothing is cached", () => {
  const replica = new EngineReplica(profile);
  const first = job(32, 1, { blocks: [1, 2] });
  const second = job(32, 1, { blocks: [1, 2] });
  replica.submit(first);
  replica.step();
  replica.submit(second);
  expect(replica.step()?.prefillTokens).toBe(32);
});

test("a step's energy is its prefill at the rated power and its decode by the batch", () => {
  const replica = new EngineReplica(profile, { power });
  replica.submit(job(10, 3));
  // 1 ms of prefill at 2 × 600 W + 700 W.
  expect(replica.step()?.joules).toBeCloseTo(1.9, 9);
  const decode = replica.step();
  expect(decode?.joules).toBeCloseTo(((decode?.ms ?? 0) * replicaWatts(power, 1)) / 1_000, 9);
  expect(replica.restWatts).toBe(2 * 95 + 700);
});

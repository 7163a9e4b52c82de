import { Counter, Histogram, type Registry } from "prom-client";
import type { Effect, Event } from "../core/events.ts";
import type { AttemptOutcome } from "../core/lease.ts";
import type { Placed } from "../core/placement/decide.ts";
import {
  hindsightObjectives,
  hindsightOf,
  type Hindsight,
  type HindsightObjective,
} from "../core/placement/hindsight.ts";
import type { Policy } from "../core/placement/policy.ts";
import type { Pool } from "../core/pool.ts";
import type { Geography } from "../core/region.ts";
import type { Instant, LeaseId } from "../core/units.ts";

/** Bounds of what judging decisions may cost. */
export const regretLimits = {
  /** Decisions between which none is judged, in ms: at most ten per second. */
  sampleEveryMs: 100,
  /** Reports that were on their way at the decision have arrived by then. */
  afterMs: 3_000,
  /** At one tick; what is beyond is left out, and counted. */
  judgedPerTickMax: 32,
  /** Decisions that wait for the end of their attempt. */
  waitingMax: 8_192,
} as const;

interface Sample {
  readonly decision: Placed;
  /** The pools as they were known a while after. */
  after: readonly Pool[] | undefined;
  outcome: AttemptOutcome | undefined;
}

const nanoPerCny = 1_000_000_000;

/** What became of a sample: `unknown` is an attempt of which too little is known, `dropped` is one too many. */
const results = ["judged", "unknown", "dropped"] as const;

/**
 * What the best choice would have cost, in hindsight, of a few decisions per second. Nothing is worked out while a request
 * waits: a decision is only remembered, and judged at a later tick.
 */
export class Regret {
  /** In the order of their decisions. */
  readonly #samples = new Map<LeaseId, Sample>();
  #nextAt: Instant = -Infinity;
  readonly #regret: Counter<"objective">;
  readonly #cost: Counter<"objective">;
  readonly #ratio: Histogram<"objective">;
  readonly #sampled: Counter<"result">;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#regret = new Counter({
      name: "tokengrid_placement_regret_cny_total",
      help: "What the best choice for the objective would have cost less, in hindsight, of sampled decisions",
      labelNames: ["objective"] as const,
      registers,
    });
    this.#cost = new Counter({
      name: "tokengrid_placement_hindsight_cost_cny_total",
      help: "What the sampled decisions came to, by objective; money is that of the tokens",
      labelNames: ["objective"] as const,
      registers,
    });
    this.#ratio = new Histogram({
      name: "tokengrid_placement_regret_ratio",
      help: "Regret of a sampled decision over what it came to, by objective",
      labelNames: ["objective"] as const,
      buckets: [0, 0.01, 0.03, 0.1, 0.2, 0.5, 0.8, 1],
      registers,
    });
    this.#sampled = new Counter({
      name: "tokengrid_placement_regret_samples_total",
      help: "Decisions that were to be judged in hindsight, by what became of it",
      labelNames: ["result"] as const,
      registers,
    });
    for (const objective of hindsightObjectives) {
      this.#regret.inc({ objective }, 0);
      this.#cost.inc({ objective }, 0);
      this.#ratio.zero({ objective });
    }
    for (const result of results) this.#sampled.inc({ result }, 0);
  }

  /** Told every effect, so it looks at one in so many. */
  note(effect: Effect): void {
    if (effect.kind === "revoke") this.#samples.delete(effect.lease.id);
    if (effect.kind !== "answer" || effect.lease === undefined) return;
    const { decision, lease } = effect;
    if (decision.kind !== "placed" || decision.decidedAt < this.#nextAt) return;
    this.#nextAt = decision.decidedAt + regretLimits.sampleEveryMs;
    if (this.#samples.size >= regretLimits.waitingMax) this.#sampled.inc({ result: "dropped" });
    else this.#samples.set(lease.id, { decision, after: undefined, outcome: undefined });
  }

  /** A holder gave its lease back. */
  released({ lease, outcome }: Event & { readonly kind: "lease-released" }): void {
    const sample = this.#samples.get(lease);
    if (sample === undefined) return;
    if (outcome !== undefined) sample.outcome = outcome;
    else {
      this.#samples.delete(lease);
      this.#sampled.inc({ result: "unknown" });
    }
  }

  /** Judges those that are over, with what reports have said since. */
  tick(
    now: Instant,
    world: {
      readonly pools: readonly Pool[];
      readonly policy: Policy;
      readonly geography: Geography;
    },
  ): void {
    const { afterMs, judgedPerTickMax } = regretLimits;
    let judged = 0;
    for (const [lease, sample] of this.#samples) {
      if (sample.decision.decidedAt + afterMs > now) break;
      sample.after ??= world.pools;
      if (sample.outcome === undefined) continue;
      this.#samples.delete(lease);
      judged += 1;
      if (judged > judgedPerTickMax) this.#sampled.inc({ result: "dropped" });
      else
        this.#count(
          hindsightOf(sample.decision, sample.outcome, { ...world, after: sample.after }),
        );
    }
  }

  #count(hindsight: Hindsight | undefined): void {
    this.#sampled.inc({ result: hindsight === undefined ? "unknown" : "judged" });
    if (hindsight === undefined) return;
    for (const objective of hindsightObjectives) this.#observe(objective, hindsight);
  }

  /** A total may be below 0 by a bonus, and a counter only grows. */
  #observe(objective: HindsightObjective, { costNano, regretNano }: Hindsight): void {
    const [cost, regret] = [costNano[objective], regretNano[objective]];
    this.#regret.inc({ objective }, regret / nanoPerCny);
    this.#cost.inc({ objective }, Math.max(0, cost) / nanoPerCny);
    this.#ratio.observe(
      { objective },
      regret === 0 ? 0 : Math.min(1, regret / Math.max(regret, cost)),
    );
  }
}

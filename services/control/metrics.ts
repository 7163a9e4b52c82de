import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { Effect, Event, ReportResult } from "../core/events.ts";
import type { AttemptOutcome, AttemptResult, UnplaceableReason } from "../core/lease.ts";
import { filters } from "../core/placement/filters.ts";
import { criticalities, type Criticality } from "../core/placement/request.ts";
import { terms, type TermName } from "../core/placement/terms.ts";
import { entries, keys } from "../core/table.ts";
import type { Decision, Tally } from "../core/placement/decide.ts";
import type { Instant, LeaseId, PoolId } from "../core/units.ts";

type Result =
  | "placed"
  | "no_eligible_pool"
  | "budget_exhausted"
  | "unsatisfiable"
  | "shed"
  | "stale_state"
  | "deadline";

/** What waiting does not help is unsatisfiable, whatever the reason. */
const resultOf: Readonly<Record<UnplaceableReason, Result>> = {
  "no-eligible-pool": "no_eligible_pool",
  "budget-exhausted": "budget_exhausted",
  unsatisfiable: "unsatisfiable",
  "model-not-found": "unsatisfiable",
  "context-too-long": "unsatisfiable",
};

const attemptResults: Readonly<Record<AttemptResult, string>> = {
  ok: "ok",
  "connect-error": "connect_error",
  timeout: "timeout",
  "upstream-4xx": "upstream_4xx",
  "upstream-5xx": "upstream_5xx",
  reset: "reset",
  cancelled: "cancelled",
};

/** A row of the policy that did not apply to a request is filed here. */
const noRow = "none";
/** Reports for pools that nobody registered. */
const unregistered = "unregistered";

const nanoPerCny = 1_000_000_000;

const termNames = keys(terms);

/**
 * How long decisions take and among how many pools they were made is observed of at most a hundred per second. So are
 * filters where they would have to be counted first, as for a retry, which may not go where it failed.
 */
const sampleEveryMs = 10;

/**
 * What the replica counts. Decisions come by the ten thousand per second, so they are added up in plain numbers and
 * handed over when somebody scrapes.
 */
export class ControlMetrics {
  readonly #decisions: Readonly<Record<Result, Record<Criticality, number>>> = {
    placed: zeros(criticalities),
    no_eligible_pool: zeros(criticalities),
    budget_exhausted: zeros(criticalities),
    unsatisfiable: zeros(criticalities),
    shed: zeros(criticalities),
    stale_state: zeros(criticalities),
    deadline: zeros(criticalities),
  };
  readonly #filtered = new Map<string, number>(keys(filters).map((reason) => [reason, 0]));
  readonly #rows = new Map<string, number>();
  readonly #costNano: Record<TermName, number> = zeros(keys(terms));
  readonly #selected = new Map<PoolId, number>();
  readonly #regionByPool = new Map<PoolId, string>();
  readonly #poolByLease = new Map<LeaseId, PoolId>();
  /** When a decision was last sampled, and how many without a tally were made since. */
  #sampledAt: Instant = -Infinity;
  #unsampled = 0;
  /** The tally of the decisions counted last, and of how many it is. */
  #tally: Tally | undefined;
  #tallyElsewhere = 0;
  #tallied = 0;
  #isDurationWanted = false;
  readonly #reports: Counter<"pool" | "result">;
  readonly #attempts: Counter<"pool" | "result">;
  readonly #ttft: Histogram<"region">;
  readonly #duration: Histogram;
  readonly #candidates: Histogram;
  readonly #expired: Counter;
  readonly #reload: Gauge;
  readonly #reloadedAt: Gauge;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#handOver(registry);
    this.#duration = new Histogram({
      name: "tokengrid_placement_duration_seconds",
      help: "Time to decide one placement, from the request in memory to the answer, of at most 100 decisions/s",
      buckets: [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1],
      registers,
    });
    this.#candidates = new Histogram({
      name: "tokengrid_placement_candidates",
      help: "Pools that the rules allowed, per decision, of at most 100 decisions/s",
      buckets: [0, 1, 2, 4, 8, 16, 32, 64, 128, 256],
      registers,
    });
    this.#expired = new Counter({
      name: "tokengrid_leases_expired_total",
      help: "Leases that ended by time and not by their holder: a leak",
      registers,
    });
    this.#reports = new Counter({
      name: "tokengrid_pool_reports_total",
      help: "Reports received, by pool and what became of them",
      labelNames: ["pool", "result"] as const,
      registers,
    });
    this.#attempts = new Counter({
      name: "tokengrid_pool_attempts_total",
      help: "Attempts at a pool that ended, by result",
      labelNames: ["pool", "result"] as const,
      registers,
    });
    this.#ttft = new Histogram({
      name: "tokengrid_pool_time_to_first_token_seconds",
      help: "From the dispatch to the first token, as gateways saw it",
      labelNames: ["region"] as const,
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    });
    this.#reload = new Gauge({
      name: "tokengrid_config_last_reload_successful",
      help: "1 if the newest policy is in force, 0 if it was refused and the one before runs on",
      registers,
    });
    this.#reloadedAt = new Gauge({
      name: "tokengrid_config_last_reload_success_timestamp_seconds",
      help: "When a policy was last put in force",
      registers,
    });
    this.#reports.inc({ pool: unregistered, result: "rejected_identity" }, 0);
  }

  /** Known series exist at 0, or an alert on the first of them would never fire. */
  addPool(pool: PoolId, region: string): void {
    this.#reports.inc({ pool, result: "accepted" }, 0);
    this.#reports.inc({ pool, result: "rejected_identity" }, 0);
    for (const [, result] of entries(attemptResults)) this.#attempts.inc({ pool, result }, 0);
    this.#ttft.zero({ region });
    if (!this.#selected.has(pool)) this.#selected.set(pool, 0);
    this.#regionByPool.set(pool, region);
  }

  count(effect: Effect, event: Event): void {
    switch (effect.kind) {
      case "answer":
        if (effect.lease !== undefined) this.#poolByLease.set(effect.lease.id, effect.lease.pool);
        return this.#countDecision(effect.decision);
      case "revoke":
        this.#poolByLease.delete(effect.lease.id);
        if (effect.reason === "expired") this.#expired.inc();
        return;
      case "report-answered":
        if (event.kind === "pool-reported") this.countReport(event.report.pool, effect.result);
        return;
      case "renewed":
      case "refused":
        return;
    }
  }

  /** A name that nobody registered is not made a series. */
  countReport(pool: PoolId, result: ReportResult): void {
    const known = this.#regionByPool.has(pool) ? pool : unregistered;
    this.#reports.inc({ pool: known, result: result.replaceAll("-", "_") });
  }

  /** A holder gave its lease back, and says how the attempt went if there was one. */
  countRelease(lease: LeaseId, outcome: AttemptOutcome | undefined): void {
    const pool = this.#poolByLease.get(lease);
    this.#poolByLease.delete(lease);
    if (pool === undefined || outcome === undefined) return;
    this.#attempts.inc({ pool, result: attemptResults[outcome.result] });
    const region = this.#regionByPool.get(pool);
    if (outcome.ttftMs === undefined || region === undefined) return;
    this.#ttft.observe({ region }, outcome.ttftMs / 1_000);
  }

  /** Of the decision that was counted last, if it is one of those that stand for others. */
  observeDuration(durationMs: number): void {
    if (!this.#isDurationWanted) return;
    this.#isDurationWanted = false;
    this.#duration.observe(durationMs / 1_000);
  }

  policyLoaded(isInForce: boolean, nowMs: number): void {
    this.#reload.set(isInForce ? 1 : 0);
    if (isInForce) this.#reloadedAt.set(nowMs / 1_000);
  }

  #countDecision(decision: Decision): void {
    const result = decision.kind === "placed" ? "placed" : resultOf[decision.reason];
    this.#decisions[result][decision.request.criticality] += 1;
    add(this.#rows, decision.policyRow?.id ?? noRow, 1);
    const { tallyAtHand } = decision;
    if (tallyAtHand === undefined) this.#unsampled += 1;
    else this.#countTally(tallyAtHand, decision.poolsElsewhere);
    if (decision.decidedAt >= this.#sampledAt + sampleEveryMs) this.#sample(decision);
    if (decision.kind === "unplaceable") return;
    add(this.#selected, decision.pool, 1);
    // The answer needs this bill anyway, and it is made once.
    this.#addCost(decision.chosen.terms);
  }

  /** Decisions of a kind share their tally, and come one behind the other. */
  #countTally(tally: Tally, poolsElsewhere: number): void {
    if (tally !== this.#tally || poolsElsewhere !== this.#tallyElsewhere) {
      this.#addTally();
      this.#tally = tally;
      this.#tallyElsewhere = poolsElsewhere;
    }
    this.#tallied += 1;
  }

  #addTally(): void {
    if (this.#tally === undefined) return;
    const { poolsByReason } = this.#tally;
    for (const [reason, pools] of poolsByReason) add(this.#filtered, reason, pools * this.#tallied);
    const elsewhere = this.#tallyElsewhere * this.#tallied;
    if (elsewhere > 0) add(this.#filtered, "model-not-served", elsewhere);
    this.#tallied = 0;
  }

  /** To read what happened to each pool makes the whole decision again, so one stands for those before it. */
  #sample(decision: Decision): void {
    this.#isDurationWanted = true;
    this.#sampledAt = decision.decidedAt;
    const tally = decision.tallyAtHand ?? decision.tally;
    this.#candidates.observe(tally.candidates);
    if (decision.tallyAtHand !== undefined) return;
    if (decision.poolsElsewhere > 0) {
      add(this.#filtered, "model-not-served", decision.poolsElsewhere * this.#unsampled);
    }
    for (const [reason, pools] of tally.poolsByReason) {
      add(this.#filtered, reason, pools * this.#unsampled);
    }
    this.#unsampled = 0;
  }

  /** A counter only grows, so a bonus is left out: it is in the decision record. */
  #addCost(costNano: Readonly<Record<TermName, number>>): void {
    for (const term of termNames) this.#costNano[term] += Math.max(0, costNano[term]);
  }

  /** Counters whose values are made when they are asked for. */
  #handOver(registry: Registry): void {
    handOver(registry, {
      name: "tokengrid_placement_decisions_total",
      help: "Decisions by result",
      labels: ["result", "criticality", "decided_by"],
      rows: () =>
        entries(this.#decisions).flatMap(([result, counts]) =>
          entries(counts).map(([criticality, count]): Row => [
            { result, criticality: criticality.replaceAll("-", "_"), decided_by: "control" },
            count,
          ]),
        ),
    });
    handOver(registry, {
      name: "tokengrid_placement_filtered_total",
      help: "Pools taken out of decisions, by the filter that did it; of retries above 100 decisions/s from samples",
      labels: ["reason"],
      rows: () => {
        this.#addTally();
        return [...this.#filtered].map(([reason, count]): Row => [{ reason }, count]);
      },
    });
    handOver(registry, {
      name: "tokengrid_placement_policy_rows_total",
      help: "Decisions by the policy row that they are filed under",
      labels: ["row"],
      rows: () => [...this.#rows].map(([row, count]): Row => [{ row }, count]),
    });
    handOver(registry, {
      name: "tokengrid_placement_cost_cny_total",
      help: "Expected cost of what was placed, by term; bonuses count as 0",
      labels: ["term"],
      rows: () => entries(this.#costNano).map(([term, nano]): Row => [{ term }, nano / nanoPerCny]),
    });
    handOver(registry, {
      name: "tokengrid_placement_selected_total",
      help: "Placements by pool",
      labels: ["pool"],
      rows: () => [...this.#selected].map(([pool, count]): Row => [{ pool }, count]),
    });
  }
}

type Row = readonly [Readonly<Record<string, string>>, number];

interface HandedOver {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly rows: () => readonly Row[];
}

function handOver(registry: Registry, { name, help, labels, rows }: HandedOver): void {
  const counter = new Counter({
    name,
    help,
    labelNames: [...labels],
    registers: [],
    collect() {
      this.reset();
      for (const [values, value] of rows()) this.inc({ ...values }, value);
    },
  });
  registry.registerMetric(counter);
}

function add<Key>(counts: Map<Key, number>, key: Key, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}

function zeros<Key extends string>(names: readonly Key[]): Record<Key, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Key, number>;
}

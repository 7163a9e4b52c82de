import { assert } from "./assert.ts";
import type { Objectives } from "./placement/policy.ts";
import type { ServiceClass } from "./placement/request.ts";
import type { Side } from "./region.ts";
import {
  noTokens,
  tokenClasses,
  type AttemptEnd,
  type Tokens,
} from "./settlement/counting/usage.ts";
import type { Nano, PoolId, VendorId } from "./units.ts";
import { Spread, type Percentiles } from "./spread.ts";

/** What was replayed, and how. */
export interface Run {
  readonly id: string;
  /** Over the network against a running system, or in virtual time. */
  readonly mode: "real" | "virtual";
  readonly trace: string;
  /** Arrivals per unit of time, against the recording. */
  readonly speed: number;
  readonly seed: number;
  readonly class: ServiceClass;
}

/** Due, and kept back because too many were open: counted, never dropped in silence. */
export const notSent = "not-sent";

/** One request as its caller saw it. */
export interface Answer {
  readonly class: ServiceClass;
  /** `ok`, or why not, such as `no-eligible-pool` or `upstream-cut`. */
  readonly outcome: string;
  /** Undefined: there was no token. */
  readonly ttftMs: number | undefined;
  /** Mean gap between the tokens. Undefined: there were fewer than two. */
  readonly tpotMs: number | undefined;
}

/** One attempt as the ledger has it. */
export interface LedgeredAttempt {
  /** Undefined: it was opened and never placed. */
  readonly pool: PoolId | undefined;
  readonly end: AttemptEnd;
  /** Undefined: in quarantine, not settled yet. */
  readonly settled: { readonly tokens: Tokens; readonly amountNano: Nano } | undefined;
  /** At the site, as expected when it was placed. */
  readonly joulesExpected: number;
}

/** Where a pool stands, and what its energy costs the air, per joule at the site. */
export interface Site {
  readonly pool: PoolId;
  readonly vendor: VendorId;
  readonly hub: string;
  readonly side: Side;
  readonly locationGramsPerJoule: number;
  readonly marketGramsPerJoule: number;
  /** What the pool's own counter says of the run, site energy. Undefined: it has none. */
  readonly joulesMetered: number | undefined;
}

export interface StatementLineSummary {
  readonly pool: string;
  readonly model: string;
  readonly tokenClass: string;
  readonly slot: string;
  readonly attempts: bigint;
  readonly tokens: bigint;
  readonly amountNano: Nano;
}

export interface StatementSummary {
  readonly vendor: string;
  readonly statement: string;
  readonly attempts: bigint;
  readonly tokens: bigint;
  readonly amountNano: Nano;
  readonly quarantined: bigint;
  readonly digest: string;
  readonly lines: readonly StatementLineSummary[];
}

/** Attempts and tokens of a hub, a side or a pool. */
export interface Share {
  readonly name: string;
  readonly attempts: number;
  readonly tokens: bigint;
  /** Of all tokens, 0..1. */
  readonly tokenShare: number;
}

/** Both accounts stand side by side and are never added up. */
export interface Energy {
  readonly joules: number;
  readonly gramsCo2Location: number;
  readonly gramsCo2Market: number;
}

export interface Report {
  readonly run: Run;
  readonly isEndedEarly: boolean;
  /** Of the recording that was replayed, from the first to the last arrival. */
  readonly traceMs: number;
  /** From the first request to the last answer, in the time that the pools lived in. */
  readonly elapsedMs: number;
  readonly requests: {
    /** Of the recording. */
    readonly due: number;
    readonly sent: number;
    readonly ok: number;
    /** Of those sent. */
    readonly failed: number;
    readonly byOutcome: Readonly<Record<string, number>>;
  };
  readonly attempts: {
    readonly ledgered: number;
    readonly quarantined: number;
    readonly byEnd: Readonly<Record<string, number>>;
  };
  readonly tokens: Tokens;
  readonly byHub: readonly Share[];
  readonly bySide: readonly Share[];
  readonly byPool: readonly Share[];
  readonly ttftMs: Percentiles | undefined;
  readonly itlMs: Percentiles | undefined;
  readonly missed: {
    readonly ttft: number;
    readonly tpot: number;
    /** Had no answer to judge. */
    readonly failed: number;
    /** Missed at least one objective, or failed. */
    readonly any: number;
  };
  readonly amountNano: Nano;
  readonly energyAttributed: Energy;
  /** The fleet's own counters, idle draw included. Undefined where no pool has one. */
  readonly energyMetered: Energy | undefined;
  /** Pools whose counters are not in it: unknown, not 0. */
  readonly poolsUnmetered: number;
  readonly statements: readonly StatementSummary[];
}

/** What each class promises, as far as a caller can see it. */
export type Limits = Readonly<Record<ServiceClass, Pick<Objectives, "ttftMsMax" | "tpotMsMax">>>;

/** Gathers what callers saw and what the ledger has; both modes of a replay report through it. */
export class ReportBuilder {
  readonly #objectives: Limits;
  readonly #outcomes = new Map<string, number>();
  readonly #ends = new Map<string, number>();
  readonly #ttftMs = new Spread();
  readonly #itlMs = new Spread();
  readonly #missed = { ttft: 0, tpot: 0, failed: 0, any: 0 };
  readonly #pools = new Map<PoolId, PoolTotal>();
  #answers = 0;
  #attempts = 0;
  #quarantined = 0;

  constructor(objectives: Limits) {
    this.#objectives = objectives;
  }

  addAnswer(answer: Answer): void {
    this.#answers += 1;
    count(this.#outcomes, answer.outcome);
    if (answer.ttftMs !== undefined) this.#ttftMs.add(answer.ttftMs);
    const { ttftMsMax, tpotMsMax } = this.#objectives[answer.class];
    const isFailed = answer.outcome !== "ok";
    const isTtftMissed = !isFailed && (answer.ttftMs ?? 0) > ttftMsMax;
    const isTpotMissed = !isFailed && (answer.tpotMs ?? 0) > tpotMsMax;
    if (isFailed) this.#missed.failed += 1;
    if (isTtftMissed) this.#missed.ttft += 1;
    if (isTpotMissed) this.#missed.tpot += 1;
    if (isFailed || isTtftMissed || isTpotMissed) this.#missed.any += 1;
  }

  /** A gap between two tokens, seen so many times. */
  addGap(itlMs: number, times = 1): void {
    this.#itlMs.add(itlMs, times);
  }

  /** Gaps that grow from step to step, each seen so many times. */
  addGaps(gaps: {
    readonly firstMs: number;
    readonly growthMs: number;
    readonly steps: number;
    readonly sequences: number;
  }): void {
    const { firstMs, growthMs, steps, sequences } = gaps;
    this.#itlMs.addSeries(firstMs, { growth: growthMs, values: steps, times: sequences });
  }

  /** One attempt, or several at one pool with one end: tokens, money and joules are of all of them. */
  addAttempt(attempt: LedgeredAttempt, times = 1): void {
    this.#attempts += times;
    count(this.#ends, attempt.end, times);
    const { settled } = attempt;
    if (settled === undefined) this.#quarantined += times;
    if (attempt.pool === undefined) return;
    const before = this.#pools.get(attempt.pool) ?? nothing;
    this.#pools.set(attempt.pool, {
      attempts: before.attempts + times,
      tokens: settled === undefined ? before.tokens : sum(before.tokens, settled.tokens),
      amountNano: before.amountNano + (settled?.amountNano ?? 0n),
      joules: before.joules + attempt.joulesExpected,
    });
  }

  build(rest: {
    readonly run: Run;
    readonly isEndedEarly: boolean;
    readonly traceMs: number;
    readonly elapsedMs: number;
    readonly sites: readonly Site[];
    readonly statements: readonly StatementSummary[];
  }): Report {
    const { sites, ...facts } = rest;
    const totals = sites.map((site) => ({ site, total: this.#pools.get(site.pool) ?? nothing }));
    const isEverywhereKnown = [...this.#pools.keys()].every((pool) =>
      sites.some((site) => site.pool === pool),
    );
    assert(isEverywhereKnown, "every attempt is at a pool whose site is known");
    const ok = this.#outcomes.get("ok") ?? 0;
    const sent = this.#answers - (this.#outcomes.get(notSent) ?? 0);
    return {
      ...facts,
      requests: {
        due: this.#answers,
        sent,
        ok,
        failed: sent - ok,
        byOutcome: sorted(this.#outcomes),
      },
      attempts: {
        ledgered: this.#attempts,
        quarantined: this.#quarantined,
        byEnd: sorted(this.#ends),
      },
      tokens: totals.reduce((tokens, { total }) => sum(tokens, total.tokens), noTokens),
      byHub: shares(totals, ({ hub }) => hub),
      bySide: shares(totals, ({ side }) => side),
      byPool: shares(totals, ({ pool }) => pool),
      ttftMs: this.#ttftMs.percentiles,
      itlMs: this.#itlMs.percentiles,
      missed: { ...this.#missed },
      amountNano: totals.reduce((nano, { total }) => nano + total.amountNano, 0n),
      energyAttributed: energyOf(totals, ({ total }) => total.joules),
      energyMetered: sites.some(({ joulesMetered }) => joulesMetered !== undefined)
        ? energyOf(totals, ({ site }) => site.joulesMetered ?? 0)
        : undefined,
      poolsUnmetered: sites.filter(({ joulesMetered }) => joulesMetered === undefined).length,
    };
  }
}

interface PoolTotal {
  readonly attempts: number;
  readonly tokens: Tokens;
  readonly amountNano: Nano;
  readonly joules: number;
}

interface SiteTotal {
  readonly site: Site;
  readonly total: PoolTotal;
}

const nothing: PoolTotal = { attempts: 0, tokens: noTokens, amountNano: 0n, joules: 0 };

/** Largest first, equal ones by name; those without an attempt are left out. */
function shares(totals: readonly SiteTotal[], nameOf: (site: Site) => string): Share[] {
  const groups = Map.groupBy(totals, ({ site }) => nameOf(site));
  const all = totals.reduce((tokens, { total }) => tokens + tokensOf(total), 0n);
  return [...groups]
    .map(([name, group]) => {
      const tokens = group.reduce((part, { total }) => part + tokensOf(total), 0n);
      return {
        name,
        attempts: group.reduce((part, { total }) => part + total.attempts, 0),
        tokens,
        tokenShare: all === 0n ? 0 : Number(tokens) / Number(all),
      };
    })
    .filter(({ attempts }) => attempts > 0)
    .sort((a, b) => b.tokenShare - a.tokenShare || (a.name < b.name ? -1 : 1));
}

export function tokensOf({ tokens }: { readonly tokens: Tokens }): bigint {
  return tokenClasses.reduce((total, each) => total + tokens[each], 0n);
}

function energyOf(totals: readonly SiteTotal[], joulesOf: (each: SiteTotal) => number): Energy {
  const weighted = (weigh: (site: Site) => number): number =>
    totals.reduce((total, each) => total + joulesOf(each) * weigh(each.site), 0);
  return {
    joules: weighted(() => 1),
    gramsCo2Location: weighted(({ locationGramsPerJoule }) => locationGramsPerJoule),
    gramsCo2Market: weighted(({ marketGramsPerJoule }) => marketGramsPerJoule),
  };
}

function sum(a: Tokens, b: Tokens): Tokens {
  return {
    uncachedInput: a.uncachedInput + b.uncachedInput,
    cacheRead: a.cacheRead + b.cacheRead,
    cacheWrite: a.cacheWrite + b.cacheWrite,
    response: a.response + b.response,
    reasoning: a.reasoning + b.reasoning,
  };
}

function count(counts: Map<string, number>, name: string, times = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + times);
}

function sorted(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

import { createHash } from "node:crypto";
import { assert } from "../core/assert.ts";
import { Dispatcher } from "../core/dispatcher.ts";
import { gramsPerJoule, pueOf } from "../core/energy.ts";
import type { Effect, Event } from "../core/events.ts";
import type { Decision } from "../core/placement/decide.ts";
import type { Policy } from "../core/placement/policy.ts";
import { randomFromSeed, type Random } from "../core/random.ts";
import type { Geography } from "../core/region.ts";
import {
  ReportBuilder,
  tokensOf,
  type Answer,
  type Report,
  type Run,
  type Site,
  type StatementSummary,
} from "../core/report.ts";
import type { PriceBook } from "../core/settlement/price-book.ts";
import type { Statement } from "../core/settlement/statement.ts";
import type { UsageRecord } from "../core/settlement/usage.ts";
import type { Instant, ModelId, OriginId, PoolId, ReplicaId } from "../core/units.ts";
import type { Arrival } from "../core/workload.ts";
import type { Fleet } from "./fleet.ts";
import { LeaseWatch } from "./lease-watch.ts";
import { Timeline } from "./timeline.ts";
import { VirtualBooks } from "./virtual-books.ts";
import { VirtualGateway } from "./virtual-gateway.ts";
import { VirtualPool } from "./virtual-pool.ts";

/** What goes wrong, and when, in ms since the first request was due. */
export type WorldFault =
  /** Everything in the pool is cut; it comes back with empty engines. */
  | {
      readonly kind: "pool-dies";
      readonly pool: PoolId;
      readonly atMs: number;
      readonly forMs: number;
    }
  /** No report of any pool arrives. */
  | { readonly kind: "reports-lost"; readonly atMs: number; readonly forMs: number }
  | { readonly kind: "prices-change"; readonly book: PriceBook; readonly atMs: number };

export interface WorldOptions {
  readonly run: Run;
  readonly fleet: Fleet;
  readonly geography: Geography;
  readonly policy: Policy;
  /** Model or alias that all requests want. */
  readonly model: string;
  /** Epoch time at which the first request is due: prices depend on the hour. */
  readonly startAt: Instant;
  readonly inFlightMax: number;
  /** Part of all reports that get lost, 0..1. */
  readonly reportLoss: number;
  readonly faults: readonly WorldFault[];
  /** Told of every answer, for a progress bar. */
  readonly onAnswer: (answer: Answer) => void;
}

export interface WorldResult {
  readonly report: Report;
  /** Over all decisions and the canonical bytes of all records: the same for the same options. */
  readonly digest: string;
}

const reportIntervalMs = 1_000;

/** A report's way from the scrape to the control replica. */
const reportDelayMs = { least: 1, most: 30 } as const;

/** Reports come in before the first request does. */
const warmUpMs = 3_000;

/** An answer that is not there so long after the last request will not come. */
const patienceMs = 24 * 3_600_000;

/**
 * The fleet in virtual time: the real rules of placement and settlement between simulated engines and a
 * simulated network. All chance comes from the run's seed. Invariants are asserted as it goes.
 */
export async function runWorld(
  arrivals: Iterable<Arrival> | AsyncIterable<Arrival>,
  options: WorldOptions,
): Promise<WorldResult> {
  const world = new World(options);
  let traceMs = 0;
  for await (const arrival of arrivals) {
    world.passUntil(arrival.atMs / options.run.speed);
    world.arrive(arrival);
    traceMs = arrival.atMs;
  }
  return world.finish(traceMs);
}

class World {
  readonly #options: WorldOptions;
  readonly #timeline = new Timeline();
  readonly #random: Random;
  readonly #dispatcher: Dispatcher;
  readonly #pools: ReadonlyMap<PoolId, VirtualPool>;
  readonly #gateway: VirtualGateway;
  readonly #books = new VirtualBooks();
  readonly #leases: LeaseWatch;
  readonly #report: ReportBuilder;
  readonly #decisions = createHash("sha256");
  /** Request and pool of every attempt that failed. */
  readonly #failedAt = new Set<string>();
  #lostUntilMs = -Infinity;
  #arrived = 0;
  #answered = 0;
  #answeredAtMs = 0;
  #tokensRecorded = 0;

  constructor(options: WorldOptions) {
    const { fleet, policy, run } = options;
    this.#options = options;
    this.#random = randomFromSeed(run.seed);
    this.#dispatcher = new Dispatcher("control-1" as ReplicaId, policy);
    this.#leases = new LeaseWatch(fleet.pools);
    this.#report = new ReportBuilder(policy.objectives);
    this.#pools = new Map(fleet.pools.map((pool) => [pool.registration.id, this.#virtual(pool)]));
    this.#gateway = this.#opened();
    this.#begin();
    this.passUntil(0);
  }

  /** Lets time pass, in ms since the first request was due. */
  passUntil(atMs: number): void {
    this.#timeline.runUntil(warmUpMs + atMs);
  }

  arrive(arrival: Arrival): void {
    this.#arrived += 1;
    this.#gateway.arrive(arrival);
  }

  finish(traceMs: number): WorldResult {
    const { run, fleet } = this.#options;
    const endMs = this.#timeline.now + patienceMs;
    while (this.#gateway.requestsOpen > 0 && this.#timeline.now < endMs) {
      this.#timeline.runUntil(this.#timeline.now + reportIntervalMs);
    }
    this.#checkEnd();
    const report = this.#report.build({
      run,
      isEndedEarly: false,
      traceMs,
      elapsedMs: this.#answeredAtMs - warmUpMs,
      sites: this.#sites(),
      statements: fleet.vendors.flatMap(({ id }) => this.#statements(id)),
    });
    const stated = report.statements.reduce((sum, { amountNano }) => sum + amountNano, 0n);
    assert(stated === report.amountNano, "the statements add up to what was charged");
    const tokens = report.statements.reduce((sum, each) => sum + each.tokens, 0n);
    assert(tokens === tokensOf(report), "the statements have every token that was charged");
    const isAllSettled = report.attempts.quarantined === 0;
    const made = BigInt(this.#tokensMade);
    assert(!isAllSettled || report.tokens.response === made, "every token made is charged");
    return { report, digest: this.#digest() };
  }

  /** Epoch time. */
  get #now(): Instant {
    return this.#epoch + this.#timeline.now;
  }

  get #epoch(): Instant {
    return this.#options.startAt - warmUpMs;
  }

  #virtual(pool: Fleet["pools"][number]): VirtualPool {
    return new VirtualPool({
      pool,
      registration: { ...pool.registration, endpoint: "http://virtual", generation: 1 },
      timeline: this.#timeline,
      epoch: this.#epoch,
      onGaps: (itlMs, sequences) => this.#report.addGap(itlMs, sequences),
    });
  }

  #opened(): VirtualGateway {
    const { fleet, model, run, policy, inFlightMax, geography } = this.#options;
    return new VirtualGateway({
      timeline: this.#timeline,
      epoch: this.#epoch,
      model: fleet.aliases.get(model) ?? (model as ModelId),
      runId: run.id,
      leaseMs: policy.leaseMs,
      inFlightMax,
      pools: this.#pools,
      roundTripMs: (origin, pool) => roundTripMs(geography, origin, pool),
      happen: (event) => this.#happen(event),
      onDecision: (decision) => this.#note(decision),
      onRecord: (record) => this.#book(record),
      onAnswer: (answer) => {
        this.#answered += 1;
        this.#answeredAtMs = this.#timeline.now;
        this.#report.addAnswer(answer);
        this.#options.onAnswer(answer);
      },
    });
  }

  #begin(): void {
    const { geography, fleet, faults } = this.#options;
    this.#happen({ kind: "geography-set", at: this.#now, geography });
    for (const book of fleet.priceBooks) this.#publish(book);
    for (const pool of this.#pools.values()) {
      const { registration } = pool;
      this.#happen({ kind: "pool-registered", at: this.#now, registration });
      this.#happen({ kind: "share-set", at: this.#now, pool: registration.id, share: 1 });
      this.#timeline.after(this.#random() * reportIntervalMs, () => this.#reports(pool));
    }
    for (const fault of faults) this.#plan(fault);
    this.#tick();
  }

  #publish(book: PriceBook): void {
    this.#books.publish(book);
    this.#happen({ kind: "prices-published", at: this.#now, book });
  }

  #plan(fault: WorldFault): void {
    const at = warmUpMs + fault.atMs;
    switch (fault.kind) {
      case "pool-dies": {
        const pool = this.#pools.get(fault.pool);
        assert(pool !== undefined, "the pool that dies exists");
        this.#timeline.after(at, () => pool.die());
        this.#timeline.after(at + fault.forMs, () => pool.recover());
        return;
      }
      case "reports-lost":
        this.#timeline.after(at, () => {
          this.#lostUntilMs = at + fault.forMs;
        });
        return;
      case "prices-change":
        this.#timeline.after(at, () => this.#publish(fault.book));
        return;
    }
  }

  /** The agent of a pool: scrapes, sends, and does so again. */
  #reports(pool: VirtualPool): void {
    this.#timeline.after(reportIntervalMs, () => this.#reports(pool));
    if (pool.isDead) return;
    const { vendor } = pool.registration;
    const report = pool.report();
    const { least, most } = reportDelayMs;
    const delayMs = least + this.#random() * (most - least);
    const isLost = this.#random() < this.#options.reportLoss;
    if (isLost || this.#timeline.now < this.#lostUntilMs) return;
    this.#timeline.after(delayMs, () => {
      this.#happen({ kind: "pool-reported", at: this.#now, vendor, report });
    });
  }

  #tick(): void {
    this.#happen({ kind: "time-passed", at: this.#now });
    this.#checkAll();
    this.#timeline.after(reportIntervalMs, () => this.#tick());
  }

  #happen(event: Event): readonly Effect[] {
    const effects = this.#dispatcher.step(event);
    this.#leases.see(event, effects);
    return effects;
  }

  #note(decision: Decision): void {
    const what =
      decision.kind === "placed" ? [decision.pool, decision.costNano] : [decision.reason];
    this.#decisions.update(`${[decision.attempt, decision.snapshotRevision, ...what].join(" ")}\n`);
  }

  #book(record: UsageRecord): void {
    const booked = this.#books.post(record);
    const place = `${record.request}\n${record.pool}`;
    assert(!this.#failedAt.has(place), "a request is not tried again where it failed");
    if (record.end !== "complete") this.#failedAt.add(place);
    this.#tokensRecorded += Number(record.engineCounts.output ?? 0n);
    this.#report.addAttempt({
      pool: record.pool,
      end: record.end,
      settled: booked.kind === "posted" ? booked : undefined,
      joulesExpected: record.joulesExpected,
    });
  }

  #checkAll(): void {
    this.#leases.check(this.#dispatcher.pools);
    this.#books.check();
    const { attemptsOpen, requestsOpen } = this.#gateway;
    assert(this.#leases.held === attemptsOpen, "every open attempt has a lease, and no other");
    assert(
      this.#leases.granted === this.#books.records + attemptsOpen,
      "an attempt has one record",
    );
    assert(this.#arrived === this.#answered + requestsOpen, "a request is answered once");
    assert(this.#tokensMade >= this.#tokensRecorded, "no record has a token that nobody made");
  }

  #checkEnd(): void {
    this.#checkAll();
    assert(this.#gateway.requestsOpen === 0, "every request is answered");
    assert(this.#leases.held === 0, "no lease is left over");
    assert(this.#tokensMade === this.#tokensRecorded, "every token made is in a record");
  }

  get #tokensMade(): number {
    let made = 0;
    for (const pool of this.#pools.values()) made += pool.tokensMade;
    return made;
  }

  #sites(): Site[] {
    const { residualGramsPerKwh } = this.#options.geography;
    return this.#dispatcher.pools.map((pool) => ({
      pool: pool.id,
      vendor: pool.vendor,
      hub: pool.region.hub,
      side: pool.region.side,
      locationGramsPerJoule: gramsPerJoule(pool, "location-based", residualGramsPerKwh),
      marketGramsPerJoule: gramsPerJoule(pool, "market-based", residualGramsPerKwh),
      joulesMetered: (this.#pools.get(pool.id)?.joules ?? 0) * pueOf(pool),
    }));
  }

  /** One for each local day that the run touched. */
  #statements(vendor: Statement["vendor"]): StatementSummary[] {
    const first = this.#books.statement(vendor, toUs(this.#epoch));
    const statements = [first];
    for (let from = first.period.toUs; from <= toUs(this.#now);) {
      const next = this.#books.statement(vendor, from);
      statements.push(next);
      from = next.period.toUs;
    }
    return statements.map(summary);
  }

  #digest(): string {
    return createHash("sha256")
      .update(this.#decisions.copy().digest("hex"))
      .update(this.#books.digest)
      .digest("hex");
  }
}

function roundTripMs(geography: Geography, origin: OriginId, pool: VirtualPool): number {
  return geography.roundTripMsPrior.get(origin)?.get(pool.registration.region) ?? 0;
}

function toUs(at: Instant): bigint {
  return BigInt(Math.floor(at)) * 1_000n;
}

function summary({ id, vendor, totals, digest, lines }: Statement): StatementSummary {
  return {
    vendor,
    statement: id,
    attempts: totals.attempts,
    tokens: tokensOf(totals),
    amountNano: totals.netNano,
    quarantined: totals.quarantined,
    digest,
    lines: lines.map(({ pool, model, tokenClass, slot, attempts, tokens, amountNano }) => ({
      pool,
      model,
      tokenClass,
      slot,
      attempts,
      tokens,
      amountNano,
    })),
  };
}

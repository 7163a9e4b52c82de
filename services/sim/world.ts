import { assert } from "../core/assert.ts";
import { gramsPerJoule, hourEndsAt, pueOf } from "../core/energy.ts";
import type { Event } from "../core/events.ts";
import { randomFromSeed, seedFromText, type Random } from "../core/random.ts";
import type { Geography } from "../core/region.ts";
import { tokensOf, type Site, type StatementSummary } from "../core/report.ts";
import type { PriceBook } from "../core/settlement/pricing/price-book.ts";
import type { Statement } from "../core/settlement/statements/statement.ts";
import type { Instant, ModelId, OriginId, PoolId, VendorId } from "../core/units.ts";
import type { Arrival } from "../core/workload.ts";
import type { Fleet } from "./fleet.ts";
import { Lies } from "./lying.ts";
import { Timeline } from "./timeline.ts";
import { VirtualAccounts } from "./virtual-accounts.ts";
import { VirtualBooks } from "./virtual-books.ts";
import { VirtualControl } from "./virtual-control.ts";
import { VirtualGateway } from "./virtual-gateway.ts";
import { VirtualPool } from "./virtual-pool.ts";
import type { WorldFault, WorldOptions, WorldResult } from "./world-options.ts";

/** Control replicas look at their leases so often; what is in flight is sampled as often. */
const tickMs = 1_000;

const defaultReportIntervalMs = 1_000;
const defaultReportDelayMs = { least: 1, most: 30 } as const;

/** An agent's figures may be believed for three of its periods, and for so long at least. */
const reportValidMsMin = 5_000;
const periodsBelieved = 3;

/** Reports come in before the first request does. */
const warmUpMsMin = 3_000;

/** An answer that is not there so long after the last request will not come. */
const endlessMs = 24 * 3_600_000;

/**
 * The fleet in virtual time: the real rules of placement and settlement between simulated engines and a
 * simulated network. All chance comes from the run's seed. Invariants are asserted as it goes.
 */
export async function runWorld(
  arrivals: Iterable<Arrival> | AsyncIterable<Arrival>,
  options: WorldOptions,
): Promise<WorldResult> {
  const world = new World(options);
  if (Symbol.iterator in arrivals) for (const arrival of arrivals) world.next(arrival);
  else for await (const arrival of arrivals) world.next(arrival);
  return world.finish();
}

class World {
  readonly #options: WorldOptions;
  readonly #timeline = new Timeline();
  readonly #random: Random;
  readonly #reportIntervalMs: number;
  readonly #reportDelayMs: { readonly least: number; readonly most: number };
  readonly #warmUpMs: number;
  readonly #lies: Lies;
  readonly #control: VirtualControl;
  readonly #pools: ReadonlyMap<PoolId, VirtualPool>;
  readonly #gateway: VirtualGateway;
  readonly #books: VirtualBooks | undefined;
  readonly #accounts: VirtualAccounts;
  #lostUntilMs = -Infinity;
  #traceMs = 0;
  #arrived = 0;
  #answeredAtMs = 0;
  /** Since when energy is not accounted for. */
  #hourAt: Instant;

  constructor(options: WorldOptions) {
    const { fleet, policy, run, geography, books = true } = options;
    this.#options = options;
    this.#random = randomFromSeed(run.seed);
    this.#reportIntervalMs = options.reportIntervalMs ?? defaultReportIntervalMs;
    this.#reportDelayMs = options.reportDelayMs ?? defaultReportDelayMs;
    const reportAgeMs = this.#reportIntervalMs + this.#reportDelayMs.most;
    this.#warmUpMs = Math.max(warmUpMsMin, reportAgeMs + tickMs);
    this.#lies = new Lies(options.faults);
    this.#books = books ? new VirtualBooks() : undefined;
    this.#accounts = new VirtualAccounts({ policy, geography, books: this.#books });
    const reportValidMs = Math.max(reportValidMsMin, periodsBelieved * reportAgeMs);
    this.#pools = new Map(
      fleet.pools.map((pool) => [pool.registration.id, this.#virtual(pool, reportValidMs)]),
    );
    this.#control = new VirtualControl({
      policy,
      registrations: [...this.#pools.values()].map(({ registration }) => registration),
      dispatchers: options.dispatchers ?? 1,
      makeRival: options.makeRival,
    });
    this.#gateway = this.#opened();
    this.#hourAt = this.#now;
    this.#begin();
    this.#passUntil(0);
  }

  /** Lets time pass until a request comes, and lets it come. */
  next(arrival: Arrival): void {
    this.#passUntil(arrival.atMs / this.#options.run.speed);
    this.#traceMs = arrival.atMs;
    this.#arrived += 1;
    this.#gateway.arrive(arrival);
  }

  finish(): WorldResult {
    const { run, fleet } = this.#options;
    const endMs = this.#timeline.now + endlessMs;
    while (this.#gateway.requestsOpen > 0 && this.#timeline.now < endMs) {
      this.#timeline.runUntil(this.#timeline.now + tickMs);
    }
    this.#settleEnergy();
    this.#checkEnd();
    const elapsedMs = Math.max(0, this.#answeredAtMs - this.#warmUpMs);
    const report = this.#accounts.report.build({
      run,
      isEndedEarly: false,
      traceMs: this.#traceMs,
      elapsedMs,
      sites: this.#sites(),
      statements: fleet.vendors.flatMap(({ id }) => this.#statements(id)),
    });
    if (this.#books !== undefined) checkStatements(report);
    const isAllSettled = report.attempts.quarantined === 0;
    const made = BigInt(this.#tokensMade);
    assert(!isAllSettled || report.tokens.response === made, "every token made is charged");
    const cost = this.#accounts.cost.build({
      durationMs: this.#traceMs / run.speed,
      elapsedMs,
      slotsByPool: this.#slotsByPool(),
    });
    const { prediction, digest } = this.#accounts;
    return { report, cost, prediction, digest };
  }

  /** Epoch time. */
  get #now(): Instant {
    return this.#epoch + this.#timeline.now;
  }

  get #epoch(): Instant {
    return this.#options.startAt - this.#warmUpMs;
  }

  /** In ms since the first request was due. */
  #passUntil(atMs: number): void {
    this.#timeline.runUntil(this.#warmUpMs + atMs);
  }

  #virtual(pool: Fleet["pools"][number], reportValidMs: number): VirtualPool {
    return new VirtualPool({
      pool,
      registration: {
        ...this.#lies.declared(pool.registration),
        endpoint: "http://virtual",
        generation: 1,
      },
      timeline: this.#timeline,
      epoch: this.#epoch,
      reportValidMs,
      onGaps: (gaps) => this.#accounts.addGaps(gaps),
    });
  }

  #opened(): VirtualGateway {
    const { fleet, model, run, policy, inFlightMax, geography, patience } = this.#options;
    const { outputTokensMaxOf = ({ outputTokens }) => outputTokens } = this.#options;
    return new VirtualGateway({
      timeline: this.#timeline,
      epoch: this.#epoch,
      model: fleet.aliases.get(model) ?? (model as ModelId),
      runId: run.id,
      leaseMs: policy.leaseMs,
      inFlightMax,
      pools: this.#pools,
      roundTripMs: (origin, pool) => roundTripMs(geography, origin, pool),
      patience,
      random: randomFromSeed(seedFromText(`${run.seed}/patience`)),
      outputTokensMaxOf,
      happen: (request, event) => this.#control.happen(request, event),
      onDecision: (decision) => this.#accounts.decided(decision),
      onOpen: (pool) => this.#accounts.opened(pool),
      onClosed: (closed) => this.#accounts.closed(closed),
      onAnswer: (answer) => {
        this.#answeredAtMs = this.#timeline.now;
        this.#accounts.answered(answer, () => this.#control.pools);
        this.#options.onAnswer(answer);
      },
    });
  }

  #begin(): void {
    const { geography, fleet, faults } = this.#options;
    this.#tell({ kind: "geography-set", at: this.#now, geography });
    for (const book of fleet.priceBooks) this.#publish(book);
    for (const pool of this.#pools.values()) {
      const { registration } = pool;
      const { share } = this.#control;
      this.#tell({ kind: "pool-registered", at: this.#now, registration });
      this.#tell({ kind: "share-set", at: this.#now, pool: registration.id, share });
      this.#timeline.after(this.#random() * this.#reportIntervalMs, () => this.#reports(pool));
    }
    for (const fault of faults) this.#plan(fault);
    this.#nextHour();
    this.#tick();
  }

  #tell(event: Event): void {
    this.#control.tell(event);
  }

  #publish(book: PriceBook): void {
    this.#books?.publish(book);
    this.#tell({ kind: "prices-published", at: this.#now, book });
  }

  #plan(fault: WorldFault): void {
    switch (fault.kind) {
      case "pool-dies": {
        const pool = this.#pools.get(fault.pool);
        assert(pool !== undefined, "the pool that dies exists");
        const at = this.#warmUpMs + fault.atMs;
        this.#timeline.after(at, () => pool.die());
        this.#timeline.after(at + fault.forMs, () => pool.recover());
        return;
      }
      case "reports-lost": {
        const at = this.#warmUpMs + fault.atMs;
        this.#timeline.after(at, () => {
          this.#lostUntilMs = at + fault.forMs;
        });
        return;
      }
      case "prices-change":
        this.#timeline.after(this.#warmUpMs + fault.atMs, () => this.#publish(fault.book));
        return;
      case "vendor-lies":
        return;
    }
  }

  /** The agent of a pool: scrapes, sends, and does so again. */
  #reports(pool: VirtualPool): void {
    this.#timeline.after(this.#reportIntervalMs, () => this.#reports(pool));
    if (pool.isDead) return;
    const { vendor } = pool.registration;
    const report = this.#lies.reported(vendor, pool.report());
    const { least, most } = this.#reportDelayMs;
    const delayMs = least + this.#random() * (most - least);
    const isLost = this.#random() < this.#options.reportLoss;
    if (isLost || this.#timeline.now < this.#lostUntilMs) return;
    this.#timeline.after(delayMs, () => {
      this.#tell({ kind: "pool-reported", at: this.#now, vendor, report });
    });
  }

  #tick(): void {
    this.#tell({ kind: "time-passed", at: this.#now });
    this.#accounts.sample();
    this.#checkAll();
    this.#timeline.after(tickMs, () => this.#tick());
  }

  /** Power is paid by the hour. */
  #nextHour(): void {
    this.#timeline.at(hourEndsAt(this.#now) - this.#epoch, () => {
      this.#settleEnergy();
      this.#nextHour();
    });
  }

  #settleEnergy(): void {
    for (const pool of this.#control.pools) {
      const joulesByClass = this.#pools.get(pool.id)?.takeActiveJoules() ?? [];
      this.#accounts.drew(pool, { joulesByClass, at: this.#hourAt });
    }
    this.#hourAt = this.#now;
  }

  #checkAll(): void {
    this.#control.check();
    this.#books?.check();
    const { attemptsOpen, requestsOpen } = this.#gateway;
    const { attempts, answers, tokensRecorded } = this.#accounts;
    assert(this.#control.held === attemptsOpen, "every open attempt has a lease, and no other");
    assert(this.#control.granted === attempts + attemptsOpen, "an attempt has one record");
    const records = this.#books?.records ?? attempts;
    assert(records === attempts, "every attempt that ended is in the books");
    assert(this.#arrived === answers + requestsOpen, "a request is answered once");
    assert(this.#tokensMade >= tokensRecorded, "no record has a token that nobody made");
  }

  #checkEnd(): void {
    this.#checkAll();
    assert(this.#gateway.requestsOpen === 0, "every request is answered");
    assert(this.#control.held === 0, "no lease is left over");
    const { tokensRecorded } = this.#accounts;
    assert(this.#tokensMade === tokensRecorded, "every token made is in a record");
  }

  get #tokensMade(): number {
    let made = 0;
    for (const pool of this.#pools.values()) made += pool.tokensMade;
    return made;
  }

  /** Slots of models that were asked for; pools that have none of them are left out. */
  #slotsByPool(): ReadonlyMap<PoolId, number> {
    const slots = [...this.#pools].map(
      ([id, pool]) => [id, pool.slotsOf(this.#accounts.models)] as const,
    );
    return new Map(slots.filter(([, count]) => count > 0));
  }

  #sites(): Site[] {
    const { residualGramsPerKwh } = this.#options.geography;
    return this.#control.pools.map((pool) => ({
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
  #statements(vendor: VendorId): StatementSummary[] {
    if (this.#books === undefined) return [];
    const first = this.#books.statement(vendor, toUs(this.#epoch));
    const statements = [first];
    for (let from = first.period.toUs; from <= toUs(this.#now);) {
      const next = this.#books.statement(vendor, from);
      statements.push(next);
      from = next.period.toUs;
    }
    return statements.map((each) => summary(vendor, each));
  }
}

function checkStatements(report: WorldResult["report"]): void {
  const stated = report.statements.reduce((sum, { amountNano }) => sum + amountNano, 0n);
  assert(stated === report.amountNano, "the statements add up to what was charged");
  const tokens = report.statements.reduce((sum, each) => sum + each.tokens, 0n);
  assert(tokens === tokensOf(report), "the statements have every token that was charged");
}

function roundTripMs(geography: Geography, origin: OriginId, pool: VirtualPool): number {
  return geography.roundTripMsPrior.get(origin)?.get(pool.registration.region) ?? 0;
}

function toUs(at: Instant): bigint {
  return BigInt(Math.floor(at)) * 1_000n;
}

function summary(vendor: VendorId, { id, totals, digest, lines }: Statement): StatementSummary {
  return {
    vendor,
    statement: id,
    attempts: totals.attempts ?? 0n,
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

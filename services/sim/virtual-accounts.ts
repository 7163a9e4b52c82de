import { createHash } from "node:crypto";
import { assert } from "../core/assert.ts";
import { gramsPerJoule, powerNanoPerJoule, pueOf } from "../core/energy.ts";
import type { Decision } from "../core/placement/decide.ts";
import type { Policy } from "../core/placement/policy.ts";
import type { ServiceClass } from "../core/placement/request.ts";
import type { Pool } from "../core/pool.ts";
import { PredictionCheck, type PredictionQuality } from "../core/prediction-check.ts";
import type { Geography } from "../core/region.ts";
import { notSent, ReportBuilder } from "../core/report.ts";
import { chargePico, RunCostBuilder, type CostedTokens } from "../core/run-cost.ts";
import type { Instant, ModelId, PoolId } from "../core/units.ts";
import { Unledgered } from "./unledgered.ts";
import type { VirtualBooks } from "./virtual-books.ts";
import type { GivenAnswer } from "./virtual-gateway.ts";
import { recordOf, type ClosedAttempt } from "./virtual-record.ts";
import type { Gaps } from "./virtual-server.ts";

/** Characters that are hashed at once. */
const textMax = 65_536;

/** Everything that is counted in a run: what callers saw, what pools are owed, what it cost, what was foreseen. */
export class VirtualAccounts {
  readonly cost: RunCostBuilder;
  readonly #report: ReportBuilder;
  readonly #unledgered = new Unledgered();
  readonly #geography: Geography;
  /** Undefined: nothing is ledgered. */
  readonly #books: VirtualBooks | undefined;
  readonly #prediction = new PredictionCheck();
  readonly #hash = createHash("sha256");
  #text = "";
  /** Request and pool of every attempt that failed. */
  readonly #failedAt = new Set<string>();
  readonly #inFlight = new Map<PoolId, number>();
  readonly #models = new Set<ModelId>();
  #attempts = 0;
  #answers = 0;
  #tokensRecorded = 0;

  constructor(options: {
    readonly policy: Policy;
    readonly geography: Geography;
    readonly books: VirtualBooks | undefined;
  }) {
    this.#report = new ReportBuilder(options.policy.objectives);
    this.cost = new RunCostBuilder(options.policy);
    this.#geography = options.geography;
    this.#books = options.books;
  }

  /** Attempts that ended. */
  get attempts(): number {
    return this.#attempts;
  }

  get answers(): number {
    return this.#answers;
  }

  /** Output tokens of attempts that ended. */
  get tokensRecorded(): number {
    return this.#tokensRecorded;
  }

  /** Models that somebody asked for. */
  get models(): ReadonlySet<ModelId> {
    return this.#models;
  }

  get prediction(): PredictionQuality {
    return this.#prediction.quality;
  }

  /** Over all decisions, and all records or ends of attempts, in the order they came. */
  get digest(): string {
    const hash = createHash("sha256").update(this.#hash.copy().update(this.#text).digest("hex"));
    if (this.#books !== undefined) hash.update(this.#books.digest);
    return hash.digest("hex");
  }

  /** What callers saw and what is owed; nothing is added afterwards. */
  get report(): ReportBuilder {
    this.#unledgered.addTo(this.#report);
    return this.#report;
  }

  addGaps(gaps: Gaps): void {
    this.#report.addGaps(gaps);
  }

  decided(decision: Decision): void {
    const what =
      decision.kind === "placed" ? `${decision.pool} ${decision.costNano}` : decision.reason;
    this.#note(`${decision.attempt} ${decision.snapshotRevision} ${what}\n`);
  }

  opened(pool: PoolId): void {
    this.#inFlight.set(pool, (this.#inFlight.get(pool) ?? 0) + 1);
  }

  closed(closed: ClosedAttempt): void {
    const { evidence: pool } = closed.chosen;
    this.#attempts += 1;
    this.#inFlight.set(pool.id, (this.#inFlight.get(pool.id) ?? 0) - 1);
    this.#checkRetry(closed, pool.id);
    const { firstByteAt, job, openedAt, closedAt } = closed;
    const price = pool.served.get(job.model)?.price;
    assert(price !== undefined, "what was chosen has a price");
    const tokens: CostedTokens | undefined =
      firstByteAt === undefined
        ? undefined
        : {
            inputTokens: job.promptTokens,
            cachedTokens: job.cachedTokens,
            outputTokens: job.tokensMade,
          };
    this.#tokensRecorded += tokens?.outputTokens ?? 0;
    const pico = tokens === undefined ? 0 : chargePico(price, tokens);
    this.#settle(closed, tokens, pico);
    this.cost.addAttempt({
      class: closed.class,
      pool: pool.id,
      side: pool.region.side,
      dispatchedAt: openedAt,
      slotMs: closedAt - openedAt,
      pico,
      tokens: tokens === undefined ? 0 : tokens.inputTokens + tokens.outputTokens,
    });
    this.#compare(closed);
  }

  /** `pools` gives them as they are priced now. */
  answered(answer: GivenAnswer, pools: () => readonly Pool[]): void {
    const { arrival, model, outcome, finishMs, ttftMs, tpotMs } = answer;
    this.#answers += 1;
    this.#models.add(model);
    this.#report.addAnswer(answer);
    const isServed = outcome === "ok";
    const { inputTokens, outputTokens } = arrival;
    const tokens = { inputTokens, outputTokens, cachedTokens: 0 };
    this.cost.addAnswer({
      class: answer.class,
      isServed,
      ttftMs,
      tpotMs,
      finishMs: outcome === notSent ? 0 : finishMs,
      dearestPico: isServed ? 0 : dearestPico(model, tokens, pools()),
    });
  }

  /** What a pool drew above rest in the hour of an instant, IT power, by the class that it was drawn for. */
  drew(
    pool: Pool,
    {
      joulesByClass,
      at,
    }: {
      readonly joulesByClass: readonly (readonly [ServiceClass, number])[];
      readonly at: Instant;
    },
  ): void {
    const nanoPerJoule = powerNanoPerJoule(pool.region, at);
    assert(nanoPerJoule !== undefined, "power has a price at every hour of every region");
    const { residualGramsPerKwh } = this.#geography;
    const rates = {
      nanoPerJoule,
      locationGramsPerJoule: gramsPerJoule(pool, "location-based", residualGramsPerKwh),
      marketGramsPerJoule: gramsPerJoule(pool, "market-based", residualGramsPerKwh),
    };
    for (const [each, joules] of joulesByClass) {
      if (joules > 0) {
        this.cost.addEnergy({ class: each, joules: joules * pueOf(pool), ...rates });
      }
    }
  }

  /** Once a second. */
  sample(): void {
    for (const [pool, count] of this.#inFlight) this.cost.sample(pool, count);
  }

  #settle(closed: ClosedAttempt, tokens: CostedTokens | undefined, pico: number): void {
    const { end, id, chosen, job, openedAt, closedAt } = closed;
    const { joules } = chosen.expected;
    if (this.#books === undefined) {
      const heldUs = Math.round((closedAt - openedAt) * 1_000);
      this.#note(`${id} ${end} ${job.tokensMade} ${heldUs}\n`);
      this.#unledgered.add(chosen.pool, end, { tokens, pico, joules });
      return;
    }
    const booked = this.#books.post(recordOf(closed));
    const settled = booked.kind === "posted" ? booked : undefined;
    this.#report.addAttempt({ pool: chosen.pool, end, settled, joulesExpected: joules });
  }

  #checkRetry({ request, end, role }: ClosedAttempt, pool: PoolId): void {
    if (end === "complete" && role === "primary") return;
    const place = `${request}\n${pool}`;
    assert(!this.#failedAt.has(place), "a request is not tried again where it failed");
    if (end !== "complete") this.#failedAt.add(place);
  }

  #note(line: string): void {
    this.#text += line;
    if (this.#text.length < textMax) return;
    this.#hash.update(this.#text);
    this.#text = "";
  }

  #compare({ end, chosen, openedAt, firstByteAt, closedAt, job }: ClosedAttempt): void {
    if (end !== "complete" || firstByteAt === undefined) return;
    const gaps = job.tokensMade - 1;
    this.#prediction.add(chosen.expected, {
      ttftMs: firstByteAt - openedAt,
      tpotMs: gaps < 1 ? undefined : (closedAt - firstByteAt) / gaps,
      finishMs: closedAt - openedAt,
    });
  }
}

function dearestPico(model: ModelId, tokens: CostedTokens, pools: readonly Pool[]): number {
  let dearest = 0;
  for (const { served } of pools) {
    const price = served.get(model)?.price;
    if (price !== undefined) dearest = Math.max(dearest, chargePico(price, tokens));
  }
  return dearest;
}

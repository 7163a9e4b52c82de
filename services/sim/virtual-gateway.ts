import { assert } from "../core/assert.ts";
import type { Effect, Event } from "../core/events.ts";
import type { AttemptOutcome, AttemptResult, Lease } from "../core/lease.ts";
import { toOneWayMs } from "../core/network.ts";
import type { Candidate, Decision } from "../core/placement/decide.ts";
import type { PlacementRequest } from "../core/placement/request.ts";
import { notSent, type Answer } from "../core/report.ts";
import type { AttemptEnd, UsageRecord } from "../core/settlement/usage.ts";
import type {
  AttemptId,
  Instant,
  ModelId,
  OriginId,
  PoolId,
  RequestId,
  TenantId,
} from "../core/units.ts";
import { sharedBlocks, type Arrival } from "../core/workload.ts";
import { outcomes, reasonOfUnplaceable, type Reason } from "../wire/errors.ts";
import type { Timeline } from "./timeline.ts";
import type { VirtualJob, VirtualPool } from "./virtual-pool.ts";
import { recordOf, type ClosedAttempt } from "./virtual-record.ts";

/** Attempts of one request, the first included. */
const attemptsMax = 3;

/** A request that was placed, from its lease to its end. */
interface Attempt {
  readonly request: Request;
  readonly id: AttemptId;
  readonly lease: Lease;
  readonly chosen: Candidate;
  readonly pool: VirtualPool;
  readonly roundTripMs: number;
  readonly openedAt: Instant;
  readonly job: VirtualJob;
  firstByteAt: Instant | undefined;
  isClosed: boolean;
}

interface Request {
  readonly arrival: Arrival;
  readonly id: RequestId;
  readonly arrivedAt: Instant;
  readonly tried: Set<PoolId>;
  attempts: number;
}

export interface VirtualGatewayOptions {
  readonly timeline: Timeline;
  /** Epoch time at 0 of the timeline. */
  readonly epoch: Instant;
  readonly model: ModelId;
  readonly runId: string;
  readonly leaseMs: number;
  readonly inFlightMax: number;
  readonly pools: ReadonlyMap<PoolId, VirtualPool>;
  readonly roundTripMs: (origin: OriginId, pool: VirtualPool) => number;
  /** Steps the control replica. */
  readonly happen: (event: Event) => readonly Effect[];
  readonly onDecision: (decision: Decision) => void;
  readonly onRecord: (record: UsageRecord) => void;
  readonly onAnswer: (answer: Answer) => void;
}

/** What the gateway does with a request, in virtual time: place, dispatch, try again, record, release. */
export class VirtualGateway {
  readonly #options: VirtualGatewayOptions;
  readonly #opened = new Set<Attempt>();
  #sequence = 0n;
  #requestsOpen = 0;

  constructor(options: VirtualGatewayOptions) {
    this.#options = options;
  }

  /** Attempts that have a lease and no end yet. */
  get attemptsOpen(): number {
    return this.#opened.size;
  }

  get requestsOpen(): number {
    return this.#requestsOpen;
  }

  arrive(arrival: Arrival): void {
    const { runId, inFlightMax } = this.#options;
    if (this.#requestsOpen >= inFlightMax) {
      const nothing = { ttftMs: undefined, tpotMs: undefined };
      this.#options.onAnswer({ class: arrival.class, outcome: notSent, ...nothing });
      return;
    }
    this.#requestsOpen += 1;
    const id = `${runId}-${arrival.index}` as RequestId;
    this.#place({ arrival, id, arrivedAt: this.#now, tried: new Set(), attempts: 0 });
  }

  get #now(): Instant {
    return this.#options.epoch + this.#options.timeline.now;
  }

  #place(request: Request): void {
    request.attempts += 1;
    const asked = this.#asked(request);
    const at = this.#now;
    const effects = this.#options.happen({ kind: "placement-requested", at, request: asked });
    const answer = effects.find((effect) => effect.kind === "answer");
    assert(answer !== undefined, "every request for placement is answered");
    const { decision, lease } = answer;
    this.#options.onDecision(decision);
    if (decision.kind === "placed" && lease !== undefined) this.#open(request, decision, lease);
    else this.#refuse(request, decision);
  }

  #asked({ arrival, id, attempts, tried }: Request): PlacementRequest {
    return {
      request: id,
      attempt: `${id}/${attempts}` as AttemptId,
      tenant: "dev" as TenantId,
      model: this.#options.model,
      class: arrival.class,
      criticality: "critical",
      origin: arrival.origin,
      regions: new Set(),
      dataClass: "general",
      mlpsLevelMin: 0,
      vendorsAllowed: new Set(),
      vendorsDenied: new Set(),
      excluded: new Set(tried),
      inputTokens: arrival.inputTokens,
      cachedTokensAt: new Map(),
      outputTokensExpected: undefined,
      outputTokensMax: arrival.outputTokens,
      deadlineMs: undefined,
      priceNanoMax: undefined,
      budgetNanoLeft: undefined,
    };
  }

  #refuse(request: Request, decision: Decision): void {
    const reason = decision.kind === "unplaceable" ? decision.reason : "no-eligible-pool";
    const isFirst = request.attempts === 1;
    this.#answer(request, refusal(isFirst ? reasonOfUnplaceable[reason] : "UPSTREAM_FAILED"));
  }

  #open(request: Request, decision: Placed, lease: Lease): void {
    const chosen = decision.candidates.find(({ pool }) => pool === decision.pool);
    const pool = this.#options.pools.get(decision.pool);
    assert(chosen !== undefined && pool !== undefined, "the chosen pool is a candidate and exists");
    const attempt: Attempt = {
      request,
      id: decision.attempt,
      lease,
      chosen,
      pool,
      roundTripMs: this.#options.roundTripMs(request.arrival.origin, pool),
      openedAt: this.#now,
      job: this.#job(request.arrival, () => attempt),
      firstByteAt: undefined,
      isClosed: false,
    };
    this.#opened.add(attempt);
    this.#keepLease(attempt);
    this.#later(attempt, () => {
      if (!pool.submit(attempt.job)) this.#later(attempt, () => this.#fail(attempt, undefined));
    });
  }

  #job(arrival: Arrival, attemptOf: () => Attempt): VirtualJob {
    const { timeline, model } = this.#options;
    const passedOn = (what: (attempt: Attempt) => void) => () => {
      const attempt = attemptOf();
      this.#later(attempt, () => what(attempt));
    };
    return {
      model,
      promptTokens: arrival.inputTokens,
      outputTokens: arrival.outputTokens,
      outputTokensMax: arrival.outputTokens,
      blocks: sharedBlocks(arrival),
      submittedAt: timeline.now,
      cachedTokens: 0,
      tokensMade: 0,
      onFirstToken: passedOn((attempt) => {
        attempt.firstByteAt = this.#now;
      }),
      onFinished: passedOn((attempt) => this.#complete(attempt)),
      onCut: passedOn((attempt) => this.#fail(attempt, 200)),
    };
  }

  /** Half a round trip from now. */
  #later({ roundTripMs }: Attempt, run: () => void): void {
    this.#options.timeline.after(toOneWayMs(roundTripMs), run);
  }

  /** Renews long before the lease ends, as long as the attempt is open. */
  #keepLease(attempt: Attempt): void {
    const { timeline, leaseMs, happen } = this.#options;
    timeline.after(leaseMs / 2, () => {
      if (attempt.isClosed) return;
      const { id: lease, fence } = attempt.lease;
      const effects = happen({ kind: "lease-renewed", at: this.#now, lease, fence });
      assert(
        effects.every(({ kind }) => kind !== "refused"),
        "a lease that is kept is renewed",
      );
      this.#keepLease(attempt);
    });
  }

  #complete(attempt: Attempt): void {
    this.#close(attempt, { end: "complete", httpStatus: 200, isWinner: true });
    const { outputTokens } = attempt.job;
    const firstAt = attempt.firstByteAt ?? this.#now;
    this.#answer(attempt.request, {
      outcome: "ok",
      ttftMs: firstAt - attempt.request.arrivedAt,
      tpotMs: outputTokens < 2 ? undefined : (this.#now - firstAt) / (outputTokens - 1),
    });
  }

  /** Before the first byte another pool may do it; after it the caller has half an answer. */
  #fail(attempt: Attempt, httpStatus: number | undefined): void {
    const { request, firstByteAt } = attempt;
    const hasBytes = firstByteAt !== undefined;
    const end = hasBytes ? "upstream-cut" : "upstream-error";
    this.#close(attempt, { end, httpStatus, isWinner: hasBytes });
    request.tried.add(attempt.lease.pool);
    if (hasBytes) {
      const { openaiCode } = outcomes.UPSTREAM_DISCONNECTED;
      const ttftMs = firstByteAt - request.arrivedAt;
      this.#answer(request, { outcome: `stream ${openaiCode}`, ttftMs });
    } else if (request.attempts < attemptsMax) this.#place(request);
    else this.#answer(request, refusal("UPSTREAM_FAILED"));
  }

  #close(attempt: Attempt, how: Pick<ClosedAttempt, "end" | "httpStatus" | "isWinner">): void {
    assert(!attempt.isClosed, "an attempt ends once");
    attempt.isClosed = true;
    this.#opened.delete(attempt);
    this.#sequence += 1n;
    const { request, id, chosen, job, openedAt, firstByteAt } = attempt;
    const closed: ClosedAttempt = {
      ...how,
      id,
      chosen,
      job,
      openedAt,
      firstByteAt,
      request: request.id,
      origin: request.arrival.origin,
      class: request.arrival.class,
      role: request.attempts === 1 ? "primary" : "retry",
      sequence: this.#sequence,
      closedAt: this.#now,
    };
    this.#options.onRecord(recordOf(closed));
    const { id: lease, fence } = attempt.lease;
    const outcome = this.#outcomeOf(attempt, how.end);
    this.#options.happen({ kind: "lease-released", at: this.#now, lease, fence, outcome });
  }

  #outcomeOf(
    { openedAt, firstByteAt, roundTripMs, job }: Attempt,
    end: AttemptEnd,
  ): AttemptOutcome {
    const isComplete = end === "complete";
    const decodeMs = firstByteAt === undefined ? undefined : this.#now - firstByteAt;
    const gaps = job.tokensMade - 1;
    return {
      result: resultOf(end),
      ttftMs: firstByteAt === undefined ? undefined : firstByteAt - openedAt,
      itlMsMean: decodeMs === undefined || gaps < 1 ? undefined : decodeMs / gaps,
      headersMs: isComplete ? roundTripMs : undefined,
      inputTokens: isComplete ? job.promptTokens : undefined,
      cachedTokens: isComplete ? job.cachedTokens : undefined,
      outputTokens: isComplete ? job.tokensMade : undefined,
      durationMs: this.#now - openedAt,
    };
  }

  #answer({ arrival }: Request, answer: Pick<Answer, "outcome"> & Partial<Answer>): void {
    this.#requestsOpen -= 1;
    const { outcome, ttftMs, tpotMs } = answer;
    this.#options.onAnswer({ class: arrival.class, outcome, ttftMs, tpotMs });
  }
}

type Placed = Decision & { readonly kind: "placed" };

/** As a caller of the real gateway sees it. */
function refusal(reason: Reason): { readonly outcome: string } {
  const { httpStatus, openaiCode } = outcomes[reason];
  return { outcome: `http-${httpStatus} ${openaiCode}` };
}

function resultOf(end: AttemptEnd): AttemptResult {
  if (end === "complete") return "ok";
  return end === "upstream-cut" ? "reset" : "connect-error";
}

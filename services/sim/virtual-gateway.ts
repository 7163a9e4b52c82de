import { assert } from "../core/assert.ts";
import type { Effect, Event } from "../core/events.ts";
import type { AttemptOutcome, AttemptResult, Lease } from "../core/lease.ts";
import { toOneWayMs } from "../core/network.ts";
import type { Candidate, Decision } from "../core/placement/decide.ts";
import type { PlacementRequest } from "../core/placement/request.ts";
import type { Random } from "../core/random.ts";
import { notSent, type Answer } from "../core/report.ts";
import type { AttemptEnd } from "../core/settlement/counting/usage.ts";
import type {
  AttemptId,
  Instant,
  ModelId,
  OriginId,
  PoolId,
  RequestId,
  TenantId,
} from "../core/units.ts";
import { hashesOf, sharedBlocks, type Arrival } from "../core/workload.ts";
import { outcomes, reasonOfUnplaceable, type Reason } from "../wire/errors.ts";
import type { Timeline } from "./timeline.ts";
import type { VirtualPool } from "./virtual-pool.ts";
import type { ClosedAttempt } from "./virtual-record.ts";
import type { VirtualJob } from "./virtual-server.ts";
import type { Patience } from "./world-options.ts";

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
  /** When its lease was granted or renewed. */
  renewedAt: Instant;
  isClosed: boolean;
}

interface Request {
  readonly arrival: Arrival;
  readonly id: RequestId;
  readonly model: ModelId;
  readonly arrivedAt: Instant;
  readonly outputTokensMax: number;
  /** Ids of the prompt's blocks that engines share. */
  readonly blocks: readonly number[];
  /** The same as control replicas are told of it. */
  readonly prefixBlocks: readonly number[];
  readonly tried: Set<PoolId>;
  attempts: number;
}

/** An answer, and what it was to. */
export interface GivenAnswer extends Answer {
  readonly arrival: Arrival;
  readonly model: ModelId;
  /** Since the request came. */
  readonly finishMs: number;
}

export interface VirtualGatewayOptions {
  readonly timeline: Timeline;
  /** Epoch time at 0 of the timeline. */
  readonly epoch: Instant;
  /** Of requests that name none. */
  readonly model: ModelId;
  readonly runId: string;
  readonly leaseMs: number;
  readonly inFlightMax: number;
  readonly pools: ReadonlyMap<PoolId, VirtualPool>;
  readonly roundTripMs: (origin: OriginId, pool: VirtualPool) => number;
  /** Undefined: who finds no room is refused at once. */
  readonly patience: Patience | undefined;
  /** For the pauses of those who wait. */
  readonly random: Random;
  readonly outputTokensMaxOf: (arrival: Arrival) => number;
  /** Steps the control replica of a request. */
  readonly happen: (request: RequestId, event: Event) => readonly Effect[];
  readonly onDecision: (decision: Decision) => void;
  readonly onOpen: (pool: PoolId) => void;
  readonly onClosed: (closed: ClosedAttempt) => void;
  readonly onAnswer: (answer: GivenAnswer) => void;
}

const nothing: ReadonlySet<never> = new Set<never>();
const nowhere: ReadonlyMap<never, never> = new Map<never, never>();

/** What the gateway does with a request, in virtual time: place, dispatch, try again, record, release. */
export class VirtualGateway {
  readonly #options: VirtualGatewayOptions;
  readonly #opened = new Set<Attempt>();
  #sequence = 0n;
  #requestsOpen = 0;

  constructor(options: VirtualGatewayOptions) {
    this.#options = options;
    this.#keepLeases();
  }

  /** Attempts that have a lease and no end yet. */
  get attemptsOpen(): number {
    return this.#opened.size;
  }

  get requestsOpen(): number {
    return this.#requestsOpen;
  }

  arrive(arrival: Arrival): void {
    const { runId, inFlightMax, onAnswer, outputTokensMaxOf } = this.#options;
    const model = arrival.model ?? this.#options.model;
    if (this.#requestsOpen >= inFlightMax) {
      const unknown = { ttftMs: undefined, tpotMs: undefined };
      onAnswer({ arrival, model, class: arrival.class, outcome: notSent, ...unknown, finishMs: 0 });
      return;
    }
    this.#requestsOpen += 1;
    const outputTokensMax = outputTokensMaxOf(arrival);
    assert(outputTokensMax >= arrival.outputTokens, "nobody says less than he gets");
    const blocks = sharedBlocks(arrival);
    this.#place({
      arrival,
      id: `${runId}-${arrival.index}` as RequestId,
      model,
      arrivedAt: this.#now,
      outputTokensMax,
      blocks,
      prefixBlocks: hashesOf(blocks),
      tried: new Set(),
      attempts: 1,
    });
  }

  get #now(): Instant {
    return this.#options.epoch + this.#options.timeline.now;
  }

  #place(request: Request): void {
    const { happen, onDecision } = this.#options;
    const asked = this.#asked(request);
    const effects = happen(request.id, {
      kind: "placement-requested",
      at: this.#now,
      request: asked,
    });
    const answer = effects.find((effect) => effect.kind === "answer");
    assert(answer !== undefined, "every request for placement is answered");
    const { decision, lease } = answer;
    onDecision(decision);
    if (decision.kind === "placed" && lease !== undefined) this.#open(request, decision, lease);
    else if (!this.#waits(request, decision)) this.#refuse(request, decision);
  }

  #asked(request: Request): PlacementRequest {
    const { arrival, id, attempts, tried, model, outputTokensMax, arrivedAt, prefixBlocks } =
      request;
    return {
      request: id,
      attempt: `${id}/${attempts}` as AttemptId,
      tenant: arrival.tenant ?? anyTenant,
      model,
      class: arrival.class,
      criticality: "critical",
      origin: arrival.origin,
      regions: nothing,
      dataClass: "general",
      mlpsLevelMin: 0,
      vendorsAllowed: nothing,
      vendorsDenied: nothing,
      excluded: tried.size === 0 ? nothing : new Set(tried),
      inputTokens: arrival.inputTokens,
      cachedTokensAt: nowhere,
      prefixBlocks,
      outputTokensExpected: undefined,
      outputTokensMax,
      waitedMs: this.#now - arrivedAt,
      deadlineMs: undefined,
      priceNanoMax: undefined,
      budgetNanoLeft: undefined,
    };
  }

  /** True: there may be room later, and the caller asks again. */
  #waits(request: Request, decision: Decision): boolean {
    const { patience, random, timeline } = this.#options;
    if (patience === undefined) return false;
    if (decision.kind !== "unplaceable" || decision.reason !== "no-eligible-pool") return false;
    const pauseMs = patience.retryMs * (0.5 + random());
    const waitMsMax = patience.waitMsMax[request.arrival.class];
    if (this.#now + pauseMs - request.arrivedAt > waitMsMax) return false;
    timeline.after(pauseMs, () => this.#place(request));
    return true;
  }

  #refuse(request: Request, decision: Decision): void {
    const reason = decision.kind === "unplaceable" ? decision.reason : "no-eligible-pool";
    const isFirst = request.attempts === 1;
    this.#answer(request, refusal(isFirst ? reasonOfUnplaceable[reason] : "UPSTREAM_FAILED"));
  }

  #open(request: Request, { chosen, attempt: id }: Placed, lease: Lease): void {
    const pool = this.#options.pools.get(lease.pool);
    assert(pool !== undefined, "the chosen pool exists");
    const attempt: Attempt = {
      request,
      id,
      lease,
      chosen,
      pool,
      roundTripMs: this.#options.roundTripMs(request.arrival.origin, pool),
      openedAt: this.#now,
      job: this.#job(request, lease.model, () => attempt),
      firstByteAt: undefined,
      renewedAt: this.#now,
      isClosed: false,
    };
    this.#opened.add(attempt);
    this.#options.onOpen(lease.pool);
    this.#later(attempt, () => {
      if (!pool.submit(attempt.job)) this.#later(attempt, () => this.#fail(attempt, undefined));
    });
  }

  #job(request: Request, model: ModelId, attemptOf: () => Attempt): VirtualJob {
    const { arrival, outputTokensMax, blocks } = request;
    return {
      model,
      class: arrival.class,
      promptTokens: arrival.inputTokens,
      outputTokens: arrival.outputTokens,
      outputTokensMax,
      blocks,
      submittedAt: this.#options.timeline.now,
      cachedTokens: 0,
      tokensMade: 0,
      onFirstToken: () => {
        // It gets here later, before the end of the attempt does: nobody looks in between.
        const attempt = attemptOf();
        const { epoch, timeline } = this.#options;
        attempt.firstByteAt = epoch + (timeline.now + toOneWayMs(attempt.roundTripMs));
      },
      onFinished: () => {
        const attempt = attemptOf();
        this.#later(attempt, () => this.#complete(attempt));
      },
      onCut: () => {
        const attempt = attemptOf();
        this.#later(attempt, () => this.#fail(attempt, 200));
      },
    };
  }

  /** Half a round trip from now. */
  #later({ roundTripMs }: Attempt, run: () => void): void {
    this.#options.timeline.after(toOneWayMs(roundTripMs), run);
  }

  /** Renews, of attempts that are open, leases that were not renewed of late: long before they end. */
  #keepLeases(): void {
    const { timeline, leaseMs } = this.#options;
    timeline.after(leaseMs / 4, () => {
      for (const attempt of this.#opened) {
        if (this.#now - attempt.renewedAt >= leaseMs / 4) this.#renew(attempt);
      }
      this.#keepLeases();
    });
  }

  #renew(attempt: Attempt): void {
    const { id: lease, fence } = attempt.lease;
    const at = this.#now;
    const event = { kind: "lease-renewed", at, lease, fence } as const;
    const effects = this.#options.happen(attempt.request.id, event);
    const isKept = effects.every(({ kind }) => kind !== "refused");
    assert(isKept, "a lease that is kept is renewed");
    attempt.renewedAt = at;
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
    } else if (request.attempts < attemptsMax) {
      request.attempts += 1;
      this.#place(request);
    } else this.#answer(request, refusal("UPSTREAM_FAILED"));
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
      tenant: request.arrival.tenant ?? anyTenant,
      origin: request.arrival.origin,
      class: request.arrival.class,
      role: request.attempts === 1 ? "primary" : "retry",
      sequence: this.#sequence,
      closedAt: this.#now,
    };
    this.#options.onClosed(closed);
    const { id: lease, fence } = attempt.lease;
    const outcome = this.#outcomeOf(attempt, how.end);
    const at = this.#now;
    this.#options.happen(request.id, { kind: "lease-released", at, lease, fence, outcome });
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

  #answer(request: Request, answer: Pick<Answer, "outcome"> & Partial<Answer>): void {
    this.#requestsOpen -= 1;
    const { arrival, model, arrivedAt } = request;
    const { outcome, ttftMs, tpotMs } = answer;
    const finishMs = this.#now - arrivedAt;
    const { class: serviceClass } = arrival;
    this.#options.onAnswer({
      arrival,
      model,
      class: serviceClass,
      outcome,
      ttftMs,
      tpotMs,
      finishMs,
    });
  }
}

/** Of requests that name none. */
const anyTenant = "dev" as TenantId;

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

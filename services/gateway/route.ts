import { Code, ConnectError } from "@connectrpc/connect";
import type { PlaceOutcome } from "../core/lease.ts";
import type { PlacementRequest } from "../core/placement/request.ts";
import type { AttemptId, PoolId } from "../core/units.ts";
import { reasonOfUnplaceable } from "../wire/errors.ts";
import type { Answer } from "./answer.ts";
import { Attempt } from "./attempt.ts";
import type { AttemptEnding, AttemptLimits, AttemptOrder, AttemptParts } from "./attempt-order.ts";
import { draftOf, type AttemptPlan, type UseDimensions } from "./attempt-record.ts";
import type { ChatRequest } from "./chat-request.ts";
import { Refusal } from "./errors.ts";
import { uuidV7 } from "./ids.ts";
import { countTokens, type RetryReason } from "./metrics.ts";
import { UnavailableError } from "./placement-client.ts";
import type { PoolDirectory, PoolEntry } from "./pools.ts";
import type { Reservation } from "./quota.ts";
import { recounted, type Recounter } from "./recount.ts";
import type { RetryBudget } from "./retry-budget.ts";
import { MeteringError, type UnnumberedRecord } from "./spool.ts";

/** What a route works with; made once. */
export interface RouteParts extends AttemptParts {
  readonly directory: PoolDirectory;
  readonly budget: RetryBudget;
  /** Undefined: there are no tokenizers. */
  readonly recounter: Recounter | undefined;
  /** Attempts that are under way. */
  readonly live: Set<Attempt>;
}

/** One request of one client, parsed and allowed. */
export interface RouteJob {
  /** All but the attempt and the pools that were tried. */
  readonly request: Omit<PlacementRequest, "attempt" | "excluded">;
  readonly chat: ChatRequest;
  readonly use: UseDimensions;
  readonly reservation: Reservation | undefined;
  readonly answer: Answer;
  /** When the caller asked, by the monotonic clock. */
  readonly startedAt: number;
  readonly limits: AttemptLimits;
  readonly isDebug: boolean;
  readonly traceparent: string | undefined;
  readonly signal: AbortSignal;
}

export interface RouteResult {
  /** Why it was not served; undefined if it was, or nobody is there to be told. */
  readonly refusal: Refusal | undefined;
  /** The last attempt, if there was one. */
  readonly last: AttemptEnding | undefined;
  readonly pool: PoolEntry | undefined;
  readonly attempts: number;
  readonly placeMs: number;
}

const attemptsMax = 3;
/** Also those that turned out to be unknown or not allowed here. */
const poolsTriedMax = 8;
/** Taken off a deadline that is passed on, for the way back. */
const deadlineMarginMs = 5;

/**
 * Serves a request by one pool, or by another as long as nothing of an answer was shown. Resolves when the last
 * attempt is over and its record is durable.
 */
export async function route(parts: RouteParts, job: RouteJob): Promise<RouteResult> {
  const router = new Router(parts, job);
  try {
    return await router.run();
  } finally {
    await router.recorded();
  }
}

class Router {
  readonly #parts: RouteParts;
  readonly #job: RouteJob;
  readonly #excluded = new Set<PoolId>();
  readonly #records: Promise<void>[] = [];
  #placeMs = 0;
  #attempts = 0;
  #last: AttemptEnding | undefined;
  #pool: PoolEntry | undefined;

  constructor(parts: RouteParts, job: RouteJob) {
    this.#parts = parts;
    this.#job = job;
  }

  async run(): Promise<RouteResult> {
    let refusal: Refusal | undefined;
    let retry: RetryReason | undefined;
    while (this.#attempts < attemptsMax && !this.#job.answer.isGone) {
      const plan = await this.#place();
      if (plan === undefined) continue;
      // After a failure elsewhere, that failure is the news, not that no pool is left.
      if (plan instanceof Refusal) return this.#result(refusal ?? plan);
      const ending = await this.#attempt(plan);
      if (ending instanceof Refusal) return this.#result(ending);
      this.#countRetry(retry, ending);
      refusal = ending.refusal;
      retry = this.#mayRetry(ending) ? ending.retry : undefined;
      if (retry === undefined) break;
    }
    return this.#result(refusal);
  }

  /** All records of the request are durable, or were refused by the disk and said so. */
  async recorded(): Promise<void> {
    await Promise.all(this.#records);
  }

  #result(refusal: Refusal | undefined): RouteResult {
    const { answer } = this.#job;
    if (refusal !== undefined && !answer.isGone) answer.fail(refusal);
    return {
      refusal: answer.isGone ? undefined : refusal,
      last: this.#last,
      pool: this.#pool,
      attempts: this.#attempts,
      placeMs: this.#placeMs,
    };
  }

  /** Undefined: this pool cannot be used after all, ask for another. */
  async #place(): Promise<AttemptPlan | Refusal | undefined> {
    const { request, signal, answer } = this.#job;
    const openedAt = this.#parts.clock.now();
    const attempt = uuidV7(openedAt) as AttemptId;
    const startedAt = performance.now();
    const waitedMs = Math.max(0, Math.round(startedAt - this.#job.startedAt));
    const { deadlineMs } = request;
    const placing: PlacementRequest = {
      ...request,
      attempt,
      excluded: new Set(this.#excluded),
      waitedMs,
      deadlineMs: deadlineMs === undefined ? undefined : Math.max(0, deadlineMs - waitedMs),
    };
    const outcome = await this.#ask(placing, signal);
    this.#placeMs += performance.now() - startedAt;
    if (outcome instanceof Refusal) return outcome;
    const { placement } = outcome;
    const pool = await this.#parts.directory.find(placement.pool);
    const chosen = { ...placing, model: placement.model ?? request.model };
    const model = pool?.models.get(chosen.model);
    const isAllowed =
      pool !== undefined && (request.regions.size === 0 || request.regions.has(pool.region));
    if (pool === undefined || model === undefined || !isAllowed || answer.isGone) {
      this.#parts.placement.release(placement, undefined);
      this.#excluded.add(placement.pool);
      if (this.#excluded.size > poolsTriedMax) {
        return new Refusal("NO_ELIGIBLE_POOL", "the pools that were chosen are not known here");
      }
      return undefined;
    }
    const role = this.#attempts === 0 ? "primary" : "retry";
    const { use } = this.#job;
    const digests = this.#parts.recounter?.digestsOf(chosen.model);
    return { request: chosen, placement, pool, poolModel: model, role, openedAt, use, digests };
  }

  async #ask(
    request: PlacementRequest,
    signal: AbortSignal,
  ): Promise<Extract<PlaceOutcome, { kind: "placed" }> | Refusal> {
    try {
      const outcome = await this.#parts.placement.place(request, signal);
      if (outcome.kind === "placed") return outcome;
      const reason = reasonOfUnplaceable[outcome.reason];
      const filters = [...outcome.poolsByFilter].map(([filter, pools]) => `${filter} ${pools}`);
      const why = filters.length === 0 ? "" : ` (pools by reason: ${filters.join(", ")})`;
      const detail = outcome.detail === undefined ? "" : `: ${outcome.detail}`;
      const message = `no pool can serve the request: ${outcome.reason}${why}${detail}`;
      return new Refusal(reason, message, {
        ...(outcome.retryAfterMs > 0 && { retryAfterMs: outcome.retryAfterMs }),
        ...(reason === "MODEL_NOT_FOUND" && { param: "model" }),
      });
    } catch (cause) {
      if (cause instanceof UnavailableError) {
        return new Refusal("NO_ELIGIBLE_POOL", "no control replica answers", { cause });
      }
      if (signal.aborted) return new Refusal("CLIENT_GONE", "the client left", { cause });
      if (cause instanceof ConnectError && cause.code === Code.InvalidArgument) {
        return new Refusal("BAD_REQUEST", cause.rawMessage, { cause });
      }
      throw cause;
    }
  }

  async #attempt(plan: AttemptPlan): Promise<AttemptEnding | Refusal> {
    const { placement } = this.#parts;
    const leftMs = this.#job.limits.deadlineAt - performance.now();
    if (leftMs <= plan.placement.ttftMsExpected) {
      placement.release(plan.placement, undefined);
      return new Refusal("DEADLINE", "the first token would come after the deadline");
    }
    const body = this.#bodyFor(plan);
    const draft = draftOf(plan, this.#job.chat.isPlain ? body.length : undefined);
    try {
      await this.#parts.spool.open(draft);
    } catch (cause) {
      placement.release(plan.placement, undefined);
      if (!(cause instanceof MeteringError)) throw cause;
      return new Refusal("METERING_UNAVAILABLE", "usage cannot be recorded now", { cause });
    }
    this.#attempts += 1;
    this.#pool = plan.pool;
    if (this.#job.answer.isGone) {
      placement.release(plan.placement, undefined);
      this.#record({ ...draft, end: "not-dispatched", closedUs: draft.openedUs });
      return new Refusal("CLIENT_GONE", "the client left");
    }
    return this.#dispatch(this.#order(plan, { draft, body, leftMs }));
  }

  async #dispatch(order: AttemptOrder): Promise<AttemptEnding> {
    const { budget, live, metrics } = this.#parts;
    const { pool } = order.plan;
    const ending = await new Promise<AttemptEnding>((resolve) => {
      const attempt = new Attempt(this.#parts, order, (ended) => {
        live.delete(attempt);
        resolve(ended);
      });
      live.add(attempt);
      attempt.start();
    });
    this.#last = ending;
    this.#excluded.add(pool.id);
    if (ending.end === "complete") budget.succeeded();
    if (ending.retry !== undefined) budget.failed();
    countTokens(metrics, pool.id, ending.record);
    metrics.metered.inc({ completeness: completenessOf(ending.record) });
    this.#recordWhenTaken(ending, order.body);
    return ending;
  }

  #bodyFor({ placement, poolModel }: AttemptPlan): Buffer {
    return this.#job.chat.upstreamBody({
      engineModelName: placement.engineModelName,
      hasContinuousUsage: poolModel.capabilities.has("continuous-usage"),
      hasTokenIds: poolModel.capabilities.has("token-ids"),
    });
  }

  #order(
    plan: AttemptPlan,
    {
      draft,
      body,
      leftMs,
    }: { readonly draft: UnnumberedRecord; readonly body: Buffer; readonly leftMs: number },
  ): AttemptOrder {
    const { answer, limits, isDebug, request, traceparent, reservation } = this.#job;
    const { placement, pool } = plan;
    return {
      plan,
      draft,
      limits,
      answer,
      body,
      reservation,
      text: this.#parts.recounter?.textOf(plan.request.model),
      headers: {
        "content-type": "application/json",
        accept: "text/event-stream",
        "x-attempt-id": plan.request.attempt,
        "x-tokengrid-lease": `${placement.lease};fence=${placement.fence}`,
        "x-tokengrid-origin": request.origin,
        "x-tokengrid-deadline-ms": String(Math.floor(leftMs - deadlineMarginMs)),
        ...(traceparent !== undefined && { traceparent }),
      },
      debugHeaders: {
        // Where an alias stands for several models the caller is told which one answers.
        ...(request.choices !== undefined && { "x-tokengrid-model": plan.request.model }),
        ...(isDebug && {
          "x-tokengrid-pool": pool.id,
          "x-tokengrid-region": pool.region,
          "x-tokengrid-placement-id": plan.request.attempt,
          "x-tokengrid-policy-row": placement.policyRow,
        }),
      },
    };
  }

  /** What the client's socket took is known when it took all, or left. */
  #recordWhenTaken(ending: AttemptEnding, body: Buffer): void {
    const { answer } = this.#job;
    if (ending.retry !== undefined) {
      ending.text?.free();
      return this.#record(ending.record);
    }
    if (ending.refusal !== undefined) answer.fail(ending.refusal);
    const taken = async (): Promise<void> => {
      const [record] = await Promise.all([this.#recounted(ending, body), answer.settled()]);
      const evidence = { ...record.evidence, deliveredBytes: BigInt(answer.deliveredBytes) };
      const sentBytes = BigInt(answer.sentBytes);
      await this.#parts.spool.close({ ...record, evidence, sentBytes });
    };
    this.#keep(taken(), ending.record);
  }

  async #recounted({ record, text }: AttemptEnding, body: Buffer): Promise<UnnumberedRecord> {
    const { recounter, metrics } = this.#parts;
    if (recounter === undefined || text === undefined) return record;
    try {
      if (!recounter.isDue(record)) return record;
      const prompt = this.#job.chat.isPlain ? body : undefined;
      const outcome = await recounter.count(record.model, text, prompt);
      metrics.recounts.inc({ result: outcome.kind === "counted" ? "counted" : outcome.why });
      return recounted(record, outcome);
    } finally {
      text.free();
    }
  }

  #record(record: UnnumberedRecord): void {
    this.#keep(this.#parts.spool.close(record), record);
  }

  #keep(writing: Promise<void>, { id }: UnnumberedRecord): void {
    const { log } = this.#parts;
    this.#records.push(
      writing.catch((error: unknown) => {
        log.error({ record: id, error: String(error) }, "usage record lost until the next start");
      }),
    );
  }

  #mayRetry(ending: AttemptEnding): boolean {
    if (ending.retry === undefined || this.#attempts >= attemptsMax) return false;
    if (this.#job.answer.isGone) return false;
    if (this.#parts.budget.mayRetry) return true;
    this.#parts.metrics.retries.inc({ reason: ending.retry, result: "suppressed_budget" });
    return false;
  }

  #countRetry(reason: RetryReason | undefined, ending: AttemptEnding): void {
    if (reason === undefined) return;
    const result = ending.end === "complete" ? "won" : "lost";
    this.#parts.metrics.retries.inc({ reason, result });
  }
}

function completenessOf({ engineCounts, gatewayCounts }: UnnumberedRecord) {
  if (engineCounts.source === "continuous") return "continuous";
  if (engineCounts.source !== "none") return "final";
  return (gatewayCounts.output ?? 0n) > 0n ? "estimated" : "none";
}

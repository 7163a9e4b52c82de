import { AnswerTooLargeError } from "./assemble.ts";
import type { AttemptEnding, AttemptOrder, AttemptParts } from "./attempt-order.ts";
import { closedRecord, type AttemptTimes } from "./attempt-record.ts";
import { ChunkReader, type ChunkSink } from "./chunk-reader.ts";
import { Drain } from "./drain.ts";
import { quotaEvents, usageEvent } from "./final-events.ts";
import type { JsonObject } from "./json-value.ts";
import { LeaseHolder } from "./lease-holder.ts";
import { AnswerMeter, type TextKind } from "./meter.ts";
import type { StreamEnd } from "./metrics.ts";
import type { Refused } from "./quota.ts";
import { QuotaWatch } from "./quota-watch.ts";
import { RejectedAnswer } from "./rejected-answer.ts";
import { quotaRefusal } from "./reserve.ts";
import type { Ticker } from "./sweeper.ts";
import { withoutIds } from "./token-ids.ts";
import {
  atDrainLimit,
  clientGone,
  complete,
  drained,
  late,
  lost,
  quotaGone,
  unreachable,
  type GoneWhy,
  type Verdict,
} from "./verdict.ts";
import type { UpstreamCall, UpstreamError, UpstreamHandler } from "./upstream.ts";
import { Watermarks } from "./watermarks.ts";

/** For counts that come behind the end. */
const afterDoneMs = 1_000;

/** One dispatch to one pool: from a durable opening to a durable record, whatever happens between. */
export class Attempt implements UpstreamHandler, ChunkSink, Ticker {
  readonly #parts: AttemptParts;
  readonly #order: AttemptOrder;
  readonly #meter: AnswerMeter;
  readonly #reader: ChunkReader;
  readonly #lease: LeaseHolder;
  readonly #onEnded: (ending: AttemptEnding) => void;
  readonly #watermarks: Watermarks;
  readonly #quota: QuotaWatch;
  readonly #times: AttemptTimes = {
    dispatchedAt: undefined,
    firstByteAt: undefined,
    lastByteAt: undefined,
    cancelledAt: undefined,
  };
  /** What came in this turn of the loop. */
  #packets: Buffer[] = [];
  #call: UpstreamCall | undefined;
  #dispatchedAt = 0;
  #headersAt: number | undefined;
  #firstTokenAt: number | undefined;
  #lastPacketAt = 0;
  #status: number | undefined;
  #rejection: RejectedAnswer | undefined;
  #isCommitted = false;
  #isPaused = false;
  #doneAt: number | undefined;
  #lastUsage: unknown;
  #verdict: Verdict | undefined;
  /** Nobody is there to take it, and the contract pays for the rest. */
  #drain: Drain | undefined;
  #bytesAtCancel: number | undefined;
  #isOver = false;

  constructor(parts: AttemptParts, order: AttemptOrder, onEnded: (ending: AttemptEnding) => void) {
    this.#parts = parts;
    this.#order = order;
    this.#onEnded = onEnded;
    const { plan, answer, draft, text } = order;
    this.#meter = new AnswerMeter(plan.pool.engine, plan.poolModel.capabilities, text);
    this.#watermarks = new Watermarks(parts, { draft, meter: this.#meter });
    this.#reader = new ChunkReader(this, answer.rewrite);
    this.#quota = new QuotaWatch(order.reservation, {
      wait: () => this.#call?.pause(),
      goOn: () => this.#isPaused || this.#call?.resume(),
      stop: (refused) => this.#stopAtQuota(refused),
    });
    this.#lease = new LeaseHolder(parts.placement, plan.placement, parts.log);
  }

  /** Sends it. The attempt is durable in the spool already. */
  start(): void {
    const { plan, body, headers, answer } = this.#order;
    this.#dispatchedAt = performance.now();
    this.#lastPacketAt = this.#dispatchedAt;
    this.#times.dispatchedAt = this.#parts.clock.now();
    answer.onDrain = () => this.#resume();
    answer.onGone = (why) => this.#leave(why);
    this.#parts.sweeper.add(this);
    this.#call = this.#parts.upstreams.dispatch(
      plan.pool.endpoint,
      { method: "POST", path: "/v1/chat/completions", headers, body },
      this,
    );
  }

  /** Ends it from outside: a gateway that stops. */
  cut(message: string): void {
    if (this.#drain === undefined) this.#stop(drained(message));
    else this.#stopDrain();
  }

  sent(): void {
    this.#parts.metrics.overhead.observe(
      { phase: "connect" },
      (performance.now() - this.#dispatchedAt) / 1_000,
    );
  }

  headers(status: number, contentType: string): void {
    this.#headersAt = performance.now();
    this.#status = status;
    if (status === 200 && contentType.startsWith("text/event-stream")) return;
    this.#rejection = new RejectedAnswer(status, this.#headersAt);
  }

  /** Engines send many small packets, often several at once: those of one turn are looked at together. */
  packet(bytes: Buffer): void {
    this.#packets.push(bytes);
    if (this.#packets.length === 1) process.nextTick(() => this.#read());
  }

  #read(): void {
    const [first, ...others] = this.#packets;
    if (first === undefined || this.#isOver) return;
    this.#packets = [];
    const bytes = others.length === 0 ? first : Buffer.concat([first, ...others]);
    const now = performance.now();
    this.#lastPacketAt = now;
    if (this.#rejection !== undefined) {
      this.#rejection.add(bytes);
      return this.#stopRejected(now);
    }
    this.#times.lastByteAt = this.#parts.clock.now();
    this.#times.firstByteAt ??= this.#times.lastByteAt;
    const shown = this.#shownOf(bytes);
    this.#meter.settle();
    if (this.#drain !== undefined) return this.#readDrained(now);
    if (this.#doneAt !== undefined || this.#verdict !== undefined) return;
    if (this.#meter.deltas > 0) this.#firstTokenAt ??= now;
    this.#commit();
    if (this.#reader.problem !== undefined) this.#broken(shown);
    else if (this.#reader.isDone) this.#done(shown, now);
    else {
      if (!this.#order.answer.send(shown)) this.#pause();
      if (this.#order.reservation !== undefined) this.#quota.check(this.#tokens);
    }
  }

  /** What the client cannot be given in one piece ends the attempt, not the gateway. */
  #shownOf(bytes: Buffer): string {
    try {
      return this.#reader.read(bytes);
    } catch (error) {
      if (!(error instanceof AnswerTooLargeError)) throw error;
      this.#stop(this.#lost("the pool's answer is too large", "upstream_error"));
      return "";
    }
  }

  #stopRejected(now: number): void {
    if (this.#rejection?.isOver(now) === true) this.#stop(this.#rejection.verdict);
  }

  end(): void {
    this.#read();
    if (this.#rejection !== undefined) {
      return this.#finish(this.#verdict ?? this.#rejection.verdict);
    }
    if (this.#verdict === undefined && this.#doneAt === undefined && this.#meter.isFinished) {
      this.#order.answer.finish(this.#usageEvent());
    } else if (this.#doneAt === undefined) {
      return this.#finish(
        this.#verdict ?? this.#lost("the pool ended its answer without saying why", "upstream_eof"),
      );
    }
    this.#finish(this.#verdict ?? complete);
  }

  failed(error: UpstreamError): void {
    this.#read();
    const isWhole = this.#doneAt !== undefined || this.#meter.isFinished;
    if (this.#verdict === undefined && isWhole) return this.end();
    if (this.#verdict !== undefined) return this.#finish(this.#verdict);
    if (error.kind === "connect") this.#finish(unreachable);
    else this.#finish(this.#lost("the connection to the pool was lost", "upstream_error"));
  }

  text(choice: number, kind: TextKind, bytes: string): void {
    this.#meter.observeText(choice, kind, bytes);
    if (this.#drain === undefined) this.#order.answer.text(choice, kind, bytes);
  }

  chunk(chunk: JsonObject): void {
    this.#meter.observeChunk(chunk);
    const { answer } = this.#order;
    const isTaken = this.#doneAt === undefined && this.#drain === undefined;
    if (isTaken) answer.chunk(answer.rewrite.showsIds === true ? chunk : withoutIds(chunk));
    this.#lastUsage = chunk["usage"] ?? this.#lastUsage;
  }

  usage(usage: JsonObject): void {
    this.#meter.observeUsage(usage, false);
    if (this.#drain === undefined) this.#order.answer.usage(usage);
    this.#lastUsage = usage;
  }

  tick(now: number): void {
    if (this.#doneAt !== undefined) {
      if (now - this.#doneAt >= afterDoneMs) this.#call?.abort();
      return;
    }
    this.#lease.tick(now);
    if (this.#lease.isCut(this.#order.plan.pool)) this.cut("the pool was drained");
    this.#stopRejected(now);
    this.#watermarks.tick(now, this.#order.answer, this.#times);
    if (this.#drain !== undefined) return this.#tickDrain(this.#drain, now);
    const reason = this.#reasonToStop(now);
    if (reason !== undefined) this.#stop(late(reason));
  }

  #reasonToStop(now: number): string | undefined {
    const { deadlineAt, firstTokenMs, interTokenMs } = this.#order.limits;
    if (now >= deadlineAt) return "the deadline of the request passed";
    if (this.#firstTokenAt === undefined) {
      return now - this.#dispatchedAt >= firstTokenMs ? "no first token came in time" : undefined;
    }
    const isStill = !this.#isPaused && now - this.#lastPacketAt >= interTokenMs;
    return isStill ? "the answer stood still for too long" : undefined;
  }

  #commit(): void {
    if (this.#isCommitted || this.#reader.lastChunk === undefined) return;
    this.#isCommitted = true;
    this.#order.answer.commit(this.#order.debugHeaders);
  }

  #done(shown: string, now: number): void {
    if (!this.#meter.isFinished) {
      this.#order.answer.send(shown);
      const verdict = this.#lost(
        "the pool ended its answer without a finish reason",
        "upstream_eof",
      );
      return this.#stop(verdict);
    }
    this.#doneAt = now;
    this.#order.answer.finish(shown + this.#usageEvent());
  }

  #broken(shown: string): void {
    this.#order.answer.send(shown);
    const isError = this.#reader.problem?.kind === "error-event";
    const problem = isError ? "the pool reported an error" : "the pool's answer could not be read";
    this.#stop(this.#lost(problem, "upstream_error"));
  }

  #usageEvent(): string {
    return usageEvent(this.#order.answer, this.#reader, this.#lastUsage);
  }

  /** The answer ends here, as it stands, for want of quota. */
  #stopAtQuota(refused: Refused): void {
    if (this.#verdict !== undefined || this.#doneAt !== undefined || this.#isOver) return;
    const { answer } = this.#order;
    if (this.#isCommitted) {
      const events = quotaEvents(answer, this.#reader, this.#meter.openChoices);
      answer.finish(events + this.#usageEvent());
    }
    this.#stop(this.#isCommitted ? quotaGone : { ...quotaGone, refusal: quotaRefusal(refused) });
  }

  #lost(message: string, streamEnd: StreamEnd): Verdict {
    return lost(message, this.#isCommitted, streamEnd);
  }

  /** The first verdict stands. The pool's stream is closed at once, and the rest follows when it is. */
  #stop(verdict: Verdict): void {
    if (this.#verdict !== undefined || this.#isOver) return;
    this.#verdict = verdict;
    const isCancel = verdict.end === "client-cancel" || verdict.end === "gateway-cancel";
    if (isCancel) this.#noteCancel();
    this.#call?.abort();
  }

  #noteCancel(): void {
    this.#times.cancelledAt = this.#parts.clock.now();
    this.#bytesAtCancel = this.#meter.textBytes;
  }

  /** The client is gone. Where the vendor is paid for the whole answer we read on, so that its counts are known. */
  #leave(why: GoneWhy): void {
    if (this.#verdict !== undefined || this.#isOver) return;
    const { id, vendor } = this.#order.plan.pool;
    const { cancelPolicy, drainLimit } = this.#parts.vendorTerms.of(vendor);
    if (cancelPolicy !== "bill-full" || this.#rejection !== undefined || this.#doneAt !== undefined)
      return this.#stop(clientGone[why]);
    const place = this.#parts.drains.take(id, drainLimit);
    if (place === undefined) return this.#stop(atDrainLimit);
    const start = { at: performance.now(), tokens: this.#tokens };
    this.#drain = new Drain(drainLimit, place, start);
    this.#verdict = clientGone[why];
    this.#noteCancel();
    this.#resume();
  }

  get #tokens(): number {
    return this.#meter.tokens.outputTokens ?? this.#meter.deltas;
  }

  #readDrained(now: number): void {
    if (this.#reader.problem !== undefined) this.#call?.abort();
    else if (this.#reader.isDone) this.#doneAt ??= now;
  }

  #tickDrain(drain: Drain, now: number): void {
    if (drain.isOver(now, this.#tokens)) this.#stopDrain();
  }

  /** What is counted so far stands. */
  #stopDrain(): void {
    this.#verdict = atDrainLimit;
    this.#call?.abort();
  }

  #pause(): void {
    this.#isPaused = true;
    this.#call?.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#lastPacketAt = performance.now();
    if (!this.#quota.isWaiting) this.#call?.resume();
  }

  /** The pool's stream is over: the lease is free now, the record waits for what the client still takes. */
  #finish(given: Verdict): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#parts.sweeper.remove(this);
    this.#drain?.end();
    // Whatever the socket did, an answer whose last count arrived is complete.
    const isCounted = this.#meter.isFinished && this.#meter.usage.counts.source === "final";
    const isWhole = isCounted && this.#drain === undefined;
    const verdict = given.end === "client-cancel" && isWhole ? complete : given;
    const tpotMs = this.#tpotMs();
    this.#lease.release({
      result: verdict.result,
      ttftMs: this.#since(this.#firstTokenAt),
      itlMsMean: tpotMs,
      headersMs: this.#since(this.#headersAt),
      ...this.#meter.tokens,
      durationMs: this.#since(performance.now()),
    });
    this.#onEnded({
      end: verdict.end,
      record: closedRecord(this.#order.draft, {
        end: verdict.end,
        cancelCause: verdict.cause,
        httpStatus: this.#status,
        isWinner: this.#isCommitted,
        times: this.#times,
        closedAt: this.#parts.clock.now(),
        meter: this.#meter,
        deliveredBytes: this.#order.answer.deliveredBytes,
        sentBytes: this.#order.answer.sentBytes,
        bytesAtCancel: this.#bytesAtCancel,
        watermark: this.#watermarks.last,
        reservedOutput: this.#order.reservation?.outputTokens,
      }),
      text: this.#order.text,
      isUncommitted: !this.#isCommitted,
      refusal: this.#order.answer.isGone ? undefined : verdict.refusal,
      retry: this.#isCommitted ? undefined : verdict.retry,
      streamEnd: verdict.streamEnd,
      firstTokenAt: this.#firstTokenAt,
      ttftMs: this.#since(this.#firstTokenAt),
      tpotMs,
    });
  }

  #since(at: number | undefined): number | undefined {
    return at === undefined ? undefined : at - this.#dispatchedAt;
  }

  /** Undefined below two tokens. */
  #tpotMs(): number | undefined {
    const tokens = this.#meter.tokens.outputTokens ?? this.#meter.deltas;
    if (this.#firstTokenAt === undefined || tokens < 2) return undefined;
    return (this.#lastPacketAt - this.#firstTokenAt) / (tokens - 1);
  }
}

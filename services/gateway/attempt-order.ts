import type { AttemptEnd } from "../core/settlement/counting/usage.ts";
import type { Clock } from "../io/clock.ts";
import type { Log } from "../io/log.ts";
import type { Answer } from "./answer.ts";
import type { AnswerText } from "./answer-text.ts";
import type { AttemptPlan } from "./attempt-record.ts";
import type { VendorTerms } from "./cancel-terms.ts";
import type { DrainPlaces } from "./drain.ts";
import type { Refusal } from "./errors.ts";
import type { GatewayMetrics, RetryReason, StreamEnd } from "./metrics.ts";
import type { PlacementClient } from "./placement-client.ts";
import type { Reservation } from "./quota.ts";
import type { Spool, UnnumberedRecord } from "./spool.ts";
import type { Sweeper } from "./sweeper.ts";
import type { Upstreams } from "./upstream.ts";

/** What an attempt works with; made once. */
export interface AttemptParts {
  readonly upstreams: Upstreams;
  readonly placement: PlacementClient;
  readonly spool: Spool;
  readonly sweeper: Sweeper;
  readonly vendorTerms: VendorTerms;
  readonly drains: DrainPlaces;
  readonly metrics: GatewayMetrics;
  readonly clock: Clock;
  readonly log: Log;
}

export interface AttemptLimits {
  /** From the dispatch to the first token. */
  readonly firstTokenMs: number;
  /** Longest silence between two packets of an answer. */
  readonly interTokenMs: number;
  /** Of the whole request; monotonic, in ms. */
  readonly deadlineAt: number;
}

/** What is sent to the pool, and with whom the answer goes. */
export interface AttemptOrder {
  readonly plan: AttemptPlan;
  /** What the spool has of it already. */
  readonly draft: UnnumberedRecord;
  readonly limits: AttemptLimits;
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string>>;
  /** With the first event, for clients that may know. */
  readonly debugHeaders: Readonly<Record<string, string>>;
  readonly answer: Answer;
  /** Undefined: nobody keeps quota. */
  readonly reservation: Reservation | undefined;
  /** Where its text is kept for a recount; undefined where nothing could count it. */
  readonly text: AnswerText | undefined;
}

export interface AttemptEnding {
  readonly end: AttemptEnd;
  readonly record: UnnumberedRecord;
  /** What the pool said, as far as it is kept. */
  readonly text: AnswerText | undefined;
  /** Nothing of its answer was promised to the client. */
  readonly isUncommitted: boolean;
  /** Why the client must be told of a failure; undefined if it has what it wanted, or is gone. */
  readonly refusal: Refusal | undefined;
  /** Set where another pool may be tried. */
  readonly retry: RetryReason | undefined;
  readonly streamEnd: StreamEnd;
  /** Monotonic, in ms. */
  readonly firstTokenAt: number | undefined;
  readonly ttftMs: number | undefined;
  readonly tpotMs: number | undefined;
}

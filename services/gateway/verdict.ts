import type { AttemptResult } from "../core/lease.ts";
import type { AttemptEnd, CancelCause } from "../core/settlement/counting/usage.ts";
import { Refusal } from "./errors.ts";
import type { RetryReason, StreamEnd } from "./metrics.ts";
import { rejection } from "./upstream-rejection.ts";

/** What ends an attempt. The first who has a reason decides. */
export interface Verdict {
  readonly end: AttemptEnd;
  readonly cause?: CancelCause;
  readonly result: AttemptResult;
  /** What the client is told, if it is still there. */
  readonly refusal?: Refusal;
  /** Set where another pool may be tried. */
  readonly retry?: RetryReason;
  readonly streamEnd: StreamEnd;
}

export const complete: Verdict = { end: "complete", result: "ok", streamEnd: "complete" };

export const unreachable: Verdict = {
  end: "upstream-error",
  result: "connect-error",
  refusal: new Refusal("UPSTREAM_FAILED", "the pool could not be reached"),
  retry: "connect",
  streamEnd: "upstream_error",
};

/** The pool's stream broke. Before anything of it was shown another pool may be tried. */
export function lost(message: string, isCommitted: boolean, streamEnd: StreamEnd): Verdict {
  const reason = isCommitted ? "UPSTREAM_DISCONNECTED" : "UPSTREAM_FAILED";
  return {
    end: isCommitted ? "upstream-cut" : "upstream-error",
    result: "reset",
    refusal: new Refusal(reason, message),
    streamEnd,
    ...(!isCommitted && { retry: "pre_first_byte" as const }),
  };
}

/** The pool answered with something else than a stream. */
export function rejected(status: number, body: Buffer): Verdict {
  const { refusal, retry, result } = rejection(status, body);
  const verdict: Verdict = { end: "upstream-error", result, refusal, streamEnd: "upstream_error" };
  return retry === undefined ? verdict : { ...verdict, retry };
}

export function late(message: string): Verdict {
  return {
    end: "gateway-cancel",
    cause: "deadline",
    result: "timeout",
    refusal: new Refusal("DEADLINE", message),
    streamEnd: "deadline",
  };
}

export function drained(message: string): Verdict {
  return {
    end: "gateway-cancel",
    cause: "drain-limit",
    result: "cancelled",
    refusal: new Refusal("UPSTREAM_DISCONNECTED", message),
    streamEnd: "drain",
  };
}

/** Why nobody takes an answer any more. */
export type GoneWhy = "client" | "slow-reader";

/** The client is gone, and no more is read of what the contract would pay for. */
export const atDrainLimit: Verdict = {
  end: "client-cancel",
  cause: "drain-limit",
  result: "cancelled",
  streamEnd: "client_disconnect",
};

/** Nobody pays for more of it. */
export const quotaGone: Verdict = {
  end: "gateway-cancel",
  cause: "quota",
  result: "cancelled",
  streamEnd: "quota",
};

export const clientGone: Readonly<Record<GoneWhy, Verdict>> = {
  client: { end: "client-cancel", result: "cancelled", streamEnd: "client_disconnect" },
  "slow-reader": {
    end: "gateway-cancel",
    cause: "slow-reader",
    result: "cancelled",
    streamEnd: "slow_reader",
  },
};

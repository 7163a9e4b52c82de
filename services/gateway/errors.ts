import type { RejectedFor } from "./metrics.ts";
import { outcomes, type Outcome, type Reason } from "../wire/errors.ts";

/** Why a request is not served: the edge's one exception. What was expected and what was found. */
export class Refusal extends Error {
  override name = "Refusal";
  readonly reason: Reason;
  readonly options: RefusalOptions;

  constructor(reason: Reason, message: string, options: RefusalOptions = {}) {
    super(message, { cause: options.cause });
    this.reason = reason;
    this.options = options;
  }
}

export interface RefusalOptions {
  /** The member of the body that is at fault. */
  readonly param?: string;
  /** In place of the reason's own. */
  readonly code?: string;
  readonly httpStatus?: number;
  readonly retryAfterMs?: number;
  /** Where metrics count it as something else than the reason says. */
  readonly rejectedFor?: RejectedFor;
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** What the client reads. */
export interface ErrorAnswer {
  readonly httpStatus: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const retryAfterMsMax = 60_000;
const retryAfterMsDefault = 1_000;
const drainingRetryAfterMs = 50;

/** The answer to a refused request. `jitter` is 0..1: clients that are told the same would all come back at once. */
export function toErrorAnswer(refusal: Refusal, jitter: number): ErrorAnswer {
  const { reason, options } = refusal;
  const outcome: Outcome = outcomes[reason];
  return {
    httpStatus: options.httpStatus ?? outcome.httpStatus,
    headers: {
      "content-type": "application/json; charset=utf-8",
      ...hints(refusal, outcome, jitter),
      ...(outcome.closesConnection === true ? { connection: "close" } : {}),
      ...(reason === "INVALID_API_KEY" ? { "www-authenticate": "Bearer" } : {}),
      ...options.headers,
    },
    body: JSON.stringify(toErrorBody(refusal)),
  };
}

/** All four members are there, also where they are null. */
export function toErrorBody({ reason, message, options }: Refusal): {
  readonly error: Readonly<Record<"message" | "type" | "param" | "code", string | null>>;
} {
  const { openaiType, openaiCode } = outcomes[reason];
  return {
    error: {
      message,
      type: openaiType,
      param: options.param ?? null,
      code: options.code ?? openaiCode,
    },
  };
}

/** Anything that was thrown, as a refusal. What is no refusal is a bug and tells nothing. */
export function toRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  return new Refusal("INTERNAL", "the request could not be served", { cause: error });
}

/** As long as no byte was sent, a pool that was lost is one that failed: there is no stream to end. */
export function beforeFirstByte(refusal: Refusal): Refusal {
  return refusal.reason === "UPSTREAM_DISCONNECTED"
    ? new Refusal("UPSTREAM_FAILED", refusal.message)
    : refusal;
}

/** When there is room again, for who plans: it may be hours, so that nobody should wait for it. */
function roomHint({ options: { retryAfterMs } }: Refusal): Record<string, string> {
  return retryAfterMs === undefined
    ? {}
    : { "retry-after": String(Math.ceil(retryAfterMs / 1_000)) };
}

function hints(refusal: Refusal, { retry }: Outcome, jitter: number): Record<string, string> {
  if (retry === "never") return { "x-should-retry": "false", ...roomHint(refusal) };
  if (retry === "unsaid") return {};
  const wanted =
    refusal.options.retryAfterMs ??
    (refusal.reason === "DRAINING" ? drainingRetryAfterMs : retryAfterMsDefault);
  const ms = Math.min(retryAfterMsMax, Math.round(wanted * (0.8 + 0.4 * jitter)));
  return { "retry-after": String(Math.ceil(ms / 1_000)), "retry-after-ms": String(ms) };
}

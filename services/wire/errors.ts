import { Code, ConnectError } from "@connectrpc/connect";
import type { UnplaceableReason } from "../core/lease.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** What a caller may do about a refusal: ask again later, not at all, or as it likes. */
export type RetryHint = "later" | "never" | "unsaid";

/** Values of the label `outcome` of `tokengrid_gateway_requests_total`. */
export type MetricOutcome =
  | "client_error"
  | "rate_limited"
  | "shed"
  | "no_pool"
  | "upstream_error"
  | "timeout"
  | "client_cancelled"
  | "internal";

/** How one way of failing looks from outside. */
export interface Outcome {
  readonly code: Code;
  readonly httpStatus: number;
  /** Anthropic's status where it differs. */
  readonly anthropicHttpStatus?: number;
  readonly openaiType: string;
  readonly openaiCode: string;
  readonly anthropicType: string;
  readonly retry: RetryHint;
  /** The connection is closed behind the answer. */
  readonly closesConnection?: true;
  readonly metric: MetricOutcome;
}

const invalid = { openaiType: "invalid_request_error", metric: "client_error" } as const;
const server = { openaiType: "server_error", anthropicType: "api_error" } as const;

/**
 * Every way in which a call fails, by its reason: the one table from which all error answers are made. Reasons
 * are never translated and never change their meaning.
 */
export const outcomes = {
  BAD_REQUEST: {
    ...invalid,
    code: Code.InvalidArgument,
    httpStatus: 400,
    openaiCode: "invalid_value",
    anthropicType: "invalid_request_error",
    retry: "unsaid",
  },
  CONTEXT_TOO_LONG: {
    ...invalid,
    code: Code.InvalidArgument,
    httpStatus: 400,
    openaiCode: "context_length_exceeded",
    anthropicType: "invalid_request_error",
    retry: "unsaid",
  },
  INVALID_API_KEY: {
    ...invalid,
    code: Code.Unauthenticated,
    httpStatus: 401,
    openaiCode: "invalid_api_key",
    anthropicType: "authentication_error",
    retry: "unsaid",
  },
  NOT_ALLOWED: {
    code: Code.PermissionDenied,
    httpStatus: 403,
    openaiType: "permission_error",
    openaiCode: "model_not_allowed",
    anthropicType: "permission_error",
    retry: "never",
    metric: "client_error",
  },
  MODEL_NOT_FOUND: {
    ...invalid,
    code: Code.NotFound,
    httpStatus: 404,
    openaiCode: "model_not_found",
    anthropicType: "not_found_error",
    retry: "unsaid",
  },
  /** A pool, a policy revision, a decision or an endpoint that does not exist. */
  NOT_FOUND: {
    ...invalid,
    code: Code.NotFound,
    httpStatus: 404,
    openaiCode: "not_found",
    anthropicType: "not_found_error",
    retry: "unsaid",
  },
  /** The state moved on: a lease is gone, a revision is not the newest. */
  CONFLICT: {
    ...invalid,
    code: Code.Aborted,
    httpStatus: 409,
    openaiCode: "conflict",
    anthropicType: "invalid_request_error",
    retry: "never",
  },
  BODY_TOO_LARGE: {
    ...invalid,
    code: Code.ResourceExhausted,
    httpStatus: 413,
    openaiCode: "request_too_large",
    anthropicType: "request_too_large",
    retry: "unsaid",
    closesConnection: true,
  },
  RATE_LIMITED: {
    code: Code.ResourceExhausted,
    httpStatus: 429,
    openaiType: "rate_limit_error",
    openaiCode: "rate_limit_exceeded",
    anthropicType: "rate_limit_error",
    retry: "later",
    metric: "rate_limited",
  },
  QUOTA_EXHAUSTED: {
    code: Code.ResourceExhausted,
    httpStatus: 429,
    anthropicHttpStatus: 402,
    openaiType: "insufficient_quota",
    openaiCode: "insufficient_quota",
    anthropicType: "billing_error",
    retry: "never",
    metric: "rate_limited",
  },
  /** A rolling budget of the tenant has no room; when it has is said, and may be hours away. */
  BUDGET_EXHAUSTED: {
    code: Code.ResourceExhausted,
    httpStatus: 429,
    anthropicHttpStatus: 402,
    openaiType: "insufficient_quota",
    openaiCode: "budget_exhausted",
    anthropicType: "billing_error",
    retry: "never",
    metric: "rate_limited",
  },
  SHED: {
    code: Code.ResourceExhausted,
    httpStatus: 429,
    anthropicHttpStatus: 529,
    openaiType: "server_error",
    openaiCode: "request_shed",
    anthropicType: "overloaded_error",
    retry: "later",
    metric: "shed",
  },
  /** No pool could ever satisfy the rules. */
  UNSATISFIABLE: {
    ...invalid,
    code: Code.FailedPrecondition,
    httpStatus: 400,
    openaiCode: "no_pool_satisfies_constraints",
    anthropicType: "invalid_request_error",
    retry: "never",
  },
  /** No pool now. */
  NO_ELIGIBLE_POOL: {
    code: Code.Unavailable,
    httpStatus: 503,
    anthropicHttpStatus: 529,
    openaiType: "server_error",
    openaiCode: "no_eligible_pool",
    anthropicType: "overloaded_error",
    retry: "later",
    metric: "no_pool",
  },
  /** Usage could not be made durable, so nothing is dispatched. */
  METERING_UNAVAILABLE: {
    ...server,
    code: Code.Unavailable,
    httpStatus: 503,
    openaiCode: "metering_unavailable",
    retry: "later",
    metric: "internal",
  },
  DRAINING: {
    ...server,
    code: Code.Unavailable,
    httpStatus: 503,
    openaiCode: "draining",
    retry: "later",
    closesConnection: true,
    metric: "internal",
  },
  /** The pool refused the request itself: its 400 or 422. */
  UPSTREAM_REJECTED: {
    ...invalid,
    code: Code.InvalidArgument,
    httpStatus: 400,
    openaiCode: "upstream_rejected",
    anthropicType: "invalid_request_error",
    retry: "never",
  },
  /** The pool failed before the first byte, and retries are spent. */
  UPSTREAM_FAILED: {
    ...server,
    code: Code.Unavailable,
    httpStatus: 502,
    openaiCode: "upstream_error",
    retry: "later",
    metric: "upstream_error",
  },
  DEADLINE: {
    code: Code.DeadlineExceeded,
    httpStatus: 504,
    openaiType: "timeout_error",
    openaiCode: "deadline_exceeded",
    anthropicType: "timeout_error",
    retry: "never",
    metric: "timeout",
  },
  /** The pool was lost after the first byte: an error event in an answer that began with 200. */
  UPSTREAM_DISCONNECTED: {
    ...server,
    code: Code.Unavailable,
    httpStatus: 200,
    openaiCode: "upstream_disconnected",
    retry: "unsaid",
    metric: "upstream_error",
  },
  /** Only for the log: nobody is there to read it. */
  CLIENT_GONE: {
    ...server,
    code: Code.Canceled,
    httpStatus: 499,
    openaiCode: "client_gone",
    retry: "unsaid",
    metric: "client_cancelled",
  },
  NOT_OFFERED: {
    ...invalid,
    code: Code.Unimplemented,
    httpStatus: 501,
    openaiCode: "unsupported_endpoint",
    anthropicType: "invalid_request_error",
    retry: "never",
  },
  INTERNAL: {
    ...server,
    code: Code.Internal,
    httpStatus: 500,
    openaiCode: "internal_error",
    retry: "unsaid",
    metric: "internal",
  },
} as const satisfies Record<string, Outcome>;

export type Reason = keyof typeof outcomes;

/** The reason of each answer that is no placement. */
export const reasonOfUnplaceable: Readonly<Record<UnplaceableReason, Reason>> = {
  "no-eligible-pool": "NO_ELIGIBLE_POOL",
  "budget-exhausted": "BUDGET_EXHAUSTED",
  unsatisfiable: "UNSATISFIABLE",
  "model-not-found": "MODEL_NOT_FOUND",
  "context-too-long": "CONTEXT_TOO_LONG",
};

/** An error for RPC, with the reason and, if the caller may ask again, when. */
export function toConnectError(
  reason: Reason,
  message: string,
  options: {
    readonly metadata?: Readonly<Record<string, string>>;
    readonly retryAfterMs?: number;
  } = {},
): ConnectError {
  const { metadata = {}, retryAfterMs } = options;
  const info = { desc: ErrorInfoSchema, value: { reason, domain: "tokengrid", metadata } };
  if (retryAfterMs === undefined) {
    return new ConnectError(message, outcomes[reason].code, undefined, [info]);
  }
  const retryDelay = {
    seconds: BigInt(Math.floor(retryAfterMs / 1_000)),
    nanos: Math.round((retryAfterMs % 1_000) * 1_000_000),
  };
  return new ConnectError(message, outcomes[reason].code, undefined, [
    info,
    { desc: RetryInfoSchema, value: { retryDelay } },
  ]);
}

/** The reason inside an error from another of our parts; undefined if it carries none. */
export function reasonOf(error: ConnectError): Reason | undefined {
  const reason = error
    .findDetails(ErrorInfoSchema)
    .find(({ domain }) => domain === "tokengrid")?.reason;
  return reason !== undefined && reason in outcomes ? (reason as Reason) : undefined;
}

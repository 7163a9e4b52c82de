import type { AttemptResult } from "../core/lease.ts";
import { Refusal } from "./errors.ts";
import { isObject, objectIn, textIn, type JsonObject } from "./json-value.ts";
import type { RetryReason } from "./metrics.ts";

/** What a pool's answer that is no stream means for the client, and whether another pool may be tried. */
export interface Rejection {
  readonly refusal: Refusal;
  readonly result: AttemptResult;
  readonly retry: RetryReason | undefined;
}

/** Another pool may be less busy. Any other answer would come again. */
const retried = new Set([429, 502, 503, 504]);
/** The pool says that the request itself is at fault. */
const clientsFault = new Set([400, 413, 422]);
const contextCodes = new Set(["context_length_exceeded", "exceed_context_size_error"]);

/**
 * A pool's own words are not passed on: they may hold its address, a stack, or the prompt. Its code and the name
 * of the member at fault are, if they look like such.
 */
export function rejection(status: number, body: Buffer): Rejection {
  const error = errorIn(body);
  const code = plain(textIn(error, "code") ?? textIn(error, "type"));
  const param = plain(textIn(error, "param"));
  if (status === 200) {
    const refusal = new Refusal(
      "UPSTREAM_FAILED",
      "the pool answered with something else than events",
    );
    return { refusal, result: "upstream-5xx", retry: "unavailable" };
  }
  if (code !== undefined && contextCodes.has(code)) {
    const refusal = new Refusal(
      "CONTEXT_TOO_LONG",
      "the request is longer than the pool's context",
    );
    return { refusal, result: "upstream-4xx", retry: undefined };
  }
  if (clientsFault.has(status)) {
    const said = code === undefined ? "" : `, code ${code}`;
    const refusal = new Refusal(
      "UPSTREAM_REJECTED",
      `the pool refused the request: ${status}${said}`,
      {
        ...(param !== undefined && { param }),
      },
    );
    return { refusal, result: "upstream-4xx", retry: undefined };
  }
  return {
    refusal: new Refusal("UPSTREAM_FAILED", `the pool answered with status ${status}`),
    result: status < 500 ? "upstream-4xx" : "upstream-5xx",
    retry: retried.has(status) ? "unavailable" : undefined,
  };
}

function errorIn(body: Buffer): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(body.toString("utf8"));
    return isObject(value) ? (objectIn(value, "error") ?? value) : undefined;
  } catch {
    return undefined;
  }
}

function plain(text: string | undefined): string | undefined {
  return text !== undefined && /^[\w.[\]-]{1,64}$/.test(text) ? text : undefined;
}

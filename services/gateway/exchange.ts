import type { IncomingMessage, ServerResponse } from "node:http";
import type { RequestId } from "../core/units.ts";
import type { KeyRecord } from "../io/keys.ts";
import { Refusal } from "./errors.ts";
import { uuidV7 } from "./ids.ts";
import type { Api, RequestOutcome } from "./metrics.ts";

/** One request of a client and what it will be logged as. */
export interface Exchange {
  readonly id: RequestId;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** When its head was there; monotonic, in ms. */
  readonly startedAt: number;
  readonly api: Api;
  readonly key: KeyRecord;
}

/** How an exchange ended, for the log and the counters. */
export interface ExchangeEnd {
  readonly code: number;
  readonly outcome: RequestOutcome;
  readonly isStream: boolean;
  /** Never content: names, ids, counts and times. */
  readonly facts: Readonly<Record<string, string | number | boolean | undefined>>;
}

/** The client's `idempotency-key`, or a new id. Throws `Refusal` if it is no id. */
export function requestIdOf(request: IncomingMessage, nowMs: number): RequestId {
  const key = textHeader(request, "idempotency-key");
  if (key === undefined) return uuidV7(nowMs) as RequestId;
  if (/^[\x21-\x7e]{1,128}$/.test(key)) return key as RequestId;
  throw new Refusal("BAD_REQUEST", "idempotency-key: expected 1 to 128 visible ASCII characters", {
    param: "idempotency-key",
  });
}

/** The first value; a header that is repeated and should not be is as good as one. */
export function textHeader(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** A whole number of at least 1 that a header gives. Throws `Refusal` if it is none. */
export function integerHeader(request: IncomingMessage, name: string): number | undefined {
  const text = textHeader(request, name);
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,9}$/.test(text)) return Number(text);
  throw new Refusal(
    "BAD_REQUEST",
    `${name}: expected a whole number of at least 1, found ${shortened(text)}`,
    {
      param: name,
    },
  );
}

function shortened(text: string): string {
  return JSON.stringify(text.length > 32 ? `${text.slice(0, 32)}…` : text);
}

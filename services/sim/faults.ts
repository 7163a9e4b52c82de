import { z } from "zod";

/** Ways in which an answer of a simulated pool can go wrong. */
export const faultKinds = [
  /** The connection is cut before the first byte. */
  "drop",
  /** The connection is cut in the middle of the answer. */
  "cut",
  /** The answer ends cleanly, without a finish reason and without `[DONE]`. */
  "clean-end",
  /** Nothing more comes and the connection stays open. */
  "stall",
  /** HTTP 500 before the first byte. */
  "error-500",
  /** HTTP 503 before the first byte. */
  "error-503",
  /** An error as an event of a stream that began with 200. */
  "error-event",
  /** The answer is whole but for the usage that was asked for. */
  "no-usage",
] as const;

export type FaultKind = (typeof faultKinds)[number];

export interface Fault {
  readonly kind: FaultKind;
  /** Tokens that come through before it. */
  readonly afterTokens: number;
}

/** Asks for a fault of one request: `cut`, or `cut;after=5`. */
export const faultHeader = "x-tokengrid-sim-fault";

export const faultOrderSchema = z.strictObject({
  kind: z.enum(faultKinds),
  afterTokens: z.int().min(0).default(0),
  /** Of so many requests from now on. */
  requests: z.int().positive().default(1),
});

export type FaultOrder = z.output<typeof faultOrderSchema>;

/** The faults that are ordered of one pool. */
export class Faults {
  #order: FaultOrder | undefined;

  get order(): FaultOrder | undefined {
    return this.#order;
  }

  set(order: FaultOrder | undefined): void {
    this.#order = order;
  }

  /** The fault of the next request, if it gets one. */
  take(header: string | undefined): Fault | undefined {
    if (header !== undefined) return fromHeader(header);
    const order = this.#order;
    if (order === undefined) return undefined;
    this.#order = order.requests > 1 ? { ...order, requests: order.requests - 1 } : undefined;
    return order;
  }
}

/** A header that is not understood asks for nothing: only tests send one. */
function fromHeader(header: string): Fault | undefined {
  const [, kind, after = "0"] = /^([a-z0-9-]+)(?:;after=(\d{1,6}))?$/.exec(header) ?? [];
  const known = faultKinds.find((each) => each === kind);
  return known === undefined ? undefined : { kind: known, afterTokens: Number(after) };
}

/** What serving the request at this pool will probably take. */
export interface Expected {
  readonly cachedTokens: number;
  readonly uncachedTokens: number;
  readonly outputTokens: number;
  readonly roundTripMs: number;
  readonly waitMs: number;
  readonly prefillMs: number;
  /** Dispatch to first token: round trip, wait and prefill. */
  readonly ttftMs: number;
  readonly tpotMs: number;
  readonly finishMs: number;
  /** How long the request holds a slot. */
  readonly slotMs: number;
  /** KV tokens × ms that it holds. */
  readonly kvTokenMs: number;
  /** At the site: power usage effectiveness included. */
  readonly joules: number;
  /** By the account that the policy names. */
  readonly gramsCo2: number;
  /** That an objective of the class is missed, 0..1. */
  readonly missProbability: number;
}

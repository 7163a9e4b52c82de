/** What is kept: definitions that operators and vendors set, never what changes by itself. */
export type EntryKind =
  | "vendor"
  | "pool"
  /** What operators want of a pool, kept apart from what its vendor registers. */
  | "pool-status"
  | "price-book"
  /** What gateways must know of the contract with a vendor, by vendor. */
  | "contract-terms"
  | "policy"
  | "tenant"
  | "key"
  | "alias";

/** One value at one revision. Values are JSON text whose schema belongs to the kind. */
export interface Entry {
  readonly kind: EntryKind;
  readonly key: string;
  /** Of the whole registry: every change has a number of its own. */
  readonly revision: number;
  readonly value: string;
  readonly author: string;
  readonly comment: string;
  readonly setAtUs: bigint;
  readonly isDeleted: boolean;
}

export type SetOutcome =
  | { readonly kind: "set"; readonly entry: Entry }
  /** Someone was faster; the entry as it is now, undefined if there is none. */
  | { readonly kind: "conflict"; readonly current: Entry | undefined };

/**
 * Pools, prices, policies, tenants and keys, with compare-and-set and full history. A change is durable when
 * the promise resolves, and is an event nowhere before.
 */
export interface Registry {
  get(kind: EntryKind, key: string): Promise<Entry | undefined>;
  list(kind: EntryKind): Promise<readonly Entry[]>;
  /** `baseRevision` is the entry's revision that the change is based on; 0 means there must be none. */
  set(change: {
    readonly kind: EntryKind;
    readonly key: string;
    readonly value: string;
    readonly baseRevision: number;
    readonly author: string;
    readonly comment: string;
    readonly isDeleted?: boolean;
  }): Promise<SetOutcome>;
  /** Newest first. */
  history(kind: EntryKind, key: string, limit: number): Promise<readonly Entry[]>;
  /** Entries from `afterRevision` on, those that are there first, then as they come, until the signal. */
  watch(afterRevision: number, signal: AbortSignal): AsyncIterable<Entry>;
  close(): Promise<void>;
}

import type { LedgerEntry } from "../../core/settlement/ledger/ledger.ts";
import type { PairId } from "../../core/units.ts";
import type { HoldRow, LedgerBatch, LedgerDocument, LedgerStore } from "../../io/ledger-store.ts";

/** A leaf without its place: the writer gives it the next index of its log, once for each (log, kind, ref). */
export interface NewLeaf {
  readonly log: PairId | "internal";
  readonly kind: LeafKind;
  /** Names what it is a leaf of; the same (log, kind, ref) again with the same text changes nothing. */
  readonly ref: string;
  /** Canonical: the bytes that are hashed. */
  readonly text: string;
}

export const leafKinds = [
  "usage",
  "sale",
  "purchase",
  "contract",
  "price_version",
  "calendar",
  "statement",
  "dispute",
  "reprice",
  "claim",
  "netting",
  "key",
  "seal",
] as const;

export type LeafKind = (typeof leafKinds)[number];

/**
 * What one transaction is to write, before indexes and balances are worked out. A document that is there already with
 * the same bytes is left out; if that is all of a change's documents, the change was made before, and nothing is written.
 */
export interface Change {
  readonly entries?: readonly LedgerEntry[];
  readonly documents?: readonly Omit<LedgerDocument, "seq" | "hash">[];
  readonly leaves?: readonly NewLeaf[];
  /** New holds, and the new state of old ones. */
  readonly holds?: readonly HoldRow[];
  readonly claims?: LedgerBatch["claims"];
}

/**
 * The only way to write the ledger. One change after the other, in turn with the usage records; what `work` read
 * is still true when its change is committed.
 */
export interface Writer {
  /**
   * Resolves when the change is durable. `work` decides by what the store says now; what it throws is thrown on and
   * nothing is written.
   */
  write<Result>(
    work: (store: LedgerStore) => Promise<{ readonly change: Change; readonly result: Result }>,
  ): Promise<Result>;
}

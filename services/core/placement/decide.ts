import type { UnplaceableReason } from "../lease.ts";
import type { Pool } from "../pool.ts";
import type { AttemptId, Instant, ModelId, PoolId, RowId } from "../units.ts";
import type { Expected } from "./expect.ts";
import type { RejectReason } from "./filters.ts";
import type { Policy, PolicyRow } from "./policy.ts";
import type { PlacementRequest } from "./request.ts";
import type { TermName } from "./terms.ts";

/** The pools as one replica knew them at one revision. */
export interface Snapshot {
  readonly revision: number;
  readonly now: Instant;
  readonly pools: readonly Pool[];
}

/** A pool and its bill. */
export interface Candidate {
  readonly pool: PoolId;
  readonly terms: Readonly<Record<TermName, number>>;
  /** The sum of the terms, to the last nano. */
  readonly costNano: number;
  readonly expected: Expected;
  /** The part of `preference` that each row gave. */
  readonly tariffs: readonly { readonly row: RowId; readonly costNano: number }[];
  /** The pool as it was: every input of the bill with its source and age. */
  readonly evidence: Pool;
}

/** A pool and why it is out. */
export interface Rejection {
  readonly pool: PoolId;
  readonly reason: RejectReason;
  /** Row of the policy behind it, if it came from one. */
  readonly row: RowId | undefined;
  /** What was asked and what was found. */
  readonly detail: string;
}

/** Why a decision came out as it did. */
export interface Evidence {
  readonly attempt: AttemptId;
  readonly request: PlacementRequest;
  readonly model: ModelId;
  readonly decidedAt: Instant;
  readonly seed: number;
  readonly snapshotRevision: number;
  readonly policyRevision: number;
  /** The row that the decision is filed under: the first whose `when` names the request's class. */
  readonly policyRow: PolicyRow | undefined;
  /** In the order of the snapshot. */
  readonly candidates: readonly Candidate[];
  readonly rejections: readonly Rejection[];
}

export type Decision =
  | (Evidence & { readonly kind: "placed"; readonly pool: PoolId; readonly costNano: number })
  | (Evidence & { readonly kind: "unplaceable"; readonly reason: UnplaceableReason });

export function decide(request: PlacementRequest, snapshot: Snapshot, policy: Policy): Decision;

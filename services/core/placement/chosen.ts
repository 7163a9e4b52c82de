import type { UnplaceableReason } from "../lease.ts";
import type { AttemptId, Instant, ModelId, PoolId } from "../units.ts";
import {
  candidateOf,
  decide,
  type Candidate,
  type Decision,
  type Evidence,
  type Placed,
  type Rejection,
  type Snapshot,
  type Tally,
  type Unplaceable,
} from "./decide.ts";
import type { PolicyOverride, PolicyRow } from "./policy.ts";
import type { Ask, Prospect } from "./prospect.ts";
import type { PlacementRequest } from "./request.ts";

/** The pool that costs least. */
export interface Best {
  readonly at: Prospect;
  readonly costNano: number;
}

interface How {
  readonly ask: Ask;
  readonly snapshot: Snapshot;
  readonly seed: number;
  /** Undefined: not known before all pools are looked at. */
  readonly tally: Tally | undefined;
}

/** A decision whose bills are made when they are read, from the pools as they were. */
class Lazily implements Evidence {
  readonly attempt: AttemptId;
  readonly request: PlacementRequest;
  readonly model: ModelId;
  readonly decidedAt: Instant;
  readonly seed: number;
  readonly snapshotRevision: number;
  readonly policyRevision: number;
  readonly policyRow: PolicyRow | undefined;
  readonly policyRows: readonly PolicyRow[];
  readonly overrides: readonly PolicyOverride[];
  readonly poolsElsewhere: number;
  readonly #ask: Ask;
  readonly #snapshot: Snapshot;
  readonly #tally: Tally | undefined;
  #full: Decision | undefined;

  constructor({ ask, snapshot, seed, tally }: How) {
    const { request, policy, rules } = ask;
    this.attempt = request.attempt;
    this.request = request;
    this.model = request.model;
    this.decidedAt = snapshot.now;
    this.seed = seed;
    this.snapshotRevision = snapshot.revision;
    this.policyRevision = policy.revision;
    this.policyRow = rules.filedUnder;
    this.policyRows = rules.rows;
    this.overrides = rules.overrides;
    this.poolsElsewhere = snapshot.poolsElsewhere ?? 0;
    this.#ask = ask;
    this.#snapshot = snapshot;
    this.#tally = tally;
  }

  get evaluated(): number {
    return this.#snapshot.pools.length;
  }

  get tally(): Tally {
    return this.#tally ?? this.#decided.tally;
  }

  get tallyAtHand(): Tally | undefined {
    return this.#tally;
  }

  get candidates(): readonly Candidate[] {
    return this.#decided.candidates;
  }

  get rejections(): readonly Rejection[] {
    return this.#decided.rejections;
  }

  get #decided(): Decision {
    this.#full ??= decide(this.request, this.#snapshot, this.#ask.policyAsSet);
    return this.#full;
  }
}

export class Chosen extends Lazily implements Placed {
  readonly kind = "placed";
  readonly pool: PoolId;
  readonly costNano: number;
  readonly #at: Prospect;
  readonly #askOf: Ask;
  #chosen: Candidate | undefined;

  constructor({ at, costNano }: Best, how: How) {
    super(how);
    this.pool = at.pool.id;
    this.costNano = costNano;
    this.#at = at;
    this.#askOf = how.ask;
  }

  get chosen(): Candidate {
    this.#chosen ??= candidateOf(this.#at, this.#askOf);
    return this.#chosen;
  }
}

export class Refused extends Lazily implements Unplaceable {
  readonly kind = "unplaceable";
  readonly reason: UnplaceableReason;
  readonly soonest: Rejection | undefined;

  constructor({ reason, soonest }: Pick<Unplaceable, "reason" | "soonest">, how: How) {
    super(how);
    this.reason = reason;
    this.soonest = soonest;
  }
}

import type { Effect } from "./events.ts";
import { heldDecision } from "./held-decision.ts";
import type { Lease } from "./lease.ts";
import type { Placed } from "./placement/decide.ts";
import type { AttemptId, Instant, LeaseId, ModelId, PoolId } from "./units.ts";

/** A lease with what is needed to answer again and to learn from how it went. */
export interface Grant {
  readonly lease: Lease;
  readonly decision: Placed;
  readonly answer: Effect & { readonly kind: "answer" };
  /** Value of time of who holds it, by the policy that granted it. */
  readonly waitNanoPerMs: number;
}

export type GrantImage = Pick<Grant, "lease" | "decision" | "waitNanoPerMs">;

/** The leases of one replica, in the order in which they were granted or renewed. */
export class Grants {
  readonly #byLease = new Map<LeaseId, Grant>();
  readonly #byAttempt = new Map<AttemptId, Grant>();

  get leases(): readonly Lease[] {
    return this.all().map(({ lease }) => lease);
  }

  all(): readonly Grant[] {
    return [...this.#byLease.values()];
  }

  get(lease: LeaseId): Grant | undefined {
    return this.#byLease.get(lease);
  }

  ofAttempt(attempt: AttemptId): Grant | undefined {
    return this.#byAttempt.get(attempt);
  }

  hold(grant: Grant): void {
    this.#byLease.delete(grant.lease.id);
    this.#byLease.set(grant.lease.id, grant);
    this.#byAttempt.set(grant.lease.attempt, grant);
  }

  drop({ lease }: Grant): void {
    this.#byLease.delete(lease.id);
    this.#byAttempt.delete(lease.attempt);
  }

  /** In their order, each with what its answer and its end need. */
  image(): readonly GrantImage[] {
    return this.all().map(({ lease, decision, waitNanoPerMs }) => ({
      lease,
      decision: heldDecision(decision),
      waitNanoPerMs,
    }));
  }

  restore(image: readonly GrantImage[]): void {
    for (const { lease, decision, waitNanoPerMs } of image) {
      const answer = { kind: "answer", decision, lease } as const;
      this.hold({ lease, decision, answer, waitNanoPerMs });
    }
  }

  /** Looks no further than the first that lives: one with a shorter life behind it waits for it. */
  expiredAt(now: Instant): readonly Grant[] {
    const expired: Grant[] = [];
    for (const grant of this.#byLease.values()) {
      if (grant.lease.expiresAt > now) break;
      expired.push(grant);
    }
    return expired;
  }

  onPool(pool: PoolId): readonly Grant[] {
    return this.all().filter(({ lease }) => lease.pool === pool);
  }

  count(pool: PoolId, model: ModelId): number {
    let count = 0;
    for (const { lease } of this.#byLease.values()) {
      if (lease.pool === pool && lease.model === model) count += 1;
    }
    return count;
  }
}

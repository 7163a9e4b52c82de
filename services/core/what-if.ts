import { Dispatcher } from "./dispatcher.ts";
import type { DispatcherImage } from "./dispatcher-image.ts";
import type { Effect, Event } from "./events.ts";
import type { AttemptOutcome, Lease } from "./lease.ts";
import { MovedLoad } from "./moved-load.ts";
import { soundOutcome } from "./outcome.ts";
import type { Decision } from "./placement/decide.ts";
import type { Policy } from "./placement/policy.ts";
import type { PoolRegistration } from "./pool.ts";
import type { Geography, Region } from "./region.ts";
import type { PriceBook } from "./settlement/pricing/price-book.ts";
import { TimeQueue } from "./time-queue.ts";
import type { Instant, LeaseId, PoolId, VendorId } from "./units.ts";

/** What is asked: what would have happened if this had been so. Absent: as it was. */
export interface Change {
  /** In force all the time. Leases live as long as they did: their holders renewed them by that. */
  readonly policy?: Policy;
  /** Its prices stand in for those of every version of the book with its id; the versions keep their dates. */
  readonly book?: PriceBook;
  /** These take no new leases, all the time. */
  readonly isDrained?: (pool: PoolFacts) => boolean;
}

export interface PoolFacts {
  readonly id: PoolId;
  readonly vendor: VendorId;
  readonly region: Region;
}

/** One request, as it was decided and as it would have been. */
export interface Pair {
  readonly recorded: Decision;
  readonly other: Decision;
}

/** Where a recorded lease went in the other world. Undefined: nowhere, or to a pool of its own. */
interface Recorded {
  readonly lease: Lease;
  readonly twin: Lease | undefined;
  readonly decision: Placed;
}

type Placed = Decision & { readonly kind: "placed" };

/**
 * A second dispatcher that lives through what a journal recorded, with one thing changed. It decides by itself; the world
 * around it is as it was, by these rules:
 *
 * - A request that goes to the pool to which it went is served as it was: its lease is renewed and ends when that did,
 *   and what its outcome taught is learned.
 * - One that goes elsewhere has no recorded outcome there. It holds its slot for as long as the engine model predicts at
 *   the decision, renewed meanwhile, and teaches nothing of the pool; its answer is as long as it was, and that is learned.
 * - A report has the load that was there. What moved away since is taken off, and what moved in is added: running
 *   requests up to the pool's slots, then waiting; KV cache in proportion to what runs.
 * - Requests, retries, what they exclude, paths, power, and what vendors register and publish are as they were. A retry
 *   that the other world would not have needed is decided there all the same.
 *
 * With nothing changed it makes the very decisions of the journal.
 */
export class WhatIf {
  readonly #other: Dispatcher;
  readonly #change: Change;
  readonly #load = new MovedLoad();
  readonly #recorded = new Map<LeaseId, Recorded>();
  /** Leases of the other world that end by the engine model. */
  readonly #modelled = new Map<LeaseId, { readonly lease: Lease; readonly endsAt: Instant }>();
  readonly #due = new TimeQueue<LeaseId>();
  readonly #leaseMs: number;
  readonly #registrations = new Map<PoolId, PoolRegistration>();
  readonly #drained = new Set<PoolId>();
  #geography: Geography;

  constructor(image: DispatcherImage, change: Change) {
    this.#change = change;
    this.#leaseMs = image.policy.leaseMs;
    this.#geography = image.geography;
    for (const each of image.registrations) this.#registrations.set(each.id, each);
    this.#other = Dispatcher.restored(changed(image, change));
    this.#drain(-Infinity);
    for (const { lease, decision } of image.grants) {
      this.#recorded.set(lease.id, { lease, twin: lease, decision });
    }
  }

  /** What happened, and what came of it. Undefined: it was no new decision. */
  step(event: Event, effects: readonly Effect[]): Pair | undefined {
    this.#catchUp(event.at);
    for (const effect of effects) {
      if (effect.kind === "revoke") this.#endRecorded(effect.lease.id, event.at);
    }
    if (event.kind === "placement-requested") return this.#place(event, effects);
    this.#happen(event);
    return undefined;
  }

  get dispatcher(): Dispatcher {
    return this.#other;
  }

  #place(
    event: Event & { readonly kind: "placement-requested" },
    effects: readonly Effect[],
  ): Pair | undefined {
    const recorded = effects.find((effect) => effect.kind === "answer");
    if (recorded === undefined) return undefined;
    // The same attempt again got the same answer: nothing was decided.
    if (recorded.lease !== undefined && this.#recorded.has(recorded.lease.id)) return undefined;
    const other = this.#step(event).find((effect) => effect.kind === "answer");
    if (other === undefined) return undefined;
    const isSamePool =
      recorded.lease !== undefined &&
      other.lease !== undefined &&
      recorded.lease.pool === other.lease.pool &&
      recorded.lease.model === other.lease.model;
    if (recorded.lease !== undefined && recorded.decision.kind === "placed") {
      const { lease, decision } = recorded;
      this.#recorded.set(lease.id, { lease, twin: isSamePool ? other.lease : undefined, decision });
      this.#load.move(lease, event.at, -1);
    }
    if (other.lease !== undefined) {
      this.#load.move(other.lease, event.at, +1);
      if (!isSamePool && other.decision.kind === "placed") {
        this.#hold(other.lease, event.at + other.decision.chosen.expected.finishMs);
      }
    }
    return { recorded: recorded.decision, other: other.decision };
  }

  #happen(event: Exclude<Event, { readonly kind: "placement-requested" }>): void {
    const { policy, book } = this.#change;
    switch (event.kind) {
      case "policy-set":
        if (policy === undefined) this.#step(event);
        return;
      case "prices-published":
        this.#step(
          event.book.id === book?.id ? { ...event, book: repriced(event.book, book) } : event,
        );
        return;
      case "geography-set":
        this.#geography = event.geography;
        this.#step(event);
        this.#drain(event.at);
        return;
      case "pool-registered":
        this.#registrations.set(event.registration.id, event.registration);
        this.#step(event);
        this.#drain(event.at);
        return;
      case "pool-marked":
        if (!this.#drained.has(event.pool)) this.#step(event);
        return;
      case "pool-reported":
        this.#step({ ...event, report: this.#load.corrected(event.report, event.at) });
        return;
      case "lease-renewed":
      case "lease-released":
        this.#follow(event);
        return;
      case "pool-cut":
      case "share-set":
      case "paths-observed":
      case "placements-elsewhere":
      case "budgets-inherited":
      case "time-passed":
        this.#step(event);
    }
  }

  #follow(event: Event & { readonly kind: "lease-renewed" | "lease-released" }): void {
    const known = this.#recorded.get(event.lease);
    if (known === undefined || known.lease.fence !== event.fence) return;
    const { twin } = known;
    if (twin !== undefined) this.#step({ ...event, lease: twin.id, fence: twin.fence });
    if (event.kind !== "lease-released") return;
    if (twin === undefined) this.#learnLength(known, event.outcome);
    else this.#load.move(twin, event.at, -1);
    this.#endRecorded(event.lease, event.at);
  }

  #learnLength({ lease, decision }: Recorded, outcome: AttemptOutcome | undefined): void {
    const served = decision.chosen.evidence.served.get(lease.model);
    if (outcome === undefined || served === undefined) return;
    this.#other.foresight.learnLength(
      decision.request,
      soundOutcome(outcome),
      served.contextTokensMax,
    );
  }

  #endRecorded(id: LeaseId, at: Instant): void {
    const known = this.#recorded.get(id);
    if (known === undefined) return;
    this.#recorded.delete(id);
    this.#load.move(known.lease, at, +1);
  }

  #step(event: Event): readonly Effect[] {
    const effects = this.#other.step(event);
    for (const effect of effects) {
      if (effect.kind !== "revoke") continue;
      this.#modelled.delete(effect.lease.id);
      this.#load.move(effect.lease, event.at, -1);
    }
    return effects;
  }

  #hold(lease: Lease, endsAt: Instant): void {
    this.#modelled.set(lease.id, { lease, endsAt });
    this.#due.add(Math.min(endsAt, lease.grantedAt + this.#leaseMs / 2), lease.id);
  }

  /** What the engine model says would have ended by now, and the renewals of what goes on. */
  #catchUp(now: Instant): void {
    for (let due = this.#due.takeUntil(now); due !== undefined; due = this.#due.takeUntil(now)) {
      const { at, item } = due;
      const held = this.#modelled.get(item);
      if (held === undefined) continue;
      const { id: lease, fence } = held.lease;
      if (held.endsAt > at) {
        this.#step({ kind: "lease-renewed", at, lease, fence });
        this.#due.add(Math.min(held.endsAt, at + this.#leaseMs / 2), item);
        continue;
      }
      this.#modelled.delete(item);
      this.#step({ kind: "lease-released", at, lease, fence, outcome: undefined });
      this.#load.move(held.lease, at, -1);
    }
  }

  /** Those that are on the map by now. */
  #drain(at: Instant): void {
    const { isDrained } = this.#change;
    if (isDrained === undefined) return;
    for (const { id, vendor, region: regionId } of this.#registrations.values()) {
      const region = this.#geography.regions.get(regionId);
      if (region === undefined || !isDrained({ id, vendor, region })) continue;
      if (!this.#drained.has(id)) {
        this.#drained.add(id);
        this.#step({ kind: "pool-marked", at, pool: id, status: "cordoned" });
      }
    }
  }
}

/** The state in which the other world begins. What was in flight stays where it is. */
function changed(image: DispatcherImage, { policy, book }: Change): DispatcherImage {
  const { prices } = image;
  return {
    ...image,
    policy: policy === undefined ? image.policy : { ...policy, leaseMs: image.policy.leaseMs },
    prices:
      book === undefined
        ? prices
        : {
            ...prices,
            versions: prices.versions.map((versions) =>
              versions.map((each) => (each.id === book.id ? repriced(each, book) : each)),
            ),
          },
    // Prices that are kept with the pools are looked up again.
    pricesUntil: book === undefined ? image.pricesUntil : -Infinity,
  };
}

function repriced(recorded: PriceBook, book: PriceBook): PriceBook {
  const { version, effectiveFromUs, effectiveToUs } = recorded;
  return { ...book, version, effectiveFromUs, effectiveToUs };
}

import type { Dispatcher } from "../../core/dispatcher.ts";
import type { DispatcherImage } from "../../core/dispatcher-image.ts";
import { Comparison, objectivesOf } from "../../core/placement/compare.ts";
import type { Objectives } from "../../core/placement/policy.ts";
import type { Instant, LeaseId } from "../../core/units.ts";
import { WhatIf, type Change } from "../../core/what-if.ts";
import type { Replayed } from "../../io/journal-replay.ts";

interface Placed {
  readonly hasMoved: boolean;
  readonly objectives: Objectives;
}

/**
 * A journal replayed twice, as it was and with a change, from the first event that counts on. Behind a gap, and where
 * another run of the program begins, the other world begins anew from what was.
 */
export class Study {
  readonly comparison = new Comparison();
  /** Books that were in force or to come, to tell a name that is none of them. */
  readonly books = new Set<string>();
  readonly #change: Change;
  readonly #since: Instant;
  readonly #placed = new Map<LeaseId, Placed>();
  /** Just restored: the next event may be the first of both worlds. */
  #image: DispatcherImage | undefined;
  #recorded: Dispatcher | undefined;
  #other: WhatIf | undefined;
  #residualGramsPerKwh = 0;

  constructor(change: Change, since: Instant) {
    this.#change = change;
    this.#since = since;
  }

  take(each: Replayed): void {
    switch (each.kind) {
      case "restored":
        this.#recorded = each.dispatcher;
        this.#residualGramsPerKwh = each.image.geography.residualGramsPerKwh;
        if (each.image.revision === 0) this.#other = undefined;
        this.#image = each.image;
        return;
      case "gap":
      case "lost":
        this.#other = undefined;
        this.#placed.clear();
        return;
      case "step":
        return this.#step(each);
      case "compared":
      case "skipped":
    }
  }

  #step(each: Extract<Replayed, { readonly kind: "step" }>): void {
    const { event, effects } = each;
    const image = this.#image;
    this.#image = undefined;
    if (event.kind === "geography-set") {
      this.#residualGramsPerKwh = event.geography.residualGramsPerKwh;
    }
    if (event.kind === "prices-published") this.books.add(event.book.id);
    if (event.at < this.#since) return;
    if (this.#other === undefined) {
      if (image === undefined) {
        this.#other = this.#recorded && this.#begun(this.#recorded.image());
        return;
      }
      this.#other = this.#begun(image);
    }
    const pair = this.#other.step(event, effects);
    if (pair !== undefined) this.#compare(each, pair);
    this.#judge(each);
  }

  #begun(image: DispatcherImage): WhatIf {
    this.#placed.clear();
    for (const [first] of image.prices.versions) if (first !== undefined) this.books.add(first.id);
    return new WhatIf(image, this.#change);
  }

  #compare(
    { effects }: Extract<Replayed, { readonly kind: "step" }>,
    { recorded, other }: NonNullable<ReturnType<WhatIf["step"]>>,
  ): void {
    const hasMoved = this.comparison.add(recorded, other, this.#residualGramsPerKwh);
    const lease = effects.find((effect) => effect.kind === "answer")?.lease;
    if (lease === undefined || this.#recorded === undefined) return;
    const objectives = objectivesOf(recorded, this.#recorded.policy);
    this.#placed.set(lease.id, { hasMoved, objectives });
  }

  /** What came of it where it was served; nobody knows what would have come of it elsewhere. */
  #judge({ event, effects }: Extract<Replayed, { readonly kind: "step" }>): void {
    for (const effect of effects)
      if (effect.kind === "revoke") this.#placed.delete(effect.lease.id);
    if (event.kind !== "lease-released") return;
    const placed = this.#placed.get(event.lease);
    if (placed === undefined) return;
    this.#placed.delete(event.lease);
    if (event.outcome === undefined) return;
    this.comparison.addOutcome(event.outcome, placed.objectives, placed.hasMoved);
  }
}

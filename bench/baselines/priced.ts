/** Policies that go by price or distance alone. */

import type { Ask, Prospect } from "../../services/core/placement/prospect.ts";
import { slotsTotalOf } from "../../services/core/health.ts";
import { withoutPrefixes } from "./prefixes.ts";
import { terms } from "../../services/core/placement/terms.ts";
import type { Instant, PoolId } from "../../services/core/units.ts";
import { isFailure } from "./outcomes.ts";
import {
  drawnByWeight,
  lowest,
  rivalOf,
  slotsOf,
  type Baseline,
  type Sight,
  type Way,
} from "./rival.ts";

export const priced = {
  openrouter: {
    name: "1/price², OpenRouter's long-published default",
    source: "§2.10",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => inversePriceSquared(sight, () => 1)),
      "capacity-weighted": rivalOf((sight) => inversePriceSquared(sight, slotsOf)),
    },
  },
  "nearest-first": {
    name: "nearest first",
    source: "§2.13",
    reportIntervalMs: undefined,
    variants: { "as published": rivalOf(nearestFirst) },
  },
  "cheapest-first": {
    name: "cheapest first",
    source: "§2.13",
    reportIntervalMs: undefined,
    variants: { "as published": rivalOf(cheapestFirst) },
  },
  "litellm-lowest-cost": {
    name: "LiteLLM, lowest cost",
    source: "§2.11",
    reportIntervalMs: undefined,
    variants: { "as published": rivalOf(lowestCost) },
  },
} satisfies Record<string, Baseline>;

/** Outages of the last 30 s (pub) count from two failures and one in ten attempts (house). */
const OUTAGE_WINDOW_MS = 30_000;
const OUTAGE_FAILURES_MIN = 2;
const OUTAGE_RATIO_MIN = 0.1;

/** List price of what is asked, nothing cached, in nano. */
function listPriceNano(ask: Ask): (at: Prospect) => number {
  const blind = withoutPrefixes(ask);
  return (at) => terms.price(at, blind);
}

/** With a probability ∝ 1/price² among the pools without outages; if all have some, among all. */
function inversePriceSquared({ random }: Sight, weightOf: (at: Prospect) => number): Way {
  const outages = new Outages();
  return {
    pick: (among, ask) => {
      const priceOf = listPriceNano(ask);
      const stable = among.filter(({ pool }) => !outages.isUnstable(pool.id, ask.now));
      return drawnByWeight(
        stable.length > 0 ? stable : among,
        (at) => weightOf(at) / priceOf(at) ** 2,
        random,
      );
    },
    onEnd: ({ lease }, outcome, now) => {
      if (outcome !== undefined) outages.learn(lease.pool, isFailure(outcome), now);
    },
  };
}

/** How attempts at each pool ended in the last while. */
class Outages {
  readonly #endsByPool = new Map<PoolId, { readonly at: Instant; readonly failed: boolean }[]>();

  learn(pool: PoolId, failed: boolean, at: Instant): void {
    this.#endsByPool.set(pool, [...this.#recent(pool, at), { at, failed }]);
  }

  isUnstable(pool: PoolId, now: Instant): boolean {
    const ends = this.#recent(pool, now);
    const failures = ends.filter(({ failed }) => failed).length;
    return failures >= OUTAGE_FAILURES_MIN && failures >= OUTAGE_RATIO_MIN * ends.length;
  }

  #recent(pool: PoolId, now: Instant): { readonly at: Instant; readonly failed: boolean }[] {
    const ends = this.#endsByPool.get(pool) ?? [];
    const first = ends.findIndex(({ at }) => now - at < OUTAGE_WINDOW_MS);
    return first <= 0 ? (first < 0 ? [] : ends) : ends.slice(first);
  }
}

/** Lowest round trip with a free slot; where none has one, lowest round trip. */
function nearestFirst({ random }: Sight): Way {
  return { pick: (among) => lowest(withFreeSlot(among), ({ roundTripMs }) => roundTripMs, random) };
}

function cheapestFirst({ random }: Sight): Way {
  return {
    pick: (among, ask) => lowest(withFreeSlot(among), listPriceNano(ask), random),
  };
}

/** The static price of what is asked, full or not. */
function lowestCost({ random }: Sight): Way {
  return { pick: (among, ask) => lowest(among, listPriceNano(ask), random) };
}

/** Our filters leave a slot by the leases of this dispatcher; by the reports, others may have taken it. */
function withFreeSlot(among: readonly Prospect[]): readonly Prospect[] {
  const free = among.filter(({ load, served }) => load.inFlight < slotsTotalOf(served));
  return free.length > 0 ? free : among;
}

/** Policies with a notion of here and there: SkyWalker, its reference, and GORGO. */

import type { Snapshot } from "../../services/core/placement/decide.ts";
import type { Ask, Prospect } from "../../services/core/placement/prospect.ts";
import type { Instant, PoolId, RequestId } from "../../services/core/units.ts";
import { blocksOf, LruByPlace, Prefilling, tokensEach } from "./prefixes.ts";
import { lowest, rivalOf, unitsOf, type Baseline, type Sight, type Way } from "./rival.ts";

/** SkyWalker looks at its pools every 100 ms (pub). */
const PROBE_MS = 100;

/** Requests that may wait at a balancer that others hand over to: "a small buffer", not stated (house). */
const queueMax = { least: 1, usual: 4, most: 16 };

export const regional = {
  skywalker: {
    name: "SkyWalker, selective pushing",
    source: "§2.9",
    reportIntervalMs: PROBE_MS,
    variants: {
      "as published": rivalOf((sight) => skyWalker(sight, queueMax.usual, false)),
      "capacity-weighted": rivalOf((sight) => skyWalker(sight, queueMax.usual, true)),
      "as published, buffer of 1": rivalOf((sight) => skyWalker(sight, queueMax.least, false)),
      "as published, buffer of 16": rivalOf((sight) => skyWalker(sight, queueMax.most, false)),
    },
  },
  "region-local": {
    name: "region-local",
    source: "§2.9",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => regionLocal(sight, false)),
      "capacity-weighted": rivalOf((sight) => regionLocal(sight, true)),
    },
  },
  gorgo: {
    name: "GORGO",
    source: "§2.9",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => gorgo(sight, () => GORGO_MS_PER_TOKEN, false)),
      "capacity-weighted": rivalOf((sight) => gorgo(sight, () => GORGO_MS_PER_TOKEN, true)),
      "as published, speed by engine": rivalOf((sight) => gorgo(sight, engineMsPerToken, false)),
      "capacity-weighted, speed by engine": rivalOf((sight) =>
        gorgo(sight, engineMsPerToken, true),
      ),
    },
  },
} satisfies Record<string, Baseline>;

/** Below it the paper explores by a rule it does not give: house, the fewest in flight. */
const MATCH_MIN = 0.5;
/** A request that waits asks again sooner; one that does not has gone (house). */
const GONE_AFTER_MS = 5_000;

/**
 * Local pools where nobody waits; else regions that have such a pool and whose own queue is short; else wait. Among them
 * the longest prefix of what was sent there. One balancer per hub: where a request arises decides which is its own.
 */
function skyWalker(sight: Sight, queuedMax: number, isWeighted: boolean): Way {
  const trees = new LruByPlace();
  const treesByRegions = new LruByPlace<string>();
  const queues = new Queues();
  const loadOf = ({ pool, served }: Prospect): number =>
    sight.inFlight(pool.id) / (isWeighted ? served.replicas : 1);
  const isAvailable = (at: Prospect): boolean => sight.report(at)?.waitingRequests?.value === 0;

  const poolAmong = (among: readonly Prospect[], ask: Ask): Prospect => {
    const chosen = longestPrefix(among, {
      ask,
      matched: (at, blocks) => trees.matched(at.pool.id, blocks),
      loadOf,
      random: sight.random,
    });
    trees.add(chosen.pool.id, blocksOf(ask.request), tokensEach(ask.request));
    return chosen;
  };

  const handedOver = (
    available: readonly Prospect[],
    { home, ask }: { readonly home: string; readonly ask: Ask },
  ): Prospect | undefined => {
    const there = Map.groupBy(available, ({ pool }) => pool.region.hub);
    const regions = [...there.keys()].filter((hub) => queues.length(hub, ask.now) <= queuedMax);
    if (regions.length === 0) return undefined;
    const region = longestPrefix(regions, {
      ask,
      matched: (hub, blocks) => treesByRegions.matched(`${home}\n${hub}`, blocks),
      loadOf: (hub) => (there.get(hub) ?? []).reduce((sum, at) => sum + loadOf(at), 0),
      random: sight.random,
    });
    treesByRegions.add(`${home}\n${region}`, blocksOf(ask.request), tokensEach(ask.request));
    return poolAmong(there.get(region) ?? [], ask);
  };

  return {
    pick: (among, ask, snapshot) => {
      const home = homeOf(ask, snapshot);
      const available = among.filter(isAvailable);
      const local = available.filter(({ pool }) => pool.region.hub === home);
      const chosen =
        local.length > 0 ? poolAmong(local, ask) : handedOver(available, { home, ask });
      if (chosen === undefined) queues.wait(home, ask.request.request, ask.now);
      else queues.leave(home, ask.request.request);
      return chosen;
    },
  };
}

interface Matching<Place> {
  readonly ask: Ask;
  /** Blocks of the longest prefix that was sent there. */
  readonly matched: (place: Place, blocks: readonly number[]) => number;
  readonly loadOf: (place: Place) => number;
  readonly random: Sight["random"];
}

/** Ties, and all where less than half matches: the lowest load. */
function longestPrefix<Place>(places: readonly Place[], matching: Matching<Place>): Place {
  const { ask, matched, loadOf, random } = matching;
  const blocks = blocksOf(ask.request);
  const longest = Math.max(...places.map((place) => matched(place, blocks)));
  const isMatch = longest * tokensEach(ask.request) >= MATCH_MIN * ask.inputTokens;
  const fit = isMatch ? places.filter((place) => matched(place, blocks) === longest) : places;
  return lowest(fit, loadOf, random);
}

/** Requests that wait at each balancer, until they are placed or have gone. */
class Queues {
  readonly #askedAtByHub = new Map<string, Map<RequestId, Instant>>();

  wait(hub: string, request: RequestId, now: Instant): void {
    const askedAt = this.#askedAtByHub.get(hub) ?? new Map<RequestId, Instant>();
    this.#askedAtByHub.set(hub, askedAt);
    askedAt.delete(request);
    askedAt.set(request, now);
  }

  leave(hub: string, request: RequestId): void {
    this.#askedAtByHub.get(hub)?.delete(request);
  }

  length(hub: string, now: Instant): number {
    const askedAt = this.#askedAtByHub.get(hub);
    if (askedAt === undefined) return 0;
    for (const [request, at] of askedAt) {
      if (now - at < GONE_AFTER_MS) break;
      askedAt.delete(request);
    }
    return askedAt.size;
  }
}

/** The fewest in flight in the region of the request, and never another one. */
function regionLocal({ random, inFlight }: Sight, isWeighted: boolean): Way {
  return {
    pick: (among, ask, snapshot) => {
      const home = homeOf(ask, snapshot);
      const local = among.filter(({ pool }) => pool.region.hub === home);
      if (local.length === 0) return undefined;
      return lowest(local, (at) => inFlight(at.pool.id) / unitsOf(at, isWeighted), random);
    },
  };
}

/** The hub whose demand area the request arises in, or else the nearest, among those with pools for the model. */
export function homeOf({ origin, geography }: Ask, { pools }: Snapshot): string {
  const regions = [...new Set(pools.map(({ region }) => region))];
  const own = regions.filter(({ demandAreas }) => demandAreas.has(origin?.demandArea ?? ""));
  const msByRegion = origin === undefined ? undefined : geography.roundTripMsPrior.get(origin.id);
  const [home] = (own.length > 0 ? own : regions).toSorted(
    (a, b) =>
      (msByRegion?.get(a.id) ?? FAR_MS) - (msByRegion?.get(b.id) ?? FAR_MS) ||
      (a.id < b.id ? -1 : 1),
  );
  return home?.hub ?? "";
}

/** Beyond all others that are known. */
const FAR_MS = 1e9;

/** Fitted by its authors on 87 prompts (pub). */
const GORGO_MS_PER_TOKEN = 0.0938;

/**
 * `ρ + g·(L − c) + queue`, lowest wins. The queue term is not given precisely: house, `g` × uncached prompt tokens of our
 * own requests that wait for their first token.
 */
function gorgo(
  { random }: Sight,
  msPerToken: (at: Prospect, ask: Ask) => number,
  isWeighted: boolean,
): Way {
  const trees = new LruByPlace();
  const prefillingByPool = new Map<PoolId, Prefilling>();
  const waitingAt = (pool: PoolId): Prefilling => {
    const known = prefillingByPool.get(pool) ?? new Prefilling();
    prefillingByPool.set(pool, known);
    return known;
  };
  const uncachedAt = (pool: PoolId, { request }: Pick<Ask, "request">): number => {
    const cached = trees.matched(pool, blocksOf(request)) * tokensEach(request);
    return Math.max(0, request.inputTokens - cached);
  };
  return {
    pick: (among, ask) => {
      const costOf = (at: Prospect): number => {
        const waiting = waitingAt(at.pool.id).tokens(ask.now) / unitsOf(at, isWeighted);
        return at.roundTripMs + msPerToken(at, ask) * (uncachedAt(at.pool.id, ask) + waiting);
      };
      return lowest(among, costOf, random);
    },
    onGrant: ({ lease, decision }) => {
      const tokens = uncachedAt(lease.pool, decision);
      const until = decision.decidedAt + decision.chosen.expected.ttftMs;
      waitingAt(lease.pool).add(lease.id, { tokens, until });
      trees.add(lease.pool, blocksOf(decision.request), tokensEach(decision.request));
    },
    onEnd: ({ lease }) => waitingAt(lease.pool).end(lease.id),
  };
}

function engineMsPerToken({ served }: Prospect, { policy }: Ask): number {
  return (served.engineProfile ?? policy.engineAssumed).prefillMsPerToken;
}

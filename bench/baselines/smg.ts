/** The policies of SMG: least load and cache aware. */

import type { Prospect } from "../../services/core/placement/prospect.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import type { ModelReport } from "../../services/core/pool.ts";
import type { PoolId } from "../../services/core/units.ts";
import { SMG_POLL_MS } from "./plain.ts";
import { blocksOf, LastTouch, tokensEach } from "./prefixes.ts";
import {
  byId,
  lowest,
  lowestAll,
  rivalOf,
  unitsOf,
  type Baseline,
  type Sight,
  type Way,
} from "./rival.ts";

/**
 * The two sets of defaults (pub). What an entry of its tree holds is not said: the library's 10,000 are taken to be
 * blocks of 64 tokens, and of the command line's 67,108,864 only 16 million tokens are kept, for want of memory (house).
 */
const commandLine = { matchMin: 0.3, spreadAbove: 64, spreadRatio: 1.5, tokensMax: 16_777_216 };
const library = { matchMin: 0.5, spreadAbove: 32, spreadRatio: 1.1, tokensMax: 640_000 };

export const smg = {
  "smg-least-load": {
    name: "SMG, least load",
    source: "§2.6",
    reportIntervalMs: SMG_POLL_MS,
    variants: {
      "as published": rivalOf((sight) => leastLoad(sight, false), SMG_POLL_MS),
      "capacity-weighted": rivalOf((sight) => leastLoad(sight, true), SMG_POLL_MS),
    },
  },
  "smg-cache-aware": {
    name: "SMG, cache aware",
    source: "§2.7",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => cacheAware(sight, commandLine, false)),
      "capacity-weighted": rivalOf((sight) => cacheAware(sight, commandLine, true)),
      "as published, library defaults": rivalOf((sight) => cacheAware(sight, library, false)),
      "capacity-weighted, library defaults": rivalOf((sight) => cacheAware(sight, library, true)),
    },
  },
} satisfies Record<string, Baseline>;

/** Constants of the score (pub). */
const TOKENS_PER_SECOND_DEFAULT = 2_000;
const KV_SECONDS = 0.15;
const KV_RATIO_MAX = 0.999;
const PROMPT_TOKENS_UNKNOWN = 1_024;

/**
 * `(W + F)/τ + 0.15·k/(1−k)`, lowest wins, first on ties. Our reports count requests that wait, not their tokens: house,
 * each counts as a prompt of unknown length. τ is what the engine made per second between two polls; an idle one has
 * none to report.
 */
function leastLoad({ random, inFlight, report }: Sight, isWeighted: boolean): Way {
  const sentByPool = new Map<PoolId, number>();
  const speeds = new Speeds();
  const speedOf = (at: Prospect): number => {
    const reported = speeds.of(at.pool.id);
    return reported === undefined ? TOKENS_PER_SECOND_DEFAULT : reported / unitsOf(at, isWeighted);
  };
  const requestsOf = (at: Prospect): number => inFlight(at.pool.id) / unitsOf(at, isWeighted);
  const scoreOf = (at: Prospect, { waitingRequests, kvUsedRatio }: ModelReport): number => {
    const waiting = (waitingRequests?.value ?? 0) * PROMPT_TOKENS_UNKNOWN;
    const tokens = (waiting + (sentByPool.get(at.pool.id) ?? 0)) / unitsOf(at, isWeighted);
    const used = Math.min(kvUsedRatio?.value ?? 0, KV_RATIO_MAX);
    return tokens / speedOf(at) + (KV_SECONDS * used) / (1 - used);
  };
  const pick = (among: readonly Prospect[]): Prospect | undefined => {
    const reporters = among.filter((at) => report(at) !== undefined);
    if (reporters.length === 0) return lowest(among, requestsOf, random);
    const speedMean =
      reporters.reduce((sum, at) => sum + speedOf(at), 0) / Math.max(1, reporters.length);
    const [first] = lowestAll(among, (at) => {
      const said = report(at);
      return said === undefined
        ? (requestsOf(at) * PROMPT_TOKENS_UNKNOWN) / speedMean
        : scoreOf(at, said);
    });
    return first;
  };
  return {
    pick: (among, { request }) => {
      const chosen = pick(among);
      if (chosen === undefined) return undefined;
      const { id } = chosen.pool;
      sentByPool.set(id, (sentByPool.get(id) ?? 0) + request.inputTokens);
      return chosen;
    },
    onReport: (pool, said) => {
      sentByPool.set(pool, 0);
      speeds.look(pool, said);
    },
  };
}

/** Output tokens per second between the last two reports that were looked at. */
class Speeds {
  readonly #byPool = new Map<PoolId, { report: ModelReport; perSecond: number | undefined }>();

  /** Undefined: not known, or none was made. */
  of(pool: PoolId): number | undefined {
    return this.#byPool.get(pool)?.perSecond;
  }

  look(pool: PoolId, report: ModelReport): void {
    const last = this.#byPool.get(pool)?.report.outputTokensTotal;
    const next = report.outputTokensTotal;
    const elapsedMs = (next?.observedAt ?? 0) - (last?.observedAt ?? 0);
    const made = (next?.value ?? 0) - (last?.value ?? 0);
    const isKnown = last !== undefined && next !== undefined && elapsedMs > 0 && made > 0;
    const perSecond = isKnown ? (made * 1_000) / elapsedMs : undefined;
    this.#byPool.set(pool, { report, perSecond });
  }
}

/**
 * The pool whose prompts match, unless too little does or loads are too far apart; then the least loaded. Entries
 * leave as soon as there are too many, where the peer looks every 120 s.
 */
function cacheAware({ inFlight }: Sight, limits: typeof commandLine, isWeighted: boolean): Way {
  const tree = new LastTouch(limits.tokensMax);
  const servedByPool = new Map<PoolId, number>();
  const loadOf = (at: Prospect): number => inFlight(at.pool.id) / unitsOf(at, isWeighted);
  const leastLoaded = (among: readonly Prospect[]): Prospect | undefined => {
    const fewest = lowestAll(among, loadOf);
    return byId(lowestAll(fewest, ({ pool }) => servedByPool.get(pool.id) ?? 0))[0];
  };
  const take = (at: Prospect | undefined, request: PlacementRequest): Prospect | undefined => {
    if (at === undefined) return undefined;
    tree.add(at.pool.id, blocksOf(request), tokensEach(request));
    return at;
  };
  const pick = (among: readonly Prospect[], request: PlacementRequest): Prospect | undefined => {
    const loads = among.map(loadOf);
    const [least, most] = [Math.min(...loads), Math.max(...loads)];
    const isSpread = most - least > limits.spreadAbove && most > limits.spreadRatio * least;
    if (isSpread) return take(leastLoaded(among), request);
    const { count, pool } = tree.matched(blocksOf(request));
    const isMatch = (count * tokensEach(request)) / request.inputTokens > limits.matchMin;
    if (!isMatch) return take(leastLoaded(among), request);
    const matched = among.find((at) => at.pool.id === pool);
    // A pool that matches and is not fit: the first that is, and nothing is written down.
    return matched === undefined ? byId(among)[0] : take(matched, request);
  };
  return {
    pick: (among, { request }) => {
      const chosen = pick(among, request);
      if (chosen === undefined) return undefined;
      const { id } = chosen.pool;
      servedByPool.set(id, (servedByPool.get(id) ?? 0) + 1);
      return chosen;
    },
  };
}

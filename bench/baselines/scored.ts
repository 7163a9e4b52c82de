/** Policies that score: llm-d's default profile and Dynamo's KV cost. */

import type { Ask, Prospect } from "../../services/core/placement/prospect.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import type { Instant, LeaseId, PoolId } from "../../services/core/units.ts";
import { BlocksForAWhile, blocksOf, LruByPlace, Prefilling, tokensEach } from "./prefixes.ts";
import type { Flight } from "./endpoints.ts";
import { lowest, rivalOf, unitsOf, type Baseline, type Sight, type Way } from "./rival.ts";

/** llm-d scrapes its endpoints every 50 ms (pub). */
const LLM_D_SCRAPE_MS = 50;

export const scored = {
  "llm-d": {
    name: "llm-d, default profile",
    source: "§2.4",
    reportIntervalMs: LLM_D_SCRAPE_MS,
    variants: {
      "as published": llmD({ isWeighted: false, hasColdOrder: false }),
      "capacity-weighted": llmD({ isWeighted: true, hasColdOrder: false }),
    },
  },
  "llm-d-no-hit-lru": {
    name: "llm-d, optimized baseline with no-hit LRU",
    source: "§2.4",
    reportIntervalMs: LLM_D_SCRAPE_MS,
    variants: {
      "as published": llmD({ isWeighted: false, hasColdOrder: true }),
      "capacity-weighted": llmD({ isWeighted: true, hasColdOrder: true }),
    },
  },
  dynamo: {
    name: "Dynamo, KV cost",
    source: "§2.5",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => dynamo(sight, false)),
      "capacity-weighted": rivalOf((sight) => dynamo(sight, true)),
    },
  },
} satisfies Record<string, Baseline>;

/** Weights, blocks of 64 tokens per endpoint and prompt tokens at most: loader defaults and chart (pub). */
const weights = { queue: 2, kv: 2, prefix: 3, cold: 2 };
const LLM_D_TOKENS_MAX = 31_250 * 64;
const LLM_D_PROMPT_TOKENS_MAX = 131_072;

interface LlmDOptions {
  readonly isWeighted: boolean;
  readonly hasColdOrder: boolean;
}

function llmD(options: LlmDOptions) {
  return rivalOf((sight) => llmDWay(sight, options));
}

/** `2·Q + 2·K + 3·P`, highest wins. The pool chosen is taken to have the prompt from then on. */
function llmDWay({ random, report }: Sight, { isWeighted, hasColdOrder }: LlmDOptions): Way {
  const index = new LruByPlace(LLM_D_TOKENS_MAX);
  const coldOrder = new ColdOrder();
  return {
    pick: (among, { request }) => {
      const tokens = tokensEach(request);
      const blocks = blocksOf(request).slice(0, Math.floor(LLM_D_PROMPT_TOKENS_MAX / tokens));
      const queues = among.map(queueOf);
      const [least, most] = [Math.min(...queues), Math.max(...queues)];
      const matched = new Map(among.map((at) => [at, index.matched(at.pool.id, blocks)]));
      const isCold = [...matched.values()].every((count) => count === 0);
      const colds = hasColdOrder ? coldOrder.scores(among, isCold) : undefined;
      const scoreOf = (at: Prospect): number =>
        weights.queue * (most === least ? 1 : (most - queueOf(at)) / (most - least)) +
        weights.kv * Math.max(0, 1 - (report(at)?.kvUsedRatio?.value ?? 0)) +
        weights.prefix * ((matched.get(at) ?? 0) / Math.max(1, blocks.length)) +
        weights.cold * (colds?.get(at) ?? 0);
      const chosen = lowest(among, (at) => -scoreOf(at), random);
      index.add(chosen.pool.id, blocks, tokens);
      if (isCold) coldOrder.add(chosen.pool.id);
      return chosen;
    },
  };

  /** What its metrics lack counts as 0 there. */
  function queueOf(at: Prospect): number {
    return (report(at)?.waitingRequests?.value ?? 0) / unitsOf(at, isWeighted);
  }
}

/** Pools in the order of their last request that nobody had a prefix of. */
class ColdOrder {
  readonly #pools = new Set<PoolId>();

  /** `1 − rank/(n−1)`, rank 0 the longest since one; those without any come first, in the order given. */
  scores(among: readonly Prospect[], isCold: boolean): ReadonlyMap<Prospect, number> {
    if (!isCold) return new Map(among.map((at) => [at, 0.5]));
    const placeById = new Map([...this.#pools].map((id, place) => [id, place]));
    const placeOf = ({ pool }: Prospect): number => placeById.get(pool.id) ?? -1;
    const ranked = among.toSorted((a, b) => placeOf(a) - placeOf(b));
    const rankMax = Math.max(1, among.length - 1);
    return new Map(ranked.map((at, rank) => [at, 1 - rank / rankMax]));
  }

  add(pool: PoolId): void {
    this.#pools.delete(pool);
    this.#pools.add(pool);
  }
}

/** Prompts are taken to be cached so long without events of the engine (pub). */
const DYNAMO_LIFE_MS = 120_000;
/** Times the tokens of one batch that the prompts at a pool may come to, before requests wait (pub). */
const DYNAMO_BATCHES_MAX = 16;
/** Tokens of a block of the engine: not fixed by the peer; what vLLM shares by default (house). */
const DYNAMO_BLOCK_TOKENS = 16;
/** Tokens of one batch where the pool declares none (house). */
const DYNAMO_BATCH_TOKENS = 8_192;

/**
 * `max((A + L)/b − C, 0) + D + N`, lowest wins: `s` is 1 and `v` 0, its defaults. C is what the pool was sent in the
 * last 120 s: there are no events of the engines, and one tier of cache.
 */
function dynamo({ random }: Sight, isWeighted: boolean): Way {
  const known = new Map<PoolId, PoolBlocks>();
  const at = (pool: PoolId): PoolBlocks => {
    const blocks = known.get(pool) ?? new PoolBlocks();
    known.set(pool, blocks);
    return blocks;
  };
  const costOf = (prospect: Prospect, { request, now }: Ask): number => {
    const units = unitsOf(prospect, isWeighted);
    const blocks = at(prospect.pool.id);
    const prompt = request.inputTokens / DYNAMO_BLOCK_TOKENS;
    const waiting = blocks.prefilling.tokens(now) / DYNAMO_BLOCK_TOKENS / units;
    const fill = Math.max(waiting + prompt - blocks.cached(request, now), 0);
    return fill + blocks.active / units + Math.ceil(prompt) - blocks.sharedWithRunning(request);
  };
  const isFull = (prospect: Prospect, { now }: Ask): boolean => {
    const batchTokens = prospect.served.engineProfile?.prefillChunkTokens ?? DYNAMO_BATCH_TOKENS;
    const tokens = at(prospect.pool.id).prefilling.tokens(now) / unitsOf(prospect, isWeighted);
    return tokens > DYNAMO_BATCHES_MAX * batchTokens;
  };
  return {
    pick: (among, ask) => {
      if (among.every((each) => isFull(each, ask))) return undefined;
      return lowest(among, (each) => costOf(each, ask), random);
    },
    onGrant: (flight) => at(flight.lease.pool).start(flight),
    onEnd: ({ lease }) => at(lease.pool).end(lease.id),
  };
}

/** KV blocks of one pool as its router predicts them: charged at dispatch, freed at the end. */
class PoolBlocks {
  readonly prefilling = new Prefilling();
  readonly #sent = new BlocksForAWhile(DYNAMO_LIFE_MS);
  /** Of blocks that may be shared: how many running requests have it. */
  readonly #usersByBlock = new Map<number, number>();
  readonly #running = new Map<LeaseId, PlacementRequest>();
  #active = 0;

  /** D, a shared one once. */
  get active(): number {
    return this.#active;
  }

  /** C, in blocks of the engine. */
  cached(request: PlacementRequest, now: Instant): number {
    return this.#sent.matched(blocksOf(request), now) * engineBlocksEach(request);
  }

  /** Of the request's blocks, those that running ones have too. */
  sharedWithRunning(request: PlacementRequest): number {
    const shared = blocksOf(request).filter((block) => this.#usersByBlock.has(block));
    return shared.length * engineBlocksEach(request);
  }

  start({ lease, decision: { request, decidedAt, chosen } }: Flight): void {
    const tokens = request.inputTokens - this.cached(request, decidedAt) * DYNAMO_BLOCK_TOKENS;
    const until = decidedAt + chosen.expected.ttftMs;
    this.prefilling.add(lease.id, { tokens: Math.max(0, tokens), until });
    this.#running.set(lease.id, request);
    this.#active +=
      Math.ceil(request.inputTokens / DYNAMO_BLOCK_TOKENS) - this.sharedWithRunning(request);
    for (const block of blocksOf(request)) {
      this.#usersByBlock.set(block, (this.#usersByBlock.get(block) ?? 0) + 1);
    }
    this.#sent.add(blocksOf(request), decidedAt);
  }

  end(lease: LeaseId): void {
    this.prefilling.end(lease);
    const request = this.#running.get(lease);
    if (request === undefined) return;
    this.#running.delete(lease);
    for (const block of blocksOf(request)) {
      const left = (this.#usersByBlock.get(block) ?? 0) - 1;
      if (left > 0) this.#usersByBlock.set(block, left);
      else this.#usersByBlock.delete(block);
    }
    this.#active -=
      Math.ceil(request.inputTokens / DYNAMO_BLOCK_TOKENS) - this.sharedWithRunning(request);
  }
}

/** Blocks of the engine in one of those that prompts are known by. */
function engineBlocksEach(request: PlacementRequest): number {
  return tokensEach(request) / DYNAMO_BLOCK_TOKENS;
}

/** What rivals remember of prompts. They go by the same hashes of blocks as our own index. */

import type { Ask } from "../../services/core/placement/prospect.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import { PREFIX_HASH_TOKENS } from "../../services/core/prefixes.ts";
import type { Instant, LeaseId, PoolId } from "../../services/core/units.ts";

/** Tokens that a tree keeps of one pool where its peer names no bound: as many as llm-d's (house). */
export const TREE_TOKENS_MAX = 31_250 * 64;

/** Ids of the blocks of a prompt that may be shared. None: nothing is known of it, and nothing is remembered. */
export function blocksOf({ prefixBlocks = [] }: PlacementRequest): readonly number[] {
  return prefixBlocks;
}

/** The same for who knows nothing of caches. */
export function withoutPrefixes(ask: Ask): Ask {
  if (ask.request.cachedTokensAt.size === 0) return ask;
  return { ...ask, request: { ...ask.request, cachedTokensAt: new Map() } };
}

/**
 * Of one of these blocks. A real gateway hashes 64 at a time, or fewer of a short text; a simulated one as many as its
 * engines share. Bounds of memories are therefore in tokens.
 */
export function tokensEach({ prefixBlocks = [], inputTokens }: PlacementRequest): number {
  return Math.min(PREFIX_HASH_TOKENS, inputTokens / Math.max(1, prefixBlocks.length));
}

/** Blocks in the order of their use, of which those not used for longest leave. Looking is no use. */
export class BlockLru {
  readonly #tokensMax: number;
  readonly #blocks = new Set<number>();

  constructor(tokensMax: number) {
    this.#tokensMax = tokensMax;
  }

  /** Blocks of the longest known prefix. */
  matched(blocks: readonly number[]): number {
    let known = 0;
    while (known < blocks.length && this.#blocks.has(blocks[known] ?? -1)) known += 1;
    return known;
  }

  /** The end of a prompt first: a prefix without its beginning is worth nothing. */
  add(blocks: readonly number[], tokensEachBlock: number): void {
    for (const block of blocks.toReversed()) {
      this.#blocks.delete(block);
      this.#blocks.add(block);
    }
    for (const oldest of this.#blocks) {
      if (this.#blocks.size * tokensEachBlock <= this.#tokensMax) break;
      this.#blocks.delete(oldest);
    }
  }
}

/** One such memory for each of several: pools, or regions. */
export class LruByPlace<Place extends string = PoolId> {
  readonly #tokensMax: number;
  readonly #byPlace = new Map<Place, BlockLru>();

  constructor(tokensMax: number = TREE_TOKENS_MAX) {
    this.#tokensMax = tokensMax;
  }

  matched(place: Place, blocks: readonly number[]): number {
    return this.#byPlace.get(place)?.matched(blocks) ?? 0;
  }

  add(place: Place, blocks: readonly number[], tokensEachBlock: number): void {
    const known = this.#byPlace.get(place) ?? new BlockLru(this.#tokensMax);
    this.#byPlace.set(place, known);
    known.add(blocks, tokensEachBlock);
  }
}

/** Blocks that are forgotten so long after they were last written, used or not. */
export class BlocksForAWhile {
  readonly #lifeMs: number;
  readonly #writtenAt = new Map<number, Instant>();

  constructor(lifeMs: number) {
    this.#lifeMs = lifeMs;
  }

  /** Blocks of the longest prefix that lives. */
  matched(blocks: readonly number[], now: Instant): number {
    let known = 0;
    while (known < blocks.length && this.#lives(blocks[known] ?? -1, now)) known += 1;
    return known;
  }

  add(blocks: readonly number[], now: Instant): void {
    for (const block of blocks) {
      this.#writtenAt.delete(block);
      this.#writtenAt.set(block, now);
    }
    for (const oldest of this.#writtenAt.keys()) {
      if (this.#lives(oldest, now)) break;
      this.#writtenAt.delete(oldest);
    }
  }

  #lives(block: number, now: Instant): boolean {
    return now - (this.#writtenAt.get(block) ?? -Infinity) < this.#lifeMs;
  }
}

/** For each block who touched it last; the blocks not touched for longest leave. */
export class LastTouch {
  readonly #tokensMax: number;
  readonly #poolByBlock = new Map<number, PoolId>();

  constructor(tokensMax: number) {
    this.#tokensMax = tokensMax;
  }

  /** Of the longest known prefix: its blocks, and the pool that touched its end last. */
  matched(blocks: readonly number[]): {
    readonly count: number;
    readonly pool: PoolId | undefined;
  } {
    let count = 0;
    let pool: PoolId | undefined;
    for (const block of blocks) {
      const toucher = this.#poolByBlock.get(block);
      if (toucher === undefined) break;
      count += 1;
      pool = toucher;
    }
    return { count, pool };
  }

  add(pool: PoolId, blocks: readonly number[], tokensEachBlock: number): void {
    for (const block of blocks.toReversed()) {
      this.#poolByBlock.delete(block);
      this.#poolByBlock.set(block, pool);
    }
    for (const oldest of this.#poolByBlock.keys()) {
      if (this.#poolByBlock.size * tokensEachBlock <= this.#tokensMax) break;
      this.#poolByBlock.delete(oldest);
    }
  }
}

interface Prompt {
  readonly tokens: number;
  readonly until: Instant;
}

/**
 * Prompt tokens of the requests that one dispatcher has at one pool and that have no first token yet. No event says when
 * one came: house, it is taken to come when our engine model expected it at the grant.
 */
export class Prefilling {
  readonly #prompts = new Map<LeaseId, Prompt>();

  add(lease: LeaseId, prompt: Prompt): void {
    this.#prompts.set(lease, prompt);
  }

  end(lease: LeaseId): void {
    this.#prompts.delete(lease);
  }

  tokens(now: Instant): number {
    let sum = 0;
    for (const [lease, { tokens, until }] of this.#prompts) {
      if (until > now) sum += tokens;
      else this.#prompts.delete(lease);
    }
    return sum;
  }
}

import type { PlacementRequest } from "./placement/request.ts";
import { seedFromText } from "./random.ts";
import type { Instant, LeaseId, ModelId, PoolId } from "./units.ts";

/** Tokens that a hash of `PlacementRequest.prefixBlocks` stands for, or fewer where a prompt has shorter ones. */
export const PREFIX_HASH_TOKENS = 64;
/** Over all pools and models: about 100 bytes each. */
const BLOCKS_MAX = 1_000_000;
/** Of one model at a pool, whatever cache it declares. */
const BLOCKS_MAX_EACH = 65_536;

/** When memory is full, so much of it is made free at once. */
const FREED_RATIO = 1 / 256;
/** A prompt is taken to be cached by then, whatever was foretold: those behind it wait for it no longer. */
const READY_MS_MAX = 60_000;

/** What one model at a pool has probably cached, the block not used for longest first. */
interface Shelf {
  readonly pool: PoolId;
  readonly model: ModelId;
  readonly blocks: Set<number>;
}

/** A prompt on its way: it is cached when its first token comes. */
interface Pending {
  readonly lease: LeaseId;
  readonly pool: PoolId;
  readonly model: ModelId;
  readonly blocks: readonly number[];
  readonly blocksMax: number;
  readonly readyAt: Instant;
  /** Of the prompt, what we thought to be cached. */
  readonly foretoldTokens: number;
}

export interface PrefixIndexImage {
  readonly shelves: readonly {
    readonly pool: PoolId;
    readonly model: ModelId;
    readonly blocks: readonly number[];
  }[];
  readonly pending: readonly Pending[];
  readonly arriving: readonly LeaseId[];
}

/**
 * Which pools have the beginning of a prompt in their prefix caches, as far as our own placements tell. Hashes are
 * salted by tenant and model: no tenant's prompts are found by another's, whatever a gateway sends.
 *
 * A prefix leaves after what is built on it, as in an engine: who uses a block uses all before it, and those last. So
 * the blocks of a prompt that a shelf has are a beginning of it, and how long it is can be found by halving.
 */
export class PrefixIndex {
  readonly #shelves = new Map<PoolId, Map<ModelId, Shelf>>();
  /** By block, which is of one model alone; pools in the order of their ids, so that all indexes answer alike. */
  readonly #holders = new Map<number, PoolId[]>();
  readonly #pending = new Map<LeaseId, Pending>();
  /** In the order of their placement; not all of them are pending any more. */
  #arriving: LeaseId[] = [];
  #blocks = 0;
  readonly #blocksMax: number;

  constructor(blocksMax = BLOCKS_MAX) {
    this.#blocksMax = blocksMax;
  }

  /** Blocks over all pools. */
  get size(): number {
    return this.#blocks;
  }

  /** Tokens of the prompt by pool, where there are any. Never more than the prompt. Changes nothing. */
  tokensAt(request: PlacementRequest): Map<PoolId, number> {
    const tokens = new Map<PoolId, number>();
    const blocks = saltedBlocks(request);
    const [first] = blocks;
    const holders = first === undefined ? undefined : this.#holders.get(first);
    for (const pool of holders ?? []) {
      const shelf = this.#shelves.get(pool)?.get(request.model);
      if (shelf === undefined) continue;
      tokens.set(pool, Math.floor(knownOf(shelf, blocks) * tokensEach(request)));
    }
    return tokens;
  }

  /** The pool will have the prompt when its first token comes. `kvTokens` is what its caches hold. */
  granted(
    lease: { readonly id: LeaseId; readonly pool: PoolId },
    request: PlacementRequest,
    expected: {
      readonly now: Instant;
      readonly ttftMs: number;
      readonly kvTokens: number | undefined;
      readonly foretoldTokens: number;
    },
  ): void {
    const { now, ttftMs, kvTokens, foretoldTokens } = expected;
    const blocks = saltedBlocks(request);
    const held = kvTokens === undefined ? BLOCKS_MAX_EACH : kvTokens / tokensEach(request);
    this.#pending.set(lease.id, {
      lease: lease.id,
      pool: lease.pool,
      model: request.model,
      blocks,
      blocksMax: Math.min(BLOCKS_MAX_EACH, Math.floor(held)),
      readyAt: now + Math.min(READY_MS_MAX, ttftMs),
      foretoldTokens,
    });
    this.#arriving.push(lease.id);
  }

  /**
   * The lease is over: what had no first token is not cached, and what had one is, however early it came. Tells what
   * was foretold of it. Undefined: nothing was.
   */
  ended(lease: LeaseId, hadFirstToken: boolean): number | undefined {
    const pending = this.#pending.get(lease);
    if (pending === undefined) return undefined;
    this.#pending.delete(lease);
    if (hadFirstToken) this.#add(pending);
    return pending.foretoldTokens;
  }

  /** The engine began anew: with it went its cache. */
  forget(pool: PoolId, model: ModelId): void {
    const shelf = this.#shelves.get(pool)?.get(model);
    if (shelf === undefined) return;
    for (const block of shelf.blocks) this.#drop(shelf, block);
    this.#shelves.get(pool)?.delete(model);
  }

  image(): PrefixIndexImage {
    const shelves = [...this.#shelves.values()].flatMap((byModel) =>
      [...byModel.values()].map(({ pool, model, blocks }) => ({
        pool,
        model,
        blocks: [...blocks],
      })),
    );
    return { shelves, pending: [...this.#pending.values()], arriving: [...this.#arriving] };
  }

  restore({ shelves, pending, arriving }: PrefixIndexImage): void {
    for (const { pool, model, blocks } of shelves) {
      const shelf = this.#shelf(pool, model);
      for (const block of blocks) this.#put(shelf, block);
    }
    for (const each of pending) this.#pending.set(each.lease, each);
    this.#arriving = [...arriving];
  }

  /** Those are cached now whose first token is due. One that takes long keeps those behind it waiting a little. */
  pass(now: Instant): void {
    let count = 0;
    for (const lease of this.#arriving) {
      const pending = this.#pending.get(lease);
      if (pending !== undefined && pending.readyAt > now) break;
      if (pending !== undefined) this.#add(pending);
      count += 1;
    }
    if (count > 0) this.#arriving.splice(0, count);
  }

  /** The end of a prompt first, so that its beginning is used last. */
  #add({ pool, model, blocks, blocksMax }: Pending): void {
    const shelf = this.#shelf(pool, model);
    for (let index = Math.min(blocks.length, blocksMax) - 1; index >= 0; index--) {
      this.#put(shelf, blocks[index] ?? -1);
    }
    this.#cut(shelf, blocksMax);
    if (this.#blocks > this.#blocksMax) this.#free();
  }

  /** Takes from the largest shelves, so that each gets its part however late it came. */
  #free(): void {
    const shelves = [...this.#shelves.values()].flatMap((byModel) => [...byModel.values()]);
    const wanted = Math.floor(this.#blocksMax * (1 - FREED_RATIO));
    let [low, high] = [0, BLOCKS_MAX_EACH];
    while (low < high) {
      const level = Math.ceil((low + high) / 2);
      const left = shelves.reduce((sum, { blocks }) => sum + Math.min(blocks.size, level), 0);
      if (left <= wanted) low = level;
      else high = level - 1;
    }
    for (const shelf of shelves) this.#cut(shelf, low);
  }

  /** What was not used for longest goes. */
  #cut(shelf: Shelf, blocksMax: number): void {
    for (const oldest of shelf.blocks) {
      if (shelf.blocks.size <= blocksMax) return;
      this.#drop(shelf, oldest);
    }
  }

  #shelf(pool: PoolId, model: ModelId): Shelf {
    const byModel = this.#shelves.get(pool) ?? new Map<ModelId, Shelf>();
    this.#shelves.set(pool, byModel);
    const shelf = byModel.get(model) ?? { pool, model, blocks: new Set() };
    byModel.set(model, shelf);
    return shelf;
  }

  #put(shelf: Shelf, block: number): void {
    if (!shelf.blocks.delete(block)) {
      this.#hold(shelf, block);
      this.#blocks += 1;
    }
    shelf.blocks.add(block);
  }

  #hold({ pool }: Shelf, block: number): void {
    const holders = this.#holders.get(block);
    if (holders === undefined) {
      this.#holders.set(block, [pool]);
      return;
    }
    const place = holders.findIndex((other) => other > pool);
    holders.splice(place < 0 ? holders.length : place, 0, pool);
  }

  #drop(shelf: Shelf, block: number): void {
    shelf.blocks.delete(block);
    this.#blocks -= 1;
    const holders = this.#holders.get(block) ?? [];
    const place = holders.indexOf(shelf.pool);
    if (place >= 0) holders.splice(place, 1);
    if (holders.length === 0) this.#holders.delete(block);
  }
}

/** The last token of a prompt is always computed, and blocks never have more tokens than the prompt. */
function tokensEach({ prefixBlocks, inputTokens }: PlacementRequest): number {
  const count = Math.max(1, prefixBlocks?.length ?? 0);
  return Math.max(0, Math.min(PREFIX_HASH_TOKENS, (inputTokens - 1) / count));
}

/** How many blocks from the first on. */
function knownOf({ blocks: held }: Shelf, blocks: readonly number[]): number {
  let [known, unknown] = [0, blocks.length];
  while (known < unknown) {
    const middle = (known + unknown) >>> 1;
    if (held.has(blocks[middle] ?? -1)) known = middle + 1;
    else unknown = middle;
  }
  return known;
}

/** 53 bits: 21 above, 32 below, each crossed with its part of the salt. */
function saltedBlocks({ prefixBlocks = [], tenant, model }: PlacementRequest): number[] {
  if (prefixBlocks.length === 0) return [];
  const low = seedFromText(`${tenant}\n${model}`);
  const high = seedFromText(`${model}\n${tenant}`) >>> 11;
  return prefixBlocks.map(
    (block) => (Math.floor(block / 2 ** 32) ^ high) * 2 ** 32 + ((block ^ low) >>> 0),
  );
}

/** Tokens of one block: what vLLM shares by default. */
export const PREFIX_BLOCK_TOKENS = 16;

/**
 * Ids of the whole blocks of a prompt. Each depends on all before it, so equal ids mean an equal block
 * behind an equal prefix. A last block that is not full has none: engines do not share it.
 */
export function blockHashes(words: readonly string[], blockTokens = PREFIX_BLOCK_TOKENS): number[] {
  const hashes: number[] = [];
  let [high, low] = [0x811c9dc5, 0x2545f491];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    for (let at = 0; at < word.length; at++) {
      const code = word.charCodeAt(at);
      high = Math.imul(high ^ code, 0x01000193);
      low = Math.imul(low ^ code, 0x5bd1e995) ^ (low >>> 15);
    }
    high = Math.imul(high ^ 0x20, 0x01000193);
    low = Math.imul(low ^ 0x20, 0x5bd1e995) ^ (low >>> 15);
    // 21 and 32 bits make a whole number that a double holds exactly.
    if ((index + 1) % blockTokens === 0) hashes.push((high >>> 11) * 2 ** 32 + (low >>> 0));
  }
  return hashes;
}

/** Blocks of prompts that were computed, the one not used for longest leaving first. */
export class PrefixCache {
  readonly #blocksMax: number;
  readonly #blockTokens: number;
  /** In the order of use: a Map keeps insertion order, and a use inserts again. */
  readonly #blocks = new Set<number>();

  constructor(blocksMax: number, blockTokens = PREFIX_BLOCK_TOKENS) {
    this.#blocksMax = blocksMax;
    this.#blockTokens = blockTokens;
  }

  get size(): number {
    return this.#blocks.size;
  }

  /** Tokens of the longest known prefix. Counts as a use of its blocks. */
  match(blocks: readonly number[]): number {
    let known = 0;
    while (known < blocks.length && this.#blocks.has(blocks[known] ?? -1)) known += 1;
    this.#use(blocks, known);
    return known * this.#blockTokens;
  }

  /** Remembers a prompt that was computed. */
  add(blocks: readonly number[]): void {
    this.#use(blocks, blocks.length);
    for (const oldest of this.#blocks) {
      if (this.#blocks.size <= this.#blocksMax) break;
      this.#blocks.delete(oldest);
    }
  }

  /** The end of a prompt first: a prefix without its beginning is worth nothing. */
  #use(blocks: readonly number[], count: number): void {
    for (let index = count - 1; index >= 0; index--) {
      const block = blocks[index] ?? -1;
      this.#blocks.delete(block);
      this.#blocks.add(block);
    }
  }
}

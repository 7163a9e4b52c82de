import { createHash } from "node:crypto";

/** Bytes of one block: about as many tokens as the control plane takes a block for, 64. */
const BLOCK_BYTES = 256;
/** As many as the contract takes. The rest of a prompt beyond a megabyte is not looked for. */
const BLOCKS_MAX = 4_096;
/** Between two strings, so that "ab" and "c" are not "a" and "bc". */
const separator = 0x1f;

/**
 * Hashes of the beginnings of a prompt, 256 bytes longer each, worked out as its strings come along. Prompts that begin
 * alike have equal hashes, and nothing of the text can be read from them. They are salted by tenant: nobody can tell
 * whether two tenants said the same.
 */
export class PrefixBlocks {
  readonly #text: string;
  readonly #high: number[] = [];
  readonly #low: number[] = [];
  #left = BLOCK_BYTES;
  #highNow = 0x811c9dc5;
  #lowNow = 0x2545f491;

  constructor(text: string) {
    this.#text = text;
  }

  /** A string of the messages, as it stands between quotes in JSON. */
  add(start: number, end: number): void {
    for (let at = start; at < end && this.#high.length < BLOCKS_MAX; at++) {
      this.#take(this.#text.charCodeAt(at));
    }
    if (this.#high.length < BLOCKS_MAX) this.#take(separator);
  }

  /** Whole numbers below 2^53. `before` is what the engine puts before the messages. */
  hashes(tenant: string, before: string): number[] {
    const salt = createHash("sha256").update(`prefix\n${tenant}\n${before}`).digest();
    const [saltHigh, saltLow] = [salt.readUInt32LE(0), salt.readUInt32LE(4)];
    return this.#high.map((high, index) => {
      const low = stirred((this.#low[index] ?? 0) ^ saltLow);
      return (stirred(high ^ saltHigh ^ low) >>> 11) * 2 ** 32 + (low >>> 0);
    });
  }

  /** Two hashes side by side, FNV-1a and one of Murmur's constants, as for simulated engines. */
  #take(code: number): void {
    this.#highNow = Math.imul(this.#highNow ^ code, 0x01000193);
    this.#lowNow = Math.imul(this.#lowNow ^ code, 0x5bd1e995) ^ (this.#lowNow >>> 15);
    this.#left -= 1;
    if (this.#left > 0) return;
    this.#left = BLOCK_BYTES;
    this.#high.push(this.#highNow);
    this.#low.push(this.#lowNow);
  }
}

/** The finish of Murmur3: every bit of the input moves half of the output. */
function stirred(word: number): number {
  let hash = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

import { PREFIX_BLOCK_TOKENS } from "../../services/core/prefix.ts";
import { traceBlockTokens, type Arrival } from "../../services/core/workload.ts";

/** A prompt, when it comes, and of which prompts it can share prefixes. */
export interface Prompt {
  readonly arrival: Arrival;
  readonly atMs: number;
  readonly group: string;
}

/** The most that any prefix cache can have of a prompt, in tokens. */
export interface PrefixHit {
  /** Of prompts that came before it. */
  readonly earlierTokens: number;
  /** Of any other prompt; only for one who waits at least `waitMs`. */
  readonly everTokens: number;
  readonly waitMs: number;
}

interface Seen {
  readonly index: number;
  readonly atMs: number;
}

/**
 * By a cache for each group that forgets nothing and is everywhere. `aheadMs`: prompts that come so soon after one may
 * be computed before it, because their way is shorter.
 */
export function prefixHits(prompts: readonly Prompt[], aheadMs: number): PrefixHit[] {
  const seen = new Map<string, Map<number, Seen[]>>();
  for (const [index, { arrival, atMs, group }] of prompts.entries()) {
    const blocks = seen.get(group) ?? new Map<number, Seen[]>();
    seen.set(group, blocks);
    for (const block of arrival.blocks) {
      const known = blocks.get(block);
      // The first two are enough: one of them is another.
      if (known === undefined) blocks.set(block, [{ index, atMs }]);
      else if (known.length === 1 && known[0]?.index !== index) known.push({ index, atMs });
    }
  }
  return prompts.map(({ arrival, atMs, group }, index) => {
    const firstOther = (block: number): number => {
      const other = seen
        .get(group)
        ?.get(block)
        ?.find((each) => each.index !== index);
      return other?.atMs ?? Infinity;
    };
    const { blocks } = arrival;
    const earlier = leading(blocks, (block) => firstOther(block) <= atMs + aheadMs);
    const ever = leading(blocks, (block) => firstOther(block) < Infinity);
    const next = blocks[earlier];
    const waitMs = next === undefined ? 0 : firstOther(next) - atMs - aheadMs;
    return {
      earlierTokens: tokensOf(earlier, arrival),
      everTokens: tokensOf(ever, arrival),
      waitMs: ever > earlier ? waitMs : 0,
    };
  });
}

function leading(blocks: readonly number[], isKnown: (block: number) => boolean): number {
  const unknown = blocks.findIndex((block) => !isKnown(block));
  return unknown === -1 ? blocks.length : unknown;
}

/** Whole blocks of the engine, and never the last token. */
function tokensOf(blocks: number, { inputTokens }: Arrival): number {
  const whole = Math.floor(inputTokens / PREFIX_BLOCK_TOKENS) * PREFIX_BLOCK_TOKENS;
  return Math.min(blocks * traceBlockTokens, whole, inputTokens - 1);
}

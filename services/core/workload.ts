import type { ServiceClass } from "./placement/request.ts";
import { PREFIX_BLOCK_TOKENS } from "./prefix.ts";
import { PREFIX_HASH_TOKENS } from "./prefixes.ts";
import type { ModelId, OriginId, TenantId } from "./units.ts";

/** One request of a recorded workload: when and how long, never what it said. */
export interface TraceRow {
  /** Since the first request of the trace. */
  readonly atMs: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Ids of the prompt's blocks of `traceBlockTokens`, in order. Empty: nothing is shared. */
  readonly blocks: readonly number[];
}

/** A request of a recorded workload, with where it arises and what kind of service it wants. */
export interface Arrival extends TraceRow {
  /** From 0, in the order of the trace. */
  readonly index: number;
  readonly origin: OriginId;
  readonly class: ServiceClass;
  /** Absent: the model that the run is for. */
  readonly model?: ModelId;
  /** Absent: the tenant that the run is for. */
  readonly tenant?: TenantId;
}

/** Tokens of one block of a trace that records shared prefixes. The last block may be shorter. */
export const traceBlockTokens = 512;

/** With the space behind it four bytes: what a token of English text takes. */
const filler = "tok";

/** Simulated engines share blocks of 16 tokens; a block of a trace is this many of them. */
const partsPerBlock = traceBlockTokens / PREFIX_BLOCK_TOKENS;

/**
 * A prompt of as many words as the row has tokens: simulated engines count a word as a token. Equal blocks
 * behind an equal prefix give equal words, so that prefix caches hit as they did when the trace was recorded;
 * everything else differs, also from other runs by the salt.
 */
export function promptOf(row: Arrival, salt: string): string {
  const words = Array<string>(row.inputTokens).fill(filler);
  for (const [number, block] of row.blocks.entries()) {
    words[number * traceBlockTokens] = `${salt}.${block.toString(36)}`;
  }
  if (row.blocks.length === 0) words[0] = `${salt}/${row.index.toString(36)}`;
  return words.join(" ");
}

/** The same for an engine in virtual time: an id for each whole block of 16 tokens that can be shared. */
export function sharedBlocks({ inputTokens, blocks }: TraceRow): number[] {
  if (blocks.length === 0) return [];
  const ids: number[] = [];
  for (let part = 0; part < Math.floor(inputTokens / PREFIX_BLOCK_TOKENS); part++) {
    const block = blocks[Math.floor(part / partsPerBlock)] ?? 0;
    ids.push(block * partsPerBlock + (part % partsPerBlock));
  }
  return ids;
}

/** Engines share smaller blocks than gateways hash. */
const blocksPerHash = PREFIX_HASH_TOKENS / PREFIX_BLOCK_TOKENS;

/**
 * Shared blocks as a control replica is told of them, `prefixBlocks` of a request: the id of a block stands for all that
 * is before it, as a hash does, so that of each hash it is the last block's.
 */
export function hashesOf(blocks: readonly number[]): readonly number[] {
  const hashes: number[] = [];
  for (let last = blocksPerHash - 1; last < blocks.length; last += blocksPerHash) {
    hashes.push(blocks[last] ?? 0);
  }
  return hashes;
}

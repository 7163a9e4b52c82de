import { expect, test } from "vitest";
import { blockHashes } from "../../services/core/prefix.ts";
import type { OriginId } from "../../services/core/units.ts";
import { promptOf, sharedBlocks, type Arrival } from "../../services/core/workload.ts";

function arrival(changes: Partial<Arrival> = {}): Arrival {
  return {
    index: 0,
    atMs: 0,
    inputTokens: 100,
    outputTokens: 10,
    blocks: [],
    origin: "shanghai" as OriginId,
    class: "llm-interactive",
    ...changes,
  };
}

function wordsOf(each: Arrival, salt = "run"): string[] {
  return promptOf(each, salt).split(" ");
}

/** How many leading ids two prompts share. */
function shared(a: readonly number[], b: readonly number[]): number {
  const different = a.findIndex((id, index) => id !== b[index]);
  return different < 0 ? a.length : different;
}

test("promptOf() has a word per token", () => {
  for (const inputTokens of [1, 2, 511, 512, 513, 4_000]) {
    const blocks = Array.from({ length: Math.ceil(inputTokens / 512) }, (_, id) => id);
    expect(wordsOf(arrival({ inputTokens })).length).toBe(inputTokens);
    expect(wordsOf(arrival({ inputTokens, blocks })).length).toBe(inputTokens);
  }
});

test("promptOf() shares nothing between requests without blocks, nor between runs", () => {
  const first = blockHashes(wordsOf(arrival({ index: 1 })));
  const second = blockHashes(wordsOf(arrival({ index: 2 })));
  const again = blockHashes(wordsOf(arrival({ index: 1 }), "other"));
  expect([shared(first, second), shared(first, again)]).toEqual([0, 0]);
  expect(sharedBlocks(arrival())).toEqual([]);
});

const pairs: readonly [Partial<Arrival>, Partial<Arrival>, blocks: number][] = [
  [{ inputTokens: 1_024, blocks: [1, 2] }, { inputTokens: 1_024, blocks: [1, 2] }, 64],
  [{ inputTokens: 1_024, blocks: [1, 2] }, { inputTokens: 1_024, blocks: [1, 3] }, 32],
  [{ inputTokens: 1_024, blocks: [1, 2] }, { inputTokens: 1_024, blocks: [4, 2] }, 0],
  [{ inputTokens: 1_024, blocks: [1, 2] }, { inputTokens: 600, blocks: [1, 2] }, 37],
  [{ inputTokens: 15, blocks: [1] }, { inputTokens: 15, blocks: [1] }, 0],
];

for (const [a, b, blocks] of pairs) {
  test(`an engine over HTTP and one in virtual time share ${blocks} blocks of ${String(a.blocks)} and ${String(b.blocks)}`, () => {
    const [first, second] = [arrival(a), arrival({ ...b, index: 1 })];
    expect(shared(sharedBlocks(first), sharedBlocks(second))).toBe(blocks);
    expect(shared(blockHashes(wordsOf(first)), blockHashes(wordsOf(second)))).toBe(blocks);
  });
}

import fc from "fast-check";
import { expect, test } from "vitest";
import { PREFIX_HASH_TOKENS, PrefixIndex } from "../../services/core/prefixes.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import { PrefixCache } from "../../services/core/prefix.ts";
import type { LeaseId, ModelId, PoolId, TenantId } from "../../services/core/units.ts";
import { chat, request } from "./fixtures.ts";

const a = "a" as PoolId;

function asking(prefixBlocks: readonly number[], changes: Partial<PlacementRequest> = {}) {
  return request({
    inputTokens: prefixBlocks.length * PREFIX_HASH_TOKENS + 1,
    prefixBlocks,
    ...changes,
  });
}

/** Places, and lets the first token come. */
function serve(index: PrefixIndex, pool: string, asked: PlacementRequest, kvTokens = 1e9): void {
  const id = `lease-${pool}` as LeaseId;
  index.granted({ id, pool: pool as PoolId }, asked, {
    now: 0,
    ttftMs: 0,
    kvTokens,
    foretoldTokens: 0,
  });
  index.ended(id, true);
}

/** Conversations whose turns begin with all that was said before; two may begin alike. */
const prompts = fc
  .tuple(fc.nat(6), fc.integer({ min: 1, max: 30 }))
  .map(([conversation, length]) =>
    Array.from({ length }, (_, at) => (at < 3 ? at : conversation * 1_000 + at)),
  );

test("a prompt is known where it was served, from its first token on", () => {
  const index = new PrefixIndex();
  const asked = asking([1, 2, 3]);
  const [one, two] = ["one" as LeaseId, "two" as LeaseId];
  const expected = { now: 0, ttftMs: 500, kvTokens: undefined, foretoldTokens: 0 };
  index.granted({ id: one, pool: a }, asked, expected);
  index.pass(499);
  expect(index.tokensAt(asked)).toEqual(new Map());
  index.pass(500);
  expect(index.tokensAt(asked)).toEqual(new Map([[a, 192]]));
  index.granted({ id: two, pool: "b" as PoolId }, asked, expected);
  index.ended(two, true);
  expect(index.tokensAt(asking([1, 2, 9]))).toEqual(
    new Map([
      [a, 128],
      ["b", 128],
    ]),
  );
});

test("a prompt that had no first token is not cached, nor what an engine had before it began anew", () => {
  const index = new PrefixIndex();
  const lease = "one" as LeaseId;
  const expected = { now: 0, ttftMs: 500, kvTokens: undefined, foretoldTokens: 7 };
  index.granted({ id: lease, pool: a }, asking([1]), expected);
  expect(index.ended(lease, false)).toBe(7);
  index.pass(1_000);
  expect(index.size).toBe(0);
  serve(index, "a", asking([1]));
  index.forget(a, chat);
  expect([index.size, index.tokensAt(asking([1]))]).toEqual([0, new Map()]);
});

test("a tenant never learns of another's prompts, nor a model of another's", () => {
  const others = [{ tenant: "zenith" as TenantId }, { model: "other" as ModelId }];
  fc.assert(
    fc.property(fc.array(prompts, { minLength: 1 }), (all) => {
      const index = new PrefixIndex();
      for (const blocks of all) serve(index, "a", asking(blocks));
      for (const blocks of all) {
        expect(index.tokensAt(asking(blocks)).size).toBe(1);
        for (const other of others) expect(index.tokensAt(asking(blocks, other)).size).toBe(0);
      }
    }),
  );
});

test("never more than the prompt, whatever blocks it says to have", () => {
  fc.assert(
    fc.property(prompts, fc.nat(3_000), (blocks, inputTokens) => {
      const index = new PrefixIndex();
      const asked = asking(blocks, { inputTokens: inputTokens + 1 });
      serve(index, "a", asked);
      expect(index.tokensAt(asked).get(a) ?? 0).toBeLessThanOrEqual(inputTokens);
    }),
  );
});

test("it forgets as an engine does: what it says to be cached is cached there", () => {
  const served = fc.array(fc.tuple(prompts, fc.constantFrom("a", "b")), { maxLength: 60 });
  fc.assert(
    fc.property(served, fc.integer({ min: 1, max: 80 }), (all, blocksMax) => {
      const index = new PrefixIndex();
      const engines = new Map(
        ["a", "b"].map((pool) => [pool, new PrefixCache(blocksMax, PREFIX_HASH_TOKENS)]),
      );
      for (const [blocks, pool] of all) {
        const asked = asking(blocks);
        const engine = engines.get(pool) ?? expect.unreachable();
        const foretold = index.tokensAt(asked).get(pool as PoolId) ?? 0;
        expect(foretold).toBe(engine.match(blocks));
        engine.add(blocks.slice(0, blocksMax));
        serve(index, pool, asked, blocksMax * PREFIX_HASH_TOKENS);
      }
    }),
  );
});

test("its memory is bounded over all pools, and by each pool's cache", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(prompts, fc.nat(20)), { maxLength: 80 }), (all) => {
      const index = new PrefixIndex(40);
      for (const [blocks, pool] of all) {
        serve(index, `pool-${pool}`, asking(blocks), 12 * PREFIX_HASH_TOKENS);
        expect(index.size).toBeLessThanOrEqual(40);
        const known = index.tokensAt(asking(blocks)).get(`pool-${pool}` as PoolId) ?? 0;
        expect(known).toBeLessThanOrEqual(12 * PREFIX_HASH_TOKENS);
      }
    }),
  );
});

test("a pool that comes when the memory is full gets its part of it, and takes it from those who have most", () => {
  const index = new PrefixIndex(1_000);
  const prompt = (first: number) => Array.from({ length: 10 }, (_, at) => first * 10 + at);
  for (let each = 0; each < 100; each++) serve(index, "a", asking(prompt(each)));
  for (let each = 0; each < 10; each++) serve(index, "b", asking(prompt(100 + each)));
  for (let each = 0; each < 100; each++) serve(index, "c", asking(prompt(200 + each)));
  const known = (first: number, count: number) =>
    Array.from({ length: count }, (_, at) => index.tokensAt(asking(prompt(first + at)))).filter(
      ({ size }) => size > 0,
    ).length;
  expect(index.size).toBeLessThanOrEqual(1_000);
  expect(known(100, 10)).toBe(10);
  expect(known(200, 100)).toBeGreaterThan(40);
  expect(known(0, 100)).toBeGreaterThan(40);
});

test("a first token that is foretold for never keeps no other prompt waiting for long", () => {
  const index = new PrefixIndex();
  const expected = { kvTokens: undefined, foretoldTokens: 0 };
  const granted = (lease: string, blocks: number[], readyAt: number) => {
    const held = { id: lease as LeaseId, pool: a };
    index.granted(held, asking(blocks), { ...expected, now: 0, ttftMs: readyAt });
  };
  granted("never", [1], Infinity);
  granted("soon", [2], 500);
  index.pass(120_000);
  expect(index.tokensAt(asking([2])).get(a)).toBe(64);
  expect(index.image().arriving).toEqual([]);
});

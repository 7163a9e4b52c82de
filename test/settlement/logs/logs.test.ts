import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from "../../../services/core/settlement/proof/merkle.ts";
import type { PairId } from "../../../services/core/units.ts";
import { openSqliteLedger } from "../../../services/io/ledger-sqlite.ts";
import type { LedgerBatch, LedgerStore } from "../../../services/io/ledger-store.ts";
import { LogReader, tree, type LogId } from "../../../services/settlement/logs/log-reader.ts";
import { LeafConflictError, Logs, type LogRows } from "../../../services/settlement/logs/logs.ts";
import type { NewLeaf } from "../../../services/settlement/ingest/writer.ts";

const north = "vendor:northgrid" as PairId;
const south = "vendor:southgrid" as PairId;

const usage = (log: LogId, number: number): NewLeaf => ({
  log,
  kind: "usage",
  ref: `a${number}:0`,
  text: `{"record":"a${number}:0"}`,
});
const seal = (text: string): NewLeaf => ({ log: north, kind: "seal", ref: "2026-09", text });

describe("Logs", () => {
  test("gives each leaf the next index of its log, and nothing of it to another log", async () => {
    const store = await openSqliteLedger(":memory:");
    const logs = new Logs(store);
    const leaves = [usage(north, 1), usage(south, 2), usage(north, 3), usage("internal", 1)];
    const rows = await logs.assign(leaves);
    expect(rows.leaves.map(({ log, index, ref }) => [log, index, ref])).toEqual([
      [north, 0n, "a1:0"],
      [south, 0n, "a2:0"],
      [north, 1n, "a3:0"],
      ["internal", 0n, "a1:0"],
    ]);
    await commit(store, rows);
    const [next] = (await logs.assign([usage(south, 4)])).leaves;
    expect(next).toMatchObject({ log: south, index: 1n });
  });

  test("a leaf that came before changes nothing, within one change and later", async () => {
    const store = await openSqliteLedger(":memory:");
    const logs = new Logs(store);
    const rows = await logs.assign([seal("{}"), usage(north, 1), seal("{}")]);
    expect(rows.leaves.map(({ kind }) => kind)).toEqual(["seal", "usage"]);
    await commit(store, rows);
    expect(await logs.assign([seal("{}")])).toEqual({ leaves: [], tiles: [] });
  });

  test("a leaf with other bytes is refused, and gives nobody an index (I12)", async () => {
    const store = await openSqliteLedger(":memory:");
    const logs = new Logs(store);
    await commit(store, await logs.assign([seal("{}")]));
    const wrong = [usage(north, 1), seal("[]")];
    await expect(logs.assign(wrong)).rejects.toThrow(LeafConflictError);
    await expect(logs.assign([seal("{}"), seal("[]")])).rejects.toThrow("found others");
    const [next] = (await logs.assign([usage(north, 1)])).leaves;
    expect(next?.index).toBe(1n);
  });

  test("after a commit that failed, the same indexes are given again (C10)", async () => {
    const store = await openSqliteLedger(":memory:");
    const logs = new Logs(store);
    await commit(store, await logs.assign([usage(north, 1)]));
    const lost = await logs.assign([usage(north, 2), usage(north, 3)]);
    logs.forget();
    const again = await logs.assign([usage(north, 2), usage(north, 3)]);
    expect(again).toEqual(lost);
    await commit(store, again);
    expect(await logs.assign([usage(north, 4)])).toMatchObject({ leaves: [{ index: 3n }] });
  });

  test("tiles and roots do not depend on where the process was started again", async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(sizes, async (batches) => {
        const store = await openSqliteLedger(":memory:");
        let logs = new Logs(store);
        let count = 0;
        for (const [turn, size] of batches.entries()) {
          const leaves = Array.from({ length: size }, (_each, at) => usage(north, count + at));
          count += size;
          await commit(store, await logs.assign(leaves));
          // Every other time a new process goes on.
          logs = turn % 2 === 0 ? new Logs(store) : logs;
        }
        const hashes = await store.leafHashes(north, 0n, count);
        expect(await new LogReader(store).root(north, BigInt(count))).toBe(rootOf(hashes, tree));
        const full = Math.floor(count / 256);
        expect(await store.tile(north, 0, BigInt(full))).toBe(undefined);
        for (let index = 0; index < full; index += 1) {
          expect((await store.tile(north, 0, BigInt(index)))?.hashes).toBe(
            hashes.slice(index * 256, (index + 1) * 256).join(""),
          );
        }
      }),
      { numRuns: 15 },
    );
  });
});

describe("LogReader of 66,100 leaves", async () => {
  const count = 66_100;
  const store = await openSqliteLedger(":memory:");
  const logs = new Logs(store);
  for (let from = 0; from < count; from += 6_610) {
    const leaves = Array.from({ length: 6_610 }, (_each, at) => usage(north, from + at));
    await commit(store, await logs.assign(leaves));
  }
  const hashes = await store.leafHashes(north, 0n, count);
  const reader = new LogReader(store);

  test("a row of the second level is kept once it is full", async () => {
    expect((await store.tile(north, 1, 0n))?.hashes.length).toBe(256 * 64);
    expect(await store.tile(north, 1, 1n)).toBe(undefined);
    expect(await store.tile(north, 0, 258n)).toBe(undefined);
  });

  test("roots and proofs of any size are those of the plain tree", async () => {
    const size = fc.integer({ min: 1, max: count });
    const edges = fc.constantFrom(1, 255, 256, 257, 65_535, 65_536, 65_537, 65_792, count);
    await fc.assert(
      fc.asyncProperty(fc.oneof(size, edges), fc.oneof(size, edges), async (one, other) => {
        const [old, whole] = [BigInt(Math.min(one, other)), BigInt(Math.max(one, other))];
        const [oldRoot, root] = [await reader.root(north, old), await reader.root(north, whole)];
        expect(root).toBe(rootOf(hashes.slice(0, Number(whole)), tree));
        const consistent = await reader.consistency(north, old, whole);
        expect(
          verifyConsistency({ oldSize: old, oldRoot, size: whole, root, path: consistent }, tree),
        ).toBe(true);
        const index = old - 1n;
        const leaf = hashes[Number(index)] ?? "";
        const path = await reader.inclusion(north, index, whole);
        expect(verifyInclusion({ index, size: whole, leaf, root, path }, tree)).toBe(true);
        expect((await reader.edge(north, whole)).root()).toBe(root);
      }),
      { numRuns: 30 },
    );
  });
});

async function commit(store: LedgerStore, rows: LogRows): Promise<void> {
  await store.commit({ ...nothing, ...rows });
}

const nothing: LedgerBatch = {
  posted: [],
  waiting: [],
  released: [],
  entries: [],
  movements: new Map(),
  cumulatives: [],
  hours: [],
  sales: [],
  consumption: [],
  versions: [],
  producers: [],
  leaves: [],
  tiles: [],
  documents: [],
  holds: [],
  claims: [],
};

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  Frontier,
  rootOf,
  treeHash,
  verifyConsistency,
  verifyInclusion,
  type Hash,
} from "../../../../services/core/settlement/proof/merkle.ts";
import {
  consistencyPlan,
  foldRight,
  inclusionPlan,
  perfectRoot,
  rootPlan,
  sliceOf,
  TileEdge,
  tilePath,
  type Perfect,
  type ProofPlan,
  type Tile,
} from "../../../../services/core/settlement/proof/tiles.ts";
import { sha256 } from "../../../../services/io/signing.ts";
import * as rfc from "../rfc6962.ts";
import { consistencies, inclusions, leaves, roots } from "../vectors/rfc6962.ts";

const tree = treeHash(sha256);
const sizeMax = 300;
const entries = Array.from({ length: sizeMax }, (_each, index) => Buffer.from(`leaf ${index}`));
const hashes = entries.map((entry) => tree.leaf(entry.toString()));

/** Root of a perfect tree, straight from the leaves. */
const perfectOf =
  (all: readonly Hash[]) =>
  ({ height, index }: Perfect): Hash => {
    const width = 2 ** height;
    const first = Number(index) * width;
    return perfectRoot(all.slice(first, first + width), tree);
  };

const made = (plan: ProofPlan, all: readonly Hash[]): Hash[] =>
  plan.map((trees) => foldRight(trees.map(perfectOf(all)), tree));

const perfectByPlace = new Map<string, Hash>();
/** Of the long list, made once: the loops below ask for the same ones over and over. */
const perfectKept = (perfect: Perfect): Hash => {
  const key = `${perfect.height} ${perfect.index}`;
  const hash = perfectByPlace.get(key) ?? perfectOf(hashes)(perfect);
  perfectByPlace.set(key, hash);
  return hash;
};
const proven = (plan: ProofPlan): Hash[] =>
  plan.map((trees) => foldRight(trees.map(perfectKept), tree));

const rootBySize = Array.from({ length: sizeMax + 1 }, (_each, size) =>
  foldRight(rootPlan(BigInt(size)).map(perfectKept), tree),
);
const rootAt = (size: number): Hash => rootBySize[size] ?? "";

describe("RFC 6962's test tree", () => {
  const known = leaves.map((leaf) => tree.leaf(leaf));

  for (const [size, root] of roots.entries()) {
    test(`rootOf() ${size} leaves is the published root`, () => {
      expect(rootOf(known.slice(0, size), tree)).toBe(root);
    });
  }

  for (const { index, size, path } of inclusions) {
    test(`inclusion of leaf ${index} in ${size} is the published path`, () => {
      expect(made(inclusionPlan(index, size), known)).toEqual(path);
      const [leaf = "", root = ""] = [known[Number(index)], roots[Number(size)]];
      expect(verifyInclusion({ index, size, leaf, root, path }, tree)).toBe(true);
    });
  }

  for (const { oldSize, size, path } of consistencies) {
    test(`consistency of ${oldSize} with ${size} is the published path`, () => {
      expect(made(consistencyPlan(oldSize, size), known)).toEqual(path);
      const [oldRoot = "", root = ""] = [roots[Number(oldSize)], roots[Number(size)]];
      expect(verifyConsistency({ oldSize, oldRoot, size, root, path }, tree)).toBe(true);
    });
  }
});

describe(`every size up to ${sizeMax}`, () => {
  test("the frontier, the plan and the definition give the same root", () => {
    const frontier = new Frontier(tree);
    for (const [before, leaf] of hashes.entries()) {
      frontier.append(leaf);
      const root = rfc.mth(entries.slice(0, before + 1)).toString("hex");
      expect(frontier.root()).toBe(root);
      expect(rootAt(before + 1)).toBe(root);
    }
  });

  test("inclusion of every leaf verifies here and by the definition", () => {
    const failed: string[] = [];
    for (let size = 1; size <= sizeMax; size += 1) {
      const root = rootAt(size);
      for (let index = 0; index < size; index += 1) {
        const path = proven(inclusionPlan(BigInt(index), BigInt(size)));
        const leaf = hashes[index] ?? "";
        const inclusion = { index: BigInt(index), size: BigInt(size), leaf, root, path };
        const other = rfc.rootByPath(Buffer.from(leaf, "hex"), { index, size }, bytes(path));
        const isGood = verifyInclusion(inclusion, tree) && other?.toString("hex") === root;
        failed.push(...(isGood ? [] : [`${index} of ${size}`]));
      }
    }
    expect(failed).toEqual([]);
  });

  test("consistency of every pair of sizes verifies here and by the definition", () => {
    const failed: string[] = [];
    for (let size = 1; size <= sizeMax; size += 1) {
      for (let old = 1; old <= size; old += 1) {
        const path = proven(consistencyPlan(BigInt(old), BigInt(size)));
        const [oldRoot, root] = [rootAt(old), rootAt(size)];
        const isHere = verifyConsistency(
          { oldSize: BigInt(old), oldRoot, size: BigInt(size), root, path },
          tree,
        );
        const other = rfc.rootsByProof({ old, size }, Buffer.from(oldRoot, "hex"), bytes(path));
        const isThere =
          other?.old.toString("hex") === oldRoot && other.whole.toString("hex") === root;
        failed.push(...(isHere && isThere ? [] : [`${old} in ${size}`]));
      }
    }
    expect(failed).toEqual([]);
  });

  test("paths are those of the definition", () => {
    fc.assert(
      fc.property(place, ({ index, size }) => {
        const some = entries.slice(0, size);
        expect(proven(inclusionPlan(BigInt(index), BigInt(size)))).toEqual(
          rfc.path(index, some).map((each) => each.toString("hex")),
        );
        expect(proven(consistencyPlan(BigInt(index + 1), BigInt(size)))).toEqual(
          rfc.proof(index + 1, some).map((each) => each.toString("hex")),
        );
      }),
    );
  });
});

describe("what is not proven", () => {
  test("verifyInclusion() refuses one flipped bit in leaf, root or path, and another index", () => {
    fc.assert(
      fc.property(place, fc.nat(), fc.nat(255), ({ index, size }, which, bit) => {
        const path = proven(inclusionPlan(BigInt(index), BigInt(size)));
        const [leaf, root] = [hashes[index] ?? "", rootAt(size)];
        const good = { index: BigInt(index), size: BigInt(size), leaf, root, path };
        expect(verifyInclusion(good, tree)).toBe(true);
        const wrong = [
          { ...good, leaf: flipped(leaf, bit) },
          { ...good, root: flipped(root, bit) },
          {
            ...good,
            path: path.map((each, at) => (at === which % path.length ? flipped(each, bit) : each)),
            index: path.length === 0 ? 1n : good.index,
          },
          ...[1, 2, 4, 8, 16, 32, 64, 128, 256].map((mask) => ({
            ...good,
            index: BigInt(index ^ mask),
          })),
          { ...good, path: [...path, root] },
          { ...good, path: [root, ...path] },
          { ...good, index: -1n },
          { ...good, size: 0n },
        ];
        expect(wrong.filter((each) => verifyInclusion(each, tree))).toEqual([]);
      }),
    );
  });

  test("verifyConsistency() refuses one flipped bit in roots or path, and hashes too many", () => {
    fc.assert(
      fc.property(place, fc.nat(), fc.nat(255), ({ index, size }, which, bit) => {
        const old = index + 1;
        const path = proven(consistencyPlan(BigInt(old), BigInt(size)));
        const [oldRoot, root] = [rootAt(old), rootAt(size)];
        const good = { oldSize: BigInt(old), oldRoot, size: BigInt(size), root, path };
        expect(verifyConsistency(good, tree)).toBe(true);
        const at = which % Math.max(1, path.length);
        const wrong = [
          { ...good, oldRoot: flipped(oldRoot, bit) },
          { ...good, root: flipped(root, bit) },
          { ...good, path: [...path, root] },
          { ...good, oldSize: good.size + 1n },
          ...path.map((each, place) => ({ ...good, path: path.with(place, flipped(each, bit)) })),
          ...path.slice(0, 1).map(() => ({ ...good, path: path.toSpliced(at, 1) })),
        ];
        expect(wrong.filter((each) => verifyConsistency(each, tree))).toEqual([]);
      }),
    );
  });

  test("an empty tree begins every tree, and has one root", () => {
    const empty = { oldSize: 0n, oldRoot: tree.empty, path: [] };
    expect(verifyConsistency({ ...empty, size: 3n, root: rootAt(3) }, tree)).toBe(true);
    expect(verifyConsistency({ ...empty, size: 0n, root: tree.empty }, tree)).toBe(true);
    expect(verifyConsistency({ ...empty, size: 0n, root: rootAt(1) }, tree)).toBe(false);
    expect(
      verifyConsistency({ ...empty, size: 3n, root: rootAt(3), path: [rootAt(1)] }, tree),
    ).toBe(false);
  });
});

describe("tiles", () => {
  test("an append completes a tile at each multiple of 256, and one of the next level at 65,536", () => {
    const count = 65_536 + 300;
    const many = Array.from({ length: count }, (_each, index) => tree.leaf(`${index}`));
    const edge = new TileEdge(new Frontier(tree));
    const full: Tile[] = [];
    for (const leaf of many)
      full.push(...edge.append(leaf).map((each) => ({ ...each, hashes: [...each.hashes] })));
    expect(full.length).toBe(258);
    expect(full.filter(({ level }) => level === 1).map(({ index }) => index)).toEqual([0n]);
    const low = full.filter(({ level }) => level === 0);
    expect(low.map(({ index }) => index)).toEqual(low.map((_each, at) => BigInt(at)));
    expect(low.flatMap((each) => each.hashes)).toEqual(many.slice(0, 257 * 256));
    expect(full.find(({ level }) => level === 1)?.hashes).toEqual(
      low.slice(0, 256).map((each) => perfectRoot(each.hashes, tree)),
    );
    expect(edge.root()).toBe(rootOf(many, tree));
  });

  test("a perfect tree's hashes are in one tile", () => {
    expect(sliceOf({ height: 0, index: 300n })).toEqual({ level: 0, tile: 1n, from: 44, count: 1 });
    expect(sliceOf({ height: 7, index: 3n })).toEqual({
      level: 0,
      tile: 1n,
      from: 128,
      count: 128,
    });
    expect(sliceOf({ height: 8, index: 5n })).toEqual({ level: 1, tile: 0n, from: 5, count: 1 });
    expect(sliceOf({ height: 17, index: 129n })).toEqual({ level: 2, tile: 1n, from: 2, count: 2 });
  });

  const paths: readonly (readonly [level: number, index: bigint, width: number, path: string])[] = [
    [0, 0n, 256, "tile/0/000"],
    [3, 1_234_067n, 256, "tile/3/x001/x234/067"],
    [0, 1_234n, 256, "tile/0/x001/234"],
    [1, 273n, 112, "tile/1/273.p/112"],
  ];
  for (const [level, index, width, path] of paths) {
    test(`tilePath() of level ${level}, index ${index}, width ${width} is ${path}`, () => {
      expect(tilePath(level, index, width)).toBe(path);
    });
  }
});

const place = fc
  .integer({ min: 1, max: sizeMax })
  .chain((size) => fc.record({ size: fc.constant(size), index: fc.nat(size - 1) }));

function bytes(path: readonly Hash[]): Buffer[] {
  return path.map((each) => Buffer.from(each, "hex"));
}

function flipped(hash: Hash, bit: number): Hash {
  const changed = Buffer.from(hash, "hex");
  changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return changed.toString("hex");
}

import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { signCheckpoint } from "../../services/core/settlement/proof/checkpoint.ts";
import { perfectRoot } from "../../services/core/settlement/proof/tiles.ts";
import { rootOf, treeHash } from "../../services/core/settlement/proof/merkle.ts";
import { noteKey } from "../../services/core/settlement/proof/note.ts";
import { openLeafCopy, readLeafCopy, type CopiedLeaf } from "../../services/io/leaf-copy.ts";
import { newSigningKey, sha256 } from "../../services/io/signing.ts";
import { collected } from "../collected.ts";

const north = "vendor:northgrid";
const origin = "grid.example/tokengrid/vendor/northgrid";
const tree = treeHash(sha256);
const signing = newSigningKey();
const key = noteKey({ name: origin, type: "signature", publicKey: signing.publicKey }, sha256);
const folder = (): string => mkdtempSync(join(tmpdir(), "copy-"));

function leaf(number: number): CopiedLeaf {
  return { kind: "usage", ref: `a${number}:0`, text: `{"record_id":"a${number}:0","名":"\\n"}` };
}

const leaves = (from: number, to: number): CopiedLeaf[] =>
  Array.from({ length: to - from }, (_each, at) => leaf(from + at));

/** What the log says of its first leaves. */
function note(size: number): string {
  const root = rootOf(
    leaves(0, size).map(({ text }) => tree.leaf(text)),
    tree,
  );
  return signCheckpoint({ origin, size: BigInt(size), root, extensions: [] }, key, signing.sign);
}

async function all(path: string, from = 0n): Promise<CopiedLeaf[]> {
  const copy = await readLeafCopy(path);
  return collected(copy.leaves(from));
}

describe("LeafCopy", () => {
  test("gives back what was kept, however it came and however often it was opened", async () => {
    const steps = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(steps, fc.bigInt({ min: 0n, max: 900n }), async (sizes, from) => {
        const path = folder();
        let size = 0;
        for (const step of sizes) {
          const copy = await openLeafCopy(path, north);
          await copy.append(leaves(size, size + step));
          size += step;
          await copy.keep(note(size));
          await copy.close();
        }
        expect(await all(path, from)).toEqual(leaves(0, size).slice(Number(from)));
      }),
      { numRuns: 15 },
    );
  });

  test("what came after the last checkpoint does not count, and is written over", async () => {
    const path = folder();
    const first = await openLeafCopy(path, north);
    await first.append(leaves(0, 250));
    await first.keep(note(250));
    await first.append(leaves(1_000, 1_020));
    await first.close();
    const bundle = join(path, "leaves", "000.jsonl");
    appendFileSync(bundle, '{"kind":"usage","re');
    const again = await openLeafCopy(path, north);
    expect(again.size).toBe(250n);
    await again.append(leaves(250, 600));
    await again.keep(note(600));
    await again.close();
    expect(await all(path)).toEqual(leaves(0, 600));
  });

  test("its tiles are those of C2SP tlog-tiles: whole ones, and the begun one of each level", async () => {
    const path = folder();
    const copy = await openLeafCopy(path, north);
    await copy.append(leaves(0, 600));
    await copy.keep(note(600));
    await copy.close();
    const hashes = leaves(0, 600).map(({ text }) => tree.leaf(text));
    const hex = (name: string): string => readFileSync(join(path, "tile", name)).toString("hex");
    expect(hex("0/000")).toBe(hashes.slice(0, 256).join(""));
    expect(hex("0/001")).toBe(hashes.slice(256, 512).join(""));
    expect(hex("0/002.p/88")).toBe(hashes.slice(512).join(""));
    expect(hex("1/000.p/2")).toBe(
      [perfectRoot(hashes.slice(0, 256), tree), perfectRoot(hashes.slice(256, 512), tree)].join(""),
    );
    expect(readdirSync(join(path, "tile")).toSorted()).toEqual(["0", "1"]);
    expect(readFileSync(join(path, "checkpoint"), "utf8")).toBe(note(600));
  });

  test("a checkpoint of other leaves is not kept", async () => {
    const path = folder();
    const copy = await openLeafCopy(path, north);
    await copy.append(leaves(0, 5));
    await expect(copy.keep(note(6))).rejects.toThrow("expected a checkpoint of the 5 leaves");
    expect(existsSync(join(path, "checkpoint"))).toBe(false);
    await copy.close();
  });

  test("a leaf that was changed on disk is found when the copy is opened", async () => {
    const path = folder();
    const copy = await openLeafCopy(path, north);
    await copy.append(leaves(0, 5));
    await copy.keep(note(5));
    await copy.close();
    const bundle = join(path, "leaves", "000.jsonl");
    writeFileSync(bundle, readFileSync(bundle, "utf8").replace('a3:0\\"', 'a4:0\\"'));
    await expect(readLeafCopy(path)).rejects.toThrow("its leaves are not those of its checkpoint");
  });

  test("a folder is the copy of one log, or none at all", async () => {
    const path = folder();
    await expect(readLeafCopy(path)).rejects.toThrow("expected a copy of a log, found none");
    await (await openLeafCopy(path, north)).close();
    await expect(openLeafCopy(path, "vendor:other")).rejects.toThrow(
      "found one of vendor:northgrid",
    );
  });
});

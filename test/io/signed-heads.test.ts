import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sha256 } from "../../services/io/signing.ts";
import {
  openSignedHeads,
  SignedHeadsError,
  type SignedHead,
} from "../../services/io/signed-heads.ts";

const file = (): string => join(mkdtempSync(join(tmpdir(), "heads-")), "signed-heads");

function head(log: string, size: bigint): SignedHead {
  return { log, size, root: sha256(`${log} ${size}`) };
}

const north = "vendor:northgrid";
const south = "vendor:southgrid";

describe("openSignedHeads", () => {
  test("says after a restart what was kept last of each log; only its owner may read the file", async () => {
    const path = file();
    const heads = await openSignedHeads(path);
    await heads.keep([head(north, 3n), head(south, 1n)]);
    await heads.keep([head(north, 2n ** 60n)]);
    await heads.close();
    const again = await openSignedHeads(path);
    expect([again.head(north), again.head(south)]).toEqual([
      head(north, 2n ** 60n),
      head(south, 1n),
    ]);
    expect([again.logs(), again.head("tenant:acme")]).toEqual([[north, south], undefined]);
    expect((statSync(path).mode & 0o777).toString(8)).toBe("600");
    await again.close();
  });

  test("cut anywhere it still says what was kept before the last line (C11)", async () => {
    const path = file();
    const first = await openSignedHeads(path);
    await first.keep([head(north, 3n)]);
    await first.keep([head(north, 4n), head(south, 9n)]);
    await first.close();
    const bytes = readFileSync(path);
    const last = bytes.lastIndexOf(0x0a, bytes.length - 2) + 1;
    for (let length = last; length < bytes.length; length += 1) {
      writeFileSync(path, bytes);
      truncateSync(path, length);
      const heads = await openSignedHeads(path);
      expect([heads.head(north), heads.head(south)]).toEqual([head(north, 3n), undefined]);
      await heads.keep([head(north, 7n)]);
      await heads.close();
      const next = await openSignedHeads(path);
      expect(next.head(north)).toEqual(head(north, 7n));
      await next.close();
    }
  });

  test("a bit that flipped in a line before the last is found out", async () => {
    const path = file();
    const heads = await openSignedHeads(path);
    await heads.keep([head(north, 3n)]);
    await heads.keep([head(north, 4n)]);
    await heads.close();
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace('"3"', '"2"'));
    await expect(openSignedHeads(path)).rejects.toThrow(
      /signed-heads, line 2: expected signed heads/,
    );
  });

  test("less than before or another root is never kept, and nothing after it", async () => {
    const heads = await openSignedHeads(file());
    await heads.keep([head(north, 3n)]);
    await heads.keep([head(north, 3n)]);
    await expect(heads.keep([head(north, 2n)])).rejects.toThrow(SignedHeadsError);
    await expect(heads.keep([head(north, 4n)])).rejects.toThrow("3 leaves with root");
    await heads.close();
  });

  test("a long file is written anew, with the last of each log", async () => {
    const path = file();
    const most = 2_000;
    const heads = await openSignedHeads(path, most);
    for (let size = 1n; size <= 100n; size += 1n) await heads.keep([head(north, size)]);
    expect(statSync(path).size).toBeLessThan(most + 300);
    await heads.close();
    const again = await openSignedHeads(path, most);
    expect(again.head(north)).toEqual(head(north, 100n));
    await again.close();
  });

  test("whoever keeps at once is kept in turn", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 12 }),
        async (steps) => {
          const path = file();
          const heads = await openSignedHeads(path, 400);
          let size = 0n;
          const sizes = steps.map((step) => (size += BigInt(step)));
          await Promise.all(sizes.map(async (each) => heads.keep([head(north, each)])));
          await heads.close();
          const again = await openSignedHeads(path);
          expect(again.head(north)?.size ?? 0n).toBe(size);
          await again.close();
        },
      ),
      { numRuns: 20 },
    );
  });

  test("garbage behind the last line is what was torn", async () => {
    const path = file();
    const heads = await openSignedHeads(path);
    await heads.keep([head(north, 3n)]);
    await heads.close();
    appendFileSync(path, "\0\0\0\0\n");
    const again = await openSignedHeads(path);
    expect(again.head(north)).toEqual(head(north, 3n));
    await again.close();
  });
});

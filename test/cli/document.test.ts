import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readText } from "../../services/cli/document.ts";
import { exitCodeOf } from "../../services/cli/outcome.ts";

const folder = mkdtempSync(join(tmpdir(), "tokengrid-document-"));
afterAll(() => rmSync(folder, { recursive: true }));

function written(bytes: Uint8Array | string): string {
  const path = join(folder, "text.yaml");
  writeFileSync(path, bytes);
  return path;
}

/** Complaint and exit code of reading it. */
function refusal(path: string): readonly [string, number] {
  try {
    return [readText(path), 0];
  } catch (error) {
    return [error instanceof Error ? error.message : "", exitCodeOf(error)];
  }
}

test("text in UTF-8 is read, with or without a byte order mark", () => {
  expect(readText(written("名: a\r\n"))).toBe("名: a\r\n");
  expect(readText(written("\uFEFF名: a\n"))).toBe("名: a\n");
});

test.for([
  ["GBK", Buffer.from([0xb6, 0xab, 0xca, 0xfd])],
  ["UTF-16", Buffer.from([0xff, 0xfe, 0x61, 0x00])],
  ["no text at all", Buffer.from([0x80, 0x00, 0xff])],
] as const)("%s is refused, and it is said what is expected", ([, bytes]) => {
  const path = written(bytes);
  expect(refusal(path)).toEqual([`${path}:\n  expected text in UTF-8`, 2]);
});

test("a folder and a file that is not there are named", () => {
  expect(refusal(folder)).toEqual([`${folder}: expected a file, found a folder`, 1]);
  const none = join(folder, "none.yaml");
  expect(refusal(none)).toEqual([expect.stringContaining(none), 1]);
});

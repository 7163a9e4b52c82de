/** The gate's own tests: it has to close on a test that fails, a file that breaks and a test that did not run. */

import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const run = promisify(execFile);
const mayNotSkip = { TOKENGRID_TEST_NO_SKIP: "1" };

const passes = 'test("passes", () => {});';
const fails = 'test("fails", () => { throw new Error("no"); });';
const skips = 'test.skipIf(true)("waits for a server", () => {});';
const breaks = 'throw new Error("cannot be loaded");';

interface Case {
  readonly source: string;
  readonly env: Readonly<Record<string, string>>;
  readonly line: string;
  readonly isClosed: boolean;
}

const cases: Readonly<Record<string, Case>> = {
  "all that ran passed": { source: passes, env: {}, line: "1 passed, 0 failed", isClosed: false },
  "one test failed": {
    source: passes + fails,
    env: {},
    line: "1 passed, 1 failed",
    isClosed: true,
  },
  "a file could not be loaded": {
    source: breaks,
    env: {},
    line: "0 passed, 1 failed",
    isClosed: true,
  },
  "a test did not run": {
    source: passes + skips,
    env: {},
    line: "1 passed, 0 failed, 1 skipped",
    isClosed: false,
  },
  "a test did not run and must": {
    source: passes + skips,
    env: mayNotSkip,
    line: "1 passed, 1 failed",
    isClosed: true,
  },
};

for (const [name, { source, env, line, isClosed }] of Object.entries(cases)) {
  test(`Tally says "${line}" when ${name}`, async () => {
    const { code, text, tally } = await tallied(source, env);
    expect({ tally, isClosed: code !== 0, isPrinted: text.split("\n").includes(line) }).toEqual({
      tally: `${line}\n`,
      isClosed,
      isPrinted: true,
    });
  });
}

/** A run of one file in a folder of its own. */
async function tallied(source: string, env: Readonly<Record<string, string>>) {
  const folder = mkdtempSync(join(tmpdir(), "tokengrid-tally-"));
  symlinkSync(resolve("node_modules"), join(folder, "node_modules"));
  const tallyPath = join(folder, "tally.txt");
  writeFileSync(join(folder, "one.test.ts"), `import { test } from "vitest";\n${source}\n`);
  writeFileSync(
    join(folder, "vitest.config.ts"),
    `import { Tally } from ${JSON.stringify(resolve("test/tally.ts"))};
     export default { test: { reporters: [new Tally()] } };`,
  );
  const vitest = resolve("node_modules/vitest/vitest.mjs");
  const own = { PATH: process.env["PATH"] ?? "", TOKENGRID_TEST_TALLY: tallyPath, ...env };
  const ended = await run(process.execPath, [vitest, "run"], { cwd: folder, env: own }).then(
    ({ stdout }) => ({ code: 0, text: stdout }),
    (error: { code: number; stdout: string }) => ({ code: error.code, text: error.stdout }),
  );
  const tally = readFileSync(tallyPath, "utf8");
  rmSync(folder, { recursive: true });
  return { ...ended, tally };
}

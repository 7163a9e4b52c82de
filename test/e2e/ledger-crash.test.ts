import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openPostgres, whyNoPostgres, type Postgres } from "../fixtures/postgres.ts";
import { booksOf, killLedger, runOnFullDisk, runUncut } from "./ledger-kills.ts";

const seed = Number(process.env["SEED"] ?? 20261121);
const title = `killed at any moment, it loses nothing it said it has, and doubles nothing (SEED=${seed})`;
const timeoutMs = 240_000;

test(
  `a ledger in a file, ${title}`,
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "tokengrid-crash-"));
    const [target, uncut] = [join(folder, "killed.sqlite"), join(folder, "uncut.sqlite")];
    const crashServer = () => Promise.reject(new Error("a file has no server"));
    const mistakes = await killLedger({ seed, kills: 5, target, victims: ["writer"], crashServer });
    expect(mistakes).toEqual([]);
    expect(await runUncut(uncut)).toBe("done");
    expect(await booksOf(target)).toEqual(await booksOf(uncut));
    rmSync(folder, { recursive: true });
  },
  timeoutMs,
);

test(
  "a ledger in a file that cannot grow stops, and has what it said it has",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "tokengrid-full-"));
    const target = join(folder, "full.sqlite");
    const { lines, durable, mistakes } = await runOnFullDisk(target, 2_048);
    expect(mistakes).toEqual([]);
    expect(durable).toBeGreaterThan(0);
    // What is on disk is not known, so nothing is tried again.
    expect(lines.at(-1)).toBe("then LedgerStoppedError");
    // There is room again.
    expect(await runUncut(target)).toBe("done");
    expect((await booksOf(target)).mistakes).toEqual([]);
    rmSync(folder, { recursive: true });
  },
  timeoutMs,
);

const whyNot = whyNoPostgres();
const note = whyNot === undefined ? "" : ` (skipped: ${whyNot})`;

describe.skipIf(whyNot !== undefined)(`a ledger in a real PostgreSQL${note}`, () => {
  let postgres: Postgres;

  beforeAll(async () => {
    postgres = await openPostgres();
  });

  afterAll(() => postgres.close());

  test(
    title,
    async () => {
      const [target, uncut] = [await postgres.url("killed"), await postgres.url("uncut")];
      const { victims } = postgres;
      const crashServer = () => postgres.crash();
      const mistakes = await killLedger({ seed, kills: 4, target, victims, crashServer });
      expect(mistakes).toEqual([]);
      expect(await runUncut(uncut)).toBe("done");
      expect(await booksOf(target)).toEqual(await booksOf(uncut));
    },
    timeoutMs,
  );
});

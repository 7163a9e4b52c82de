import {
  appendFileSync,
  mkdtempSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CountLog } from "../../services/agent/count-log.ts";
import type { OwnCount } from "../../services/core/settlement/claims/own-count.ts";
import type { ModelId, PoolId } from "../../services/core/units.ts";
import { openLog } from "../../services/io/log.ts";

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-count-log-"));
  path = join(folder, "attempts.jsonl");
});

afterEach(() => rmSync(folder, { recursive: true }));

function line(attempt: string, changes: object = {}): string {
  return `${JSON.stringify({
    attempt_id: attempt,
    model_id: "Qwen/Qwen3-32B",
    in_uncached: 60,
    in_cache_read: 40,
    out_response: 50,
    opened_at: "2026-11-20T10:00:00.000001+08:00",
    closed_at: "2026-11-20T02:00:01Z",
    upstream: "10.0.0.7",
    ...changes,
  })}\n`;
}

/** Follows the log from where it was, with a bound on what one look gives. */
function follower() {
  let place: string | undefined;
  return async (max = 1_000): Promise<OwnCount[]> => {
    const source = new CountLog({
      path,
      pool: "p1" as PoolId,
      modelByEngineName: new Map([["Qwen/Qwen3-32B", "qwen3-32b" as ModelId]]),
      log: openLog({ role: "test", level: "silent" }),
    });
    const all: OwnCount[] = [];
    for (;;) {
      const read = await source.read(place, max);
      if (read.place === place && read.counts.length === 0) return all;
      all.push(...read.counts);
      ({ place } = read);
    }
  };
}

function names(counts: readonly OwnCount[]): string[] {
  return counts.map(({ attempt }) => attempt);
}

test("a line is a count in the operator's words", async () => {
  writeFileSync(path, line("a1") + line("a2", { pool_id: "p2", rev: 1, model_id: "m" }));
  const [first, second] = await follower()();
  expect(first).toEqual({
    attempt: "a1",
    rev: 0n,
    pool: "p1",
    model: "qwen3-32b",
    tokens: { uncachedInput: 60n, cacheRead: 40n, cacheWrite: 0n, response: 50n, reasoning: 0n },
    openedUs: 1_795_140_000_000_001n,
    firstByteUs: undefined,
    closedUs: 1_795_140_001_000_000n,
  });
  expect([second?.pool, second?.rev, second?.model]).toEqual(["p2", 1n, "m"]);
});

const wrong: Readonly<Record<string, string>> = {
  "no JSON": "{\n",
  "a number that is not whole": line("x", { out_response: 1.5 }),
  "a count below 0": line("x", { in_uncached: -1 }),
  "no zone": line("x", { opened_at: "2026-11-20T10:00:00" }),
  "a day that does not exist": line("x", { opened_at: "2026-02-30T10:00:00Z" }),
  "no attempt": line("x", { attempt_id: null }),
  "a name that is too long": line("x".repeat(129)),
  "an empty line": "\n",
  "more than a megabyte": line("x", { note: "y".repeat(3 * 1_048_576) }),
};

for (const [what, text] of Object.entries(wrong)) {
  test(`a line with ${what} is passed over, and the next is read`, async () => {
    writeFileSync(path, line("a1") + text + line("a2"));
    expect(names(await follower()())).toEqual(["a1", "a2"]);
  });
}

test("a file that is not there yet, or was emptied, is read from its start", async () => {
  const read = follower();
  expect(await read()).toEqual([]);
  writeFileSync(path, line("a1") + line("a2"));
  expect(names(await read())).toEqual(["a1", "a2"]);
  truncateSync(path);
  expect(await read()).toEqual([]);
  appendFileSync(path, line("a3"));
  expect(names(await read())).toEqual(["a3"]);
});

test("a file that is renamed is read to its end, and then the new one", async () => {
  const read = follower();
  writeFileSync(path, line("a1"));
  expect(names(await read())).toEqual(["a1"]);
  appendFileSync(path, line("a2"));
  renameSync(path, `${path}.1`);
  // The proxy has not been told yet, and goes on in the old one.
  writeFileSync(path, "");
  expect(names(await read())).toEqual(["a2"]);
  appendFileSync(`${path}.1`, line("a3"));
  appendFileSync(path, line("b1"));
  expect(names(await read())).toEqual(["a3", "b1"]);
  renameSync(path, `${path}.2`);
  expect(await read()).toEqual([]);
  writeFileSync(path, line("c1"));
  rmSync(`${path}.2`);
  expect(names(await read())).toEqual(["c1"]);
});

test("a file that was renamed twice in between is not passed over", async () => {
  const read = follower();
  writeFileSync(path, line("a1"));
  expect(names(await read())).toEqual(["a1"]);
  appendFileSync(path, line("a2"));
  for (const [file, attempt, second] of [
    [`${path}.2`, "b1", 1_000],
    [`${path}.1`, "c1", 2_000],
  ] as const) {
    utimesSync(path, second, second);
    renameSync(path, file);
    writeFileSync(path, line(attempt));
  }
  expect(names(await read())).toEqual(["a2", "b1", "c1"]);
});

test("however it is written and read, each attempt is counted once and in order", async () => {
  const step = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({ kind: fc.constant("write" as const), bytes: fc.nat(400) }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("read" as const),
        max: fc.integer({ min: 1, max: 5 }),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ kind: "rotate" as const }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      rmSync(folder, { recursive: true });
      folder = mkdtempSync(join(tmpdir(), "tokengrid-count-log-"));
      path = join(folder, "attempts.jsonl");
      const read = follower();
      const seen: string[] = [];
      let [written, pending, files] = [0, "", 0];
      const write = (bytes: number): void => {
        while (pending.length < bytes) pending += line(`a${written++}`);
        appendFileSync(path, pending.slice(0, bytes));
        pending = pending.slice(bytes);
      };
      const perform: Readonly<
        Record<string, (step: { kind: string; bytes?: number; max?: number }) => Promise<void>>
      > = {
        write: async ({ bytes = 0 }) => write(bytes),
        read: async ({ max = 1 }) => {
          seen.push(...names(await read(max)));
        },
        // A proxy ends its line in the old file, and writes to the new one at once.
        rotate: async () => {
          write(pending.length);
          renameSync(path, `${path}.${files++}`);
          write(200);
          seen.push(...names(await read()));
        },
      };
      // The agent was there before the first rename.
      write(0);
      await read();
      for (const each of steps) await perform[each.kind]?.(each);
      write(pending.length);
      seen.push(...names(await read()));
      expect(seen).toEqual(Array.from({ length: written }, (_, n) => `a${n}`));
    }),
    { numRuns: 60 },
  );
});

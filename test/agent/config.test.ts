import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { CountLog } from "../../services/agent/count-log.ts";
import { configSchema } from "../../services/agent/main.ts";
import type { PoolId } from "../../services/core/units.ts";
import { readConfig } from "../../services/io/config.ts";
import { openLog } from "../../services/io/log.ts";

const folder = mkdtempSync(join(tmpdir(), "tokengrid-agent-config-"));
afterAll(() => rmSync(folder, { recursive: true }));

const shipped = readFileSync("deploy/config/agent.yaml", "utf8");

test("the settings that are shipped are taken, also those that are put in by taking a # away", () => {
  const whole = shipped.replaceAll(/^# (claims:|witness:|  (?:#|\w+:) .*)$/gm, "$1");
  writeFileSync(join(folder, "agent.yaml"), whole);
  const { claims, witness } = readConfig(join(folder, "agent.yaml"), configSchema);
  expect(claims).toMatchObject({ kid: "vendor:northgrid/2026", intervalMs: 5_000 });
  expect(witness).toMatchObject({ logId: "vendor:northgrid", everyLeaf: false });
});

test("the line of a log that the settings show is a count", async () => {
  const [, shown = ""] = /^# {3}(\{"attempt_id"[^]*?\})$/m.exec(shipped) ?? [];
  const path = join(folder, "attempts.jsonl");
  writeFileSync(path, `${shown.replaceAll(/\n# +/g, "")}\n`);
  const log = openLog({ role: "test", level: "silent" });
  const source = new CountLog({ path, pool: "p1" as PoolId, modelByEngineName: new Map(), log });
  const { counts } = await source.read(undefined, 10);
  expect(counts.map(({ tokens }) => tokens)).toEqual([
    { uncachedInput: 812n, cacheRead: 200n, cacheWrite: 0n, response: 57n, reasoning: 0n },
  ]);
});

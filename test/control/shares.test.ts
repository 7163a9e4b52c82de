import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { inheritedUntil, markNoLeases } from "../../services/control/shares.ts";

const root = mkdtempSync(join(tmpdir(), "tokengrid-shares-"));
afterAll(() => rmSync(root, { recursive: true }));

const leaseMs = 30_000;
const stoppedAt = Date.parse("2026-11-21T12:00:00Z");

/** The journal folder of a run that wrote last at that time. */
function stoppedRun(): string {
  const folder = mkdtempSync(join(root, "run-"));
  for (const [name, at] of [
    ["0.seg", stoppedAt - 90_000],
    ["1.seg", stoppedAt],
  ] as const) {
    writeFileSync(join(folder, name), "");
    utimesSync(join(folder, name), at / 1_000, at / 1_000);
  }
  return folder;
}

test("a first run inherits no leases", async () => {
  expect(await inheritedUntil(join(root, "none"), leaseMs)).toBeLessThanOrEqual(leaseMs);
});

test("after a crash leases may be alive for one lease from the last sign of life", async () => {
  expect(await inheritedUntil(stoppedRun(), leaseMs)).toBe(stoppedAt + leaseMs);
});

test("after a run that ended with no leases none are alive, and the mark counts once", async () => {
  const folder = stoppedRun();
  await markNoLeases(folder);
  expect(await inheritedUntil(folder, leaseMs)).toBe(0);
  expect(await inheritedUntil(folder, leaseMs)).toBe(stoppedAt + leaseMs);
});

import { readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Instant } from "../core/units.ts";

/**
 * The part of every pool that this replica may grant: the whole, as there is one replica. Several divide a pool so that
 * together they never exceed it, even when they cannot hear each other.
 */
export const shareOfOnlyReplica = 1;

const markName = "no-leases";

/** Until when leases of the run before may be alive: granting earlier could exceed a pool. */
export async function inheritedUntil(folder: string, leaseMs: number): Promise<Instant> {
  const mark = join(folder, markName);
  const hasMark = (await modifiedAt(mark)) !== undefined;
  await rm(mark, { force: true });
  return hasMark ? 0 : (await lastWriteAt(folder)) + leaseMs;
}

/** Says that no lease outlives this run. */
export async function markNoLeases(folder: string): Promise<void> {
  await writeFile(join(folder, markName), "", { flush: true });
}

/** The run before wrote its journal until it ended; 0 if there was none. */
async function lastWriteAt(folder: string): Promise<Instant> {
  if ((await modifiedAt(folder)) === undefined) return 0;
  const files = await readdir(folder);
  const times = await Promise.all(files.map((file) => modifiedAt(join(folder, file))));
  return Math.max(0, ...times.map((at) => at ?? 0));
}

async function modifiedAt(path: string): Promise<Instant | undefined> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

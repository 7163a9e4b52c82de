import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Failure } from "../outcome.ts";

/** Everything that `dev` keeps, by what it is for. Only its owner may read it. */
export interface DataFolder {
  readonly path: string;
  readonly registry: string;
  readonly ledger: string;
  readonly journal: string;
  readonly spool: string;
  readonly keys: string;
  /** What each simulated vendor keeps for itself, in a folder of its name. */
  readonly vendors: string;
  /** What settlement signs with. */
  readonly secrets: string;
  readonly devKey: string;
  readonly operatorKey: string;
}

export function dataFolder(path: string): DataFolder {
  const root = resolve(path);
  return {
    path: root,
    registry: join(root, "registry.sqlite"),
    ledger: join(root, "ledger.sqlite"),
    journal: join(root, "journal"),
    spool: join(root, "spool"),
    keys: join(root, "keys"),
    vendors: join(root, "vendors"),
    secrets: join(root, "secrets"),
    devKey: join(root, "dev.key"),
    operatorKey: join(root, "operator.key"),
  };
}

export function createDataFolder(path: string): DataFolder {
  const folder = dataFolder(path);
  for (const each of [folder.path, folder.journal, folder.spool, folder.keys]) {
    mkdirSync(each, { recursive: true, mode: 0o700 });
  }
  return folder;
}

/** For commands that look at what `dev` has made, and should not make it themselves. */
export function existingFolder(path: string): string {
  if (existsSync(join(path, "registry.sqlite"))) return path;
  throw new Failure(
    `${resolve(path)}: expected a data folder with registry.sqlite (tokengrid dev makes one, --data names another), found none`,
  );
}

/** A handle that nobody refers to is closed by the collector, and its lock is gone. */
const held = new Set<DatabaseSync>();

/**
 * One instance per folder. The lock is the operating system's, on a file held by SQLite: it ends with the
 * process however that ends, so a stale one cannot exist. The pid beside it is for people.
 */
export function lockFolder({ path }: DataFolder): { unlock(): void } {
  const pidFile = join(path, "dev.pid");
  const database = new DatabaseSync(join(path, "dev.lock"), { timeout: 0 });
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    database.close();
    if (!isLocked(cause)) throw cause;
    const message = `${path}: expected to be alone, found tokengrid dev running with pid ${pidIn(pidFile)}; stop it or choose another folder with --data`;
    throw new Failure(message, { cause });
  }
  writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
  held.add(database);
  return {
    unlock: () => {
      held.delete(database);
      database.close();
    },
  };
}

/** Undefined if no instance holds the folder. */
export function holderOf({ path }: DataFolder): string | undefined {
  if (!existsSync(join(path, "dev.lock"))) return undefined;
  const database = new DatabaseSync(join(path, "dev.lock"), { timeout: 0 });
  try {
    database.exec("BEGIN EXCLUSIVE");
    return undefined;
  } catch (error) {
    if (isLocked(error)) return pidIn(join(path, "dev.pid"));
    throw error;
  } finally {
    database.close();
  }
}

function isLocked(error: unknown): boolean {
  // SQLITE_BUSY; node:sqlite says so in `errcode`.
  return error instanceof Error && "errcode" in error && error.errcode === 5;
}

function pidIn(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8").trim() : "unknown";
}

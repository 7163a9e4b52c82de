import { openPostgresLedger, readPostgresLedger } from "./ledger-postgres.ts";
import { readSqliteLedger } from "./ledger-sqlite.ts";
import type { LedgerStore } from "./ledger-store.ts";
import { openLedgerThread } from "./ledger-thread.ts";

/**
 * Opens or creates the ledger at the path of a file, or at `postgres://…`, and fences off whoever wrote before. A
 * file is written on a thread of its own.
 */
export async function openLedger(target: string): Promise<LedgerStore> {
  return isUrl(target) ? openPostgresLedger(target) : openLedgerThread(target);
}

/** Opens a ledger that is there to look at it, as it is at this moment; nobody is fenced off. */
export async function readLedger(target: string): Promise<LedgerStore> {
  return isUrl(target) ? readPostgresLedger(target) : readSqliteLedger(target);
}

function isUrl(target: string): boolean {
  return /^postgres(?:ql)?:\/\//.test(target);
}

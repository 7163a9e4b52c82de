import {
  kindOfPeriod,
  nameOfPeriod,
  type Period,
} from "../../core/settlement/statements/period.ts";
import { bookedByLeaf } from "../../core/settlement/statements/statement-leaves.ts";
import type { ReconCounts } from "../../core/settlement/statements/statement.ts";
import type { PairId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import type { StatementSources } from "./statements.ts";

/** Leaves that are read at once. */
const pageLeaves = 2_000;

interface Asked {
  readonly pair: PairId;
  readonly period: Period;
}

/** How a period's records and claims compare, as the ledger stood. */
export interface Compared {
  readonly recon: ReconCounts | undefined;
  /** Of the pair's log. */
  readonly size: bigint;
  /** In quarantine, of all pairs. */
  readonly waiting: number;
}

/** Compares before the ledger's turn: it takes minutes for a large day, and nobody else could write meanwhile. */
export async function compared(
  { pair, period }: Asked,
  { store, sources }: { readonly store: LedgerStore; readonly sources: StatementSources },
): Promise<Compared> {
  const size = await sizeOf(store, pair);
  const waiting = await store.waitingCount();
  return { recon: await sources.recon(pair, period), size, waiting };
}

/** Within the turn: whether nothing has come since that belongs to the period. */
export async function isUpToDate(
  { size, waiting }: Compared,
  { pair, period }: Asked,
  store: LedgerStore,
): Promise<boolean> {
  if ((await store.waitingCount()) !== waiting) return false;
  const endIndex = await sizeOf(store, pair);
  for (let index = size; index < endIndex;) {
    const left = endIndex - index;
    const limit = left < BigInt(pageLeaves) ? Number(left) : pageLeaves;
    const page = await store.leaves(pair, index, limit);
    const isOther = page.every(({ kind, text }) => kind === "usage" && isAfter(period, text));
    if (page.length === 0 || !isOther) return false;
    index += BigInt(page.length);
  }
  return true;
}

/** Days are booked into by their names, which are in order; those of a month begin with its name. */
function isAfter(period: Period, text: string): boolean {
  const booking = bookedByLeaf(text)?.booking ?? "";
  const name = nameOfPeriod(period);
  const isOfMonth = kindOfPeriod(period) === "monthly" && booking.startsWith(name);
  return booking > name && !isOfMonth;
}

async function sizeOf(store: LedgerStore, pair: PairId): Promise<bigint> {
  return (await store.logs()).get(pair) ?? 0n;
}

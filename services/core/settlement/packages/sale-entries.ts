import { assert } from "../../assert.ts";
import type { InstantUs, ModelId, PackageId, RegionId, TenantId } from "../../units.ts";
import {
  prepaidAccount,
  receivableAccount,
  walletAccount,
  type AccountId,
  type EntryKind,
  type LedgerEntry,
} from "../ledger/ledger.ts";
import { rateNanoOf, type Draw, type Sale } from "./sale.ts";
import { shareAccount } from "./split.ts";

/** Revenue that pays what is owed by rate, by model. */
export function usageRevenueAccount(model: ModelId): AccountId {
  return `rev:usage:${model}`;
}

/** Units of a package that a department used. */
export function usedAccount(tenant: TenantId, usedBy: string, packageId: PackageId): AccountId {
  return `used:${tenant}:${inAccount(usedBy)}:${packageId}`;
}

/** Units of a package in the wallet of a path. */
export function pathWallet(tenant: TenantId, path: string, packageId: PackageId): AccountId {
  return walletAccount(tenant, inAccount(path), packageId);
}

/** Where units of a slice stand: of a region, for whose use. */
export function sliceAccount(
  region: RegionId,
  tenant: TenantId,
  { usedBy, package: id }: { readonly usedBy: string; readonly package: PackageId },
): AccountId {
  return `slice:${region}:${tenant}:${inAccount(usedBy)}:${id}`;
}

/** Whose use a slice's account is for; undefined: it is none. */
export function usedByOf(account: AccountId): string | undefined {
  const [kind, , , usedBy] = account.split(":");
  return kind === "slice" && usedBy !== undefined ? decodeURIComponent(usedBy) : undefined;
}

/** Departments are named by people; what separates an account's parts, and all but ASCII, is escaped. */
function inAccount(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

/**
 * All entries of a sale, one transaction: the tenant owes what is billed, packages let go of what they released, and
 * the split's parts get it; units go from wallets to what was used. What was held for it is released before.
 */
export function saleEntries(sale: Sale, atUs: InstantUs): LedgerEntry[] {
  const txn = `sale:${sale.record}`;
  const frame = { txn, cause: sale.record, atUs, corrects: "" };
  return numbered(frame, [
    ...moneyOf(sale).map((move) => ({ ...move, unit: "CNY:nano", phase: "posted" }) as const),
    ...sale.draws.flatMap((draw) => unitsOf(sale.tenant, draw)),
  ]);
}

/** Takes a sale back exactly, for the revision `by` that takes its place. What it was held by is not held again. */
export function reverseSaleEntries(sale: Sale, by: string, atUs: InstantUs): LedgerEntry[] {
  const frame = { txn: `sale-reverse:${by}`, cause: by, atUs, corrects: `sale:${sale.record}` };
  const posted = saleEntries(sale, atUs).filter(({ phase }) => phase === "posted");
  return numbered(
    frame,
    posted.map(({ debit, credit, ...entry }) => ({
      ...entry,
      debit: credit,
      credit: debit,
      kind: entry.kind === "draw" ? "draw-reverse" : "sale-reverse",
    })),
  );
}

type Move = Pick<LedgerEntry, "kind" | "phase" | "unit" | "debit" | "credit" | "amount">;
type Amount = readonly [account: AccountId, amount: bigint];

function numbered(
  frame: Pick<LedgerEntry, "txn" | "cause" | "atUs" | "corrects">,
  moves: readonly Move[],
): LedgerEntry[] {
  return moves.map(({ kind, phase, unit, debit, credit, amount }, index) => {
    const id = `${frame.txn}:${index}`;
    return { id, ...frame, kind, phase, unit, debit, credit, amount };
  });
}

function moneyOf(sale: Sale): Pick<Move, "kind" | "debit" | "credit" | "amount">[] {
  const { tenant, model, billedNano, draws, parts } = sale;
  const debits: Amount[] = [
    [receivableAccount(tenant), billedNano],
    ...draws.map((draw) => [prepaidAccount(tenant, draw.package), draw.releasedNano] as const),
  ];
  const credits: Amount[] = [[usageRevenueAccount(model), rateNanoOf(sale)]];
  for (const part of parts) {
    if (part.way === "rate") continue;
    const account = part.amountNano < 0n ? "exp:subsidy" : shareAccount(part);
    credits.push([account, part.amountNano]);
  }
  return paired(debits, credits).map((move) => {
    const kind: EntryKind = move.debit.startsWith("liab:prepaid:") ? "draw" : "sale";
    return { ...move, kind };
  });
}

/** Entries from many accounts to many: both sides add up to the same. An amount below 0 stands on the other side. */
export function paired(
  debits: readonly Amount[],
  credits: readonly Amount[],
): Pick<LedgerEntry, "debit" | "credit" | "amount">[] {
  const sum = (amounts: readonly Amount[]): bigint =>
    amounts.reduce((all, [, each]) => all + each, 0n);
  assert(sum(debits) === sum(credits), "both sides of a transaction add up to the same");
  const negated = (amounts: readonly Amount[]): Amount[] =>
    amounts.filter(([, amount]) => amount < 0n).map(([account, amount]) => [account, -amount]);
  const above = (amounts: readonly Amount[]): Amount[] => amounts.filter(([, each]) => each > 0n);
  const from = [...above(debits), ...negated(credits)];
  const to = [...above(credits), ...negated(debits)];
  const moves: Pick<LedgerEntry, "debit" | "credit" | "amount">[] = [];
  let [source, target] = [0, 0];
  let [sourceLeft, targetLeft] = [from[0]?.[1] ?? 0n, to[0]?.[1] ?? 0n];
  for (;;) {
    const [debit] = from[source] ?? [];
    const [credit] = to[target] ?? [];
    if (debit === undefined || credit === undefined) return moves;
    const amount = sourceLeft < targetLeft ? sourceLeft : targetLeft;
    moves.push({ debit, credit, amount });
    sourceLeft -= amount;
    targetLeft -= amount;
    if (sourceLeft === 0n) sourceLeft = from[++source]?.[1] ?? 0n;
    if (targetLeft === 0n) targetLeft = to[++target]?.[1] ?? 0n;
  }
}

function unitsOf(tenant: TenantId, draw: Draw): Move[] {
  const { unit, department, usedBy, amount, held } = draw;
  const debit = pathWallet(tenant, department, draw.package);
  const moves: Move[] = held.map(({ credit, amount: freed }) => {
    return { kind: "draw", phase: "released", unit, debit, credit, amount: freed };
  });
  const credit = usedAccount(tenant, usedBy, draw.package);
  if (amount > 0n) moves.push({ kind: "draw", phase: "posted", unit, debit, credit, amount });
  return moves;
}

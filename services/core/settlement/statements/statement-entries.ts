import type { InstantUs, Nano, PairId, TenantId } from "../../units.ts";
import {
  payableAccount,
  payableStates,
  receivableAccount,
  signed,
  type AccountKey,
  type LedgerEntry,
  type PayableState,
} from "../ledger/ledger.ts";
import type { Statement } from "./statement.ts";

const roundingAccount = "equity:rounding";

/** A tenant owes us; the others are owed. */
export function isBill(pair: PairId): boolean {
  return pair.startsWith("tenant:");
}

/** What is closed with a statement: its net is no longer accrued but stated, and the invoice is in whole fen. */
export function closingEntries(statement: Statement, atUs: InstantUs): LedgerEntry[] {
  const { id, pair, isPayable, totals } = statement;
  const roundingNano = isPayable ? totals.roundingNano : 0n;
  const frame = { txn: `statement:${id}`, cause: id, atUs } as const;
  const owed = isBill(pair)
    ? ([receivableAccount(tenantOf(pair)), roundingAccount] as const)
    : ([roundingAccount, payableAccount(pair, "accrued")] as const);
  return [
    ...moved({ ...frame, kind: "rounding" }, roundingNano, owed),
    ...stateEntries(pair, { ...frame, amountNano: statedNano(statement) }, ["accrued", "stated"]),
  ];
}

/** What moves from accrued to stated. A month over days that were paid by themselves moves nothing. */
export function statedNano({ pair, kind, days, isPayable, totals }: Statement): Nano {
  if (isBill(pair)) return 0n;
  const roundingNano = isPayable ? totals.roundingNano : 0n;
  if (kind !== "monthly" || days.length === 0) return totals.netNano + roundingNano;
  // Its days have moved their own.
  return isPayable ? totals.trueUpNano + roundingNano : 0n;
}

/** A payable moves from one state to another. Bills have no states: they are owed until they are paid. */
export function stateEntries(
  pair: PairId,
  move: Pick<LedgerEntry, "txn" | "cause" | "atUs"> & { readonly amountNano: Nano },
  [from, to]: readonly [from: PayableState, to: PayableState],
): LedgerEntry[] {
  if (isBill(pair)) return [];
  const { amountNano, ...frame } = move;
  const kind = to === "paid" ? "payment" : "state";
  return moved({ ...frame, kind }, amountNano, [
    payableAccount(pair, from),
    payableAccount(pair, to),
  ]);
}

/** A tenant has paid: what came in is no longer to be received. */
export function receiptEntries(
  pair: PairId,
  { amountNano, ...frame }: Parameters<typeof stateEntries>[1],
): LedgerEntry[] {
  return moved({ ...frame, kind: "payment" }, amountNano, [
    "asset:bank",
    receivableAccount(tenantOf(pair)),
  ]);
}

/** Accounts that stand between the operator and a pair. */
export function accountsOf(pair: PairId): AccountKey[] {
  const accounts = isBill(pair)
    ? [receivableAccount(tenantOf(pair))]
    : payableStates.map((state) => payableAccount(pair, state));
  return accounts.map((account) => ({ unit: "CNY:nano", account }));
}

function tenantOf(pair: PairId): TenantId {
  return pair.slice("tenant:".length) as TenantId;
}

function moved(
  frame: Pick<LedgerEntry, "txn" | "cause" | "atUs" | "kind">,
  amountNano: Nano,
  accounts: readonly [debit: string, credit: string],
): LedgerEntry[] {
  if (amountNano === 0n) return [];
  return [
    {
      ...frame,
      id: `${frame.txn}:${frame.kind}`,
      phase: "posted",
      unit: "CNY:nano",
      corrects: "",
      ...signed(amountNano, accounts),
    },
  ];
}

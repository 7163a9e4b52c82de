import { assert } from "../../assert.ts";
import type { InstantUs, PackageId, PairId, PoolId, TenantId, VendorId } from "../../units.ts";
import type { CostSide } from "../terms/contract.ts";

/** `exp:cogs:pool:p1`, `liab:payable:vendor:northgrid:accrued`, … */
export type AccountId = string;

/** What is counted, in its grain: money in nano, quota points in thousandths, tokens of a package one by one. */
export type Unit = "CNY:nano" | "POINT:milli" | `TOK-${string}:1`;

/**
 * - `posted` moves the amount for good.
 * - `held` sets it aside on both accounts, so that it cannot be promised twice.
 * - `released` ends a hold, or a part of it: what was held is free again, or is posted in the same transaction.
 */
export type EntryPhase = "posted" | "held" | "released";

/** Why an entry was made. The same cause of the same kind is posted once for ever. */
export const entryKinds = [
  /** Owed to a vendor for a record; and taken back when a later revision counts. */
  "usage",
  "reverse",
  /** Owed to the owner of a model for a record, by a licence book. */
  "model-fee",
  "model-fee-reverse",
  /** Owed by a tenant for a record, with its split; and taken back. */
  "sale",
  "sale-reverse",
  /** What a package lets go of for a record. */
  "draw",
  "draw-reverse",
  "purchase",
  "refund",
  "expire",
  "allocate",
  /** Reservations. */
  "hold",
  "void",
  /** A payable moves to its next state. */
  "state",
  /** What a key owes beyond its records at close: minimums, volume tiers, splits. */
  "true-up",
  "rounding",
  "credit",
  "netting",
  "payment",
] as const;

export type EntryKind = (typeof entryKinds)[number];

/**
 * Moves an amount from one account to another. One amount and two accounts: an entry that does not balance
 * cannot be written down. A mistake is undone by a later entry, never by a change.
 */
export interface LedgerEntry {
  /** Unique for ever: the same cause posted twice is one entry. */
  readonly id: string;
  /** Entries of one transaction: `usage:<record>`, `purchase:<package>`, … */
  readonly txn: string;
  readonly kind: EntryKind;
  readonly phase: EntryPhase;
  /** Record, package, statement, dispute or hold that caused it. */
  readonly cause: string;
  /** When the cause arose. */
  readonly atUs: InstantUs;
  readonly unit: Unit;
  readonly debit: AccountId;
  readonly credit: AccountId;
  /** Above 0, in the grain of the unit. */
  readonly amount: bigint;
  /** The transaction that this one takes back; empty if none. */
  readonly corrects: string;
}

/** What was ever moved out of and into an account, and what is set aside now. */
export interface Balance {
  readonly debit: bigint;
  readonly credit: bigint;
  readonly heldDebit: bigint;
  readonly heldCredit: bigint;
}

/** A balance of one unit on one account. */
export interface AccountKey {
  readonly unit: Unit;
  readonly account: AccountId;
}

export const noBalance: Balance = { debit: 0n, credit: 0n, heldDebit: 0n, heldCredit: 0n };

/** Who bears the cost of an attempt, and whom we owe. */
export interface Parties {
  readonly vendor: VendorId;
  readonly pool: PoolId;
  readonly cost: CostSide;
}

/** Where a payable stands on its way to being paid. */
export const payableStates = ["accrued", "stated", "disputed", "approved", "paid"] as const;
export type PayableState = (typeof payableStates)[number];

/** What we owe a vendor for one record. A negative amount is owed to us: the accounts are swapped. */
export function accrue(cause: {
  readonly kind: "usage" | "reverse";
  readonly record: string;
  readonly atUs: InstantUs;
  readonly parties: Parties;
  readonly amountNano: bigint;
  readonly corrects?: string;
}): LedgerEntry {
  const { kind, record, atUs, parties, amountNano, corrects = "" } = cause;
  const id = `${kind}:${record}`;
  const accounts = [
    costAccount(parties),
    payableAccount(`vendor:${parties.vendor}` as PairId, "accrued"),
  ] as const;
  const moved = signed(amountNano, accounts);
  return {
    id,
    txn: id,
    kind,
    phase: "posted",
    cause: record,
    atUs,
    unit: "CNY:nano",
    corrects,
    ...moved,
  };
}

/** Debit and credit of an amount that may be negative: then the accounts are swapped. */
export function signed(
  amount: bigint,
  [debit, credit]: readonly [debit: AccountId, credit: AccountId],
): Pick<LedgerEntry, "debit" | "credit" | "amount"> {
  return amount < 0n
    ? { debit: credit, credit: debit, amount: -amount }
    : { debit, credit, amount };
}

/** `vendor:northgrid`, accrued → `liab:payable:vendor:northgrid:accrued`. */
export function payableAccount(pair: PairId, state: PayableState): AccountId {
  return `liab:payable:${pair}:${state}`;
}

export function receivableAccount(tenant: TenantId): AccountId {
  return `asset:receivable:tenant:${tenant}`;
}

/** Money of a package that was sold and not used yet. */
export function prepaidAccount(tenant: TenantId, packageId: PackageId): AccountId {
  return `liab:prepaid:tenant:${tenant}:pkg:${packageId}`;
}

/** Units of a package. `department` is empty for the tenant's shared wallet. */
export function walletAccount(
  tenant: TenantId,
  department: string,
  packageId: PackageId,
): AccountId {
  return `wallet:${tenant}:${department}:${packageId}`;
}

export function costAccount({ cost, pool }: Parties): AccountId {
  if (cost === "cogs") return `exp:cogs:pool:${pool}`;
  return cost === "audit" ? "exp:audit" : `exp:leakage:${cost}`;
}

/** Key of a balance in a map. */
export function balanceText({ unit, account }: AccountKey): string {
  return `${unit}\n${account}`;
}

export function accountKeyOf(text: string): AccountKey {
  const [unit = "", account = ""] = text.split("\n");
  return { unit: unit as Unit, account };
}

/** What the entries move, by `balanceText`. Over all accounts of a unit debits equal credits, held ones too. */
export function movements(entries: Iterable<LedgerEntry>): Map<string, Balance> {
  const balances = new Map<string, Mutable<Balance>>();
  const of = (unit: Unit, account: AccountId): Mutable<Balance> => {
    const key = balanceText({ unit, account });
    const known = balances.get(key) ?? { ...noBalance };
    balances.set(key, known);
    return known;
  };
  for (const { phase, unit, debit, credit, amount } of entries) {
    assert(amount > 0n, "an amount is above 0: swap the accounts instead");
    const [from, to] = [of(unit, debit), of(unit, credit)];
    if (phase === "posted") {
      from.debit += amount;
      to.credit += amount;
    } else {
      const held = phase === "released" ? -amount : amount;
      from.heldDebit += held;
      to.heldCredit += held;
    }
  }
  return balances;
}

type Mutable<Type> = { -readonly [Member in keyof Type]: Type[Member] };

export function addBalances(a: Balance, b: Balance): Balance {
  return {
    debit: a.debit + b.debit,
    credit: a.credit + b.credit,
    heldDebit: a.heldDebit + b.heldDebit,
    heldCredit: a.heldCredit + b.heldCredit,
  };
}

import { assert } from "../../assert.ts";
import type { InstantUs, Nano, PackageId, TenantId } from "../../units.ts";
import { shared, type WalletMove, type WalletUnits } from "./departments.ts";
import {
  prepaidAccount,
  receivableAccount,
  type AccountId,
  type LedgerEntry,
} from "../ledger/ledger.ts";
import { roundedQuotient } from "../ratio.ts";
import { pathWallet } from "./sale-entries.ts";
import { releaseOf, type PackageState } from "./sale.ts";
import { ppmWhole } from "./split.ts";
import {
  unitOf,
  type Purchase,
  type Refund,
  type Sku,
  type TokenPackage,
} from "./token-package.ts";

const breakageAccount: AccountId = "rev:breakage";

/** Where units come from and refunded ones go back to. */
export function issuerAccount(sku: string): AccountId {
  return `issuer:${sku}`;
}

/** Units of a package that nobody used in time. */
export function expiredAccount(tenant: TenantId, packageId: PackageId): AccountId {
  return `expired:${tenant}:${packageId}`;
}

/** The tenant owes the price, which is prepaid until it is used; the units are in the shared wallet. */
export function purchaseEntries({ id, tenant, atUs }: Purchase, sku: Sku): LedgerEntry[] {
  const txn = `purchase:${id}`;
  const wallet = pathWallet(tenant, shared, id);
  const receivable = receivableAccount(tenant);
  const prepaid = prepaidAccount(tenant, id);
  return [
    ...money({ txn, kind: "purchase", cause: id, atUs }, [[receivable, prepaid, sku.priceNano]]),
    {
      ...{ id: `${txn}:units`, txn, kind: "purchase", phase: "posted", cause: id, atUs },
      ...{ unit: unitOf(sku), debit: issuerAccount(sku.id), credit: wallet },
      ...{ amount: sku.quantity, corrects: "" },
    },
  ];
}

/** Units move between the wallets of one package. `allocation` is the id of the plan. */
export function allocationEntries(
  each: TokenPackage,
  moves: readonly WalletMove[],
  { allocation, atUs }: { readonly allocation: string; readonly atUs: InstantUs },
): LedgerEntry[] {
  const { id, tenant, unit } = each;
  const txn = `allocate:${allocation}`;
  return moves.map(({ from, to, units: amount }, index) => ({
    ...{ id: `${txn}:${index}`, txn, kind: "allocate", phase: "posted", cause: allocation, atUs },
    ...{ unit, debit: pathWallet(tenant, from, id), credit: pathWallet(tenant, to, id), amount },
    corrects: "",
  }));
}

export type RefundPlan =
  | {
      readonly kind: "planned";
      readonly refund: Refund;
      readonly entries: readonly LedgerEntry[];
    }
  | { readonly kind: "refused"; readonly reason: string };

/** What is taken out of a package otherwise than by use: of which wallets, and at what value. */
export interface Withdrawal {
  readonly each: TokenPackage;
  readonly state: Pick<PackageState, "priceNano" | "quantity" | "gone" | "goneNano">;
  /** Free units. */
  readonly wallets: readonly WalletUnits[];
  readonly atUs: InstantUs;
}

/**
 * Gives back unused units at their unreleased value, less what the rule of the sku keeps. `units` undefined is all that is
 * free.
 */
export function planRefund(
  withdrawal: Withdrawal,
  { id, units }: { readonly id: string; readonly units: bigint | undefined },
): RefundPlan {
  const { each, state, wallets, atUs } = withdrawal;
  const { refundPpm } = each.sku;
  const free = freeOf(wallets);
  const wanted = units ?? free;
  const reason =
    refundPpm === 0n
      ? `${each.sku.id}: expected a sku that may be refunded, found one that may not`
      : atUs >= each.expiresUs
        ? `${each.id}: expected a package in force, found one that ended at ${each.expiresUs}`
        : wanted <= 0n || wanted > free
          ? `units: expected 1 to ${free} that are free, found ${wanted}`
          : undefined;
  if (reason !== undefined) return { kind: "refused", reason };
  const valueNano = releaseOf(state, wanted);
  const refundNano = roundedQuotient(valueNano * refundPpm, ppmWhole);
  const keptNano = valueNano - refundNano;
  const frame = { txn: `refund:${id}`, kind: "refund", cause: id, atUs } as const;
  const prepaid = prepaidAccount(each.tenant, each.id);
  const entries = [
    ...money(frame, [
      [prepaid, receivableAccount(each.tenant), refundNano],
      [prepaid, breakageAccount, keptNano],
    ]),
    ...withdrawn(withdrawal, wanted, { ...frame, credit: issuerAccount(each.sku.id) }),
  ];
  const refund: Refund = { id, package: each.id, atUs, units: wanted, refundNano, keptNano };
  return { kind: "planned", refund, entries };
}

/**
 * All that is free of a package whose time is over: its units expire, and what was paid for them is the operator's. Units that
 * are held, or come back by a correction, expire the next time. `id` is `<package>:<n>`.
 */
export function expiryEntries(
  withdrawal: Withdrawal,
  id: string,
): { readonly units: bigint; readonly valueNano: Nano; readonly entries: readonly LedgerEntry[] } {
  const { each, state, wallets, atUs } = withdrawal;
  assert(atUs >= each.expiresUs, "a package expires when its time is over");
  const units = freeOf(wallets);
  const isLast = state.gone + units === state.quantity;
  // The last one takes what corrections left of the value, even where no unit is left.
  const valueNano = isLast ? state.priceNano - state.goneNano : releaseOf(state, units);
  const frame = { txn: `expire:${id}`, kind: "expire", cause: id, atUs } as const;
  const prepaid = prepaidAccount(each.tenant, each.id);
  const entries = [
    ...money(frame, [[prepaid, breakageAccount, valueNano]]),
    ...withdrawn(withdrawal, units, { ...frame, credit: expiredAccount(each.tenant, each.id) }),
  ];
  return { units, valueNano, entries };
}

function freeOf(wallets: readonly WalletUnits[]): bigint {
  return wallets.reduce((sum, { free }) => sum + free, 0n);
}

type Frame = Pick<LedgerEntry, "txn" | "kind" | "cause" | "atUs">;

function money(
  frame: Frame,
  moves: readonly (readonly [debit: AccountId, credit: AccountId, amount: Nano])[],
): LedgerEntry[] {
  return moves
    .map(([debit, credit, amount], index): LedgerEntry => {
      const id = `${frame.txn}:${index}`;
      return {
        ...frame,
        id,
        phase: "posted",
        unit: "CNY:nano",
        debit,
        credit,
        amount,
        corrects: "",
      };
    })
    .filter(({ amount }) => amount > 0n);
}

/** From the shared wallet first, then from the others by path. */
function withdrawn(
  { each, wallets }: Withdrawal,
  units: bigint,
  { credit, ...frame }: Frame & Pick<LedgerEntry, "credit">,
): LedgerEntry[] {
  let left = units;
  const inOrder = wallets.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const entries = inOrder.map(({ path, free }): LedgerEntry => {
    const amount = left < free ? left : free;
    left -= amount;
    const debit = pathWallet(each.tenant, path, each.id);
    const id = `${frame.txn}:units:${path}`;
    return { ...frame, id, phase: "posted", unit: each.unit, debit, credit, amount, corrects: "" };
  });
  return entries.filter(({ amount }) => amount > 0n);
}

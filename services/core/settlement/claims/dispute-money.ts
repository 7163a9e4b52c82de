import { assert } from "../../assert.ts";
import type { InstantUs, Nano, TenantId } from "../../units.ts";
import { decidedStates, isTooHigh, type Dispute } from "./dispute.ts";
import {
  payableAccount,
  receivableAccount,
  type AccountId,
  type LedgerEntry,
  type PayableState,
} from "../ledger/ledger.ts";
import { largestRemainder } from "../ratio.ts";
import { isBill } from "../statements/statement-entries.ts";

/** What a transition moved, for people; above 0. */
export interface MoneyEffect {
  readonly from: AccountId;
  readonly to: AccountId;
  readonly amountNano: Nano;
}

/**
 * The entries of the transition that led to a state of a dispute: one transaction whose id is the dispute's and the
 * transition's number, so that it is posted once however often it is tried.
 */
export function disputeEntries(
  before: Dispute | undefined,
  after: Dispute,
  atUs: InstantUs,
): LedgerEntry[] {
  const txn = `dispute:${after.id}:${after.transitions - 1}`;
  const moves = movesOf(before, after).filter(({ amountNano }) => amountNano > 0n);
  return moves.map(({ from, to, amountNano, kind }, index) => ({
    id: `${txn}:${index}`,
    txn,
    kind,
    phase: "posted",
    cause: after.id,
    atUs,
    unit: "CNY:nano",
    debit: from,
    credit: to,
    amount: amountNano,
    corrects: "",
  }));
}

export function effectOf(entries: readonly LedgerEntry[]): MoneyEffect[] {
  return entries.map(({ debit, credit, amount }) => ({
    from: debit,
    to: credit,
    amountNano: amount,
  }));
}

/** What stands in dispute and is neither payable now nor part of what is. */
export function standingNano(disputes: readonly Dispute[]): Nano {
  return disputes
    .filter((each) => isTooHigh(each) && isStanding(each))
    .reduce((sum, { amountNano }) => sum + amountNano, 0n);
}

/** Of a statement, payable whatever is disputed (I31). */
export function undisputedNano(statedNano: Nano, disputes: readonly Dispute[]): Nano {
  const taken = disputes
    .filter((each) => isTooHigh(each) && each.state !== "withdrawn")
    .reduce((sum, { amountNano }) => sum + amountNano, 0n);
  return statedNano - taken;
}

type Transfer = MoneyEffect & { readonly kind: LedgerEntry["kind"] };

function movesOf(before: Dispute | undefined, after: Dispute): Transfer[] {
  if (before === undefined) {
    return isTooHigh(after) ? between(after, ["stated", "disputed"], after.amountNano) : [];
  }
  if (after.state === "withdrawn") {
    return isTooHigh(after) ? between(after, ["disputed", "stated"], after.amountNano) : [];
  }
  if (after.state === "settled") {
    return between(after, ["approved", "paid"], after.approvedNano ?? 0n);
  }
  const isDecided = decidedStates.includes(after.state) && before.approvedNano === undefined;
  return isDecided ? decided(after) : [];
}

function decided(dispute: Dispute): Transfer[] {
  const { pair, amountNano, approvedNano } = dispute;
  assert(approvedNano !== undefined, "a decision says what is approved");
  const reversedNano = amountNano - approvedNano;
  if (isBill(pair)) {
    // What was billed stands until here: a part of it is taken back, or what was forgotten is added.
    const receivable = receivableAccount(pair.slice("tenant:".length) as TenantId);
    return isTooHigh(dispute)
      ? shared(dispute, reversedNano, (account) => ({ from: account, to: receivable }))
      : shared(dispute, approvedNano, (account) => ({ from: receivable, to: account }));
  }
  const disputed = payableAccount(pair, "disputed");
  const approved = payableAccount(pair, "approved");
  if (!isTooHigh(dispute)) {
    return shared(dispute, approvedNano, (account) => ({ from: account, to: approved }));
  }
  return [
    ...between(dispute, ["disputed", "approved"], approvedNano),
    ...shared(dispute, reversedNano, (account) => ({ from: disputed, to: account })),
  ];
}

/** A part of the amount, to or from the accounts of the items by largest remainder. */
function shared(
  { items }: Dispute,
  partNano: Nano,
  way: (account: AccountId) => Pick<MoneyEffect, "from" | "to">,
): Transfer[] {
  const parts = largestRemainder(
    partNano,
    items.map(({ amountNano }) => amountNano),
  );
  return items.map(({ account }, index) => ({
    ...way(account),
    amountNano: parts[index] ?? 0n,
    kind: "credit",
  }));
}

function between(
  { pair }: Dispute,
  [from, to]: readonly [from: PayableState, to: PayableState],
  amountNano: Nano,
): Transfer[] {
  if (isBill(pair)) return [];
  return [
    {
      from: payableAccount(pair, from),
      to: payableAccount(pair, to),
      amountNano,
      kind: to === "paid" ? "payment" : "state",
    },
  ];
}

function isStanding({ state }: Dispute): boolean {
  return state === "opened" || state === "acknowledged" || state === "evidence";
}

import { assert } from "../../assert.ts";
import type { InstantUs, Nano, PairId, TenantId } from "../../units.ts";
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
  return sum(disputes.filter(isStanding).map(({ known }) => known.heldNano));
}

/**
 * What disputes keep from being approved with their statement: the one rule of what is payable whatever is disputed (I31).
 * Below 0 where a bill was too low.
 */
export function withheldNano(disputes: readonly Dispute[]): Nano {
  return sum(disputes.map(withheld));
}

/** Of a statement, payable whatever is disputed. */
export function undisputedNano(statedNano: Nano, disputes: readonly Dispute[]): Nano {
  return statedNano - withheldNano(disputes);
}

/** Of what was decided, what the dispute itself still has to pay: the rest was paid with the statement, or set off. */
export function unpaidNano(dispute: Dispute): Nano {
  if (isBill(dispute.pair) || dispute.state === "settled") return 0n;
  return toApproveNano(dispute) - dispute.nettedNano;
}

/** What a counterparty was paid and has to give back: it is a receivable from it. */
export function creditAccount(pair: PairId): AccountId {
  return `asset:vendor_credit:${pair}`;
}

function withheld(dispute: Dispute): Nano {
  const { pair, state, amountNano, approvedNano, known } = dispute;
  if (state === "withdrawn") return 0n;
  if (!isBill(pair) || approvedNano === undefined) return known.heldNano;
  // Bills have no state for it: what was decided against or for them goes through the bill.
  return isTooHigh(dispute) ? amountNano - approvedNano : -approvedNano;
}

/** Of a decision, what was not approved with the statement. */
function toApproveNano(dispute: Dispute): Nano {
  const { amountNano, approvedNano = 0n, known } = dispute;
  if (!isTooHigh(dispute)) return approvedNano;
  const over = approvedNano - (amountNano - known.heldNano);
  return over > 0n ? over : 0n;
}

type Transfer = MoneyEffect & { readonly kind: LedgerEntry["kind"] };

function movesOf(before: Dispute | undefined, after: Dispute): Transfer[] {
  if (before === undefined) {
    return between(after, ["stated", "disputed"], after.known.heldNano);
  }
  if (after.state === "withdrawn") {
    return between(after, ["disputed", "stated"], after.known.heldNano);
  }
  if (after.state === "settled") {
    return between(after, ["approved", "paid"], unpaidNano(before));
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
  const payNano = toApproveNano(dispute);
  const backNano = dispute.known.heldNano - payNano;
  // What is no longer disputed was approved or paid with its statement: the counterparty owes it.
  return [
    ...between(dispute, ["disputed", "approved"], payNano),
    ...split(dispute, reversedNano, [
      { account: disputed, amountNano: backNano },
      { account: creditAccount(pair), amountNano: reversedNano - backNano },
    ]),
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

/** What is reversed, item by item, out of two accounts: the first as far as it goes. */
function split(
  dispute: Dispute,
  partNano: Nano,
  [first, second]: readonly [Source, Source],
): Transfer[] {
  let left = first.amountNano;
  return shared(dispute, partNano, (account) => ({ from: first.account, to: account })).flatMap(
    (transfer) => {
      const here = transfer.amountNano < left ? transfer.amountNano : left;
      left -= here;
      return [
        { ...transfer, amountNano: here },
        { ...transfer, from: second.account, amountNano: transfer.amountNano - here },
      ];
    },
  );
}

interface Source {
  readonly account: AccountId;
  readonly amountNano: Nano;
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

function sum(amounts: readonly Nano[]): Nano {
  return amounts.reduce((all, each) => all + each, 0n);
}

import { canonicalJson } from "../canonical.ts";
import type { AccountKey, Balance } from "../ledger/ledger.ts";
import { rootOf, type Hash, type TreeHash } from "./merkle.ts";
import type { PairId } from "../../units.ts";

/** A balance as it is sealed. */
export interface SealedBalance extends AccountKey {
  readonly balance: Balance;
}

/** What the books of a pair came to when a period was closed. */
export interface Seal {
  readonly pair: PairId | "internal";
  /** The booking that was closed. */
  readonly period: string;
  /** Of the tree over the lines. */
  readonly root: Hash;
  readonly lines: readonly string[];
}

/** Lines in order of unit and account, each a leaf: any balance can be shown alone, with a path to the root. */
export function sealOf(
  book: { readonly pair: PairId | "internal"; readonly period: string },
  balances: readonly SealedBalance[],
  tree: TreeHash,
): Seal {
  const lines = balances.toSorted(byPlace).map(sealLine);
  const root = rootOf(
    lines.map((line) => tree.leaf(line)),
    tree,
  );
  return { ...book, root, lines };
}

/** One balance, as canonical text. */
export function sealLine({ unit, account, balance }: SealedBalance): string {
  const { debit, credit, heldDebit, heldCredit } = balance;
  return canonicalJson({
    unit,
    account,
    debit,
    credit,
    held_debit: heldDebit,
    held_credit: heldCredit,
  });
}

/** The leaf in the pair's log. */
export function sealText({ pair, period, root, lines }: Seal): string {
  const accounts = BigInt(lines.length);
  return canonicalJson({ type: "seal", v: 1n, pair_id: pair, period, root, accounts });
}

function byPlace(one: SealedBalance, other: SealedBalance): number {
  return compare(one.unit, other.unit) || compare(one.account, other.account);
}

/** By code units, as canonical text sorts. */
function compare(one: string, other: string): number {
  return one === other ? 0 : one < other ? -1 : 1;
}

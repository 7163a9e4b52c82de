import { assert } from "../../assert.ts";
import type { InstantUs, Nano, PairId, TenantId } from "../../units.ts";
import { canonicalJson, type Sha256 } from "../canonical.ts";
import {
  payableAccount,
  receivableAccount,
  type AccountId,
  type LedgerEntry,
} from "../ledger/ledger.ts";
import { isBill } from "../statements/statement-entries.ts";

/** What a detached signature of a pair's text says it is of. */
export const nettingJwsType = "tokengrid-netting";

/** What is open between the operator and one counterparty, and may be set off. */
export interface OpenItem {
  readonly pair: PairId;
  /** Who stands behind the pair: a company may be a vendor, a tenant and the owner of a model. */
  readonly party: string;
  /** Above 0: approved and not paid yet, or billed and not received yet. */
  readonly amountNano: Nano;
}

/** Something that one vendor, model owner or channel owes another, which the operator takes over from both. */
export interface Obligation {
  readonly id: string;
  readonly from: PairId;
  readonly to: PairId;
  readonly amountNano: Nano;
}

/** What remains for one party after everything was set off. */
export interface NetPosition {
  readonly party: string;
  readonly owedNano: Nano;
  readonly owesNano: Nano;
  /** Owed less owes: above 0 the operator pays, below 0 the party does. */
  readonly netNano: Nano;
}

/** One set-off: an amount that both no longer owe. */
export interface SetOff {
  readonly party: string;
  /** What the operator owed. */
  readonly payable: PairId;
  /** What the party owed. */
  readonly receivable: PairId;
  readonly amountNano: Nano;
}

export interface Netting {
  /** `<day>` and its run, such as `2026-11-20:1`. */
  readonly id: string;
  readonly atUs: InstantUs;
  readonly positions: readonly NetPosition[];
  /** Of the operator itself: with it all positions add up to 0. */
  readonly operatorNano: Nano;
  readonly setOffs: readonly SetOff[];
  readonly obligations: readonly Obligation[];
}

/** Whoever owes and is owed. Between the operator and a pair whose bill it is, the pair owes. */
export function netOf(
  id: string,
  open: {
    readonly atUs: InstantUs;
    readonly items: readonly OpenItem[];
    readonly obligations: readonly Obligation[];
    /** Of the pairs of the obligations. */
    readonly partyOf: (pair: PairId) => string;
  },
): Netting {
  const { atUs, obligations, partyOf } = open;
  const items = [...open.items, ...obligations.flatMap((each) => takenOver(each, partyOf))];
  const byParty = Map.groupBy(items, ({ party }) => party);
  const parties = [...byParty.keys()].toSorted();
  const setOffs = parties.flatMap((party) => setOff(party, byParty.get(party) ?? []));
  const positions = parties.map((party) => positionOf(party, byParty.get(party) ?? []));
  const operatorNano = -sum(positions.map(({ netNano }) => netNano));
  return { id, atUs, positions, operatorNano, setOffs, obligations };
}

/**
 * What is set off is no longer owed by either side. An obligation between two parties becomes one of each with the
 * operator: the one is owed it, and the other owes it on a clearing account until it is set off or paid.
 */
export function nettingEntries({ id, atUs, setOffs, obligations }: Netting): LedgerEntry[] {
  const txn = `netting:${id}`;
  const taken = obligations.map(({ from, to, amountNano }) => ({
    debit: clearingAccount(from),
    credit: payableAccount(to, "approved"),
    amount: amountNano,
  }));
  const set = setOffs.map(({ payable, receivable, amountNano }) => ({
    debit: payableAccount(payable, "approved"),
    credit: isBill(receivable) ? billAccount(receivable) : clearingAccount(receivable),
    amount: amountNano,
  }));
  return [...taken, ...set].map((moved, index) => ({
    id: `${txn}:${index}`,
    txn,
    kind: "netting",
    phase: "posted",
    cause: id,
    atUs,
    unit: "CNY:nano",
    corrects: "",
    ...moved,
  }));
}

/** What one party is told and signs: its own set-offs, and the hash of the whole. */
export function toNettingTexts(
  netting: Netting,
  sha256: Sha256,
): { readonly whole: string; readonly byPair: ReadonlyMap<PairId, string> } {
  const whole = canonicalJson({
    type: "netting",
    v: "1",
    netting_id: netting.id,
    at_us: netting.atUs,
    positions: netting.positions.map(({ party, owedNano, owesNano, netNano }) => ({
      party,
      owed_nano: owedNano,
      owes_nano: owesNano,
      net_nano: netNano,
    })),
    operator_nano: netting.operatorNano,
    obligations: netting.obligations.map(obligationMembers),
    set_offs: netting.setOffs.map(setOffMembers),
  });
  const pairs = new Set([
    ...netting.setOffs.flatMap(({ payable, receivable }) => [payable, receivable]),
    ...netting.obligations.flatMap(({ from, to }) => [from, to]),
  ]);
  const byPair = [...pairs].toSorted().map((pair): [PairId, string] => [
    pair,
    canonicalJson({
      type: "netting",
      v: "1",
      netting_id: netting.id,
      pair_id: pair,
      at_us: netting.atUs,
      whole_hash: sha256(whole),
      obligations: netting.obligations
        .filter(({ from, to }) => from === pair || to === pair)
        .map(obligationMembers),
      set_offs: netting.setOffs
        .filter(({ payable, receivable }) => payable === pair || receivable === pair)
        .map(setOffMembers),
    }),
  ]);
  return { whole, byPair: new Map(byPair) };
}

interface WholeMembers {
  readonly netting_id: string;
  readonly at_us: string;
  readonly operator_nano: string;
  readonly positions: readonly Readonly<
    Record<"party" | "owed_nano" | "owes_nano" | "net_nano", string>
  >[];
  readonly obligations: readonly Readonly<
    Record<"obligation_id" | "from" | "to" | "nano", string>
  >[];
  readonly set_offs: readonly Readonly<
    Record<"party" | "payable" | "receivable" | "nano", string>
  >[];
}

/** The netting again; only for the whole text that `toNettingTexts` wrote. */
export function fromNettingText(text: string): Netting {
  const members = JSON.parse(text) as WholeMembers;
  return {
    id: members.netting_id,
    atUs: BigInt(members.at_us),
    operatorNano: BigInt(members.operator_nano),
    positions: members.positions.map((each) => ({
      party: each.party,
      owedNano: BigInt(each.owed_nano),
      owesNano: BigInt(each.owes_nano),
      netNano: BigInt(each.net_nano),
    })),
    obligations: members.obligations.map((each) => ({
      id: each.obligation_id,
      from: each.from as PairId,
      to: each.to as PairId,
      amountNano: BigInt(each.nano),
    })),
    setOffs: members.set_offs.map((each) => ({
      party: each.party,
      payable: each.payable as PairId,
      receivable: each.receivable as PairId,
      amountNano: BigInt(each.nano),
    })),
  };
}

/** Both sides of what the operator takes over. */
function takenOver(
  { from, to, amountNano }: Obligation,
  partyOf: (pair: PairId) => string,
): readonly (OpenItem & { readonly isOwes?: true })[] {
  assert(amountNano > 0n && from !== to, "an obligation is above 0 and between two");
  assert(!isBill(from) && !isBill(to), "what a tenant owes is on its bill");
  return [
    { pair: from, party: partyOf(from), amountNano, isOwes: true },
    { pair: to, party: partyOf(to), amountNano },
  ];
}

type Item = OpenItem & { readonly isOwes?: true };

function owes({ pair, isOwes }: Item): boolean {
  return isOwes === true || isBill(pair);
}

function positionOf(party: string, items: readonly Item[]): NetPosition {
  const owesNano = sum(items.filter(owes).map(({ amountNano }) => amountNano));
  const owedNano = sum(items.filter((each) => !owes(each)).map(({ amountNano }) => amountNano));
  return { party, owedNano, owesNano, netNano: owedNano - owesNano };
}

/** In the order of the pairs, the largest amounts that fit: so the same items give the same set-offs. */
function setOff(party: string, items: readonly Item[]): SetOff[] {
  const rests = items
    .toSorted((a, b) => (a.pair < b.pair ? -1 : a.pair > b.pair ? 1 : 0))
    .map((item) => ({ item, left: item.amountNano }));
  const receivables = rests.filter(({ item }) => owes(item));
  const found: SetOff[] = [];
  for (const payable of rests.filter(({ item }) => !owes(item))) {
    for (const receivable of receivables) {
      const amountNano = payable.left < receivable.left ? payable.left : receivable.left;
      if (amountNano === 0n) continue;
      payable.left -= amountNano;
      receivable.left -= amountNano;
      const pairs = { payable: payable.item.pair, receivable: receivable.item.pair };
      found.push({ party, ...pairs, amountNano });
    }
  }
  return found;
}

/** What a counterparty owes the operator because the operator took it over. */
function clearingAccount(pair: PairId): AccountId {
  return `asset:clearing:${pair}`;
}

function billAccount(pair: PairId): AccountId {
  return receivableAccount(pair.slice("tenant:".length) as TenantId);
}

function obligationMembers({ id, from, to, amountNano }: Obligation) {
  return { obligation_id: id, from, to, nano: amountNano };
}

function setOffMembers({ party, payable, receivable, amountNano }: SetOff) {
  return { party, payable, receivable, nano: amountNano };
}

function sum(amounts: readonly Nano[]): Nano {
  return amounts.reduce((all, each) => all + each, 0n);
}

import type { InstantUs, Nano, PairId } from "../../units.ts";
import type { DisputeReason } from "./dispute-reason.ts";
import type { AccountId } from "../ledger/ledger.ts";
import type { PairTerms } from "../terms/pair-terms.ts";
import { isBill } from "../statements/statement-entries.ts";

export const disputeStates = [
  "opened",
  "acknowledged",
  /** One party or both have handed in what they have. */
  "evidence",
  "accepted-by-vendor",
  "accepted-by-operator",
  "split",
  "arbitrated",
  "lapsed",
  "withdrawn",
  "settled",
] as const;

export type DisputeState = (typeof disputeStates)[number];

/** `counterparty` is the vendor, tenant, model owner or channel of the pair. */
export const parties = ["operator", "counterparty"] as const;
export type Party = (typeof parties)[number];

/** Who makes a transition. `both` needs a signature of each, `timer` is the ledger's clock. */
export const actors = ["operator", "counterparty", "both", "arbiter", "timer"] as const;
export type Actor = (typeof actors)[number];

/** Where the money of a dispute came from; so that it can be given back there. */
export interface DisputeItem {
  /** The account that bore the cost, or that had the revenue: `exp:cogs:pool:p1`. */
  readonly account: AccountId;
  readonly amountNano: Nano;
}

/** What is asked when a dispute is opened. */
export interface DisputeClaim {
  readonly id: string;
  readonly pair: PairId;
  readonly statement: string;
  readonly opener: Party;
  readonly reason: DisputeReason;
  /** Sorted by account, each once; each above 0. */
  readonly items: readonly DisputeItem[];
}

/** What was true when it was opened, and is kept with it. */
export interface AtOpening {
  /** Of the amount, what was stated then and is held back; the rest of it was approved or paid already. */
  readonly heldNano: Nano;
  /** What signed claims show to be missing: no silence awards more. */
  readonly evidenceNano: Nano;
}

/** A dispute as its transitions left it. */
export interface Dispute extends DisputeClaim {
  readonly amountNano: Nano;
  readonly known: AtOpening;
  readonly state: DisputeState;
  /** Transitions so far; the next one has this number. */
  readonly transitions: number;
  /** SHA-256 of the text of the last one. */
  readonly lastHash: string;
  readonly openedUs: InstantUs;
  readonly acknowledgedUs: InstantUs | undefined;
  /** Who handed in evidence. */
  readonly heard: readonly Party[];
  /** Digests of bundles, in the order in which they came. */
  readonly bundles: readonly string[];
  /** What of the amount is owed: to the counterparty, or by a tenant. Undefined until decided. */
  readonly approvedNano: Nano | undefined;
  /** What of that was set off and is not to be paid. */
  readonly nettedNano: Nano;
}

/** What a party or the timer wants to happen. */
export type Move =
  | {
      readonly to:
        | "acknowledged"
        | "accepted-by-vendor"
        | "accepted-by-operator"
        | "withdrawn"
        | "lapsed"
        | "settled";
    }
  | { readonly to: "evidence"; readonly bundles: readonly string[] }
  /** `num` of `den` parts stand as what is owed. */
  | { readonly to: "split"; readonly num: bigint; readonly den: bigint }
  | { readonly to: "arbitrated"; readonly approvedNano: Nano };

export type DisputeTerms = Pick<PairTerms, "openDays" | "ackDays" | "resolveDays" | "silenceRule">;

export type MoveRefusal = "state" | "actor" | "time" | "evidence" | "amount";

export type Moved =
  | { readonly kind: "moved"; readonly dispute: Dispute }
  | {
      readonly kind: "refused";
      readonly reason: MoveRefusal;
      /** What was expected and what was found. */
      readonly detail: string;
    };

/** Digests of one transition, and of a dispute. */
const bundlesMax = 64;
const usPerDay = 86_400_000_000n;

export const decidedStates: readonly DisputeState[] = [
  "accepted-by-vendor",
  "accepted-by-operator",
  "split",
  "arbitrated",
  "lapsed",
];

/** Nothing follows on them. */
export const finalStates: readonly DisputeState[] = ["withdrawn", "settled"];

const undecided: readonly DisputeState[] = ["opened", "acknowledged", "evidence"];

interface Rule {
  readonly from: readonly DisputeState[];
  readonly by: (dispute: Dispute) => Actor;
}

/** Every transition but the first. */
export const disputeRules: Readonly<Record<Move["to"], Rule>> = {
  acknowledged: { from: ["opened"], by: ({ opener }) => otherParty(opener) },
  // Each brings its own: who may is looked at beside the table.
  evidence: { from: ["acknowledged", "evidence"], by: () => "both" },
  "accepted-by-vendor": { from: ["evidence"], by: () => "counterparty" },
  "accepted-by-operator": { from: ["evidence"], by: () => "operator" },
  split: { from: ["evidence"], by: () => "both" },
  arbitrated: { from: ["evidence"], by: () => "arbiter" },
  withdrawn: { from: undecided, by: ({ opener }) => opener },
  lapsed: { from: undecided, by: () => "timer" },
  settled: { from: decidedStates, by: () => "operator" },
};

/** Money that was stated and is doubted, or money that is missing in the statement. */
export function isTooHigh({ pair, opener }: Pick<Dispute, "pair" | "opener">): boolean {
  return opener === (isBill(pair) ? "counterparty" : "operator");
}

/** What is missing in a statement at most where no claims show it: a party that agrees may be wrong, but not for ever. */
export const missingMaxNano: Nano = 100_000_000_000_000n;

/** However much is claimed: far below what an account can hold. */
const claimedMaxNano: Nano = 10_000_000_000_000_000n;

/** What a statement is to a dispute that is opened. */
export interface Disputed {
  /** When the statement was closed. */
  readonly statedUs: InstantUs;
  /** Of the statement and not in dispute yet. */
  readonly undisputedNano: Nano;
  /** Of that, what is neither approved nor paid. */
  readonly openNano: Nano;
  /** Said to be missing in it by other disputes. */
  readonly missingNano: Nano;
  /** What signed claims of the period show beyond it, less what other disputes have of that. */
  readonly evidenceNano: Nano;
}

/** The first transition. Whether the statement bears it is said by what is known of it. */
export function openDispute(
  claim: DisputeClaim,
  known: Disputed & { readonly nowUs: InstantUs; readonly terms: DisputeTerms },
): Moved {
  const { statedUs, nowUs, terms } = known;
  const last = statedUs + BigInt(terms.openDays) * usPerDay;
  if (nowUs > last) return refused("time", `at most ${terms.openDays} days after`, `${nowUs}`);
  const isListed = claim.items.length > 0 && claim.items.every(({ amountNano }) => amountNano > 0n);
  const accounts = claim.items.map(({ account }) => account);
  const isSorted = accounts.every(
    (each, index) => index === 0 || each > (accounts[index - 1] ?? ""),
  );
  if (!isListed || !isSorted) {
    return refused("amount", "items above 0, sorted by account, each once", accounts.join(" "));
  }
  const amountNano = claim.items.reduce((sum, item) => sum + item.amountNano, 0n);
  const mostNano = mostOf(claim, known);
  if (amountNano > mostNano) {
    const of = isTooHigh(claim) ? "undisputed" : "that claims or the house's limit allow";
    return refused("amount", `at most ${mostNano} nano ${of}`, `${amountNano}`);
  }
  const dispute: Dispute = {
    ...claim,
    amountNano,
    known: isTooHigh(claim)
      ? { heldNano: within(known.openNano, amountNano), evidenceNano: 0n }
      : { heldNano: 0n, evidenceNano: within(known.evidenceNano, amountNano) },
    state: "opened",
    transitions: 1,
    lastHash: "",
    openedUs: nowUs,
    acknowledgedUs: undefined,
    heard: [],
    bundles: [],
    approvedNano: undefined,
    nettedNano: 0n,
  };
  return { kind: "moved", dispute };
}

function mostOf(
  claim: DisputeClaim,
  { undisputedNano, missingNano, evidenceNano }: Disputed,
): Nano {
  if (isTooHigh(claim)) return undisputedNano;
  const claimed = evidenceNano + missingNano;
  const most = claimed > missingMaxNano ? within(claimed, claimedMaxNano) : missingMaxNano;
  return most - missingNano;
}

/** Between 0 and the most. */
function within(amountNano: Nano, mostNano: Nano): Nano {
  if (amountNano <= 0n) return 0n;
  return amountNano < mostNano ? amountNano : mostNano;
}

/** Any later transition. What is not in the table is refused with what was expected. */
export function moveDispute(
  dispute: Dispute,
  move: Move,
  options: { readonly by: Actor; readonly nowUs: InstantUs; readonly terms: DisputeTerms },
): Moved {
  const { by, nowUs, terms } = options;
  const rule = disputeRules[move.to];
  if (!rule.from.includes(dispute.state)) {
    return refused("state", rule.from.join(" or "), dispute.state);
  }
  const actor = rule.by(dispute);
  const isParty = by === "operator" || by === "counterparty";
  if (move.to === "evidence" ? !isParty : actor !== by) {
    return refused("actor", move.to === "evidence" ? "a party" : actor, by);
  }
  const due = dueOf(dispute, terms);
  if (move.to === "lapsed" && (due === undefined || nowUs < due)) {
    return refused("time", due === undefined ? "no timer" : `not before ${due}`, `${nowUs}`);
  }
  // The clock decides, not how soon the timer was looked at.
  if (move.to !== "lapsed" && move.to !== "settled" && due !== undefined && nowUs >= due) {
    return refused("time", `before ${due}`, `${nowUs}`);
  }
  return changed(dispute, move, { by, nowUs });
}

/** When the timer fires, once: what was not answered by then is decided against who was silent. */
export function dueOf(dispute: Dispute, terms: DisputeTerms): InstantUs | undefined {
  const { state, openedUs, acknowledgedUs, heard } = dispute;
  if (terms.silenceRule === "stays-open" || !undecided.includes(state)) return undefined;
  if (state === "opened") return openedUs + BigInt(terms.ackDays) * usPerDay;
  // Nobody was silent: an arbiter decides.
  if (heard.length === 2) return undefined;
  return (acknowledgedUs ?? openedUs) + BigInt(terms.resolveDays) * usPerDay;
}

/** A dispute without evidence of the one who opened it has none. */
export function silentParty({ state, opener, heard }: Dispute): Party {
  if (state === "opened") return otherParty(opener);
  const [only] = heard;
  return only === undefined ? opener : otherParty(only);
}

export function otherParty(party: Party): Party {
  return party === "operator" ? "counterparty" : "operator";
}

function changed(
  dispute: Dispute,
  move: Move,
  { by, nowUs }: { readonly by: Actor; readonly nowUs: InstantUs },
): Moved {
  const next = { ...dispute, state: move.to, transitions: dispute.transitions + 1 };
  const moved = (changes: Partial<Dispute>): Moved => ({
    kind: "moved",
    dispute: { ...next, ...changes },
  });
  switch (move.to) {
    case "acknowledged":
      return moved({ acknowledgedUs: nowUs });
    case "evidence":
      return heardOf(dispute, move.bundles, by, moved);
    case "accepted-by-vendor":
      return moved({ approvedNano: approvedFor("operator", dispute) });
    case "accepted-by-operator":
      return moved({ approvedNano: approvedFor("counterparty", dispute) });
    case "lapsed":
      return moved({ approvedNano: bySilence(dispute) });
    case "split": {
      const { num, den } = move;
      if (den <= 0n || num < 0n || num > den)
        return refused("amount", "0 <= n <= d", `${num}/${den}`);
      return moved({ approvedNano: (dispute.amountNano * num) / den });
    }
    case "arbitrated": {
      const { approvedNano } = move;
      const isWithin = approvedNano >= 0n && approvedNano <= dispute.amountNano;
      if (!isWithin) return refused("amount", `0 to ${dispute.amountNano}`, `${approvedNano}`);
      return moved({ approvedNano });
    }
    case "withdrawn":
    case "settled":
      return moved({});
  }
}

function heardOf(
  { heard, bundles: before }: Dispute,
  bundles: readonly string[],
  by: Actor,
  moved: (changes: Partial<Dispute>) => Moved,
): Moved {
  const isDigests = bundles.every((each) => /^[0-9a-f]{64}$/.test(each));
  const all = [...before, ...bundles];
  if (bundles.length === 0 || !isDigests || all.length > bundlesMax) {
    return refused("evidence", `1 to ${bundlesMax} SHA-256 in hex`, bundles.join(" "));
  }
  const party: Party = by === "operator" ? "operator" : "counterparty";
  return moved({ heard: [...new Set([...heard, party])].toSorted(), bundles: all });
}

/** What the counterparty gets if a party is right: of a bill that is too high nothing is its, and so on. */
function approvedFor(winner: Party, { pair, amountNano }: Dispute): Nano {
  // A bill is owed by the counterparty: the operator's right is that it stands.
  const getsAll = isBill(pair) ? "operator" : "counterparty";
  return winner === getsAll ? amountNano : 0n;
}

/** The silent party loses what is stated. What is missing is added only as far as signed claims show it. */
function bySilence(dispute: Dispute): Nano {
  const approvedNano = approvedFor(otherParty(silentParty(dispute)), dispute);
  return isTooHigh(dispute) ? approvedNano : within(approvedNano, dispute.known.evidenceNano);
}

function refused(reason: MoveRefusal, expected: string, found: string): Moved {
  return { kind: "refused", reason, detail: `expected ${expected}, found ${found}` };
}

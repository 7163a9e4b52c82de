import type { InstantUs, PairId } from "../../units.ts";
import { canonicalJson, type Canonical } from "../canonical.ts";
import type { DisputeReason } from "./dispute-reason.ts";
import {
  moveDispute,
  openDispute,
  type Actor,
  type AtOpening,
  type Dispute,
  type DisputeClaim,
  type DisputeState,
  type DisputeTerms,
  type Disputed,
  type Move,
  type Moved,
  type Party,
} from "./dispute.ts";

/** What a detached signature of a transition says it is of. */
export const disputeJwsType = "tokengrid-dispute";

/** One transition as it is signed: what was before is named by its hash, so no two histories fit one end. */
export interface Transition {
  readonly dispute: string;
  readonly pair: PairId;
  /** From 0. */
  readonly number: number;
  /** SHA-256 of the transition before; empty for the first. */
  readonly prevHash: string;
  readonly by: Actor;
  readonly atUs: InstantUs;
  readonly step: { readonly to: "opened"; readonly claim: DisputeClaim } | Move;
}

/** `<dispute>:<number>`. */
export function transitionIdOf({
  dispute,
  number,
}: Pick<Transition, "dispute" | "number">): string {
  return `${dispute}:${number}`;
}

/** The bytes that are hashed and signed. */
export function toTransitionText(transition: Transition): string {
  const { dispute, pair, number, prevHash, by, atUs, step } = transition;
  return canonicalJson({
    type: "dispute",
    v: "1",
    dispute_id: dispute,
    pair_id: pair,
    number: String(number),
    prev_hash: prevHash === "" ? null : prevHash,
    by: snake(by),
    at_us: atUs,
    to: snake(step.to),
    ...membersOf(step),
  });
}

/** The transition again; only for texts that `toTransitionText` wrote. */
export function fromTransitionText(text: string): Transition {
  const members = JSON.parse(text) as Members;
  const pair = members.pair_id as PairId;
  return {
    dispute: members.dispute_id,
    pair,
    number: Number(members.number),
    prevHash: members.prev_hash ?? "",
    by: kebab(members.by) as Actor,
    atUs: BigInt(members.at_us),
    step: stepOf(members, pair),
  };
}

/**
 * What a dispute is after its transitions, in order. The ledger accepted them, so each of them fits: this is how the
 * state is known after a start.
 */
export function replayed(
  before: Dispute | undefined,
  accepted: {
    readonly transition: Transition;
    readonly hash: string;
    /** Of the first transition. */
    readonly known?: AtOpening | undefined;
  },
): Dispute {
  const { transition, hash, known: atOpening } = accepted;
  const { step, by, atUs } = transition;
  const moved =
    step.to === "opened"
      ? openDispute(step.claim, { ...anything, statedUs: atUs, nowUs: atUs })
      : moveDispute(known(before), step, { by, nowUs: atUs, terms: timeless(step.to) });
  if (moved.kind === "refused") {
    throw new Error(`${transitionIdOf(transition)}: ${moved.reason}: ${moved.detail}`);
  }
  return {
    ...moved.dispute,
    ...(step.to === "opened" && atOpening !== undefined && { known: atOpening }),
    lastHash: hash,
  };
}

/** A transition that is to be made, against what the dispute is now. */
export function apply(
  before: Dispute | undefined,
  transition: Transition,
  options: {
    readonly terms: DisputeTerms;
    readonly nowUs: InstantUs;
    /** For the first transition. */
    readonly about?: Disputed | undefined;
  },
): Moved {
  const { step, by, number, prevHash } = transition;
  const expected = before?.transitions ?? 0;
  if (number !== expected || prevHash !== (before?.lastHash ?? "")) {
    const detail = `expected transition ${expected} after ${before?.lastHash ?? "none"}, found ${number} after ${prevHash}`;
    return { kind: "refused", reason: "state", detail };
  }
  if (step.to === "opened") {
    const { opener } = step.claim;
    if (by === opener)
      return openDispute(step.claim, { ...(options.about ?? nothing), ...options });
    return { kind: "refused", reason: "actor", detail: `expected ${opener}, found ${by}` };
  }
  return moveDispute(known(before), step, { ...options, by });
}

/** What was checked when it was accepted is not checked again: terms may have changed since. */
const anything = {
  undisputedNano: 1n << 200n,
  openNano: 1n << 200n,
  // So that any amount is within what may be missing.
  missingNano: -(1n << 200n),
  evidenceNano: 1n << 200n,
  terms: { openDays: 0, ackDays: 0, resolveDays: 0, silenceRule: "stays-open" },
} as const;

const nothing: Disputed = {
  statedUs: 0n,
  undisputedNano: 0n,
  openNano: 0n,
  missingNano: 0n,
  evidenceNano: 0n,
};

/** A timer that had fired had fired by the terms of then. */
function timeless(to: DisputeState): DisputeTerms {
  return { ...anything.terms, silenceRule: to === "lapsed" ? "silent-party-loses" : "stays-open" };
}

function known(dispute: Dispute | undefined): Dispute {
  if (dispute === undefined) throw new Error("expected a dispute that was opened, found none");
  return dispute;
}

type Members = Readonly<
  Record<"dispute_id" | "pair_id" | "number" | "by" | "at_us" | "to", string>
> & {
  readonly prev_hash: string | null;
  readonly statement_id?: string;
  readonly opener?: string;
  readonly reason?: string;
  readonly items?: readonly { readonly account: string; readonly nano: string }[];
  readonly bundles?: readonly string[];
  readonly num?: string;
  readonly den?: string;
  readonly approved_nano?: string;
};

function membersOf(step: Transition["step"]): Readonly<Record<string, Canonical>> {
  switch (step.to) {
    case "opened":
      return {
        statement_id: step.claim.statement,
        opener: step.claim.opener,
        reason: step.claim.reason,
        items: step.claim.items.map(({ account, amountNano }) => ({ account, nano: amountNano })),
      };
    case "evidence":
      return { bundles: step.bundles };
    case "split":
      return { num: step.num, den: step.den };
    case "arbitrated":
      return { approved_nano: step.approvedNano };
    case "acknowledged":
    case "accepted-by-vendor":
    case "accepted-by-operator":
    case "withdrawn":
    case "lapsed":
    case "settled":
      return {};
  }
}

function stepOf(members: Members, pair: PairId): Transition["step"] {
  const to = kebab(members.to) as DisputeState;
  switch (to) {
    case "opened":
      return { to, claim: claimOf(members, pair) };
    case "evidence":
      return { to, bundles: members.bundles ?? [] };
    case "split":
      return { to, num: BigInt(members.num ?? ""), den: BigInt(members.den ?? "") };
    case "arbitrated":
      return { to, approvedNano: BigInt(members.approved_nano ?? "") };
    case "acknowledged":
    case "accepted-by-vendor":
    case "accepted-by-operator":
    case "withdrawn":
    case "lapsed":
    case "settled":
      return { to };
  }
}

function claimOf(members: Members, pair: PairId): DisputeClaim {
  return {
    id: members.dispute_id,
    pair,
    statement: members.statement_id ?? "",
    opener: members.opener as Party,
    reason: members.reason as DisputeReason,
    items: (members.items ?? []).map(({ account, nano }) => ({
      account,
      amountNano: BigInt(nano),
    })),
  };
}

function snake(word: string): string {
  return word.replaceAll("-", "_");
}

function kebab(word: string): string {
  return word.replaceAll("_", "-");
}

import type { InstantUs } from "../../units.ts";
import { canonicalJson } from "../canonical.ts";
import type { AtOpening } from "./dispute.ts";
import type { MoneyEffect } from "./dispute-money.ts";
import { fromTransitionText, toTransitionText, type Transition } from "./dispute-text.ts";

/** A transition as the ledger took it: the document `dispute`. */
export interface AcceptedTransition {
  readonly text: string;
  /** Of those whose transition it is; none of the timer's. */
  readonly jws: readonly string[];
  /** When the ledger took it: by this instant, not the one that was signed, timers count. */
  readonly takenUs: InstantUs;
  /** Of the first transition. */
  readonly known?: AtOpening | undefined;
  readonly moved: readonly MoneyEffect[];
}

interface Members {
  readonly transition: string;
  readonly jws: readonly string[];
  readonly taken_us: string;
  readonly held_nano?: string;
  readonly evidence_nano?: string;
  readonly moved: readonly { readonly from: string; readonly to: string; readonly nano: string }[];
}

export function toTransitionRecord({
  text,
  jws,
  takenUs,
  known,
  moved,
}: AcceptedTransition): string {
  return canonicalJson({
    type: "dispute_accepted",
    v: "1",
    transition: text,
    jws,
    taken_us: takenUs,
    ...(known && { held_nano: known.heldNano, evidence_nano: known.evidenceNano }),
    moved: moved.map(({ from, to, amountNano }) => ({ from, to, nano: amountNano })),
  });
}

/** Only for texts that `toTransitionRecord` wrote. */
export function fromTransitionRecord(body: string): AcceptedTransition {
  const { transition, jws, taken_us, held_nano, evidence_nano, moved } = JSON.parse(
    body,
  ) as Members;
  return {
    text: transition,
    jws,
    takenUs: BigInt(taken_us),
    known:
      held_nano === undefined || evidence_nano === undefined
        ? undefined
        : { heldNano: BigInt(held_nano), evidenceNano: BigInt(evidence_nano) },
    moved: moved.map(({ from, to, nano }) => ({ from, to, amountNano: BigInt(nano) })),
  };
}

/** A transition that somebody sent, or what is wrong with its text. Only the one canonical text is taken. */
export function parseTransition(text: string): Transition | string {
  let transition: Transition;
  try {
    const members: unknown = JSON.parse(text);
    const wanted = ["dispute_id", "pair_id", "number", "by", "at_us", "to"];
    const lacks = wanted.find((each) => !isTextAt(members, each));
    if (lacks !== undefined) return `${lacks}: expected a text, found none`;
    transition = fromTransitionText(text);
    if (toTransitionText(transition) === text) return transition;
  } catch (error) {
    // JSON.parse, BigInt and what is no member of nothing.
    if (error instanceof SyntaxError || error instanceof TypeError) {
      const why = error instanceof SyntaxError ? `: ${error.message}` : "";
      return `expected a transition of a dispute${why}`;
    }
    throw error;
  }
  return "expected the canonical text of a transition";
}

function isTextAt(members: unknown, name: string): boolean {
  if (typeof members !== "object" || members === null) return false;
  return typeof (members as Readonly<Record<string, unknown>>)[name] === "string";
}

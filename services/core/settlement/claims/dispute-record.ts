import type { InstantUs } from "../../units.ts";
import { canonicalJson } from "../canonical.ts";
import type { MoneyEffect } from "./dispute-money.ts";
import { fromTransitionText, toTransitionText, type Transition } from "./dispute-text.ts";

/** A transition as the ledger took it: the document `dispute`. */
export interface AcceptedTransition {
  readonly text: string;
  /** Of those whose transition it is; none of the timer's. */
  readonly jws: readonly string[];
  /** When the ledger took it: by this instant, not the one that was signed, timers count. */
  readonly takenUs: InstantUs;
  readonly moved: readonly MoneyEffect[];
}

interface Members {
  readonly transition: string;
  readonly jws: readonly string[];
  readonly taken_us: string;
  readonly moved: readonly { readonly from: string; readonly to: string; readonly nano: string }[];
}

export function toTransitionRecord({ text, jws, takenUs, moved }: AcceptedTransition): string {
  return canonicalJson({
    type: "dispute_accepted",
    v: "1",
    transition: text,
    jws,
    taken_us: takenUs,
    moved: moved.map(({ from, to, amountNano }) => ({ from, to, nano: amountNano })),
  });
}

/** Only for texts that `toTransitionRecord` wrote. */
export function fromTransitionRecord(body: string): AcceptedTransition {
  const { transition, jws, taken_us, moved } = JSON.parse(body) as Members;
  return {
    text: transition,
    jws,
    takenUs: BigInt(taken_us),
    moved: moved.map(({ from, to, nano }) => ({ from, to, amountNano: BigInt(nano) })),
  };
}

/** A transition that somebody sent, or what is wrong with its text. Only the one canonical text is taken. */
export function parseTransition(text: string): Transition | string {
  let transition: Transition;
  try {
    transition = fromTransitionText(text);
    if (toTransitionText(transition) === text) return transition;
  } catch (error) {
    // JSON.parse, BigInt and what is no member of nothing.
    if (error instanceof SyntaxError || error instanceof TypeError) {
      return `expected a transition of a dispute: ${error.message}`;
    }
    throw error;
  }
  return "expected the canonical text of a transition";
}

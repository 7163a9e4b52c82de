import { decimalOf } from "../core/settlement/decimal.ts";
import type { Move } from "../core/settlement/claims/dispute.ts";
import { Failure } from "./outcome.ts";

/** A transition as the command line says it. */
export interface MoveWords {
  readonly to?: string;
  readonly bundle?: readonly string[];
  readonly parts?: string;
  readonly approve?: string;
}

const nanoDigits = 9;

const plain = [
  "acknowledged",
  "accepted-by-vendor",
  "accepted-by-operator",
  "withdrawn",
  "settled",
] as const;

/** Throws for words that are none. `digestOf` reads a file of evidence. */
export function moveOf(words: MoveWords, digestOf: (path: string) => string): Move {
  const { to, bundle = [], parts = "", approve = "" } = words;
  const simple = plain.find((each) => each === to);
  if (simple !== undefined) return { to: simple };
  switch (to) {
    case "evidence":
      if (bundle.length === 0) throw new Failure("--to evidence: expected --bundle, found none");
      return { to, bundles: bundle.map(digestOf) };
    case "split": {
      const [, num, den] = /^(\d{1,15})\/(\d{1,15})$/.exec(parts) ?? [];
      if (num === undefined || den === undefined) {
        throw new Failure(`--parts: expected n/d such as 1/2, found ${JSON.stringify(parts)}`);
      }
      return { to, num: BigInt(num), den: BigInt(den) };
    }
    case "arbitrated": {
      const approvedNano = decimalOf(approve, nanoDigits);
      if (approvedNano === undefined) {
        throw new Failure(
          `--approve: expected yuan such as 12.50, found ${JSON.stringify(approve)}`,
        );
      }
      return { to, approvedNano };
    }
    case undefined:
    default: {
      const expected = [...plain, "evidence", "split", "arbitrated"].join(", ");
      throw new Failure(`--to: expected one of ${expected}, found ${to ?? "nothing"}`);
    }
  }
}

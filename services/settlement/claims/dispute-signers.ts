import { disputeJwsType, type Transition } from "../../core/settlement/claims/dispute-text.ts";
import type { Actor } from "../../core/settlement/claims/dispute.ts";
import { verifyDetached } from "../../core/settlement/proof/jws.ts";
import type { PairId } from "../../core/units.ts";
import { verify } from "../../io/signing.ts";
import type { KeyOf } from "./claims.ts";

type Signer = PairId | "internal";

/**
 * Why the signatures are not those that a transition needs; undefined if they are. Each of those who make it signs the
 * same bytes. An arbiter has no key with us: what he decided is signed by both.
 */
export function signersOf(
  { by, pair }: Transition,
  signed: { readonly text: string; readonly jws: readonly string[] },
  keyOf: KeyOf,
): string | undefined {
  const wanted = signersBy[by](pair);
  if (signed.jws.length !== wanted.length) {
    return `expected ${wanted.length} signatures, found ${signed.jws.length}`;
  }
  const { text: payload } = signed;
  for (const signer of wanted) {
    const found = signed.jws.map((jws) =>
      verifyDetached(
        { jws, payload, typ: disputeJwsType, keyOf: (kid) => keyOf(signer, kid) },
        verify,
      ),
    );
    if (found.every((each) => typeof each === "string")) {
      return `signature of ${signer}: ${found.join("; ")}`;
    }
  }
  return undefined;
}

const signersBy: Readonly<Record<Actor, (pair: PairId) => readonly Signer[]>> = {
  operator: () => ["internal"],
  counterparty: (pair) => [pair],
  both: (pair) => ["internal", pair],
  arbiter: (pair) => ["internal", pair],
  timer: () => [],
};

import type { PublicKey } from "../proof/note.ts";
import {
  partyKeyKind,
  readKeyWithdrawal,
  readPartyKey,
  withdrawalKind,
  type PartyKey,
} from "./consent.ts";
import type { Party } from "./terms-kinds.ts";

/** Keys that parties sign with, made from the documents of the ledger in their order. */
export class KeysOnFile {
  /** By party and name: no party can take a name from another. */
  readonly #keys = new Map<string, PartyKey>();
  readonly #withdrawn = new Set<string>();

  /** What is wrong with a document; undefined if nothing is, or if it is of another kind. */
  add(kind: string, body: string): string | undefined {
    if (kind === partyKeyKind) {
      const key = readPartyKey(body);
      if (key === undefined) return "expected a key of a party";
      const name = nameOf(key);
      if (!this.#keys.has(name)) this.#keys.set(name, key);
    }
    if (kind === withdrawalKind) {
      const withdrawal = readKeyWithdrawal(body);
      if (withdrawal === undefined) return "expected a withdrawal of a party's key";
      this.#withdrawn.add(nameOf(withdrawal));
    }
    return undefined;
  }

  /** Signatures that come now count by it. */
  keyOf(party: Party, kid: string): PublicKey | undefined {
    const name = nameOf({ party, kid });
    return this.#withdrawn.has(name) ? undefined : this.#keys.get(name)?.publicKey;
  }

  /** Those that are not withdrawn. */
  keysOf(party: Party): readonly PartyKey[] {
    return [...this.#keys.values()].filter(
      (key) => key.party === party && !this.#withdrawn.has(nameOf(key)),
    );
  }

  /** A name is of one key for ever, withdrawn or not. */
  isTaken(party: Party, kid: string): boolean {
    return this.#keys.has(nameOf({ party, kid }));
  }
}

function nameOf({ party, kid }: Pick<PartyKey, "party" | "kid">): string {
  return `${party} ${kid}`;
}

import type { InstantUs } from "../../units.ts";
import { canonicalJson } from "../canonical.ts";
import type { PublicKey } from "../proof/note.ts";
import { id, instant, note, object, readCanonical, text, word, type Shape } from "./shape.ts";
import type { Party, TermsKind } from "./terms-kinds.ts";

/** `typ` of a detached JWS over the canonical text of a document that parties agree on. */
export const termsJwsType = "tokengrid-terms";

/**
 * - `signature`: a detached JWS by a key of the party.
 * - `credential`: the party sent or confirmed the document itself, with its own credential, while no key of it was on file.
 */
export const consentWays = ["signature", "credential"] as const;
export type ConsentWay = (typeof consentWays)[number];

/** That a party agrees to the bytes of a document: the document `terms-signature`. */
export interface Consent {
  readonly kind: TermsKind;
  /** Of the version: `northgrid-list@2`. */
  readonly id: string;
  /** SHA-256 of what is agreed to. */
  readonly hash: string;
  readonly party: Party;
  readonly way: ConsentWay;
  /** Empty for a credential. */
  readonly jws: string;
  readonly atUs: InstantUs;
}

/** A key that a party signs with: the document `party-key`. */
export interface PartyKey {
  readonly party: Party;
  /** Unique for its party, for ever. */
  readonly kid: string;
  /** Ed25519, lower-case hex. */
  readonly publicKey: PublicKey;
  /** Whose credential put it on file. */
  readonly by: Party;
  /** By a key that was on file, over `<kid> <public key>`; empty for the first. */
  readonly jws: string;
  readonly atUs: InstantUs;
}

/** That a key signs no more: the document `party-key-withdrawal`. What it signed before stays. */
export interface KeyWithdrawal {
  readonly party: Party;
  readonly kid: string;
  /** By a key on file, over `withdraw <kid> <public key>`. */
  readonly jws: string;
  readonly atUs: InstantUs;
}

export const consentKind = "terms-signature";
export const partyKeyKind = "party-key";
export const withdrawalKind = "party-key-withdrawal";

const party = text(/^(internal|(vendor|tenant|model|channel):[\w.-]{1,62})$/, "internal or a pair");
const hex = text(/^[0-9a-f]{64}$/, "64 digits of lower-case hex");
const kinds = [
  "contract",
  "price-version",
  "calendar",
  "split-rule",
  "standard-tokens",
  "reprice",
] as const satisfies readonly TermsKind[];

const consentShape: Shape<Consent> = object<Consent>(
  {
    kind: ["kind", word(kinds)],
    id: ["id", id<string>()],
    hash: ["hash", hex],
    party: ["party", party as Shape<Party>],
    way: ["way", word(consentWays)],
    jws: ["jws", note(4_096)],
    atUs: ["at_us", instant],
  },
  { type: "terms_signature", v: "1" },
);

const kidShape = text(/^[\w.:@/-]{1,126}$/, "1 to 126 of A-Z a-z 0-9 _ . : @ / -");

export const partyKeyShape: Shape<PartyKey> = object<PartyKey>(
  {
    party: ["party", party as Shape<Party>],
    kid: ["kid", kidShape],
    publicKey: ["public_key", hex],
    by: ["by", party as Shape<Party>],
    jws: ["jws", note(4_096)],
    atUs: ["at_us", instant],
  },
  { type: "party_key", v: "1" },
);

const withdrawalShape: Shape<KeyWithdrawal> = object<KeyWithdrawal>(
  {
    party: ["party", party as Shape<Party>],
    kid: ["kid", kidShape],
    jws: ["jws", note(4_096)],
    atUs: ["at_us", instant],
  },
  { type: "party_key_withdrawal", v: "1" },
);

export function consentText(consent: Consent): string {
  return canonicalJson(consentShape.write(consent));
}

/** One consent of a party to the bytes of a version, for ever. */
export function consentId({ kind, id: version, party: by, hash }: Consent): string {
  return `${kind}/${version}/${by}/${hash}`;
}

/** A key of a party, for ever. */
export function partyKeyId({ party: of, kid }: Pick<PartyKey, "party" | "kid">): string {
  return `${of}/${kid}`;
}

export function readConsent(body: string): Consent | undefined {
  const read = readCanonical(consentShape, body);
  return "value" in read ? read.value : undefined;
}

export function partyKeyText(key: PartyKey): string {
  return canonicalJson(partyKeyShape.write(key));
}

export function readPartyKey(body: string): PartyKey | undefined {
  const read = readCanonical(partyKeyShape, body);
  return "value" in read ? read.value : undefined;
}

/** What a key on file signs so that one of its party signs no more. */
export function withdrawalPayload(kid: string, publicKey: PublicKey): string {
  return `withdraw ${kid} ${publicKey}`;
}

export function keyWithdrawalText(withdrawal: KeyWithdrawal): string {
  return canonicalJson(withdrawalShape.write(withdrawal));
}

export function readKeyWithdrawal(body: string): KeyWithdrawal | undefined {
  const read = readCanonical(withdrawalShape, body);
  return "value" in read ? read.value : undefined;
}

import {
  keyWithdrawalText,
  partyKeyId,
  partyKeyKind,
  partyKeyText,
  termsJwsType,
  withdrawalKind,
  withdrawalPayload,
} from "../../core/settlement/terms/consent.ts";
import { verifyDetached } from "../../core/settlement/proof/jws.ts";
import type { KeysOnFile } from "../../core/settlement/terms/keys-on-file.ts";
import type { Party } from "../../core/settlement/terms/terms-kinds.ts";
import type { InstantUs } from "../../core/units.ts";
import { verify } from "../../io/signing.ts";
import { toConnectError } from "../../wire/errors.ts";
import type { NewLeaf } from "../ingest/writer.ts";
import type { NewDocument } from "./terms.ts";

export interface NewKey {
  readonly party: Party;
  readonly kid: string;
  readonly publicKey: string;
  /** By a key on file; empty for the first one. */
  readonly jws: string;
  /** Whose credential it came with. */
  readonly by: Party;
}

export interface Withdrawal {
  readonly party: Party;
  readonly kid: string;
  /** By a key on file, which may be the one that is withdrawn. */
  readonly jws: string;
}

/** What is to be written. */
export interface KeyChange {
  readonly document: NewDocument;
  readonly leaf?: NewLeaf;
}

/**
 * The first key of a party comes with its own credential, each further one with a signature by one before: nobody else speaks
 * for it, not the operator either. Every key is a leaf in its party's log, so that a key that the party does not
 * know shows. Undefined: it is on file already.
 */
export function newKey(keys: KeysOnFile, key: NewKey, atUs: InstantUs): KeyChange | undefined {
  const { party, kid, publicKey, jws, by } = key;
  if (keys.keyOf(party, kid) === publicKey) return undefined;
  if (keys.isTaken(party, kid)) {
    throw toConnectError("CONFLICT", `kid: expected a name that no key has, found ${kid}`);
  }
  if (keys.keysOf(party).length > 0) {
    requireSignature(keys, party, { jws, payload: `${kid} ${publicKey}` });
  } else if (by !== party && hasCredential(party)) {
    throw toConnectError(
      "NOT_ALLOWED",
      `party_id: expected the first key of ${party} with its own credential, found that of ${by}`,
    );
  }
  const body = partyKeyText({ party, kid, publicKey, by, jws, atUs });
  return changeOf(partyKeyKind, { party, kid, atUs, body });
}

/** What the operator signs with, as the settlement starts: its file is its word. Its logs have a word of their own of that key. */
export function operatorKey(
  keys: KeysOnFile,
  { kid, publicKey }: Pick<NewKey, "kid" | "publicKey">,
  atUs: InstantUs,
): KeyChange | undefined {
  const party = "internal";
  if (keys.keyOf(party, kid) === publicKey) return undefined;
  const body = partyKeyText({ party, kid, publicKey, by: party, jws: "", atUs });
  return { document: changeOf(partyKeyKind, { party, kid, atUs, body }).document };
}

/** The last one stays: a party without a key would be spoken for by its credential again. Undefined: it was withdrawn before. */
export function withdrawal(
  keys: KeysOnFile,
  { party, kid, jws }: Withdrawal,
  atUs: InstantUs,
): KeyChange | undefined {
  const publicKey = keys.keyOf(party, kid);
  if (publicKey === undefined) {
    if (keys.isTaken(party, kid)) return undefined;
    throw toConnectError("NOT_FOUND", `kid: ${party} has no key ${kid}`);
  }
  requireSignature(keys, party, { jws, payload: withdrawalPayload(kid, publicKey) });
  if (keys.keysOf(party).length === 1) {
    throw toConnectError("CONFLICT", `kid: expected another key on file first, found only ${kid}`);
  }
  const body = keyWithdrawalText({ party, kid, jws, atUs });
  return changeOf(withdrawalKind, { party, kid, atUs, body });
}

function requireSignature(
  keys: KeysOnFile,
  party: Party,
  { jws, payload }: { readonly jws: string; readonly payload: string },
): void {
  const keyOf = (name: string) => keys.keyOf(party, name);
  const header = verifyDetached({ jws, payload, typ: termsJwsType, keyOf }, verify);
  if (typeof header === "string") throw toConnectError("NOT_ALLOWED", `jws: ${header}`);
}

/** Owners of models and channels call nothing: the operator puts their first key on file, and their log says so. */
function hasCredential(party: Party): boolean {
  return /^(vendor|tenant):/.test(party);
}

function changeOf(
  kind: string,
  {
    party,
    kid,
    atUs,
    body,
  }: Pick<NewKey, "party" | "kid"> & { readonly atUs: InstantUs; readonly body: string },
): Required<KeyChange> {
  const id = partyKeyId({ party, kid });
  return {
    document: { kind, id, pair: party, atUs, body },
    leaf: { log: party, kind: "key", ref: `${kind}:${id}`, text: body },
  };
}

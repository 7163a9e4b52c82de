import type { ConnectRouter } from "@connectrpc/connect";
import { verifyDetached } from "../../core/settlement/proof/jws.ts";
import { termsJwsType } from "../../core/settlement/terms/consent.ts";
import { everyTenant } from "../../core/settlement/pricing/price-book.ts";
import { termsKinds, type Party, type TermsKind } from "../../core/settlement/terms/terms-kinds.ts";
import type { TermsRecord } from "../../core/settlement/terms/terms-state.ts";
import type { InstantUs } from "../../core/units.ts";
import { verify } from "../../io/signing.ts";
import { fromTermsRecord, termsKindWords } from "../../wire/contract.ts";
import { toConnectError } from "../../wire/errors.ts";
import { required } from "../../wire/field.ts";
import {
  ContractService,
  TermsKind as WireKind,
  type TermsVersion,
} from "../../wire/gen/tokengrid/v1/contract_pb.js";
import { partyOf } from "../caller.ts";
import type { Terms } from "./terms.ts";

/** Of versions, the newest: who looks for others asks for one kind of one pair. */
const listedMax = 2_000;

/** ContractService. */
export function serveTerms(router: ConnectRouter, { terms }: { readonly terms: Terms }): void {
  const shown = (record: TermsRecord, hasText = true): TermsVersion =>
    fromTermsRecord(record, { missing: terms.state.missing(record), hasText });
  router.service(ContractService, {
    async proposeTerms({ kind, canonicalJson }, { values }) {
      const word = termsKindWords.toWord("kind", kind);
      return { terms: shown(await terms.propose(word, canonicalJson, partyOf(values))) };
    },
    async signTerms({ kind, termsId, hash, jws }, { values }) {
      const word = termsKindWords.toWord("kind", kind);
      const party = partyOf(values);
      const named = terms.state.find(word, termsId, { hash }) ?? terms.state.find(word, termsId);
      const record = seen(named, party, termsId);
      const signed = { kind: word, id: termsId, hash };
      // Whoever brings a signature, it is of the party whose key made it.
      const signer = signerOf(terms, record, jws) ?? party;
      return { terms: shown(await terms.sign(signed, signer, jws)) };
    },
    getTerms({ kind, termsId, atUs }, { values }) {
      const word = termsKindWords.toWord("kind", kind);
      const party = partyOf(values);
      const found = find(terms, word, { termsId: required("terms_id", termsId), atUs, party });
      return { terms: shown(seen(found, party, termsId)) };
    },
    listTerms({ kind, pairId }, { values }) {
      const party = partyOf(values);
      const asked = kind === WireKind.UNSPECIFIED ? undefined : termsKindWords.toWord("kind", kind);
      const kinds = asked === undefined ? (Object.keys(termsKinds) as TermsKind[]) : [asked];
      const all = kinds.flatMap((each): readonly TermsRecord[] => terms.state.list(each));
      const found = all.filter(
        (record) => maySee(record, party) && (pairId === "" || record.pair === pairId),
      );
      const newest = found.toSorted((a, b) => Number(b.proposedUs - a.proposedUs));
      return { terms: newest.slice(0, listedMax).map((record) => shown(record, false)) };
    },
    async withdrawPartyKey({ partyId, kid, jws }, { values }) {
      const party = partyNamed(partyId, partyOf(values));
      await terms.withdrawKey({ party, kid, jws });
      return { kid };
    },
    async registerPartyKey({ partyId, kid, publicKey, jws }, { values }) {
      const by = partyOf(values);
      const party = partyNamed(partyId, by);
      await terms.registerKey({ party, kid, publicKey, jws, by });
      return { kid };
    },
  });
}

/** Of those who are to sign, the one by whose key on file a signature of the text is; undefined if it is nobody's. */
function signerOf({ state }: Terms, record: TermsRecord, jws: string): Party | undefined {
  if (jws === "") return undefined;
  return record.signers.find((party) => {
    const keyOf = (kid: string) => state.keyOf(party, kid);
    const signed = { jws, payload: record.text, typ: termsJwsType, keyOf };
    return typeof verifyDetached(signed, verify) !== "string";
  });
}

function partyNamed(partyId: string, by: Party): Party {
  if (by === "internal" || by === partyId) return partyId as Party;
  throw toConnectError("NOT_ALLOWED", `party_id: expected ${by}, found ${partyId}`);
}

function find(
  { state }: Terms,
  kind: TermsKind,
  asked: { readonly termsId: string; readonly atUs: InstantUs; readonly party: Party },
): TermsRecord | undefined {
  const { atUs, party } = asked;
  // `vendor:northgrid/northgrid@1` where others propose by the same name.
  const [, pair, termsId = ""] = /^(?:([a-z]+:[^/]+)\/)?(.*)$/s.exec(asked.termsId) ?? [];
  const own = pair ?? (party === "internal" ? undefined : party);
  const isMeant = (each: TermsRecord): boolean =>
    maySee(each, party) && (pair === undefined || each.pair === pair);
  if (termsId.includes("@")) {
    return (
      state.find(kind, termsId, { pair: own as Party | undefined }) ??
      (pair === undefined ? state.find(kind, termsId) : undefined)
    );
  }
  return atUs === 0n ? state.newest(kind, termsId, isMeant) : state.recordAt(kind, termsId, atUs);
}

/** To whom it does not concern, it is as unknown as none. */
function seen(record: TermsRecord | undefined, party: Party, termsId: string): TermsRecord {
  if (record !== undefined && maySee(record, party)) return record;
  throw toConnectError("NOT_FOUND", `terms_id: there is no ${termsId}`);
}

/**
 * Parties see their own, what they are to sign, and what everybody counts by. A list for tenants is shown to tenants once it is
 * agreed, and to no vendor.
 */
function maySee(record: TermsRecord, party: Party): boolean {
  const { kind, pair, signers, value, agreedUs } = record;
  if (party === "internal" || pair === party || signers.includes(party)) return true;
  if (kind === "calendar" || kind === "standard-tokens") return true;
  const isList = "currency" in value && value.pair === everyTenant;
  return isList && party.startsWith("tenant:") && agreedUs !== undefined;
}

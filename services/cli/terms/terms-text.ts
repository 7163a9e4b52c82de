import { TermsKind, type TermsVersion } from "../../wire/gen/tokengrid/v1/contract_pb.js";
import { localTime } from "../period.ts";
import { enumWord, textCard, textTable } from "../print.ts";

const columns = [
  { name: "KIND" },
  { name: "ID" },
  { name: "WITH" },
  { name: "FROM" },
  { name: "STATE" },
  { name: "HASH", isWide: true },
];

export function termsTable(terms: readonly TermsVersion[], isWide: boolean): string {
  const rows = terms.map((each) => [
    kindWord(each),
    each.termsId,
    each.pairId,
    start(each),
    stateOf(each),
    each.hash.slice(0, 12),
  ]);
  return textTable(columns, rows, isWide);
}

export function termsCard(terms: TermsVersion): string {
  const signed = terms.signatures.map(({ partyId, jws, atUs }) => {
    const way = jws === "" ? "by credential" : "by signature";
    return ["", `${partyId} ${way} at ${localTime(atUs)}`] as const;
  });
  const text: unknown = JSON.parse(terms.canonicalJson);
  return `${textCard([
    [kindWord(terms), terms.termsId],
    ["with", terms.pairId],
    ["in force from", start(terms)],
    ["state", stateOf(terms)],
    ["SHA-256", terms.hash],
    ...signed.map(([, line], index) => [index === 0 ? "agreed" : "", line] as const),
  ])}\n${JSON.stringify(text, null, 2)}\n`;
}

function kindWord({ kind }: TermsVersion): string {
  return enumWord(TermsKind[kind]);
}

function start({ effectiveFromUs }: TermsVersion): string {
  return effectiveFromUs === 0n ? "-" : localTime(effectiveFromUs);
}

function stateOf({ missingParties, agreedUs }: TermsVersion): string {
  return agreedUs > 0n ? "agreed" : `to sign: ${missingParties.join(", ")}`;
}

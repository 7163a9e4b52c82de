import { create } from "@bufbuild/protobuf";
import type { TermsKind } from "../core/settlement/terms/terms-kinds.ts";
import type { TermsRecord } from "../core/settlement/terms/terms-state.ts";
import { words } from "./field.ts";
import * as gen from "./gen/tokengrid/v1/contract_pb.js";

export const termsKindWords = words<TermsKind, gen.TermsKind>({
  contract: gen.TermsKind.CONTRACT,
  "price-version": gen.TermsKind.PRICE_VERSION,
  calendar: gen.TermsKind.CALENDAR,
  "split-rule": gen.TermsKind.SPLIT_RULE,
  "standard-tokens": gen.TermsKind.STANDARD_TOKENS,
  reprice: gen.TermsKind.REPRICE,
});

/** With its text, or without in lists. */
export function fromTermsRecord(
  record: TermsRecord,
  options: { readonly missing: readonly string[]; readonly hasText: boolean },
): gen.TermsVersion {
  const { value, consents } = record;
  return create(gen.TermsVersionSchema, {
    kind: termsKindWords.fromWord(record.kind),
    termsId: record.id,
    series: record.series,
    version: record.version,
    pairId: record.pair,
    effectiveFromUs: "effectiveFromUs" in value ? value.effectiveFromUs : 0n,
    proposedUs: record.proposedUs,
    hash: record.hash,
    canonicalJson: options.hasText ? record.text : "",
    agreedUs: record.agreedUs ?? 0n,
    signatures: consents.map(({ party, jws, atUs }) => ({ partyId: party, jws, atUs })),
    missingParties: [...options.missing],
  });
}

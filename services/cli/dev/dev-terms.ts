import type { Client } from "@connectrpc/connect";
import { termsJwsType } from "../../core/settlement/terms/consent.ts";
import { defaultContract } from "../../core/settlement/terms/contract.ts";
import { signDetached } from "../../core/settlement/proof/jws.ts";
import type { TenantContract } from "../../core/settlement/terms/other-contracts.ts";
import { defaultPairTerms } from "../../core/settlement/terms/pair-terms.ts";
import {
  everyTenant,
  type PriceBook,
  type PriceLine,
} from "../../core/settlement/pricing/price-book.ts";
import { bookText, contractText } from "../../core/settlement/terms/terms-text.ts";
import { tokenClasses, type TokenClass } from "../../core/settlement/counting/usage.ts";
import type { BookId, InstantUs, ModelId, PairId, Pico, VendorId } from "../../core/units.ts";
import { openSigningKey } from "../../io/signing.ts";
import { type ContractService, TermsKind } from "../../wire/gen/tokengrid/v1/contract_pb.js";
import { kidOf } from "./party-keys.ts";

type Contracts = Client<typeof ContractService>;

/** A simulated party: its credential calls, and its key signs. */
export interface DevParty {
  /** `vendor:qilian`, `tenant:dev`. */
  readonly pair: string;
  readonly contracts: Contracts;
  /** File of its private key; made if there is none. */
  readonly keyPath: string;
}

/**
 * Puts the simulated parties' keys on file and signs with them whatever waits for them, as they would. Doing it again
 * changes nothing. Resolves to the number of signatures.
 */
export async function signAsParties(parties: readonly DevParty[]): Promise<number> {
  let signatures = 0;
  for (const { pair, contracts, keyPath } of parties) {
    const key = await openSigningKey(keyPath);
    const kid = kidOf(pair);
    await contracts.registerPartyKey({ partyId: pair, kid, publicKey: key.publicKey });
    const { terms } = await contracts.listTerms({});
    for (const { kind, termsId, missingParties } of terms) {
      if (!missingParties.includes(pair)) continue;
      const found = await contracts.getTerms({ kind, termsId });
      const { canonicalJson = "", hash = "" } = found.terms ?? {};
      const jws = signDetached(canonicalJson, { kid, typ: termsJwsType }, key.sign);
      await contracts.signTerms({ kind, termsId, hash, jws });
      signatures++;
    }
  }
  return signatures;
}

/** Time that everybody has for signing before a contract begins. */
const signingUs = 5_000_000n;

/**
 * What the tenant of `dev` pays, at the first start: a retail list and a contract that names it. The operator proposes and
 * signs; the tenant signs with `signAsParties`.
 */
export async function proposeRetail(options: {
  readonly operator: Contracts;
  readonly tenant: string;
  readonly buyBooks: readonly PriceBook[];
  readonly nowUs: InstantUs;
}): Promise<void> {
  const { operator, tenant, buyBooks, nowUs } = options;
  const { terms } = await operator.listTerms({ pairId: `tenant:${tenant}` });
  if (terms.length > 0) return;
  const book = retailOf(buyBooks);
  if (book === undefined) return;
  const contract = tenantContract(tenant, book.id, nowUs + signingUs);
  for (const [kind, canonicalJson] of [
    [TermsKind.PRICE_VERSION, bookText(book)],
    [TermsKind.CONTRACT, contractText(contract)],
  ] as const) {
    const proposed = await operator.proposeTerms({ kind, canonicalJson });
    const { termsId = "", hash = "" } = proposed.terms ?? {};
    await operator.signTerms({ kind, termsId, hash });
  }
}

/** Each class of each model at the dearest price that any vendor asks for it. Undefined: there is nothing to sell. */
export function retailOf(buyBooks: readonly PriceBook[]): PriceBook | undefined {
  const [first] = buyBooks;
  if (first === undefined) return undefined;
  const lines = buyBooks.flatMap((book) => book.lines);
  const models = [...new Set(lines.map(({ model }) => model))].toSorted();
  return {
    id: "dev-retail" as BookId,
    side: "sell",
    vendor: "" as VendorId,
    pair: everyTenant,
    version: 1n,
    currency: "CNY",
    effectiveFromUs: first.effectiveFromUs,
    effectiveToUs: undefined,
    slots: [],
    calendar: first.calendar,
    lines: models.flatMap((model) =>
      tokenClasses.map((tokenClass) => retailLine(model, tokenClass, lines)),
    ),
    source: "the dearest price of any simulated vendor, a house default",
  };
}

function retailLine(
  model: ModelId,
  tokenClass: TokenClass,
  lines: readonly PriceLine[],
): PriceLine {
  const dearest = lines
    .filter((line) => line.model === model && line.tokenClass === tokenClass)
    .flatMap(({ tiers }) => tiers.map(({ pricePicoPerToken }) => pricePicoPerToken))
    .reduce<Pico>((most, each) => (each > most ? each : most), 0n);
  return {
    id: `${model}/${tokenClass}`.slice(0, 64),
    model,
    tokenClass,
    slot: "any",
    input: { from: 0n, to: undefined },
    output: { from: 0n, to: undefined },
    tiers: [{ fromTokens: 0n, pricePicoPerToken: dearest }],
    scope: "contract",
  };
}

function tenantContract(
  tenant: string,
  sellBook: BookId,
  effectiveFromUs: InstantUs,
): TenantContract {
  const { touBasis, touGraceUs, attemptNanoMax } = defaultContract;
  return {
    ...defaultPairTerms,
    id: `tenant-${tenant}`,
    pair: `tenant:${tenant}` as PairId,
    effectiveFromUs,
    signatures: "required",
    touBasis,
    touGraceUs,
    attemptNanoMax,
    sellBook,
    creditNano: undefined,
    channel: undefined,
    splitRule: undefined,
  };
}

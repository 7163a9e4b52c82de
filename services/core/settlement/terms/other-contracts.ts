import type { BookId, ModelId, Nano, PairId } from "../../units.ts";
import { defaultContract, type Contract } from "./contract.ts";
import { defaultPairTerms, type PairTerms } from "./pair-terms.ts";

/** What an operator and a tenant agreed: what the tenant is sold, and for what. */
export interface TenantContract
  extends PairTerms, Pick<Contract, "touBasis" | "touGraceUs" | "attemptNanoMax"> {
  readonly sellBook: BookId;
  /** What the tenant may owe. Undefined: no limit. 0: it pays in advance. */
  readonly creditNano: Nano | undefined;
  /** Who sold it, and has a share of it: `channel:west`. */
  readonly channel: PairId | undefined;
  /** By which what it pays is divided; undefined: the operator's. */
  readonly splitRule: string | undefined;
}

/** Of a tenant without a contract of its own, which is sold to by a list for every tenant: the house's terms, as in any shop. */
export function listedContract(pair: PairId, sellBook: BookId): TenantContract {
  const { touBasis, touGraceUs, attemptNanoMax } = defaultContract;
  return {
    ...{ ...defaultPairTerms, pair, touBasis, touGraceUs, attemptNanoMax, sellBook },
    ...{ creditNano: undefined, channel: undefined, splitRule: undefined },
  };
}

/** What an operator and the owner of a model, or a reseller, agreed. */
export interface PartnerContract
  extends PairTerms, Pick<Contract, "touBasis" | "touGraceUs" | "attemptNanoMax"> {
  /** Of models: by which their owner is owed, where it has a rate and not a share. */
  readonly licenceBook: BookId | undefined;
  /** Whose owner it is. Empty for a channel. */
  readonly models: readonly ModelId[];
}

export type AnyContract = Contract | TenantContract | PartnerContract;

/** With whom a contract is, by its pair. */
export function isWithVendor(contract: AnyContract): contract is Contract {
  return contract.pair.startsWith("vendor:");
}

export function isWithTenant(contract: AnyContract): contract is TenantContract {
  return contract.pair.startsWith("tenant:");
}

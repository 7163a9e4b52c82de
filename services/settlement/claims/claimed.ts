import type { Tokens, UsageRecord } from "../../core/settlement/counting/usage.ts";
import type { AttemptId, PairId } from "../../core/units.ts";
import type { ClaimRow, LedgerStore } from "../../io/ledger-store.ts";
import type { TermsSource } from "../terms/terms-source.ts";

/** What vendors have claimed by now for the attempts of records, where the contract goes by it. */
export async function claimedFor(
  records: readonly UsageRecord[],
  { store, terms }: { readonly store: Pick<LedgerStore, "claimsOf">; readonly terms: TermsSource },
): Promise<ReadonlyMap<AttemptId, Tokens>> {
  const byVendor = Map.groupBy(
    records.filter((record) => terms.termsOf(record).contract.countRule === "claim-in-tolerance"),
    ({ vendor }) => vendor,
  );
  const newest = new Map<AttemptId, ClaimRow>();
  for (const [vendor, own] of byVendor) {
    const attempts = own.map(({ attempt }) => attempt);
    for (const claim of await store.claimsOf(`vendor:${vendor}` as PairId, attempts)) {
      const before = newest.get(claim.attempt);
      if (before === undefined || claim.rev > before.rev) newest.set(claim.attempt, claim);
    }
  }
  return new Map([...newest].map(([attempt, { tokens }]) => [attempt, tokens]));
}

import { defaultContract } from "../core/settlement/terms/contract.ts";
import type { VendorId } from "../core/units.ts";
import { parseCancelTerms, type CancelTerms } from "../io/contract-terms.ts";
import type { Log } from "../io/log.ts";
import type { Entry, Registry } from "../io/registry.ts";

/** What the contract with each vendor says of clients that leave. */
export interface VendorTerms {
  /** The house contract's where the vendor has none. */
  of(vendor: VendorId): CancelTerms;
}

/**
 * Follows the terms of the registry. Those that cannot be read change nothing. Resolves when what was there already
 * is known.
 */
export async function openVendorTerms(options: {
  readonly registry: Registry;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<VendorTerms & { readonly watching: Promise<void> }> {
  const { registry, log, signal } = options;
  const termsByVendor = new Map<string, CancelTerms>();
  const apply = ({ kind, key, value, isDeleted }: Entry): void => {
    if (kind !== "contract-terms") return;
    if (isDeleted) {
      termsByVendor.delete(key);
      return;
    }
    try {
      termsByVendor.set(key, parseCancelTerms(value));
    } catch (error) {
      log.error({ vendor: key, error: String(error) }, "terms of a contract cannot be read");
    }
  };
  const entries = await registry.list("contract-terms");
  for (const entry of entries) apply(entry);
  const revision = entries.reduce((newest, entry) => Math.max(newest, entry.revision), 0);
  const watch = async (): Promise<void> => {
    for await (const entry of registry.watch(revision, signal)) apply(entry);
  };
  const watching = watch().catch((error: unknown) => {
    if (!signal.aborted) log.error({ error: String(error) }, "contracts are no longer followed");
  });
  return { of: (vendor) => termsByVendor.get(vendor) ?? defaultContract, watching };
}

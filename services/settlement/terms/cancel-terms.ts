import { setTimeout as delay } from "node:timers/promises";
import type { PairId } from "../../core/units.ts";
import { cancelTermsText, type CancelTerms } from "../../io/contract-terms.ts";
import type { Log } from "../../io/log.ts";
import type { Registry } from "../../io/registry.ts";

/** A contract comes into force by itself when its time has come, so the clock is asked again and again. */
const lookMs = 5_000;

export interface CancelTermsSource {
  readonly registry: Registry;
  readonly vendors: () => Promise<ReadonlySet<string>>;
  /** In force now; the house's where nothing was agreed. */
  readonly contractWith: (pair: PairId) => CancelTerms;
}

/**
 * Tells gateways, through the registry, what the contracts in force say of clients that leave. Resolves to how many
 * vendors have other terms now.
 */
export async function publishCancelTerms({
  registry,
  vendors,
  contractWith,
}: CancelTermsSource): Promise<number> {
  let changed = 0;
  for (const vendor of await vendors()) {
    const value = cancelTermsText(contractWith(`vendor:${vendor}` as PairId));
    const current = await registry.get("contract-terms", vendor);
    if (current !== undefined && !current.isDeleted && current.value === value) continue;
    const outcome = await registry.set({
      kind: "contract-terms",
      key: vendor,
      value,
      baseRevision: current?.revision ?? 0,
      author: "settlement",
      comment: "",
    });
    if (outcome.kind === "set") changed += 1;
  }
  return changed;
}

/** Until the signal says stop. */
export async function followCancelTerms(
  source: CancelTermsSource,
  { log, signal }: { readonly log: Log; readonly signal: AbortSignal },
): Promise<void> {
  while (!signal.aborted) {
    try {
      await publishCancelTerms(source);
    } catch (error) {
      log.warn({ error: String(error) }, "terms of contracts were not told to gateways");
    }
    await delay(lookMs, undefined, { signal, ref: false }).catch(ignoreAbort);
  }
}

function ignoreAbort(): void {
  // The loop looks at the signal itself.
}

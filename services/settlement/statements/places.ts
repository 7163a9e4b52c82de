import { z } from "zod";
import type { Places } from "../../core/settlement/statements/usage-sums.ts";
import type { HubId, PoolId, VendorId } from "../../core/units.ts";
import type { Log } from "../../io/log.ts";
import { loadGeography } from "../../io/preset.ts";
import type { Registry } from "../../io/registry.ts";

const ownerSchema = z.object({ vendorId: z.string().min(1) });

/** Whose a pool is, by the registry, and in which hub a region lies, by the preset. A pool that left keeps its owner. */
export async function openPlaces(
  registry: Registry,
  { log, signal }: { readonly log: Log; readonly signal: AbortSignal },
): Promise<Places> {
  const { regions } = loadGeography();
  const vendorByPool = new Map<PoolId, VendorId>();
  let revision = 0;
  const learn = (key: string, value: string, isDeleted: boolean): void => {
    if (isDeleted) return;
    const owner = ownerSchema.parse(JSON.parse(value)).vendorId;
    vendorByPool.set(key as PoolId, owner as VendorId);
  };
  for (const { key, value, isDeleted, revision: each } of await registry.list("pool")) {
    learn(key, value, isDeleted);
    revision = Math.max(revision, each);
  }
  const follow = async (): Promise<void> => {
    for await (const { kind, key, value, isDeleted } of registry.watch(revision, signal)) {
      if (kind === "pool") learn(key, value, isDeleted);
    }
  };
  follow().catch((error: unknown) => log.error({ error }, "pools are no longer followed"));
  return {
    vendorOf: (pool) => vendorByPool.get(pool),
    hubOf: (region) => regions.get(region)?.hub as HubId | undefined,
  };
}

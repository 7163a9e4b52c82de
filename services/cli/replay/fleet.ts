import type { PoolId, VendorId } from "../../core/units.ts";
import type { Site } from "../../core/report.ts";
import type { Pool } from "../../wire/gen/tokengrid/v1/pool_pb.js";
import { Failure } from "../outcome.ts";

/**
 * Where the pools stand, and what their own energy counters moved by between two looks, at the site. A counter
 * that is smaller than before was started again.
 */
export function sitesOf(before: readonly Pool[], after: readonly Pool[]): Site[] {
  const countedBefore = new Map(before.map((pool) => [idOf(pool), joulesOf(pool)]));
  return after.map((pool) => {
    const { registration, region } = pool;
    if (registration === undefined || region === undefined) {
      throw new Failure(
        `expected every pool with its registration and region, found ${idOf(pool)}`,
      );
    }
    return {
      pool: registration.poolId as PoolId,
      vendor: registration.vendorId as VendorId,
      hub: region.hub,
      side: region.side === "west" ? "west" : "east",
      locationGramsPerJoule: pool.locationGramsPerJoule,
      marketGramsPerJoule: pool.marketGramsPerJoule,
      joulesMetered: moved(countedBefore.get(idOf(pool)), joulesOf(pool)),
    };
  });
}

function idOf({ registration }: Pool): string {
  return registration?.poolId ?? "";
}

/** Energy of the site: the counter's, times what cooling and the rest add to it. */
function joulesOf({ energyJoulesTotal, powerUsageEffectiveness }: Pool): number | undefined {
  if (energyJoulesTotal === undefined || powerUsageEffectiveness === undefined) return undefined;
  return energyJoulesTotal.value * powerUsageEffectiveness.value;
}

function moved(before: number | undefined, after: number | undefined): number | undefined {
  if (before === undefined || after === undefined) return undefined;
  return after < before ? after : after - before;
}

import type { Figure } from "./figure.ts";
import { betterRoundTrip, boundedRoundTrip } from "./network.ts";
import type { Pool } from "./pool.ts";
import type { Geography } from "./region.ts";
import type { Instant, OriginId } from "./units.ts";

/** Of which a pool's paths are kept: many times the cities of the map. */
const ORIGINS_MAX = 256;

/** The pool with a path that somebody measured, if it says something better than what is known. */
export function withPath(pool: Pool, origin: OriginId, found: Figure, now: Instant): Pool {
  const known = pool.roundTripMsFrom.get(origin);
  const better = betterRoundTrip(known, found, now);
  return better === known ? pool : setPath(pool, origin, better);
}

/** The pool with what the time to a response's headers says of the path. */
export function withBound(
  pool: Pool,
  origin: OriginId,
  headersMs: number,
  { geography, now }: { readonly geography: Geography; readonly now: Instant },
): Pool {
  const priorMs = geography.roundTripMsPrior.get(origin)?.get(pool.region.id);
  const known = pool.roundTripMsFrom.get(origin);
  const bound = boundedRoundTrip(known, headersMs, { priorMs, now });
  return bound === undefined ? pool : setPath(pool, origin, bound);
}

/** Beyond the bound only paths that are known already are kept up. */
function setPath(pool: Pool, origin: OriginId, roundTripMs: Figure): Pool {
  const { size } = pool.roundTripMsFrom;
  if (size >= ORIGINS_MAX && !pool.roundTripMsFrom.has(origin)) return pool;
  return { ...pool, roundTripMsFrom: new Map(pool.roundTripMsFrom).set(origin, roundTripMs) };
}

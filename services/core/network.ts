import type { Figure } from "./figure.ts";
import type { Pool } from "./pool.ts";
import type { Instant, OriginId } from "./units.ts";

/** A point on the globe. */
export interface Place {
  readonly latitudeDegrees: number;
  readonly longitudeDegrees: number;
}

const EARTH_RADIUS_KM = 6_371;
/** Light in fibre. */
const FIBRE_KM_PER_MS = 200;
/** House default: how much longer a cable is than the great circle. */
const ROUTE_FACTOR_PRIOR = 1.5;
/** House default: transport and router hops, one way. */
const EQUIPMENT_MS = 0.5;

/** How long a bound that a request gave is believed, so that the least of a window counts. */
const BOUND_VALID_MS = 60_000;
/** A prior is as good tomorrow as today: 46 days, the most that the protocol carries. */
export const PRIOR_VALID_MS = 4_000_000_000;

export function greatCircleKm(from: Place, to: Place): number {
  const [latitudeA, latitudeB] = [radians(from.latitudeDegrees), radians(to.latitudeDegrees)];
  const halfLatitude = Math.sin((latitudeB - latitudeA) / 2);
  const halfLongitude = Math.sin(radians(to.longitudeDegrees - from.longitudeDegrees) / 2);
  const chord = halfLatitude ** 2 + Math.cos(latitudeA) * Math.cos(latitudeB) * halfLongitude ** 2;
  return 2 * EARTH_RADIUS_KM * Math.asin(Math.sqrt(chord));
}

/** What distance alone says about a round trip, in ms. Real routes are longer. */
export function roundTripMsPrior(from: Place, to: Place): number {
  return 2 * ((greatCircleKm(from, to) * ROUTE_FACTOR_PRIOR) / FIBRE_KM_PER_MS + EQUIPMENT_MS);
}

/** How much longer the path is than light in fibre would take along the great circle. */
export function routeFactor(roundTripMs: number, from: Place, to: Place): number {
  const straightMs = greatCircleKm(from, to) / FIBRE_KM_PER_MS;
  return (toOneWayMs(roundTripMs) - EQUIPMENT_MS) / straightMs;
}

/** Circles are one-way, measurements round trips. */
export function toOneWayMs(roundTripMs: number): number {
  return roundTripMs / 2;
}

/** Undefined: neither measured nor estimated. */
export function oneWayMsFrom(pool: Pool, origin: OriginId): number | undefined {
  const roundTrip = pool.roundTripMsFrom.get(origin);
  return roundTrip === undefined ? undefined : toOneWayMs(roundTrip.value);
}

/** What geography alone says of a path, in ms. */
export function priorRoundTrip(roundTripMs: number, now: Instant): Figure {
  return { value: roundTripMs, source: "estimated", observedAt: now, validMs: PRIOR_VALID_MS };
}

/**
 * A measurement replaces an estimate. Of two measurements that are both valid the lower one counts: whatever else takes
 * time only adds to a round trip, so that one slow sample never makes a pool look far. A path that became longer is
 * believed when the lower one is no longer valid.
 */
export function betterRoundTrip(known: Figure | undefined, found: Figure, now: Instant): Figure {
  if (known === undefined) return found;
  if (known.source === "measured" && found.source !== "measured") return known;
  if (known.source !== "measured" && found.source === "measured") return found;
  const isNewer = found.observedAt > known.observedAt;
  if (isOver(known, now) || isOver(found, now)) return isNewer ? found : known;
  if (found.value === known.value) return isNewer ? found : known;
  return found.value < known.value ? found : known;
}

/**
 * A request's time to its response headers holds the round trip and more, so it bounds it from above, and never raises
 * what is known. A measurement that has grown too old gives way to the bound or to the prior, whichever is lower.
 * Undefined: it says nothing new.
 */
export function boundedRoundTrip(
  known: Figure | undefined,
  headersMs: number,
  { priorMs = Infinity, now }: { readonly priorMs: number | undefined; readonly now: Instant },
): Figure | undefined {
  const isForgotten =
    known === undefined ||
    (known.source === "measured" && now - known.observedAt > 2 * known.validMs);
  if (!isForgotten && headersMs >= known.value) return undefined;
  if (priorMs <= headersMs) return isForgotten ? priorRoundTrip(priorMs, now) : undefined;
  return { value: headersMs, source: "measured", observedAt: now, validMs: BOUND_VALID_MS };
}

function isOver({ observedAt, validMs }: Figure, now: Instant): boolean {
  return now - observedAt > validMs;
}

function radians(degrees: number): number {
  return (degrees * Math.PI) / 180;
}

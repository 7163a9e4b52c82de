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

/** A measurement replaces an estimate and an older measurement, never a newer one. */
export function newerRoundTrip(known: Figure | undefined, found: Figure): Figure {
  if (known === undefined) return found;
  if (known.source === "measured" && found.source !== "measured") return known;
  if (known.source !== "measured" && found.source === "measured") return found;
  return found.observedAt > known.observedAt ? found : known;
}

/**
 * A request's time to its response headers holds the round trip and more, so it bounds it from
 * above. It counts if it is lower than what is known, or if what is known is a bound or a
 * measurement that has grown too old. Undefined: it says nothing new.
 */
export function boundedRoundTrip(
  known: Figure | undefined,
  headersMs: number,
  now: Instant,
): Figure | undefined {
  const isForgotten =
    known === undefined ||
    (known.source === "measured" && now - known.observedAt > 2 * known.validMs);
  if (!isForgotten && headersMs >= known.value) return undefined;
  return { value: headersMs, source: "measured", observedAt: now, validMs: BOUND_VALID_MS };
}

function radians(degrees: number): number {
  return (degrees * Math.PI) / 180;
}

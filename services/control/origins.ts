import type { Geography } from "../core/region.ts";
import type { OriginId } from "../core/units.ts";
import { toConnectError } from "../wire/errors.ts";

/** A place that the geography does not have has neither distances nor a demand area: no pool would ever fit it. */
export function requireOrigin({ origins }: Geography, id: string): OriginId {
  const origin = id as OriginId;
  if (origins.has(origin)) return origin;
  const known = [...origins.keys()].join(", ");
  throw toConnectError("BAD_REQUEST", `origin_id: expected one of ${known}, found ${id}`, {
    metadata: { field: "origin_id" },
  });
}

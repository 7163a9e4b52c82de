import type { InstantUs } from "../../units.ts";
import { Mistakes, type Mistake } from "./mistake.ts";

/** Something that has versions, each with a start. */
export interface Dated {
  readonly version: bigint;
  readonly effectiveFromUs: InstantUs;
  /** Excluded. Undefined or absent: until the next version. */
  readonly effectiveToUs?: InstantUs | undefined;
}

/**
 * The version in force at an instant: of those that have begun the newest, unless it has ended. An older one does not
 * come into force again.
 */
export function inForceAt<Version extends Dated>(
  versions: Iterable<Version>,
  us: InstantUs,
): Version | undefined {
  let newest: Version | undefined;
  for (const each of versions) {
    if (each.effectiveFromUs > us) continue;
    if (newest === undefined || each.version > newest.version) newest = each;
  }
  const hasEnded = newest?.effectiveToUs !== undefined && newest.effectiveToUs <= us;
  return hasEnded ? undefined : newest;
}

/** What keeps a version from following the one before: a number left out, a start in the past, a gap, an overlap. */
export function successionMistakes(
  next: Dated,
  previous: Dated | undefined,
  publishedUs: InstantUs | undefined,
): Mistake[] {
  const found = new Mistakes();
  const { version, effectiveFromUs: from, effectiveToUs: to } = next;
  const wanted = (previous?.version ?? 0n) + 1n;
  found.add("version", version !== wanted, `expected ${wanted}, found ${version}`);
  const isBackwards = to !== undefined && to <= from;
  found.add("effective_to_us", isBackwards, `expected after ${from}, found ${to}`);
  if (previous === undefined) return found.all;
  const { effectiveFromUs: before, effectiveToUs: end } = previous;
  const earliest = publishedUs !== undefined && publishedUs > before ? publishedUs : before + 1n;
  found.add(
    "effective_from_us",
    from < earliest,
    `retroactive: expected ${earliest} or later, found ${from}`,
  );
  if (end === undefined || end === from) return found.all;
  const kind = from > end ? "gap" : "overlap";
  const message = `${kind}: version ${previous.version} ends at ${end}, this one starts at ${from}`;
  return [...found.all, { path: "effective_from_us", message }];
}

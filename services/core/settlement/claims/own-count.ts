import type { AttemptId, InstantUs, ModelId, PoolId, VendorId } from "../../units.ts";
import { slotAt } from "../pricing/calendar.ts";
import { claimIdOf, type UsageClaim } from "./claim.ts";
import { defaultContract, type Contract } from "../terms/contract.ts";
import { inForceAt } from "../terms/effective.ts";
import { sideOf, type PriceBook } from "../pricing/price-book.ts";
import type { Tokens } from "../counting/usage.ts";

/** What a vendor counted of one attempt, before there is a price on it. */
export interface OwnCount {
  /** As the gateway named it in `x-attempt-id`. */
  readonly attempt: AttemptId;
  /** Above 0 it corrects what was counted before. */
  readonly rev: bigint;
  readonly pool: PoolId;
  readonly model: ModelId;
  readonly tokens: Tokens;
  readonly openedUs: InstantUs;
  /** Undefined: nobody noted it. */
  readonly firstByteUs: InstantUs | undefined;
  readonly closedUs: InstantUs;
}

/** What the vendor agreed to, as far as a claim needs it. */
export interface OwnTerms {
  /** Its buy books, each version with the hash that was signed. */
  readonly versions: readonly OwnVersion[];
  /** Versions of its contract. None: as the house has it. */
  readonly contracts: readonly Contract[];
}

export interface OwnVersion {
  readonly book: PriceBook;
  readonly hash: string;
}

/**
 * The claim for a count, by the version in force when the attempt was opened. Undefined: no version has a price for the
 * model yet, and the count waits for one.
 */
export function claimOfCount(
  count: OwnCount,
  vendor: VendorId,
  { versions, contracts }: OwnTerms,
): UsageClaim | undefined {
  const { attempt, rev, pool, model, tokens, openedUs, closedUs } = count;
  const version = versionFor(versions, model, openedUs);
  if (version === undefined) return undefined;
  const { touBasis } = inForceAt(contracts, openedUs) ?? defaultContract;
  const slot = slotAt(version.book, instantOf(count, touBasis));
  const id = claimIdOf(vendor, attempt, rev);
  const { hash: priceHash } = version;
  return { id, attempt, rev, pool, model, tokens, priceHash, slot, openedUs, closedUs };
}

/** Of several books the one that began last, as placement has it. */
function versionFor(
  versions: readonly OwnVersion[],
  model: ModelId,
  us: InstantUs,
): OwnVersion | undefined {
  const byBook = Map.groupBy(
    versions.filter(({ book }) => sideOf(book) === "buy"),
    ({ book }) => book.id,
  );
  let newest: OwnVersion | undefined;
  for (const all of byBook.values()) {
    const book = inForceAt(
      all.map((each) => each.book),
      us,
    );
    const found = all.find((each) => each.book === book);
    if (found?.book.lines.some((line) => line.model === model) !== true) continue;
    const isLater =
      newest === undefined || found.book.effectiveFromUs > newest.book.effectiveFromUs;
    if (isLater) newest = found;
  }
  return newest;
}

function instantOf(
  { openedUs, firstByteUs, closedUs }: OwnCount,
  basis: Contract["touBasis"],
): InstantUs {
  if (basis === "opened") return openedUs;
  return basis === "closed" ? closedUs : (firstByteUs ?? closedUs);
}

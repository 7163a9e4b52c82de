import { createHash } from "node:crypto";
import { fromJson, toJson } from "@bufbuild/protobuf";
import canonicalize from "canonicalize";
import type { PoolStatus } from "../core/pool.ts";
import {
  sideOf,
  type PriceBook as CheckedPriceBook,
} from "../core/settlement/pricing/price-book.ts";
import { checkPriceBook } from "../core/settlement/pricing/price-check.ts";
import type { VendorId } from "../core/units.ts";
import { toConnectError } from "../wire/errors.ts";
import { PoolRegistrationSchema, type PoolRegistration } from "../wire/gen/tokengrid/v1/pool_pb.js";
import { PriceBookSchema, type PriceBook } from "../wire/gen/tokengrid/v1/price_pb.js";
import { toPriceBook } from "../wire/price.ts";
import type { Identity } from "../io/grpc-identity.ts";
import type { Entry, EntryKind } from "../io/registry.ts";
import type { PoolStatusRecord } from "./registry-feed.ts";
import { poolOf, type Replica } from "./replica.ts";

/** A change that somebody else's change overtakes is tried again so often. */
const attemptsMax = 5;

/** What one vendor may have, so that none of them slows the placement of the others. */
export const vendorLimits = {
  pools: 256,
  /** In force or still to come. */
  books: 64,
  /** Of one book, in force or still to come. Those that are over are kept for settlement, and count no more. */
  bookVersions: 64,
} as const;

/** Durable and known to the dispatcher when it resolves. Throws for what a rule of a single field cannot say. */
export async function register(
  replica: Replica,
  pool: PoolRegistration,
  caller: Identity,
): Promise<Entry> {
  if (!replica.geography.regions.has(pool.regionId as never)) {
    const known = [...replica.geography.regions.keys()].join(", ");
    throw toConnectError(
      "BAD_REQUEST",
      `region_id: expected one of ${known}, found ${pool.regionId}`,
    );
  }
  checkEndpoint(pool.endpoint);
  checkNumbers(pool);
  checkPoolCount(replica, pool);
  replica.joining.set(pool.poolId, pool.vendorId);
  try {
    return await change(replica, {
      kind: "pool",
      key: pool.poolId,
      author: caller.subject,
      comment: "",
      value: (current) => {
        if (current !== undefined) checkSuccession(pool, current);
        return JSON.stringify(toJson(PoolRegistrationSchema, pool));
      },
    });
  } finally {
    replica.joining.delete(pool.poolId);
  }
}

/** A pool that is there already may register again, however many there are. */
function checkPoolCount(
  { dispatcher, joining }: Replica,
  { poolId, vendorId }: PoolRegistration,
): void {
  const there = dispatcher.pools.filter(({ vendor }) => vendor === (vendorId as VendorId));
  const ids = new Set<string>(there.map(({ id }) => id));
  for (const [id, vendor] of joining) if (vendor === vendorId) ids.add(id);
  if (!ids.has(poolId)) checkBelow(vendorLimits.pools, ids.size, "pools of a vendor");
}

function checkBelow(most: number, count: number, what: string): void {
  if (count < most) return;
  throw toConnectError("QUOTA_EXHAUSTED", `expected at most ${most} ${what}`);
}

/** What gateways can call: HTTP, and nothing in it but where. */
function checkEndpoint(endpoint: string): void {
  const url = URL.parse(endpoint);
  const isUsable =
    url !== null &&
    ["http:", "https:"].includes(url.protocol) &&
    url.hostname !== "" &&
    `${url.username}${url.password}${url.search}${url.hash}` === "";
  if (isUsable) return;
  throw toConnectError(
    "BAD_REQUEST",
    "endpoint: expected an http or https address without user, query and fragment",
  );
}

/** No watt, millisecond or ratio of a pool is larger; sums and products of such numbers stay finite. */
const numberMax = 1e12;

function checkNumbers(pool: PoolRegistration): void {
  const generationMax = BigInt(Number.MAX_SAFE_INTEGER);
  if (pool.generation > generationMax) {
    throw toConnectError("BAD_REQUEST", `generation: expected at most ${generationMax}`);
  }
  const json = JSON.stringify(toJson(PoolRegistrationSchema, pool));
  JSON.parse(json, (key, value: unknown) => {
    if (typeof value === "number" && Math.abs(value) > numberMax) {
      throw toConnectError("BAD_REQUEST", `${key}: expected at most ${numberMax}, found ${value}`);
    }
    return value;
  });
}

/** A pool stays its vendor's, and an older agent does not undo what a newer one said. */
function checkSuccession(pool: PoolRegistration, current: Entry): void {
  const known = fromJson(PoolRegistrationSchema, JSON.parse(current.value));
  if (known.vendorId !== pool.vendorId) {
    throw toConnectError("NOT_ALLOWED", `pool_id: ${pool.poolId} belongs to another vendor`);
  }
  if (pool.generation < known.generation) {
    throw toConnectError(
      "CONFLICT",
      `generation: expected at least ${known.generation}, found ${pool.generation}`,
    );
  }
}

/** What operators want of a pool: durable, so that a restart does not bring it back to work. */
export async function mark(
  replica: Replica,
  options: {
    readonly pool: string;
    readonly status: PoolStatus;
    readonly cutAt?: number;
    readonly reason: string;
    readonly caller: Identity;
  },
): Promise<void> {
  const { pool, status, cutAt, reason, caller } = options;
  if (poolOf(replica, pool) === undefined) throw unknownPool(pool);
  const record: PoolStatusRecord = cutAt === undefined ? { status } : { status, cutAt };
  await change(replica, {
    kind: "pool-status",
    key: pool,
    author: caller.subject,
    comment: reason,
    value: () => JSON.stringify(record),
  });
}

export function unknownPool(pool: string): Error {
  return toConnectError("NOT_FOUND", `expected a pool that is registered, found ${pool}`);
}

/** A new version of a book, refused whole with every mistake if it does not follow the one before. */
export async function publishPrices(
  replica: Replica,
  message: PriceBook,
  caller: Identity,
): Promise<{ readonly entry: Entry; readonly hash: string }> {
  const { registry, calendarOf, clock } = replica;
  const book = toPriceBook(message, calendarOf);
  if (sideOf(book) !== "buy") {
    const found = `side: expected what a vendor sells to the operator (buy), found ${sideOf(book)}`;
    throw toConnectError("BAD_REQUEST", `${found}: other sides are agreed by ContractService`);
  }
  const previous = await versionBefore(replica, message);
  const publishedUs = BigInt(Math.round(clock.now() * 1_000));
  const mistakes = checkPriceBook(book, previous, publishedUs);
  if (mistakes.length > 0) {
    const list = mistakes.map(({ path, message: text }) =>
      path === "" ? text : `${path}: ${text}`,
    );
    throw toConnectError("BAD_REQUEST", list.join(", "));
  }
  checkBookCounts(replica, book);
  const json = toJson(PriceBookSchema, message);
  const outcome = await registry.set({
    kind: "price-book",
    key: keyOf(message.bookId, message.version),
    value: JSON.stringify(json),
    baseRevision: 0,
    author: caller.subject,
    comment: "",
  });
  if (outcome.kind === "conflict") {
    throw toConnectError("CONFLICT", `version: ${message.version} of ${message.bookId} exists`);
  }
  await replica.feed.reached(outcome.entry.revision);
  const hash = createHash("sha256")
    .update(canonicalize(json) ?? "")
    .digest("hex");
  return { entry: outcome.entry, hash };
}

/** A version that exists is told so, however many there are. */
function checkBookCounts({ dispatcher, clock }: Replica, book: CheckedPriceBook): void {
  const { id, vendor, version } = book;
  const left = dispatcher.priceBooks(clock.now()).filter((each) => each.vendor === vendor);
  const books = new Set(left.map((each) => each.id)).difference(new Set([id]));
  const versions = left.filter((each) => each.id === id && each.version !== version);
  checkBelow(vendorLimits.books, books.size, "price books of a vendor that are not over");
  const what = `versions of ${id} that are not over`;
  checkBelow(vendorLimits.bookVersions, versions.length, what);
}

/** The version that this one follows; the first has none. Throws if there is a gap in between. */
async function versionBefore({ registry, calendarOf }: Replica, message: PriceBook) {
  const { bookId, version, vendorId } = message;
  if (version === 1n) return undefined;
  const entry = await registry.get("price-book", keyOf(bookId, version - 1n));
  if (entry === undefined) {
    throw toConnectError(
      "BAD_REQUEST",
      `version: expected the one after the newest of ${bookId}, found ${version} without ${version - 1n}`,
    );
  }
  const previous = toPriceBook(fromJson(PriceBookSchema, JSON.parse(entry.value)), calendarOf);
  if (previous.vendor !== vendorId) {
    throw toConnectError("NOT_ALLOWED", `book_id: ${bookId} belongs to another vendor`);
  }
  return previous;
}

function keyOf(book: string, version: bigint): string {
  return `${book}@${version}`;
}

/** Compare-and-set until nobody was faster. */
async function change(
  { registry, feed }: Replica,
  options: {
    readonly kind: EntryKind;
    readonly key: string;
    readonly author: string;
    readonly comment: string;
    readonly value: (current: Entry | undefined) => string;
  },
): Promise<Entry> {
  const { kind, key, author, comment, value } = options;
  let current = await registry.get(kind, key);
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const outcome = await registry.set({
      kind,
      key,
      value: value(current),
      baseRevision: current?.revision ?? 0,
      author,
      comment,
    });
    if (outcome.kind === "set") {
      await feed.reached(outcome.entry.revision);
      return outcome.entry;
    }
    current = outcome.current;
  }
  throw toConnectError("CONFLICT", `${kind} ${key} is changed by others all the time`);
}

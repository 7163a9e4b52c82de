import { fromJsonString } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import type { BookId } from "../../services/core/units.ts";
import { vendorLimits } from "../../services/control/pool-registry.ts";
import { PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { priceBook, priceLine } from "../core/fixtures.ts";
import {
  messages,
  openTestControl,
  otherVendor,
  startedAt,
  vendor,
  type TestControl,
} from "./fixtures.ts";

let control: TestControl;

beforeEach(async () => {
  control = await openTestControl();
});
afterEach(() => control.close());

const pools = (caller = vendor) => createClient(PoolService, control.as(caller));
const publish = (changes: Partial<PriceBook> = {}) =>
  pools().publishPrices({ book: messages.prices(changes) });

const hourUs = 3_600_000_000n;
const nowUs = BigInt(startedAt) * 1_000n;
const [line, ...lines] = priceBook().lines;

test("publishPrices() answers with the hash of what was kept, the same for the same book", async () => {
  const { priceHash, revision } = await publish();
  expect(priceHash).toMatch(/^[0-9a-f]{64}$/);
  const kept = await control.registry.get("price-book", "northgrid-2026@1");
  expect(kept?.revision).toBe(Number(revision));
  expect(fromJsonString(PriceBookSchema, kept?.value ?? "")).toEqual(messages.prices());
});

test("a price in force is the one that pools are placed by", async () => {
  await pools().register({ pool: messages.registration("a") });
  await publish();
  const { pool } = await pools().get({ poolId: "a" });
  expect(pool?.models[0]).toMatchObject({
    priceBookId: "northgrid-2026",
    pricePicoPerTokenByClass: { uncachedInput: 2_000_000n, response: 8_000_000n },
  });
});

const refused: Readonly<Record<string, readonly [Partial<PriceBook>, string]>> = {
  "a tier that does not begin at 0": [
    { lines: [priceLine("response", { tiers: [{ fromTokens: 5n, pricePicoPerToken: 1n }] })] },
    "lines[0]",
  ],
  "a gap between brackets": [
    {
      lines: [
        priceLine("response", { id: "short", input: { from: 0n, to: 99n } }),
        priceLine("response", { id: "long", input: { from: 200n, to: undefined } }),
      ],
    },
    "response",
  ],
  "two prices for the same": [
    { lines: [priceLine("response", { id: "one" }), priceLine("response", { id: "two" })] },
    "response",
  ],
  "a slot of use that leaves minutes out": [
    {
      slots: [{ slot: "day", dayKinds: new Set(["workday"]), startMin: 480, endMin: 1_200 }],
      lines: [priceLine("response", { slot: "day" })],
    },
    "slots",
  ],
  "no lines": [{ lines: [] }, "book.lines"],
  "a version that skips one": [{ version: 3n }, "version: expected the one after the newest"],
};

for (const [title, [changes, place]] of Object.entries(refused)) {
  test(`a price book with ${title} is refused whole, and the place is named`, async () => {
    await expect(publish(changes)).rejects.toThrow("[invalid_argument]");
    await expect(publish(changes)).rejects.toThrow(place);
    expect(await control.registry.list("price-book")).toEqual([]);
  });
}

test("a new version that would change the past is refused", async () => {
  await publish({ effectiveFromUs: nowUs - 10n * hourUs });
  const retroactive = publish({ version: 2n, effectiveFromUs: nowUs - hourUs });
  await expect(retroactive).rejects.toThrow("[invalid_argument]");
  await publish({ version: 2n, effectiveFromUs: nowUs + hourUs });
});

test("a version that exists is never replaced", async () => {
  await publish();
  await expect(publish({ source: "other" })).rejects.toThrow("[aborted]");
});

test("a book does not pass to another vendor", async () => {
  await publish();
  const book = messages.prices({
    version: 2n,
    vendor: otherVendor.subject as PriceBook["vendor"],
    effectiveFromUs: nowUs + hourUs,
  });
  await expect(pools(otherVendor).publishPrices({ book })).rejects.toThrow("another vendor");
});

test("a calendar that is not installed is refused, whatever its name", async () => {
  for (const calendarId of ["", "mars", "../../package"]) {
    const book = { ...messages.prices(), calendarId };
    await expect(pools().publishPrices({ book })).rejects.toThrow("calendar_id: expected");
  }
});

test("a price that is a float does not get past the door", () => {
  const [tier] = line?.tiers ?? [];
  expect(tier?.pricePicoPerToken).toBeTypeOf("bigint");
  expect(lines.length).toBe(4);
  const json = JSON.stringify({ lines: [{ tiers: [{ pricePicoPerToken: 1.5 }] }] });
  expect(() => fromJsonString(PriceBookSchema, json)).toThrow("price_pico_per_token");
});

/** All but the last that a book may have, one an hour from the next on. */
async function fill(): Promise<void> {
  await publish({ effectiveFromUs: nowUs });
  for (let version = 2; version <= vendorLimits.bookVersions; version++) {
    const after = BigInt(version) * hourUs;
    await publish({ version: BigInt(version), effectiveFromUs: nowUs + after });
  }
}

test("versions that are still to come are bounded, and those that are over make room", async () => {
  await fill();
  const next = BigInt(vendorLimits.bookVersions + 1);
  const one = { version: next, effectiveFromUs: nowUs + next * hourUs };
  const bound = `expected at most ${vendorLimits.bookVersions} versions of northgrid-2026`;
  await expect(publish(one)).rejects.toThrow("[resource_exhausted]");
  await expect(publish(one)).rejects.toThrow(bound);
  await expect(publish({ effectiveFromUs: nowUs })).rejects.toThrow("[aborted]");
  control.clock.advance(3 * 3_600_000);
  await publish(one);
  expect(await control.registry.get("price-book", "northgrid-2026@1")).toBeDefined();
});

test("the price books of a vendor are bounded, and those of another are not counted", async () => {
  const bookOf = (number: number) => ({ id: `book-${number}` as BookId });
  for (let number = 1; number <= vendorLimits.books; number++) await publish(bookOf(number));
  await expect(publish(bookOf(0))).rejects.toThrow("[resource_exhausted]");
  await expect(publish(bookOf(0))).rejects.toThrow(`at most ${vendorLimits.books} price books`);
  await publish({ ...bookOf(1), version: 2n, effectiveFromUs: nowUs + hourUs });
  const vendorOf = otherVendor.subject as PriceBook["vendor"];
  const book = messages.prices({ ...bookOf(0), vendor: vendorOf });
  await pools(otherVendor).publishPrices({ book });
});

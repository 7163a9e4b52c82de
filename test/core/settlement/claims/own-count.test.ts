import { expect, test } from "vitest";
import { defaultContract } from "../../../../services/core/settlement/terms/contract.ts";
import {
  claimOfCount,
  type OwnCount,
  type OwnTerms,
  type OwnVersion,
} from "../../../../services/core/settlement/claims/own-count.ts";
import {
  dayKinds,
  type PriceBook,
} from "../../../../services/core/settlement/pricing/price-book.ts";
import type {
  AttemptId,
  BookId,
  ModelId,
  PairId,
  PoolId,
  VendorId,
} from "../../../../services/core/units.ts";
import { priceBook, us } from "../fixtures.ts";

const all = new Set(dayKinds);
const nights: PriceBook["slots"] = [
  { slot: "night", dayKinds: all, startMin: 22 * 60, endMin: 8 * 60 },
  { slot: "day", dayKinds: all, startMin: 8 * 60, endMin: 22 * 60 },
];
const at = (time: string): bigint => us(`2026-11-20T${time}+08:00`);

function version(hash: string, changes: Partial<PriceBook> = {}): OwnVersion {
  return { hash, book: priceBook({ slots: nights, ...changes }) };
}

function count(changes: Partial<OwnCount> = {}): OwnCount {
  return {
    attempt: "a1" as AttemptId,
    rev: 2n,
    pool: "p1" as PoolId,
    model: "qwen3-32b" as ModelId,
    tokens: { uncachedInput: 1n, cacheRead: 2n, cacheWrite: 3n, response: 4n, reasoning: 5n },
    openedUs: at("07:59:58"),
    firstByteUs: at("08:00:01"),
    closedUs: at("08:00:09"),
    ...changes,
  };
}

function claim(terms: Partial<OwnTerms>, changes: Partial<OwnCount> = {}) {
  const known = { versions: [version("v1")], contracts: [], ...terms };
  return claimOfCount(count(changes), "northgrid" as VendorId, known);
}

test("a claim has the count as it is, and the price and the slot that were in force", () => {
  const { firstByteUs, ...counted } = count();
  expect(firstByteUs).toBe(at("08:00:01"));
  expect(claim({})).toEqual({
    ...counted,
    id: "northgrid:a1:2",
    priceHash: "v1",
    slot: "night",
  });
});

const touSlots: readonly [
  basis: "opened" | "first-token" | "closed",
  first: string,
  slot: string,
][] = [
  ["opened", "07:59:59", "night"],
  ["first-token", "07:59:59", "night"],
  ["first-token", "08:00:01", "day"],
  ["closed", "07:59:59", "day"],
];

for (const [touBasis, first, slot] of touSlots) {
  test(`by ${touBasis}, first token at ${first}, it was served at ${slot}`, () => {
    const pair = "vendor:northgrid" as PairId;
    const contracts = [{ ...defaultContract, pair, effectiveFromUs: 0n, touBasis }];
    expect(claim({ contracts }, { firstByteUs: at(first) })?.slot).toBe(slot);
  });
}

test("where nobody noted the first token, it came with the last", () => {
  const contracts = [{ ...defaultContract, touBasis: "first-token" as const }];
  expect(claim({ contracts }, { firstByteUs: undefined })?.slot).toBe("day");
});

const later = { version: 2n, effectiveFromUs: at("07:59:58") };
const chosen: Readonly<Record<string, readonly [OwnVersion[], string | undefined]>> = {
  "the newest version that has begun": [[version("v1"), version("v2", later)], "v2"],
  "not one that is still to come": [
    [version("v1"), version("v2", { ...later, effectiveFromUs: at("07:59:59") })],
    "v1",
  ],
  "not an old one when the newest has ended": [
    [version("v1"), version("v2", { ...later, effectiveToUs: at("07:59:58") })],
    undefined,
  ],
  "of two books the one that began last": [
    [version("other", { ...later, id: "northgrid-other" as BookId, version: 1n }), version("v1")],
    "other",
  ],
  "only a book that has the model": [
    [version("v1"), version("other", { id: "northgrid-other" as BookId, lines: [] })],
    "v1",
  ],
  "no book of another side": [[version("sell", { side: "sell" })], undefined],
  "nothing where there is nothing": [[], undefined],
};

for (const [what, [versions, hash]] of Object.entries(chosen)) {
  test(`a claim names ${what}`, () => {
    expect(claim({ versions })?.priceHash).toBe(hash);
  });
}

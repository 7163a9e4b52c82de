import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalJson } from "../../../../services/core/settlement/canonical.ts";
import type { SplitRule } from "../../../../services/core/settlement/packages/split.ts";
import type { UsageRecord } from "../../../../services/core/settlement/counting/usage.ts";
import type { AttemptId, PairId, PoolId, RequestId } from "../../../../services/core/units.ts";
import { engineCounts, evidence, friday, usageRecord } from "../fixtures.ts";
import {
  billed,
  buyPackage,
  channel,
  checkBooks,
  inForce,
  market,
  owner,
  rateRule,
  setSelling,
  shareRule,
} from "../market.ts";
import { MemoryBooks } from "../memory-books.ts";

const loose = evidence({ outBytes: 100_000n, deliveredBytes: 1_000_000n, chunks: 0n });
const hourUs = 3_600_000_000n;

function record(name: string, changes: Partial<UsageRecord> = {}): UsageRecord {
  const [attempt = ""] = name.split(":");
  return usageRecord({
    id: name,
    attempt: attempt as AttemptId,
    request: `r-${attempt}` as RequestId,
    evidence: loose,
    ...changes,
  });
}

const anyRecord = fc
  .record({
    attempt: fc.integer({ min: 0, max: 9 }),
    rev: fc.integer({ min: 0, max: 2 }),
    input: fc.bigInt(0n, 900n),
    cacheRead: fc.bigInt(0n, 900n),
    output: fc.bigInt(0n, 900n),
    isWinner: fc.boolean(),
    department: fc.constantFrom("", "research"),
  })
  .map(({ attempt, rev, input, cacheRead, output, isWinner, department }) =>
    record(`a${attempt}:${rev}`, {
      // Revisions of an attempt agree on when and where.
      openedUs: friday + BigInt(attempt % 5) * 7n * hourUs,
      pool: (attempt % 2 === 0 ? "p1" : "p2") as PoolId,
      // Some requests had two attempts.
      request: `r${attempt % 7}` as RequestId,
      isWinner,
      department,
      engineCounts: engineCounts({ input: input + cacheRead, cacheRead, output }),
    }),
  );

type Step =
  | { readonly kind: "post"; readonly records: readonly UsageRecord[] }
  | { readonly kind: "close"; readonly day: string }
  | { readonly kind: "terms"; readonly hasBook: boolean; readonly hasRule: boolean }
  | { readonly kind: "release" };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .array(anyRecord, { maxLength: 6 })
      .map((records) => ({ kind: "post" as const, records })),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom("2026-11-21", "2026-11-22", "2026-11-23")
      .map((day) => ({ kind: "close" as const, day })),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("terms" as const),
      hasBook: fc.boolean(),
      hasRule: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: "release" as const }) },
);

const pairs = ["vendor:northgrid", "tenant:acme", owner, channel] as PairId[];

function closeDay(books: MemoryBooks, day: string): void {
  for (const pair of pairs) {
    const before = books.firstOpen.get(pair) ?? "";
    books.firstOpen.set(pair, before > day ? before : day);
  }
}

function take(books: MemoryBooks, step: Step, rule: SplitRule): void {
  switch (step.kind) {
    case "post":
      books.post(step.records);
      break;
    case "close":
      closeDay(books, step.day);
      break;
    case "terms":
      setSelling(books, {
        rule: step.hasRule ? rule : undefined,
        ...(step.hasBook ? {} : { book: undefined }),
      });
      break;
    case "release":
      books.releaseSales();
  }
}

/** Hours of days that are closed. */
function closedHours(books: MemoryBooks) {
  return [...books.hours.values()].filter(
    ({ key }) => key.booking < (books.firstOpen.get(key.pair) ?? ""),
  );
}

for (const [name, rule] of Object.entries({ rates: rateRule, shares: shareRule })) {
  test(`whatever comes, whenever days close and terms come late, the books are right (${name})`, () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 25 }), fc.bigInt(1n, 9_000n), (steps, units) => {
        const books = market({ rule });
        buyPackage(books, "small", units);
        buyPackage(books, "next", 500n);
        for (const step of steps) {
          const closed = closedHours(books);
          take(books, step, rule);
          checkBooks(books);
          // I29.
          expect(closedHours(books)).toEqual(expect.arrayContaining(closed));
        }
        setSelling(books, { rule });
        books.releaseSales();
        checkBooks(books);
        const waiting = [...books.sales.values()].filter(({ state }) => state === "waiting");
        for (const { reason } of waiting)
          expect(reason).toMatch(/^second-winner|was paid by its book/);
      }),
      { numRuns: 150 },
    );
  });
}

test("any multiset of deliveries is the set once: same entries, same sales, same leaves", () => {
  fc.assert(
    fc.property(
      fc.array(anyRecord, { maxLength: 20 }),
      fc.array(fc.nat(), { maxLength: 30 }),
      (records, again) => {
        const once = market();
        buyPackage(once, "small", 3_000n);
        for (const each of records) once.post([each]);
        const often = market();
        buyPackage(often, "small", 3_000n);
        for (const [index, each] of records.entries()) {
          const old = again.map((nth) => records[nth % (index + 1)] ?? each);
          often.post([each, ...old]);
        }
        for (const each of records) often.post([each]);
        expect(often.entries.map(({ id }) => id).toSorted()).toEqual(
          once.entries.map(({ id }) => id).toSorted(),
        );
        expect(often.totals).toEqual(once.totals);
        expect(often.sales).toEqual(once.sales);
        expect(new Set(often.leaves.map(({ text }) => text))).toEqual(
          new Set(once.leaves.map(({ text }) => text)),
        );
      },
    ),
    { numRuns: 60 },
  );
});

describe("a sale", () => {
  test("credits each party of the split, and the platform what remains", () => {
    const books = market();
    books.post([record("a1:0")]);
    checkBooks(books);
    const [sale] = billed(books);
    expect(sale?.parts.map(({ part, way }) => [part, way])).toEqual([
      ["platform", "share"],
      ["computing", "rate"],
      ["model", "rate"],
      ["channel", "share"],
    ]);
    // 60 x 1,999,500 + 40 x 200,250 + 50 x 8,000,000 pico.
    expect(sale?.saleNano).toBe(527_980n);
    expect(sale?.billedNano).toBe(527_980n);
    const [channelLeaf] = books.leaves.filter(({ log }) => log === channel);
    expect(channelLeaf?.text).toContain('"type":"share"');
  });

  test("below what is owed by rate is borne by the platform", () => {
    const books = market();
    buyPackage(books, "cheap", 10_000_000_000n);
    books.post([record("a1:0")]);
    checkBooks(books);
    const [sale] = billed(books);
    expect(sale?.billedNano).toBe(0n);
    expect(-books.netOf("exp:subsidy")).toBe(-(sale?.parts[0]?.amountNano ?? 0n));
    expect(books.netOf(`liab:payable:${channel}:accrued`)).toBe(0n);
  });

  test("is none where nobody has said what tenants pay, and nothing waits", () => {
    const books = market();
    books.sell = undefined;
    books.post([record("a1:0")]);
    expect([...books.sales.values()]).toEqual([]);
    expect(books.entries.map(({ kind }) => kind)).toEqual(["usage", "model-fee"]);
    checkBooks(books);
  });

  test("of an attempt that did not serve the tenant is none; its vendor is paid", () => {
    const books = market();
    books.post([
      record("a1:0", { isWinner: false, end: "gateway-cancel", cancelCause: "hedge-lost" }),
    ]);
    expect([...books.sales.values()]).toEqual([]);
    expect(books.entries.map(({ debit }) => debit)).toEqual([
      "exp:leakage:hedge",
      "exp:leakage:hedge",
    ]);
  });

  // prettier-ignore
  const missing: readonly [string, Parameters<typeof market>[0], RegExp][] = [
    ["a sell book", { book: undefined }, /^price-book-unknown: there is no sell book for tenant:acme$/],
    ["a split rule", { rule: undefined }, /^split-rule-unknown: there is no split rule for qwen3-32b of acme$/],
  ];
  for (const [what, without, reason] of missing) {
    test(`waits for ${what}, while its vendor is paid, and is billed when it comes`, () => {
      const books = market(without);
      books.post([record("a1:0")]);
      const [waiting] = books.sales.values();
      expect(waiting).toMatchObject({ state: "waiting", reason: expect.stringMatching(reason) });
      expect(books.entries.map(({ kind }) => kind)).toEqual(["usage", "model-fee"]);
      const before = books.entries.length;
      expect(books.releaseSales()).toMatchObject([{ status: "quarantined" }]);
      expect(books.entries.length).toBe(before);
      setSelling(books);
      expect(books.releaseSales()).toMatchObject([{ record: "a1:0", status: "posted" }]);
      expect(books.releaseSales()).toEqual([]);
      checkBooks(books);
      const direct = market();
      direct.post([record("a1:0")]);
      expect(books.totals).toEqual(direct.totals);
    });
  }

  test("of a second winner of a request is never billed, and says whose is", () => {
    const books = market();
    const request = "r1" as RequestId;
    books.post([record("a1:0", { request }), record("a2:0", { request })]);
    expect([...books.sales.values()]).toMatchObject([
      { attempt: "a1", state: "billed" },
      {
        attempt: "a2",
        state: "waiting",
        reason: "second-winner: request r1 was billed for attempt a1",
      },
    ]);
    expect(books.releaseSales()).toMatchObject([{ status: "quarantined" }]);
    checkBooks(books);
    // The first one did not win after all.
    books.post([record("a1:1", { request, isWinner: false })]);
    expect(books.releaseSales()).toMatchObject([{ record: "a2:0", status: "posted" }]);
    checkBooks(books);
  });

  test("goes to the next winner of the request when the first is taken back in the same batch", () => {
    const books = market();
    const request = "r1" as RequestId;
    books.post([
      record("a1:0", { request }),
      record("a1:1", { request, isWinner: false }),
      record("a2:0", { request }),
    ]);
    expect(books.sales.get("a2:0")?.state).toBe("billed");
    checkBooks(books);
  });

  test("waits where the vendor was paid by its book before a share was agreed", () => {
    const books = market({ rule: undefined });
    books.post([record("a1:0")]);
    setSelling(books, { rule: shareRule });
    books.releaseSales();
    const [waiting] = books.sales.values();
    expect(waiting?.reason).toBe(
      "split-rule-unknown: the vendor was paid by its book when a1:0 was posted",
    );
    checkBooks(books);
  });
});

describe("a correction", () => {
  const shorter = { engineCounts: engineCounts({ output: 30n }) };

  test("takes the sale, the draws and the fee back exactly, and enters them anew", () => {
    const books = market();
    buyPackage(books, "p", 120n);
    books.post([record("a1:0")]);
    const before = books.entries.slice(2);
    books.post([record("a1:1", shorter)]);
    const taken = books.entries.filter(({ corrects }) => corrects !== "");
    const posted = before.filter(({ phase }) => phase === "posted");
    expect(
      new Set(taken.map(({ debit, credit, amount }) => [credit, debit, amount].join())),
    ).toEqual(new Set(posted.map(({ debit, credit, amount }) => [debit, credit, amount].join())));
    expect(taken.length).toBe(posted.length);
    expect(new Set(taken.map(({ corrects }) => corrects))).toEqual(
      new Set(["usage:a1:0", "model-fee:a1:0", "sale:a1:0"]),
    );
    checkBooks(books);
  });

  test("of a closed day goes into the open one, with its usage time; the closed one stays", () => {
    const books = market();
    books.post([record("a1:0")]);
    const closed = [...books.hours.values()];
    closeDay(books, "2026-11-23");
    books.post([record("a1:1", shorter), record("a2:0")]);
    const hours = [...books.hours.values()];
    expect(hours.filter(({ key }) => key.booking === "2026-11-20")).toEqual(closed);
    const late = hours.filter(({ key }) => key.booking !== "2026-11-20");
    expect(new Set(late.map(({ key }) => [key.booking, key.hourUs].join()))).toEqual(
      new Set([`2026-11-23,${friday}`]),
    );
    const response = late.find(
      ({ key }) => key.pair === "vendor:northgrid" && key.line.endsWith("response"),
    );
    // 30 instead of 50, and 50 of another.
    expect(response?.total).toMatchObject({ tokens: 30n, attempts: 1n });
    checkBooks(books);
  });

  test("that comes before what it corrects leaves that without a booking", () => {
    const books = market();
    books.post([record("a1:1", shorter), record("a1:0")]);
    expect(books.records.get("a1:0")).toMatchObject({ state: "posted", booking: "", period: "" });
    expect(books.records.get("a1:1")).toMatchObject({ booking: "2026-11-20" });
    const leaf = books.leaves.find(({ ref, log }) => ref === "a1:0" && log.startsWith("vendor:"));
    expect(JSON.parse(leaf?.text ?? "").settled).toMatchObject({ booking: "", charges: [] });
    checkBooks(books);
  });

  test("that cannot be sold yet leaves what was billed until it can", () => {
    const books = market();
    books.post([record("a1:0")]);
    setSelling(books, { book: undefined });
    books.post([record("a1:1", shorter)]);
    expect([...books.sales.values()].map(({ state }) => state)).toEqual(["billed", "waiting"]);
    books.post([record("a1:2", { ...shorter, finishReason: "length" })]);
    setSelling(books);
    books.releaseSales();
    expect([...books.sales.values()].map(({ state }) => state)).toEqual([
      "replaced",
      "replaced",
      "billed",
    ]);
    expect(inForce(books).length).toBe(1);
    checkBooks(books);
  });
});

test("leaves show a vendor nothing of the tenant, and a tenant nothing of the vendor", () => {
  const books = market();
  const secret = {
    department: 'dept"x,"tenant_id":"',
    project: "proj-x",
    scenario: "scen-x",
    keyPrefix: "key-x",
    serviceClass: "class-x",
  };
  books.post([record("a1:0", secret)]);
  const textOf = (log: string) => books.leaves.find((leaf) => leaf.log === log)?.text ?? "";
  const vendor = JSON.parse(textOf("vendor:northgrid"));
  expect(vendor.witness).toMatchObject({ attempt_id: "a1", vendor_id: "northgrid", pool_id: "p1" });
  expect(vendor.settled).toMatchObject({ booking: "2026-11-20", amount_nano: "299925" });
  for (const word of [
    "acme",
    "r-a1",
    "dept",
    "proj-x",
    "scen-x",
    "key-x",
    "class-x",
    "527980",
    "shanghai",
  ]) {
    expect(textOf("vendor:northgrid")).not.toContain(word);
  }
  for (const log of ["tenant:acme", owner, channel]) {
    for (const word of ["northgrid", "p1", "299925"]) expect(textOf(log)).not.toContain(word);
  }
  for (const log of [owner, channel]) expect(textOf(log)).not.toContain("acme");
  for (const { text } of books.leaves) expect(canonicalJson(JSON.parse(text))).toBe(text);
  expect(JSON.parse(textOf("tenant:acme"))).toMatchObject({
    tenant_id: "acme",
    billed_nano: "527980",
  });
});

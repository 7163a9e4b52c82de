import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toNano } from "../../../../services/core/settlement/pricing/rate.ts";
import type { UsageRecord } from "../../../../services/core/settlement/counting/usage.ts";
import type {
  AttemptId,
  BookId,
  ModelId,
  PoolId,
  VendorId,
} from "../../../../services/core/units.ts";
import {
  contract,
  engineCounts,
  evidence,
  friday,
  priceBook,
  priceLine,
  us,
  usageRecord,
} from "../fixtures.ts";
import { MemoryBooks } from "../memory-books.ts";

/** Graduated, so that what one record costs depends on those before it. */
const tiered = priceBook({
  lines: priceBook().lines.map((line) => ({
    ...line,
    tiers: [
      ...line.tiers,
      { fromTokens: 700n, pricePicoPerToken: 1_234_567n },
      { fromTokens: 3_000n, pricePicoPerToken: 99_999n },
    ],
  })),
});

const loose = evidence({ outBytes: 100_000n, chunks: 0n });

const anyRecord = fc
  .record({
    attempt: fc.integer({ min: 0, max: 12 }),
    rev: fc.integer({ min: 0, max: 2 }),
    input: fc.bigInt(0n, 900n),
    cacheRead: fc.bigInt(0n, 900n),
    output: fc.bigInt(0n, 900n),
    isWinner: fc.boolean(),
  })
  .map(({ attempt, rev, input, cacheRead, output, isWinner }) =>
    usageRecord({
      id: `a${attempt}:${rev}`,
      attempt: `a${attempt}` as AttemptId,
      // Revisions of an attempt agree on when and where.
      openedUs: friday + BigInt(attempt % 5) * 7n * 3_600_000_000n,
      pool: (attempt % 2 === 0 ? "p1" : "p2") as PoolId,
      isWinner,
      evidence: loose,
      engineCounts: engineCounts({ input: input + cacheRead, cacheRead, output }),
    }),
  );

/** Of one id there is one record: what differs is a conflict, and the first one stays. */
const anyRecords = fc.uniqueArray(anyRecord, { selector: ({ id }) => id, maxLength: 25 });

function batches(records: readonly UsageRecord[], size: number): UsageRecord[][] {
  const count = Math.ceil(records.length / size);
  return Array.from({ length: count }, (_, index) =>
    records.slice(index * size, (index + 1) * size),
  );
}

test("totals depend on the records alone: not on order, batches or repetition", () => {
  fc.assert(
    fc.property(
      anyRecords,
      fc.infiniteStream(fc.nat()),
      fc.integer({ min: 1, max: 7 }),
      (records, order, size) => {
        const plain = new MemoryBooks([tiered]);
        for (const record of records) plain.post([record]);
        const mixed = new MemoryBooks([tiered]);
        const shuffled = [...records, ...records]
          .map((record) => ({ record, place: order.next().value }))
          .toSorted((a, b) => a.place - b.place)
          .map(({ record }) => record);
        for (const batch of batches(shuffled, size)) mixed.post(batch);
        expect(mixed.totals).toEqual(plain.totals);
      },
    ),
  );
});

test("the nano of a key are its rounded pico, whatever was corrected, and the hours add up to them", () => {
  fc.assert(
    fc.property(anyRecords, (records) => {
      const books = new MemoryBooks([tiered]);
      for (const batch of batches(records, 3)) books.post(batch);
      const inKeys = [...books.cumulatives.values()].map(({ total }) => toNano(total.pico));
      const inHours = [...books.hours.values()].map(({ total }) => total.amountNano);
      expect(sum(inHours)).toBe(sum(inKeys));
      const owed = books.netOf("liab:payable:vendor:northgrid:accrued");
      expect(owed).toBe(sum(inKeys));
    }),
  );
});

test("every unit that is debited is credited", () => {
  fc.assert(
    fc.property(anyRecords, (records) => {
      const books = new MemoryBooks([tiered]);
      books.post(records);
      expect(sum(books.balances.map(([, nano]) => nano))).toBe(0n);
      expect(books.entries.every(({ amount }) => amount > 0n)).toBe(true);
    }),
  );
});

describe("a record that comes again", () => {
  test("exists, and changes nothing", () => {
    const books = new MemoryBooks([priceBook()]);
    const [first] = books.post([usageRecord()]);
    const before = books.totals;
    const [second] = books.post([usageRecord()]);
    expect([first?.status, second?.status]).toEqual(["posted", "exists"]);
    expect(books.totals).toEqual(before);
    expect(books.entries.length).toBe(1);
  });

  test("conflicts if its bytes differ, and changes nothing", () => {
    const books = new MemoryBooks([priceBook()]);
    books.post([usageRecord()]);
    const before = books.totals;
    const [other] = books.post([usageRecord({ engineCounts: engineCounts({ output: 51n }) })]);
    expect(other?.status).toBe("conflict");
    expect(other?.reason).toMatch(/^expected the bytes with SHA-256 \w{64}, found \w{64}$/);
    expect(books.totals).toEqual(before);
  });

  test("is seen within one batch too", () => {
    const books = new MemoryBooks([priceBook()]);
    const changed = usageRecord({ finishReason: "length" });
    const outcomes = books.post([usageRecord(), usageRecord(), changed]);
    expect(outcomes.map(({ status }) => status)).toEqual(["posted", "exists", "conflict"]);
  });
});

describe("a correction", () => {
  const original = usageRecord();
  const corrected = usageRecord({
    id: "a1:1",
    engineCounts: engineCounts({ output: 30n }),
    evidence: loose,
  });

  test("reverses what it corrects exactly, and enters what is owed now", () => {
    const books = new MemoryBooks([priceBook()]);
    books.post([original]);
    books.post([corrected]);
    const [first, reverse, again] = books.entries;
    expect(reverse).toMatchObject({
      id: "reverse:a1:1",
      debit: first?.credit,
      credit: first?.debit,
      amount: first?.amount,
      corrects: "usage:a1:0",
    });
    // 60 × 1,999,500 + 40 × 200,250 + 30 × 8,000,000 pico
    expect(again).toMatchObject({ id: "usage:a1:1", amount: 119_970n + 8_010n + 240_000n });
    expect(books.entries.length).toBe(3);
  });

  test("that comes before what it corrects stays in force", () => {
    const books = new MemoryBooks([priceBook()]);
    const outcomes = [corrected, original].flatMap((record) => books.post([record]));
    expect(outcomes.map(({ status }) => status)).toEqual(["posted", "posted"]);
    expect(books.entries.map(({ id }) => id)).toEqual(["usage:a1:1"]);
  });

  test("waits if it names another pool: an attempt is one dispatch", () => {
    const books = new MemoryBooks([priceBook()]);
    books.post([original]);
    const [outcome] = books.post([{ ...corrected, pool: "p2" as PoolId }]);
    expect(outcome).toMatchObject({
      status: "quarantined",
      reason: "revision-mismatch: expected pool p1 as in revision 0, found p2",
    });
    expect(books.entries.length).toBe(1);
  });

  test("moves a record into another bracket", () => {
    const lines = priceBook().lines.filter(({ id }) => id !== "response");
    const brackets = [
      priceLine("response", 8_000_000n, { id: "short", output: { from: 0n, to: 40n } }),
      priceLine("response", 9_000_000n, { id: "long", output: { from: 41n, to: undefined } }),
    ];
    const books = new MemoryBooks([priceBook({ lines: [...lines, ...brackets] })]);
    books.post([original]);
    books.post([corrected]);
    const tokens = [...books.cumulatives.values()]
      .filter(({ key }) => /long|short/.test(key.line))
      .map(({ key, total }) => [key.line, total.tokens, total.records]);
    expect(tokens).toEqual([
      ["northgrid-list:1:long", 0n, 0n],
      ["northgrid-list:1:short", 30n, 1n],
    ]);
  });
});

describe("the cost of an attempt goes", () => {
  // prettier-ignore
  const ends: readonly [string, Partial<UsageRecord>, debit: string][] = [
    ["to what was sold", {}, "exp:cogs:pool:p1"],
    ["to what was sold, if the client left", { end: "client-cancel" }, "exp:cogs:pool:p1"],
    ["to nobody, if a hedge lost", { end: "gateway-cancel", cancelCause: "hedge-lost", isWinner: false }, "exp:leakage:hedge"],
    ["to nobody, if another attempt won after a cut", { end: "upstream-cut", isWinner: false }, "exp:leakage:abort"],
    ["to nobody, if the gateway crashed", { end: "gateway-crash", isWinner: false }, "exp:leakage:orphan"],
    ["to the audit", { role: "audit", isWinner: false }, "exp:audit"],
  ];
  for (const [where, changes, debit] of ends) {
    test(where, () => {
      const books = new MemoryBooks([priceBook()]);
      books.post([usageRecord(changes)]);
      expect(books.entries).toMatchObject([
        { debit, credit: "liab:payable:vendor:northgrid:accrued", amount: 527_980n },
      ]);
    });
  }

  test("nowhere, if nothing is owed", () => {
    const books = new MemoryBooks([]);
    const [outcome] = books.post([usageRecord({ end: "upstream-error", firstByteUs: undefined })]);
    expect(outcome?.status).toBe("posted");
    expect(books.entries).toEqual([]);
  });
});

describe("quarantine", () => {
  // prettier-ignore
  const reasons: Readonly<Record<string, Partial<UsageRecord>>> = {
    "price-book-unknown": { priceVersion: 2n },
    "vendor-mismatch": { vendor: "south" as VendorId },
    "price-not-in-force": { openedUs: us("2025-12-31T23:59:59+08:00") },
    "model-not-priced": { model: "glm-5" as ModelId },
    "output-over-max": { outputTokensMax: 1n },
    "price-book-unknown ": { priceBook: "" as BookId },
  };
  test("keeps a record whose price is absurd, whatever the count", () => {
    const dear = priceBook({
      lines: priceBook().lines.map((line) => ({
        ...line,
        tiers: [
          { fromTokens: 0n, pricePicoPerToken: 0n },
          { fromTokens: 1_000n, pricePicoPerToken: 2n ** 63n - 1n },
        ],
      })),
    });
    const books = new MemoryBooks([dear]);
    expect(books.post([usageRecord()])).toMatchObject([
      {
        status: "quarantined",
        reason: expect.stringMatching(/^amount-over-limit: expected at most/),
      },
    ]);
    expect(books.entries).toEqual([]);
  });

  for (const [reason, changes] of Object.entries(reasons)) {
    test(`keeps a record that is ${reason}, and pays nothing for it`, () => {
      const books = new MemoryBooks([priceBook()]);
      const [outcome] = books.post([usageRecord(changes)]);
      expect(outcome).toMatchObject({
        status: "quarantined",
        reason: expect.stringMatching(`^${reason.trim()}: `),
      });
      expect(books.entries).toEqual([]);
      expect([...books.records.values()]).toMatchObject([{ state: "waiting" }]);
    });
  }

  test("lets a record go when its price book has come, and it comes again", () => {
    const books = new MemoryBooks([]);
    const [first] = books.post([usageRecord()]);
    const [again] = books.post([usageRecord()]);
    books.books = [priceBook()];
    const [released] = books.post([usageRecord()]);
    expect([first, again, released].map((each) => each?.status)).toEqual([
      "quarantined",
      "exists",
      "posted",
    ]);
    expect(books.entries.length).toBe(1);
  });

  test("does not let another record take a waiting one's place", () => {
    const books = new MemoryBooks([]);
    books.post([usageRecord()]);
    books.books = [priceBook()];
    const [other] = books.post([usageRecord({ finishReason: "length" })]);
    expect(other?.status).toBe("conflict");
  });
});

describe("the slot of use", () => {
  const kinds = new Set(["workday", "weekend", "holiday", "makeup"] as const);
  const book = priceBook({
    slots: [
      { slot: "peak", dayKinds: kinds, startMin: 480, endMin: 1_320 },
      { slot: "off-peak", dayKinds: kinds, startMin: 1_320, endMin: 480 },
    ],
    lines: priceBook().lines.flatMap((line) => [
      { ...line, id: `${line.id}/peak`, slot: "peak" },
      {
        ...line,
        id: `${line.id}/off`,
        slot: "off-peak",
        tiers: [{ fromTokens: 0n, pricePicoPerToken: 1n }],
      },
    ]),
  });
  const tenSharp = us("2026-11-20T22:00:00+08:00");
  const across = {
    openedUs: tenSharp - 1_000_000n,
    firstByteUs: tenSharp - 1n,
    lastByteUs: tenSharp + 1n,
    closedUs: tenSharp + 1_000_000n,
  };

  // prettier-ignore
  const bases: readonly [string, Parameters<typeof contract>[0], Partial<UsageRecord>, RegExp][] = [
    ["goes by the opening", {}, {}, /peak$/],
    ["goes by the first token, if the contract says so", { touBasis: "first-token" }, {}, /peak$/],
    ["goes by the close, if the contract says so", { touBasis: "closed" }, {}, /off$/],
    ["is the cheaper one within the clock's error of its end", { touBasis: "first-token" }, { clockErrUs: 1n }, /off$/],
    ["is the cheaper one within the contract's grace", { touGraceUs: 1_000_000n }, {}, /off$/],
  ];
  for (const [rule, terms, changes, line] of bases) {
    test(rule, () => {
      const books = new MemoryBooks([book], contract(terms));
      books.post([usageRecord({ ...across, ...changes })]);
      const lines = [...books.cumulatives.values()].map(({ key }) => key.line);
      expect(lines.length).toBe(3);
      for (const each of lines) expect(each).toMatch(line);
    });
  }
});

test("tiers run over the contract's period and begin again with the next", () => {
  const months = [
    "2026-10-31T23:59:59+08:00",
    "2026-11-01T00:00:00+08:00",
    "2026-11-30T00:00:00+08:00",
  ];
  const books = new MemoryBooks([priceBook()], contract({ period: "monthly" }));
  books.post(
    months.map((at, index) => {
      const attempt = `a${index}` as AttemptId;
      return usageRecord({ attempt, id: `${attempt}:0`, openedUs: us(at) });
    }),
  );
  const responses = [...books.cumulatives.values()].filter(({ key }) =>
    key.line.endsWith("response"),
  );
  expect(responses.map(({ key, total }) => [key.period, total.records])).toEqual([
    ["2026-10", 1n],
    ["2026-11", 2n],
  ]);
});

function sum(all: readonly bigint[]): bigint {
  return all.reduce((total, each) => total + each, 0n);
}

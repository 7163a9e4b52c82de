import canonicalize from "canonicalize";
import { describe, expect, test } from "vitest";
import {
  decimal,
  focusColumns,
  focusCsv,
  focusRows,
  payable,
} from "../../../services/core/settlement/focus.ts";
import { dayOf, monthOf } from "../../../services/core/settlement/period.ts";
import { fromStatementText } from "../../../services/core/settlement/statement-text.ts";
import {
  closeStatement,
  type Account,
  type Statement,
} from "../../../services/core/settlement/statement.ts";
import { bookText, contractText } from "../../../services/core/settlement/terms-text.ts";
import type {
  AttemptId,
  ModelId,
  PoolId,
  RegionId,
  VendorId,
} from "../../../services/core/units.ts";
import { contract, engineCounts, friday, priceBook, sha256, usageRecord } from "./fixtures.ts";
import { MemoryBooks } from "./memory-books.ts";

const day = dayOf(friday, "Asia/Shanghai");

const glm = "glm-5" as ModelId;
const book = priceBook({
  lines: priceBook().lines.flatMap((line) => [
    line,
    {
      ...line,
      id: `glm/${line.id}`,
      model: glm,
      tiers: [{ fromTokens: 0n, pricePicoPerToken: 333_333n }],
    },
  ]),
});

/** Three attempts at two pools. */
const records = [
  usageRecord(),
  usageRecord({
    attempt: "a2" as AttemptId,
    id: "a2:0",
    pool: "p2" as PoolId,
    region: "zhangjiakou" as RegionId,
    engineCounts: engineCounts({ cacheRead: 0n, reasoning: 10n }),
    openedUs: friday + 3_600_000_000n,
  }),
  usageRecord({ attempt: "a3" as AttemptId, id: "a3:0", model: glm }),
];

function account(used = records, changes: Partial<Account> = {}): Account {
  const books = new MemoryBooks([book]);
  for (const record of used) books.post([record]);
  return {
    vendor: "northgrid" as VendorId,
    period: day,
    hours: [...books.hours.values()],
    attempts: BigInt(used.length),
    quarantined: 0n,
    contractHash: sha256(contractText(contract())),
    hashByVersion: new Map([["northgrid-list@1", sha256(bookText(book))]]),
    ...changes,
  };
}

const parties = {
  billingAccount: { id: "operator", name: "Grid Operator" },
  vendorName: 'North "Grid", Ltd.',
};

describe("closeStatement()", () => {
  const statement = closeStatement(account(), undefined, sha256);

  test("gives the golden bytes", async () => {
    await expect(`${statement.text}\n`).toMatchFileSnapshot("../../golden/statement.json");
    expect(statement.digest).toBe(sha256(statement.text));
    expect(canonicalize(JSON.parse(statement.text))).toBe(statement.text);
  });

  test("gives the same bytes for the same records in another order", () => {
    const again = closeStatement(account(records.toReversed()), undefined, sha256);
    expect(again.text).toBe(statement.text);
  });

  test("gives the revision that is there already while nothing came in", () => {
    expect(closeStatement(account(), statement, sha256)).toBe(statement);
  });

  test("gives the next revision, which names the one before, when something came in", () => {
    const next = closeStatement(account(records.slice(1)), statement, sha256);
    expect(next).toMatchObject({
      id: "northgrid:daily:2026-11-20:1",
      rev: 1,
      prevDigest: statement.digest,
    });
    expect(closeStatement(account(records.slice(1)), next, sha256)).toBe(next);
    const third = closeStatement(account(), next, sha256);
    expect(third).toMatchObject({ rev: 2, prevDigest: next.digest, lines: statement.lines });
  });

  test("says when records wait in quarantine", () => {
    const next = closeStatement(account(records, { quarantined: 2n }), statement, sha256);
    expect(next).toMatchObject({ rev: 1, totals: { quarantined: 2n } });
  });

  test("adds up", () => {
    const { lines, totals } = statement;
    expect(sum(lines.map(({ amountNano }) => amountNano))).toBe(totals.netNano);
    expect(sum(lines.map(({ tokens }) => tokens))).toBe(sum(Object.values(totals.tokens)));
    expect(totals.netNano + totals.roundingNano).toBe(payable(statement));
    expect(totals.attempts).toBe(3n);
  });

  test("of a period without usage says so", async () => {
    const empty = closeStatement(account([]), undefined, sha256);
    await expect(`${empty.text}\n`).toMatchFileSnapshot("../../golden/statement-empty.json");
    expect(JSON.parse(empty.text)).toMatchObject({ zero_usage: true, lines: [] });
    expect(empty).toMatchObject({
      lines: [],
      totals: { netNano: 0n, minorUnits: 0n, roundingNano: 0n },
    });
  });

  test("comes back from its text as it was", () => {
    expect(fromStatementText(statement.text, sha256)).toEqual(statement);
    const next = closeStatement(account(records.slice(1)), statement, sha256);
    expect(fromStatementText(next.text, sha256)).toEqual(next);
  });

  test("names a month by its name", () => {
    const monthly = closeStatement(
      account(records, { period: monthOf(friday, "Asia/Shanghai") }),
      undefined,
      sha256,
    );
    expect(monthly.id).toBe("northgrid:monthly:2026-11:0");
  });
});

// prettier-ignore
const rounded: readonly [netNano: bigint, fen: bigint, roundingNano: bigint][] = [
  [0n,          0n, 0n],
  [4_999_999n,  0n, -4_999_999n],
  [5_000_000n,  1n, 5_000_000n], // half up
  [15_000_000n, 2n, 5_000_000n],
  [10_000_000n, 1n, 0n],
];

for (const [netNano, minorUnits, roundingNano] of rounded) {
  test(`closeStatement() of ${netNano} nano asks for ${minorUnits} fen`, () => {
    const [hour] = account().hours;
    const hours =
      hour === undefined ? [] : [{ ...hour, total: { ...hour.total, amountNano: netNano } }];
    const { totals } = closeStatement(account([], { hours }), undefined, sha256);
    expect(totals).toMatchObject({ netNano, minorUnits, roundingNano });
  });
}

describe("FOCUS", () => {
  const statement = closeStatement(account(), undefined, sha256);

  test("the file is golden", async () => {
    await expect(focusCsv(statement, parties)).toMatchFileSnapshot("../../golden/focus.csv");
  });

  test("the billed costs add up to what is paid, the rounding with them", () => {
    const billed = focusRows(statement, parties).map(({ BilledCost }) => toNano(BilledCost));
    expect(sum(billed)).toBe(payable(statement));
  });

  test("a row says its version, and ours-only columns are marked", () => {
    const [row] = focusRows(statement, parties);
    expect(row).toMatchObject({
      x_FocusVersion: "1.4",
      ConsumedUnit: "Tokens",
      PricingUnit: "1000000 Tokens",
    });
    expect(focusColumns.filter((name) => /^[a-z]/.test(name))).toEqual(
      focusColumns.filter((name) => name.startsWith("x_")),
    );
  });

  test("a statement without usage has a header alone", () => {
    const empty: Statement = closeStatement(account([]), undefined, sha256);
    expect(focusCsv(empty, parties)).toBe(`${focusColumns.join(",")}\r\n`);
  });
});

// prettier-ignore
const decimals: readonly [value: bigint, digits: number, text: string][] = [
  [8_400_000n, 6, "8.4"],
  [0n,         9, "0.0"],
  [5n,         9, "0.000000005"],
  [-5n,        9, "-0.000000005"],
  [100n,       0, "100.0"],
  [-12_345n,   2, "-123.45"],
];

for (const [value, digits, text] of decimals) {
  test(`decimal() of ${value} with ${digits} digits is ${text}`, () => {
    expect(decimal(value, digits)).toBe(text);
  });
}

function toNano(text: string): bigint {
  const [whole = "", part = ""] = text.replace("-", "").split(".");
  const nano = BigInt(whole) * 1_000_000_000n + BigInt(part.padEnd(9, "0"));
  return text.startsWith("-") ? -nano : nano;
}

function sum(all: readonly bigint[]): bigint {
  return all.reduce((total, each) => total + each, 0n);
}

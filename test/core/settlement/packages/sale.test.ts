import { expect, test } from "vitest";
import type { AllotmentMode } from "../../../../services/core/settlement/packages/departments.ts";
import {
  balanceText,
  movements,
  type Balance,
} from "../../../../services/core/settlement/ledger/ledger.ts";
import {
  paired,
  reverseSaleEntries,
  saleEntries,
} from "../../../../services/core/settlement/packages/sale-entries.ts";
import {
  needOf,
  skuMistakes,
} from "../../../../services/core/settlement/packages/token-package.ts";
import { noTokens, type Tokens } from "../../../../services/core/settlement/counting/usage.ts";
import type { GatewayId, ModelId } from "../../../../services/core/units.ts";
import { acme, model, PackageLedger, sku, type Used } from "../package-ledger.ts";

const g1 = "g1" as GatewayId;

function used(attempt: string, tokens: bigint, changes: Partial<Used["key"]> = {}): Used {
  const key = { department: "", project: "", scenario: "", gateway: g1, openedUs: 5n, ...changes };
  return { attempt, tokens, saleNano: tokens * 4_000n, key };
}

test("a package of 70 M tokens for 159.9 yuan releases the example's four parts, and exactly its price", () => {
  const ledger = new PackageLedger();
  ledger.buy("pro-1", sku(), 0n);
  const uses = [1_000_000n, 2_500_001n, 33_333_333n, 33_166_666n];
  const sales = uses.map((tokens, index) => ledger.sell(used(`a${index}`, tokens)));
  expect(sales.map(({ draws }) => draws[0]?.releasedNano)).toEqual([
    2_284_285_714n,
    5_710_716_570n,
    76_142_856_382n,
    75_762_141_334n,
  ]);
  expect(sales.map(({ billedNano }) => billedNano)).toEqual([0n, 0n, 0n, 0n]);
  expect(ledger.units("CNY:nano", "liab:prepaid:tenant:acme:pkg:pro-1")).toBe(0n);
  expect(ledger.units("CNY:nano", "rev:platform")).toBe(159_900_000_000n);
  ledger.check();
});

test("packages are drawn by priority, then by end, then by id; the rest is billed", () => {
  const ledger = new PackageLedger();
  const small = { quantity: 10n, priceNano: 100n };
  ledger.buy("c", sku({ id: "late", ...small, validityUs: 90n }), 0n);
  ledger.buy("b", sku({ id: "soon", ...small, validityUs: 50n }), 0n);
  ledger.buy("a", sku({ id: "soon", ...small, validityUs: 50n }), 0n);
  ledger.buy("d", sku({ id: "first", ...small, priority: 1 }), 0n);
  const sale = ledger.sell(used("a1", 50n));
  expect(sale.draws.map((draw) => [draw.package, draw.amount])).toEqual([
    ["d", 10n],
    ["a", 10n],
    ["b", 10n],
    ["c", 10n],
  ]);
  expect([sale.saleNano, sale.coveredNano, sale.billedNano]).toEqual([200_000n, 160_000n, 40_000n]);
  expect(sale.earnedNano).toBe(40_400n);
});

test("a package that covers a third of a record covers a third of its price, rounded once", () => {
  const ledger = new PackageLedger();
  ledger.buy("p", sku({ quantity: 1n, priceNano: 9n }), 0n);
  const sale = ledger.sell({ ...used("a1", 3n), saleNano: 100n });
  expect([sale.coveredNano, sale.billedNano, sale.earnedNano]).toEqual([33n, 67n, 76n]);
});

test("a second package covers its part of what the first one left, by its own rates", () => {
  const ledger = new PackageLedger();
  const double = { den: 1n, rates: [{ model, tokenClass: "*", num: 2n }] } as const;
  ledger.buy("p", sku({ id: "one", quantity: 10n, priority: 1 }), 0n);
  ledger.buy("q", sku({ id: "two", quantity: 1_000n, burn: double }), 0n);
  // A quarter by the first, so three quarters of the 80 that the second would need.
  const { draws, billedNano } = ledger.sell(used("a1", 40n));
  expect(draws.map(({ need, amount }) => [need, amount])).toEqual([
    [40n, 10n],
    [80n, 60n],
  ]);
  expect(billedNano).toBe(0n);
});

test("a package covers nothing that was opened before it was bought, after it ends, or of another model", () => {
  const ledger = new PackageLedger();
  const other = [{ model: "other" as ModelId, tokenClass: "*", num: 1n }] as const;
  ledger.buy("p", sku({ validityUs: 10n }), 10n);
  ledger.buy("q", sku({ id: "other", burn: { den: 1n, rates: other } }), 0n);
  const drawn = [9n, 10n, 19n, 20n].map(
    (openedUs) => ledger.sell(used(`a${openedUs}`, 5n, { openedUs })).draws.length,
  );
  expect(drawn).toEqual([0, 1, 1, 0]);
});

test("a sale that is taken back leaves every account as it was before", () => {
  const ledger = new PackageLedger();
  ledger.buy("p", sku({ quantity: 7n, priceNano: 10n }), 0n);
  const sale = ledger.sell({ ...used("a1", 12n), rateNano: 90_000n });
  const both = [...saleEntries(sale, 5n), ...reverseSaleEntries(sale, "a1:1", 6n)];
  const off = [...movements(both).values()].filter(({ debit, credit }) => debit !== credit);
  expect(off).toEqual([]);
  expect(reverseSaleEntries(sale, "a1:1", 6n)[0]?.corrects).toBe("sale:a1:0");
});

test("a sale below its rates debits the subsidy", () => {
  const ledger = new PackageLedger();
  const sale = ledger.sell({ ...used("a1", 1n), rateNano: 10_000n });
  expect(sale.parts.find(({ part }) => part === "platform")?.amountNano).toBe(-6_000n);
  expect(ledger.units("CNY:nano", "exp:subsidy")).toBe(-6_000n);
  expect(ledger.units("CNY:nano", `rev:usage:${model}`)).toBe(10_000n);
  expect(ledger.units("CNY:nano", "asset:receivable:tenant:acme")).toBe(-4_000n);
});

test("a record takes its gateway's slice first, and nothing of another gateway's", () => {
  const ledger = new PackageLedger();
  ledger.buy("p", sku({ quantity: 100n }), 0n);
  const of = (gateway: string, units: bigint) =>
    ledger.slice("p", { path: "", gateway: gateway as GatewayId, key: "s", units, atUs: 1n });
  const [own] = [of("g1", 30n), of("g2", 60n)];
  const first = ledger.sell(used("a1", 35n));
  expect(first.draws[0]?.held).toEqual([{ hold: own?.id, credit: own?.credit, amount: 30n }]);
  expect(first.draws[0]?.amount).toBe(35n);
  const second = ledger.sell(used("a2", 35n));
  expect([second.draws[0]?.amount, second.billedNano]).toEqual([5n, 120_000n]);
  ledger.check();
});

/** 100 tokens, 40 of which are allotted to research; research then uses 30 and 90, and sales 90. */
const modes: Readonly<Record<AllotmentMode, readonly bigint[]>> = {
  hard: [30n, 10n, 60n],
  guarantee: [30n, 70n, 0n],
  cap: [30n, 10n, 60n],
};

for (const [mode, drawn] of Object.entries(modes)) {
  test(`a department with a ${mode} of 40 of 100 draws ${drawn.join(", ")}`, () => {
    const ledger = new PackageLedger();
    ledger.buy("p", sku({ quantity: 100n }), 0n);
    const allotment = { path: "research", mode: mode as AllotmentMode, units: 40n, ppm: undefined };
    ledger.allocate("p", [allotment], 1n);
    const amounts = [
      used("a1", 30n, { department: "research" }),
      used("a2", 90n, { department: "research", project: "chat" }),
      used("a3", 90n, { department: "sales" }),
    ].map((each) => ledger.sell(each).draws.reduce((sum, { amount }) => sum + amount, 0n));
    expect(amounts).toEqual(drawn);
    ledger.check();
  });
}

test("a project's own units come before its department's, and those before the shared ones", () => {
  const ledger = new PackageLedger();
  ledger.buy("p", sku({ quantity: 100n }), 0n);
  const part = (path: string, ppm: bigint) =>
    ({ path, mode: "guarantee", units: undefined, ppm }) as const;
  ledger.allocate("p", [part("r", 200_000n), part("r/chat", 300_000n)], 1n);
  const sale = ledger.sell(used("a1", 60n, { department: "r", project: "chat" }));
  expect(sale.draws.map(({ department, usedBy, amount }) => [department, usedBy, amount])).toEqual([
    ["r/chat", "r/chat", 30n],
    ["r", "r/chat", 20n],
    ["", "r/chat", 10n],
  ]);
});

test("needOf() is exact over the classes of a record, rounded once", () => {
  const book = {
    den: 10n,
    rates: [
      { model: "*", tokenClass: "*", num: 10n },
      { model: "*", tokenClass: "cacheRead", num: 1n },
      { model, tokenClass: "response", num: 43n },
    ],
  } as const;
  const tokens: Tokens = { ...noTokens, uncachedInput: 7n, cacheRead: 8n, response: 3n };
  expect(needOf(book, model, tokens)).toBe(21n); // 7 + 0.8 + 12.9 = 20.7
  expect(needOf(book, "other" as ModelId, tokens)).toBe(11n); // 7 + 0.8 + 3 = 10.8
});

test("skuMistakes() names what is wrong", () => {
  const wrong = sku({
    ...{ version: 3n, quantity: 0n, priceNano: -1n, validityUs: 0n, refundPpm: 1_000_001n },
    burn: { den: 0n, rates: [{ model, tokenClass: "response", num: -1n }] },
  });
  expect(skuMistakes(wrong, sku())).toEqual([
    "version: expected 2, found 3",
    "quantity: expected more than 0, found 0",
    "price_nano: expected 0 or more, found -1",
    "validity_us: expected more than 0, found 0",
    "refund_ppm: expected 0..1000000, found 1000001",
    "burn.denominator: expected more than 0, found 0",
    "burn.rates[0].numerator: expected 0 or more, found -1",
    "burn.rates: qwen3-32b has no rate for uncachedInput",
  ]);
  expect(skuMistakes(sku(), undefined)).toEqual([]);
});

test("paired() moves what is negative from the other side", () => {
  const moves = paired(
    [
      ["a", 5n],
      ["b", -2n],
    ],
    [
      ["c", 7n],
      ["d", -4n],
    ],
  );
  expect(moves).toEqual([
    { debit: "a", credit: "c", amount: 5n },
    { debit: "d", credit: "c", amount: 2n },
    { debit: "d", credit: "b", amount: 2n },
  ]);
  expect(() => paired([["a", 1n]], [["b", 2n]])).toThrow("add up to the same");
});

test("balances of a wallet are found by unit and account", () => {
  const ledger = new PackageLedger();
  ledger.buy("p", sku({ quantity: 100n }), 0n);
  const balance: Balance = ledger.balanceOf(
    balanceText({ unit: "TOK-pro:1", account: `wallet:${acme}::p` }),
  );
  expect(balance.credit).toBe(100n);
});

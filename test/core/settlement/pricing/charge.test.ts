import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  lineIdOf,
  priceTokens,
  priceUsage,
  ratingKey,
  type PricedLine,
  type Pricing,
  type RatingTerms,
} from "../../../../services/core/settlement/pricing/charge.ts";
import {
  defaultContract,
  type Contract,
} from "../../../../services/core/settlement/terms/contract.ts";
import { settleCounts } from "../../../../services/core/settlement/counting/count-rule.ts";
import { discounted } from "../../../../services/core/settlement/decimal.ts";
import {
  everyTenant,
  type PriceBook,
  type PriceLine,
} from "../../../../services/core/settlement/pricing/price-book.ts";
import { checkPrices } from "../../../../services/core/settlement/pricing/price-check.ts";
import {
  exactPico,
  nothingRated,
  rate,
  toNano,
  type Cumulative,
} from "../../../../services/core/settlement/pricing/rate.ts";
import {
  noTokens,
  type Tokens,
  type UsageRecord,
} from "../../../../services/core/settlement/counting/usage.ts";
import type { PairId, RegionId, VendorId } from "../../../../services/core/units.ts";
import { contract, friday, priceBook, priceLine, usageRecord } from "../fixtures.ts";

const north = "vendor:northgrid" as PairId;

function priced(
  book: PriceBook,
  tokens: Partial<Tokens>,
  changes: Partial<UsageRecord> = {},
): Pricing {
  const record = usageRecord(changes);
  return priceTokens(
    {
      ...{ record, tokens: { ...noTokens, ...tokens }, variants: record.variants },
      ...{ side: "buy", pair: north },
    },
    book,
    defaultContract,
  );
}

/** Line → what is counted on it. */
function counted(pricing: Pricing): Record<string, bigint> {
  const lines: readonly PricedLine[] = pricing.kind === "priced" ? pricing.lines : [];
  return Object.fromEntries(lines.map(({ line, tokens }) => [line.id, tokens]));
}

const plain = priceBook();
const [uncached] = plain.lines;

describe("the fee and the floor of a request", () => {
  const fee = priceLine("response", 700n, { id: "fee", tokenClass: "request" });
  const floor: PriceLine = {
    ...priceLine("response", 1n, { id: "floor", tokenClass: "request" }),
    variant: "minimum",
    minPicoPerRequest: 1_000_000_000n,
  };
  const book = priceBook({ lines: [...plain.lines, fee, floor] });
  const uncachedPico = uncached?.tiers[0]?.pricePicoPerToken ?? 0n;

  test("are lines of their own, and the book is without gaps", () => {
    expect(checkPrices(book)).toEqual([]);
    expect(counted(priced(book, { uncachedInput: 3n }))).toEqual({
      [uncached?.id ?? ""]: 3n,
      fee: 1n,
      floor: 1_000_000_000n - 3n * uncachedPico - 700n,
    });
  });

  test("are not asked of a record for which nothing is owed", () => {
    expect(counted(priced(book, {}))).toEqual({});
  });

  test("a record that costs its floor or more has nothing on it", () => {
    const enough = (1_000_000_000n - 700n) / uncachedPico + 1n;
    expect(Object.keys(counted(priced(book, { uncachedInput: enough })))).not.toContain("floor");
  });

  test("the key of the floor is exact in any order, although tiers depend on it (I5)", () => {
    const tiered = {
      ...book,
      lines: book.lines.map((line) =>
        line === uncached
          ? { ...line, tiers: [...line.tiers, { fromTokens: 500n, pricePicoPerToken: 7n }] }
          : line,
      ),
    };
    const counts = fc.array(fc.bigInt(0n, 900n), { maxLength: 20 });
    fc.assert(
      fc.property(counts, fc.nat(), (all, seed) => {
        const forwards = totals(tiered, all);
        const shuffled = all.toSorted(
          (a, b) => Number((a * BigInt(seed)) % 7n) - Number((b * BigInt(seed)) % 7n),
        );
        expect(totals(tiered, shuffled).pico).toEqual(forwards.pico);
        for (const [id, nano] of forwards.nano)
          expect(nano).toBe(toNano(forwards.pico.get(id) ?? 0n));
      }),
    );
  });
});

/** Exact pico and booked nano of each line, after all records. */
function totals(book: PriceBook, counts: readonly bigint[]) {
  const keys = new Map<string, Cumulative>();
  const nano = new Map<string, bigint>();
  for (const each of counts) {
    const pricing = priced(book, { uncachedInput: each });
    for (const { line, tokens } of pricing.kind === "priced" ? pricing.lines : []) {
      const rated = rate(tokens, line.tiers, keys.get(line.id) ?? nothingRated);
      keys.set(line.id, rated.after);
      nano.set(line.id, (nano.get(line.id) ?? 0n) + rated.amountNano);
    }
  }
  const exact = [...keys].map(([id, { pico }]) => [id, pico] as const);
  return { pico: new Map(exact.toSorted(([a], [b]) => (a < b ? -1 : 1))), nano };
}

describe("variants", () => {
  const explicit: PriceLine = {
    ...priceLine("cacheRead", 5n, { id: "explicit" }),
    variant: "explicit",
  };
  const book = priceBook({ lines: [...plain.lines, explicit] });
  const read = plain.lines.find(({ tokenClass }) => tokenClass === "cacheRead")?.id ?? "";

  // prettier-ignore
  const cases: readonly [named: UsageRecord["variants"], tokens: bigint, expected: Record<string, bigint>][] = [
    [[], 10n, { [read]: 10n }],
    [[{ tokenClass: "cacheRead", variant: "explicit", tokens: 4n }], 10n, { explicit: 4n, [read]: 6n }],
    [[{ tokenClass: "cacheRead", variant: "explicit", tokens: 10n }], 10n, { explicit: 10n }],
    [[{ tokenClass: "cacheRead", variant: "implicit", tokens: 4n }], 10n, { [read]: 10n }], // has no line
    [[{ tokenClass: "cacheRead", variant: "explicit", tokens: 99n }], 10n, { explicit: 10n }], // of what was cut
    [[{ tokenClass: "cacheWrite", variant: "explicit", tokens: 4n }], 10n, { [read]: 10n }],
  ];

  for (const [variants, tokens, expected] of cases) {
    const named = variants
      .map((each) => `${each.tokens} ${each.tokenClass}/${each.variant}`)
      .join();
    test(`of ${tokens} tokens read from the cache with ${named} named have their own price`, () => {
      expect(counted(priced(book, { cacheRead: tokens }, { variants }))).toEqual(expected);
    });
  }
});

describe("regions", () => {
  const west = "gui-an" as RegionId;
  const own: PriceLine = { ...priceLine("uncachedInput", 5n, { id: "west" }), region: west };
  const book = priceBook({ lines: [...plain.lines, own] });

  test("a line for the region goes before the one for all, in its class alone", () => {
    const tokens = { uncachedInput: 2n, response: 3n };
    const response = plain.lines.find(({ tokenClass }) => tokenClass === "response")?.id ?? "";
    expect(checkPrices(book)).toEqual([]);
    expect(counted(priced(book, tokens, { region: west }))).toEqual({ west: 2n, [response]: 3n });
    expect(counted(priced(book, tokens, { region: "other" as RegionId }))).toEqual({
      [uncached?.id ?? ""]: 2n,
      [response]: 3n,
    });
  });

  test("a model that is priced for one region only has no price in another", () => {
    const lines = plain.lines.map((line) => ({ ...line, region: west }));
    const only = priceBook({ lines });
    expect(checkPrices(only)).toEqual([]);
    const elsewhere = priced(only, { response: 1n }, { region: "other" as RegionId });
    expect(elsewhere).toMatchObject({ kind: "doubtful", reason: "model-not-priced" });
  });
});

test("parts that the engine told keep their price under a claim, as far as the claimed class reaches", () => {
  const explicit = {
    ...priceLine("cacheRead", 1n, { id: "explicit" }),
    variant: "explicit",
  } as const;
  const book = priceBook({ lines: [...plain.lines, explicit] });
  const variants = [{ tokenClass: "cacheRead", variant: "explicit", tokens: 10n }] as const;
  const claim = { ...noTokens, uncachedInput: 60n, cacheRead: 40n, response: 50n };
  const of = (countRule: Contract["countRule"], cacheRead = 40n) => {
    const terms = contract({ countRule });
    const usage = settleCounts(usageRecord({ variants }), terms, { ...claim, cacheRead });
    return usage.kind === "doubtful" ? {} : counted(priceUsage(usage, book, terms));
  };
  expect(of("engine-final")).toMatchObject({ cacheRead: 30n, explicit: 10n });
  expect(of("claim-in-tolerance")).toMatchObject({ cacheRead: 30n, explicit: 10n });
  expect(of("claim-in-tolerance", 39n)).toMatchObject({ cacheRead: 29n, explicit: 10n });
});

test("a book outside its time prices what both have signed it for", () => {
  const book = priceBook({ effectiveFromUs: friday + 1n });
  const usage = settleCounts(usageRecord(), contract());
  const of = (terms: RatingTerms) =>
    usage.kind === "settled" && priceUsage(usage, book, terms).kind;
  expect([of(contract()), of({ ...contract(), isRepriced: true })]).toEqual(["doubtful", "priced"]);
});

describe("whose book it is", () => {
  const retail = priceBook({
    side: "sell",
    vendor: "" as VendorId,
    pair: everyTenant,
    lines: plain.lines.map((line) => ({ ...line, scope: "contract" as const })),
  });
  const asked = {
    ...{ record: usageRecord(), tokens: { ...noTokens, response: 1n } },
    variants: [],
  };

  test("a list is for every tenant, and for nobody else", () => {
    const of = (pair: string) =>
      priceTokens({ ...asked, side: "sell", pair: pair as PairId }, retail, defaultContract).kind;
    expect(["tenant:acme", "vendor:northgrid"].map(of)).toEqual(["priced", "doubtful"]);
  });

  test("a book of another side prices nothing", () => {
    const wrong = priceTokens({ ...asked, side: "buy", pair: north }, retail, defaultContract);
    expect(wrong).toMatchObject({ detail: "expected a buy book, found a sell book" });
  });

  test("tokens of a tenant cumulate over the whole contract, those of a vendor by pool", () => {
    const key = { pair: north, period: "2026-11", pool: asked.record.pool };
    const scopes = [plain, retail].map(({ lines: [line], id, version }) =>
      line === undefined ? "" : ratingKey({ book: id, version, line, tokens: 1n }, key).scope,
    );
    expect(scopes).toEqual([asked.record.pool, "*"]);
  });
});

describe("the worked example, from a book with its discount", () => {
  const list = new Map<PriceLine["tokenClass"], bigint>([
    ["uncachedInput", 1_000_000n],
    ["cacheRead", 20_000n],
  ]);
  const ppm = 123_500n;
  const off = (pico: bigint): bigint => discounted(pico, ppm) ?? -1n;
  const lines = plain.lines.map((line): PriceLine => {
    const pico = off(list.get(line.tokenClass) ?? 4_000_000n);
    const tiers = [{ fromTokens: 0n, pricePicoPerToken: pico }];
    // Response above 1,000 tokens a period is a tenth off.
    const more = { fromTokens: 1_000n, pricePicoPerToken: (pico * 9n) / 10n };
    return { ...line, tiers: line.tokenClass === "response" ? [...tiers, more] : tiers };
  });
  const book = priceBook({ lines });
  const records: Record<string, Partial<Tokens>> = {
    r1: { uncachedInput: 1_203n, cacheRead: 513n, response: 401n },
    r2: { uncachedInput: 87n, cacheRead: 2_047n, response: 655n },
    r3: { uncachedInput: 4_001n, cacheRead: 19n, response: 12n },
  };

  function table(order: readonly string[]): string {
    const keys = new Map<string, Cumulative>();
    const rows = order.map((name) => {
      const pricing = priced(book, records[name] ?? {});
      const nano = (pricing.kind === "priced" ? pricing.lines : []).map((each) => {
        const key = lineIdOf(each);
        const { amountNano, after } = rate(
          each.tokens,
          each.line.tiers,
          keys.get(key) ?? nothingRated,
        );
        keys.set(key, after);
        return amountNano;
      });
      return `${name}: ${nano.join(" + ")} = ${sum(nano)}`;
    });
    const exact = [...keys].map(
      ([key, { tokens, pico }]) => `${key}: ${tokens} tokens, ${pico} pico, ${toNano(pico)} nano`,
    );
    const all = sum([...keys.values()].map(({ pico }) => toNano(pico)));
    return [...rows, ...exact.toSorted(), `total: ${all}`].join("\n");
  }

  test("is what the reference says, to the nano, in both orders", async () => {
    const text = `${table(["r1", "r2", "r3"])}\n\n${table(["r3", "r2", "r1"])}\n`;
    await expect(text).toMatchFileSnapshot("../../../golden/settlement/worked-example.txt");
    expect(
      exactPico(1_013n, lines.find(({ tokenClass }) => tokenClass === "response")?.tiers ?? []),
    ).toBe(3_547_020_200n);
  });
});

function sum(all: readonly bigint[]): bigint {
  return all.reduce((total, each) => total + each, 0n);
}

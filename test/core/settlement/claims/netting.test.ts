import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  balanceText,
  movements,
  noBalance,
} from "../../../../services/core/settlement/ledger/ledger.ts";
import {
  netOf,
  nettingEntries,
  toNettingTexts,
  type Netting,
  type Obligation,
  type OpenItem,
} from "../../../../services/core/settlement/claims/netting.ts";
import type { PairId } from "../../../../services/core/units.ts";
import { friday, sha256 } from "../fixtures.ts";

/** A company is all of its pairs. */
const partyOf = (pair: PairId): string => pair.replace(/^\w+:/, "");

function item(pair: string, amountNano: bigint): OpenItem {
  return { pair: pair as PairId, party: partyOf(pair as PairId), amountNano };
}

function obligation(id: string, from: string, to: string, amountNano: bigint): Obligation {
  return { id, from: from as PairId, to: to as PairId, amountNano };
}

function net(items: readonly OpenItem[], obligations: readonly Obligation[] = []): Netting {
  return netOf("2026-11-20:1", { atUs: friday, items, obligations, partyOf });
}

function movedOn(netting: Netting, account: string): bigint {
  const moved = movements(nettingEntries(netting));
  const { debit, credit } = moved.get(balanceText({ unit: "CNY:nano", account })) ?? noBalance;
  return credit - debit;
}

describe("netOf()", () => {
  test("sets off what a vendor is owed against what it owes as a tenant", () => {
    const netting = net([item("vendor:north", 700n), item("tenant:north", 200n)]);
    expect(netting.positions).toEqual([
      { party: "north", owedNano: 700n, owesNano: 200n, netNano: 500n },
    ]);
    expect(netting.operatorNano).toBe(-500n);
    expect(movedOn(netting, "liab:payable:vendor:north:approved")).toBe(-200n);
    expect(movedOn(netting, "asset:receivable:tenant:north")).toBe(200n);
  });

  test("sets off a bill against payables of several pairs, in the order of the pairs", () => {
    const { setOffs } = net([
      item("tenant:north", 900n),
      item("vendor:north", 700n),
      item("model:north", 400n),
    ]);
    expect(setOffs.map(({ payable, amountNano }) => [payable, amountNano])).toEqual([
      ["model:north", 400n],
      ["vendor:north", 500n],
    ]);
  });

  test("vendors that owe each other in a ring owe each other nothing", () => {
    const ring = net(
      [],
      [
        obligation("o1", "vendor:a", "vendor:b", 100n),
        obligation("o2", "vendor:b", "vendor:c", 100n),
        obligation("o3", "vendor:c", "vendor:a", 100n),
      ],
    );
    expect(ring.positions.map(({ netNano }) => netNano)).toEqual([0n, 0n, 0n]);
    for (const each of ["a", "b", "c"]) {
      expect(movedOn(ring, `asset:clearing:vendor:${each}`)).toBe(0n);
      expect(movedOn(ring, `liab:payable:vendor:${each}:approved`)).toBe(0n);
    }
  });

  test("what a tenant owes is on its bill and no obligation", () => {
    expect(() => net([], [obligation("o1", "tenant:a", "vendor:b", 1n)])).toThrow("on its bill");
    expect(() => net([], [obligation("o1", "vendor:b", "vendor:b", 1n)])).toThrow("between two");
  });

  const someItems = fc.array(
    fc
      .tuple(
        fc.constantFrom("vendor", "tenant", "model"),
        fc.constantFrom("a", "b", "c"),
        fc.bigInt({ min: 1n, max: 1_000n }),
      )
      .map(([kind, party, amount]) => item(`${kind}:${party}`, amount)),
    { maxLength: 8 },
  );
  const someObligations = fc
    .array(
      fc.tuple(
        fc.constantFrom("a", "b", "c"),
        fc.constantFrom("a", "b", "c"),
        fc.bigInt({ min: 1n, max: 1_000n }),
      ),
      { maxLength: 8 },
    )
    .map((all) =>
      all
        .filter(([from, to]) => from !== to)
        .map(([from, to, amount], n) =>
          obligation(`o${n}`, `vendor:${from}`, `vendor:${to}`, amount),
        ),
    );

  test("adds up to 0 with the operator, and leaves each party on one side alone", () => {
    fc.assert(
      fc.property(someItems, someObligations, (items, obligations) => {
        const netting = net(items, obligations);
        const all = netting.positions.reduce((sum, each) => sum + each.netNano, 0n);
        expect(all + netting.operatorNano).toBe(0n);
        const between = obligations.reduce((sum, each) => sum + each.amountNano, 0n);
        const owed = items.filter(({ pair }) => !pair.startsWith("tenant:"));
        const owes = items.filter(({ pair }) => pair.startsWith("tenant:"));
        const total = (some: readonly OpenItem[]) =>
          some.reduce((sum, each) => sum + each.amountNano, 0n);
        // The operator gains and loses nothing by taking over what others owe each other.
        expect(netting.operatorNano).toBe(total(owes) - total(owed));
        expect(netting.positions.reduce((sum, each) => sum + each.owedNano, 0n)).toBe(
          total(owed) + between,
        );
        for (const { party, owedNano, owesNano } of netting.positions) {
          const off = netting.setOffs
            .filter((each) => each.party === party)
            .reduce((sum, each) => sum + each.amountNano, 0n);
          expect(off).toBe(owedNano < owesNano ? owedNano : owesNano);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("the same items in another order are the same set-offs, entries and texts", () => {
    const shuffled = someItems.chain((items) =>
      fc.tuple(fc.constant(items), fc.shuffledSubarray(items, { minLength: items.length })),
    );
    fc.assert(
      fc.property(shuffled, ([items, again]) => {
        const totals = (netting: Netting) =>
          Map.groupBy(netting.setOffs, ({ payable, receivable }) => `${payable} ${receivable}`)
            .entries()
            .map(
              ([key, each]) =>
                `${key} ${each.reduce((sum, { amountNano }) => sum + amountNano, 0n)}`,
            )
            .toArray();
        expect(totals(net(again))).toEqual(totals(net(items)));
        expect(net(again).positions).toEqual(net(items).positions);
      }),
      { numRuns: 300 },
    );
  });

  test("tells each pair its own and the hash of the whole, and no other's", () => {
    const netting = net(
      [item("vendor:a", 50n), item("tenant:a", 20n), item("vendor:c", 9n), item("tenant:c", 9n)],
      [obligation("o1", "vendor:a", "vendor:b", 5n)],
    );
    const { whole, byPair } = toNettingTexts(netting, sha256);
    expect([...byPair.keys()]).toEqual([
      "tenant:a",
      "tenant:c",
      "vendor:a",
      "vendor:b",
      "vendor:c",
    ]);
    for (const [pair, text] of byPair) {
      expect(text).toContain(`"whole_hash":"${sha256(whole)}"`);
      expect(text.includes("vendor:c")).toBe(pair.endsWith(":c"));
    }
  });
});

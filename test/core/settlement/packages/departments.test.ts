import fc from "fast-check";
import { expect, test } from "vitest";
import {
  isOf,
  planAllocation,
  shareOut,
  type AllotmentAsk,
} from "../../../../services/core/settlement/packages/departments.ts";

function part(path: string, ppm: bigint): AllotmentAsk {
  return { path, mode: "hard", units: undefined, ppm };
}

function fixed(path: string, units: bigint): AllotmentAsk {
  return { path, mode: "hard", units, ppm: undefined };
}

test("planAllocation() gives numbers first and divides the rest exactly, the largest remainders up", () => {
  const asks = [fixed("a", 10n), part("b", 333_333n), part("c", 333_333n), part("d", 333_334n)];
  const plan = planAllocation(asks, [{ path: "", free: 111n }], 111n);
  const { allotments } = { allotments: [], ...plan };
  expect(allotments.map(({ path, units }) => [path, units])).toEqual([
    ["a", 10n],
    ["b", 34n],
    ["c", 33n],
    ["d", 34n],
  ]);
});

test("planAllocation() again is a transfer between wallets, through the shared one", () => {
  const wallets = [
    { path: "", free: 5n },
    { path: "a", free: 60n },
    { path: "b", free: 10n },
  ];
  const plan = planAllocation([fixed("a", 20n), fixed("c", 30n)], wallets, 100n);
  expect(plan).toMatchObject({
    moves: [
      { from: "a", to: "", units: 40n },
      { from: "b", to: "", units: 10n },
      { from: "", to: "c", units: 30n },
    ],
  });
});

const refused: readonly (readonly [name: string, asks: readonly AllotmentAsk[], reason: RegExp])[] =
  [
    ["more than is free", [fixed("a", 101n)], /at most 100 units that are free, found 101/],
    ["more than all", [part("a", 600_000n), part("b", 400_001n)], /at most 1000000 ppm/],
    ["a name with a colon", [fixed("a:b", 1n)], /expected <department>/],
    ["four levels", [fixed("a/b/c/d", 1n)], /expected <department>/],
    ["a path twice", [fixed("a", 1n), part("a", 1n)], /a is there twice/],
    ["both", [{ path: "a", mode: "cap", units: 1n, ppm: 1n }], /units or ppm, one of the two/],
    ["below 0", [fixed("a", -1n)], /expected 0 or more/],
  ];

for (const [name, asks, reason] of refused) {
  test(`planAllocation() refuses ${name}`, () => {
    const plan = planAllocation(asks, [{ path: "", free: 100n }], 100n);
    expect(plan).toEqual({ kind: "refused", reason: expect.stringMatching(reason) });
  });
}

test("planAllocation() by percentages adds up exactly, and its moves bring every wallet to its part", () => {
  const units = fc.bigInt(0n, 10n ** 9n);
  fc.assert(
    fc.property(
      fc.array(units, { minLength: 4, maxLength: 4 }),
      fc.array(fc.bigInt(0n, 250_000n), { minLength: 4, maxLength: 4 }),
      (free, ppm) => {
        const names = ["", "a", "b", "c"];
        const wallets = names.map((path, index) => ({ path, free: free[index] ?? 0n }));
        const asks = ["a", "b", "c", "d"].map((path, index) => part(path, ppm[index] ?? 0n));
        const plan = planAllocation(asks, wallets, 1n);
        expect(plan.kind).toBe("planned");
        const { moves, allotments } = { moves: [], allotments: [], ...plan };
        const after = new Map(wallets.map((each) => [each.path, each.free]));
        for (const { from, to, units: moved } of moves) {
          after.set(from, (after.get(from) ?? 0n) - moved);
          after.set(to, (after.get(to) ?? 0n) + moved);
          expect((after.get(from) ?? 0n) >= 0n).toBe(true);
        }
        for (const { path, units: wanted } of allotments)
          expect(after.get(path) ?? 0n).toBe(wanted);
        const sum = (all: Iterable<bigint>): bigint => [...all].reduce((x, y) => x + y, 0n);
        expect(sum(after.values())).toBe(sum(free));
      },
    ),
  );
});

test("isOf() goes by whole names from the department down", () => {
  const key = { department: "r", project: "chat", scenario: "night" };
  const paths = ["r", "r/chat", "r/chat/night", "r/ch", "r//night", "chat", "rr"];
  expect(paths.filter((path) => isOf(path, key))).toEqual(["r", "r/chat", "r/chat/night"]);
  expect(isOf("r//night", { ...key, project: "" })).toBe(true);
});

test("shareOut() divides what was paid as one goes by use, to the nano", () => {
  const parts = shareOut(10n, [
    { path: "b", weight: 1n },
    { path: "a", weight: 1n },
    { path: "c", weight: 1n },
  ]);
  expect([...parts]).toEqual([
    ["a", 4n],
    ["b", 3n],
    ["c", 3n],
  ]);
});

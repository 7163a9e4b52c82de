import fc from "fast-check";
import { expect, test } from "vitest";
import { explanation } from "../../services/cli/explain-text.ts";
import { poolCard, poolList, poolTop } from "../../services/cli/pool-text.ts";
import {
  brief,
  formats,
  grouped,
  rendered,
  span,
  textTable,
  yuan,
} from "../../services/cli/print.ts";
import { statementCard, statementList } from "../../services/cli/statement-text.ts";
import { usageTable } from "../../services/cli/usage-text.ts";
import { PoolHealth, PoolStatus } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { decision, pool, statement, usage, waiting } from "./fixtures.ts";

const lost = pool({
  registration: { poolId: "east-wuhu-1", vendorId: "eastcloud", regionId: "wuhu" },
  status: PoolStatus.CORDONED,
  health: PoolHealth.LOST,
  models: [{ modelId: "deepseek-v3", slotsTotal: 8 }],
  powerWatts: undefined,
});

const texts: Readonly<Record<string, () => string>> = {
  "pool-list.txt": () => poolList([pool(), lost], false),
  "pool-list-wide.txt": () => poolList([pool(), lost], true),
  "pool-top.txt": () => poolTop([lost, pool()], false),
  "pool-describe.txt": () => poolCard(pool()),
  "pool-describe-lost.txt": () => poolCard(lost),
  "explain.txt": () => explanation(decision(), false),
  "explain-wide.txt": () => explanation(decision(), true),
  "explain-unplaceable.txt": () =>
    explanation(
      decision({ poolId: "", candidates: [], runnerUpPoolId: "", unplaceableReason: 1 }),
      false,
    ),
  "statement-list.txt": () => statementList([statement()], false),
  "statement-get.txt": () => statementCard(statement(), false),
  "statement-get-wide.txt": () => statementCard(statement(), true),
  "usage.txt": () => usageTable([usage(), waiting()], false),
  "usage-wide.txt": () => usageTable([usage()], true),
};

for (const [name, text] of Object.entries(texts)) {
  test(`${name} reads as it did`, async () => {
    await expect(text()).toMatchFileSnapshot(`../golden/cli/${name}`);
  });
}

test("explanation() prints terms that add up to the total, to the nano", () => {
  for (const { nanoByTerm, costNano, poolId } of decision().candidates) {
    const sum = Object.values(nanoByTerm).reduce((total, nano) => total + nano, 0n);
    expect(`${poolId} ${sum}`).toBe(`${poolId} ${costNano}`);
  }
});

test("textTable() keeps columns under each other where a name is Chinese", () => {
  const table = textTable(
    [{ name: "NAME" }, { name: "N", align: "right" }],
    [
      ["中卫", "1"],
      ["gui-an", "12"],
    ],
  );
  expect(table).toBe("NAME     N\n中卫     1\ngui-an  12\n");
});

test("textTable() leaves a wide column out unless it is asked for", () => {
  const columns = [{ name: "A" }, { name: "B", isWide: true }];
  expect(textTable(columns, [["1", "2"]], false)).toBe("A\n1\n");
  expect(textTable(columns, [["1", "2"]], true)).toBe("A  B\n1  2\n");
});

test("yuan() shows every nano of any amount", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(10n ** 24n), max: 10n ** 24n }), (amountNano) => {
      const text = yuan(amountNano);
      expect(text).toMatch(/^-?\d+\.\d{9}$/);
      expect(BigInt(text.replace(".", ""))).toBe(amountNano);
    }),
  );
});

const spans: readonly (readonly [ms: number, text: string])[] = [
  [0, "0 ms"],
  [0.4, "0.4 ms"],
  [999, "999 ms"],
  [5_600, "5.6 s"],
  [192_000, "3.2 min"],
  [7_200_000, "2 h"],
  [864_000_000, "10 d"],
];

for (const [ms, text] of spans) {
  test(`span() of ${ms} ms is ${text}`, () => {
    expect(span(ms)).toBe(text);
  });
}

test("brief() shows three digits that matter, and grouped() all of them", () => {
  expect([0, 0.012345, 4.5678, 789.4, 12_345.6].map(brief)).toEqual([
    "0",
    "0.0123",
    "4.57",
    "789",
    "12,346",
  ]);
  expect([grouped(12_345_678n), grouped("-1234"), grouped(12)]).toEqual([
    "12,345,678",
    "-1,234",
    "12",
  ]);
});

test("rendered() answers in every format", () => {
  const printable = {
    json: { a: 1 },
    names: ["x", "y"],
    text: (isWide: boolean) => (isWide ? "wide\n" : "table\n"),
  };
  expect(formats.map((format) => rendered(format, printable))).toEqual([
    "table\n",
    "wide\n",
    '{\n  "a": 1\n}\n',
    "a: 1\n",
    "x\ny\n",
  ]);
});

import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { changeLines, changesBetween } from "../../services/cli/policy/difference.ts";
import { effectOf } from "../../services/cli/policy/effect.ts";
import { loadFixtures, shippedFixtures } from "../../services/cli/policy/fixture-file.ts";
import { policyOf } from "../../services/cli/policy/read-policy.ts";
import { defaultPolicyYaml } from "../../services/io/policy-file.ts";

interface Row {
  [key: string]: unknown;
}

interface Data {
  [key: string]: unknown;
  rows: Row[];
  overrides?: Row[];
}

const shipped = policyOf("shipped", defaultPolicyYaml()).policy;

function changed(change: (data: Data) => void) {
  const data = parse(defaultPolicyYaml()) as Data;
  change(data);
  return policyOf("changed", stringify(data)).policy;
}

function rowOf(data: Data, id: string): Row {
  return data.rows.find((row) => row["id"] === id) ?? expect.unreachable();
}

const override = {
  id: "O1",
  textEn: "for acme",
  textZh: "某",
  basis: "house default",
  sources: [],
  when: { tenants: ["acme"] },
  powerShare: 1,
};

const told: [string, (data: Data) => void, string[]][] = [
  ["nothing", () => undefined, []],
  [
    "a number with its unit",
    (data) => (data["leaseMs"] = 20_000),
    ["~ leaseMs: 30,000 ms → 20,000 ms"],
  ],
  [
    "a price of carbon as people know it",
    (data) => (data["carbonNanoPerGram"] = 100_000),
    [
      "~ carbonNanoPerGram: 80,000 nano-CNY per gram (80 CNY per tonne of CO2) → 100,000 nano-CNY per gram (100 CNY per tonne of CO2)",
    ],
  ],
  [
    "a share in percent",
    (data) => (data["powerShare"] = 0.5),
    ["~ powerShare: 0 (0 %) → 0.5 (50 %)"],
  ],
  [
    "a row that came, with its basis",
    (data) => data.rows.push({ ...rowOf(data, "N1"), id: "X1" }),
    [
      "+ rows.X1: warn, policy text, Paths across hubs within 20 ms. A slower one is flagged, not refused; flagging, house default.",
    ],
  ],
  [
    "a row that went, and that the others kept their order",
    (data) => (data.rows = data.rows.filter(({ id }) => id !== "D1")),
    [
      "- rows.D1: warn, house default, General data is free inside the mainland; a pool outside is marked.",
    ],
  ],
  [
    "a field of a row, and a set whatever its order",
    (data) => {
      Object.assign(rowOf(data, "W1"), { basis: "house default" });
      (rowOf(data, "W1")["when"] as { demandAreas: string[] }).demandAreas.reverse();
    },
    ["~ rows.W1.basis: policy text → house default"],
  ],
  [
    "a condition that came",
    (data) =>
      Object.assign(rowOf(data, "W4"), { when: { classes: ["archival"], tenants: ["a", "b"] } }),
    ["+ rows.W4.when.tenants: a b"],
  ],
  [
    "the order of rows, which decides under which a decision is filed",
    (data) =>
      (data.rows = [rowOf(data, "W0-circle"), ...data.rows.filter(({ id }) => id !== "W0-circle")]),
    [expect.stringMatching(/^~ rows in order: W0 W0-circle W1 .* → W0-circle W0 W1 /) as string],
  ],
  [
    "a row of another kind",
    (data) => {
      const row = rowOf(data, "W4");
      Object.assign(row, { warn: { pool: {} } });
      delete row["require"];
    },
    [
      "~ rows.W4.kind: require → warn",
      "- rows.W4.reason: region-not-allowed",
      "- rows.W4.pool.policyRoles: supply-hub",
    ],
  ],
  [
    "an override",
    (data) => (data.overrides = [override]),
    ["+ overrides.O1: house default, for acme"],
  ],
  [
    "budgets, in the units of the file",
    (data) =>
      (data["budgets"] = [
        { id: "B1", when: { tenants: ["acme"] }, window: "1h", limitCny: 0.5, isHard: true },
        { id: "B2", when: {}, window: "30d", limitKwh: 0.01, dualCnyMax: 7 },
      ]),
    [
      "+ budgets.B1: when tenants acme, window 1 h, limit 0.5 CNY, stop hard, dualMax 4 CNY per CNY",
      "+ budgets.B2: when any, window 30 d, limit 0.01 kWh, stop priced, dualMax 7 CNY per kWh",
    ],
  ],
  [
    "of a class table what is not as in the house's",
    (data) =>
      (data["classTable"] = {
        serviceTiers: { flex: "batch-offline", priority: "realtime-interactive" },
        deadlines: [
          { msMax: 500, class: "metro-realtime" },
          { msMax: 3_000, class: "realtime-interactive" },
        ],
        models: { "glm-4.6": "archival" },
      }),
    [
      "+ classTable.serviceTiers.priority: realtime-interactive",
      "- classTable.deadlines.2,000 ms: realtime-interactive",
      "+ classTable.deadlines.3,000 ms: realtime-interactive",
      "+ classTable.models.glm-4.6: archival",
    ],
  ],
];

test("another limit of a budget is told however little it differs", () => {
  const of = (limitCny: number) =>
    changed((data) => (data["budgets"] = [{ id: "B", when: {}, window: "1h", limitCny }]));
  expect(changeLines(changesBetween(of(1_000), of(1_000.01)))).toEqual([
    "~ budgets.B.limit: 1000 CNY → 1000.01 CNY",
  ]);
});

test.for(told)("changesBetween() tells %s", ([, change, lines]) => {
  expect(changeLines(changesBetween(shipped, changed(change))).toSorted()).toEqual(
    lines.toSorted(),
  );
});

test("what came one way went the other way", () => {
  for (const [, change] of told) {
    const after = changed(change);
    const there = changesBetween(shipped, after);
    const back = changesBetween(after, shipped);
    expect(back.map(({ path }) => path).toSorted()).toEqual(
      there.map(({ path }) => path).toSorted(),
    );
    for (const { path, before } of there) {
      expect(back.find((each) => each.path === path)?.after).toEqual(before);
    }
  }
});

test("effectOf() counts requests that come out otherwise, and none between the same policies", () => {
  const fixtures = loadFixtures(shippedFixtures);
  const none = effectOf(
    fixtures,
    () => shipped,
    () => shipped,
  );
  expect(none.requests).toBeGreaterThan(30);
  expect(none.turns).toEqual([]);

  const noW0 = changed((data) => (data.rows = data.rows.filter(({ id }) => id !== "W0")));
  const { turns } = effectOf(
    fixtures,
    () => shipped,
    () => noW0,
  );
  expect(turns.find(({ name }) => name.startsWith("W0: nobody"))).toMatchObject({
    before: { pool: undefined, reason: "unsatisfiable", row: "W0" },
    after: { row: "W0-circle" },
  });
  for (const { before, after } of turns)
    expect([before.row, after.row]).toEqual(["W0", "W0-circle"]);
});

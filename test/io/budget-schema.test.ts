import { expect, test } from "vitest";
import { houseClassTable } from "../../services/core/placement/class-table.ts";
import { defaultPolicyYaml, parsePolicy } from "../../services/io/policy-file.ts";

function parsed(more: string) {
  return parsePolicy(`${defaultPolicyYaml()}\n${more}\n`, 1);
}

function policyWith(more: string) {
  const result = parsed(more);
  return "policy" in result ? result.policy : expect.unreachable(JSON.stringify(result));
}

test("budgets become whole numbers of the smallest unit, and dual prices nano per unit", () => {
  const { budgets } = policyWith(`
budgets:
  - { id: money, when: { tenants: [acme, zenith] }, window: 30d, limitCny: 500, isHard: true }
  - { id: power, when: { classes: [batch-offline] }, window: 90m, limitKwh: 1.5, dualCnyMax: 3.6 }
  - { id: carbon, when: { models: [m] }, window: 1h, limitGramsCo2: 0.25 }
`);
  expect(budgets).toEqual([
    {
      id: "money",
      when: { tenants: new Set(["acme", "zenith"]) },
      unit: "cny",
      limit: 500_000_000_000,
      windowMs: 2_592_000_000,
      isHard: true,
      dualNanoMax: 4,
    },
    {
      id: "power",
      when: { classes: new Set(["batch-offline"]) },
      unit: "kwh",
      limit: 5_400_000_000,
      windowMs: 5_400_000,
      isHard: false,
      dualNanoMax: 1_000,
    },
    {
      id: "carbon",
      when: { models: new Set(["m"]) },
      unit: "gco2e",
      limit: 250_000,
      windowMs: 3_600_000,
      isHard: false,
      dualNanoMax: 50_000_000,
    },
  ]);
});

test("a policy that names neither has no budgets, and the house's table of classes", () => {
  const policy = policyWith("");
  expect([policy.budgets, policy.classTable]).toEqual([undefined, undefined]);
  expect(policyWith("classTable: { default: archival }").classTable).toEqual({
    ...houseClassTable,
    default: "archival",
  });
});

/** Mistakes: where, and what is said of them. */
const mistakes: Readonly<Record<string, [string, string, RegExp]>> = {
  "two limits": [
    "budgets: [{ id: a, when: {}, window: 1h, limitCny: 1, limitKwh: 1 }]",
    "budgets[0]",
    /exactly one of limitCny, limitKwh, limitGramsCo2/,
  ],
  "no limit": ["budgets: [{ id: a, when: {}, window: 1h }]", "budgets[0]", /exactly one of/],
  "a window of no unit": [
    "budgets: [{ id: a, when: {}, window: 60, limitCny: 1 }]",
    "budgets[0].window",
    /./,
  ],
  "a window of centuries": [
    "budgets: [{ id: a, when: {}, window: 40000d, limitCny: 1 }]",
    "budgets[0].window",
    /at most 366d/,
  ],
  "the same id twice": [
    "budgets: [{ id: a, when: {}, window: 1h, limitCny: 1 }, { id: a, when: {}, window: 1h, limitCny: 2 }]",
    "budgets[1].id",
    /id of budgets\[0\] already/,
  ],
  "a limit that sums cannot hold": [
    "budgets: [{ id: a, when: {}, window: 1h, limitCny: 10000000 }]",
    "budgets[0].limitCny",
    /./,
  ],
  "a tenant that is nobody": [
    "budgets: [{ id: a, when: { tenants: [] }, window: 1h, limitCny: 1 }]",
    "budgets[0].when.tenants",
    /./,
  ],
  "a class that there is not": [
    "classTable: { serviceTiers: { flex: slow } }",
    "classTable.serviceTiers.flex",
    /./,
  ],
};

test.for(Object.entries(mistakes))("%s is a mistake, with its place", ([, [yaml, path, said]]) => {
  const result = parsed(yaml);
  const found = "mistakes" in result ? result.mistakes : [];
  expect(found.map((each) => each.path)).toContain(path);
  expect(found.find((each) => each.path === path)?.message).toMatch(said);
});

import { mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadFixtures, shippedFixtures } from "../../services/cli/policy/fixture-file.ts";
import { runFixtures } from "../../services/cli/policy/fixture-run.ts";
import { policies } from "../../services/cli/policy/test-command.ts";

/** The cases of the shipped policy, each a test of its own. */
describe("deploy/policies/tests", () => {
  const { cases, unseen } = runFixtures(loadFixtures(shippedFixtures), policies(undefined));

  test.for(cases.map((each) => [each.name, each.differences] as const))("%s", ([, differences]) => {
    expect(differences).toEqual([]);
  });

  test("there are cases, and every row of the policy shows in one of them", () => {
    expect(cases.length).toBeGreaterThan(30);
    expect(unseen).toEqual([]);
  });
});

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-policy-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function written(name: string, yaml: string): string {
  const path = join(folder, name);
  writeFileSync(path, yaml);
  return path;
}

function run(yaml: string) {
  return runFixtures(loadFixtures(written("cases.yaml", yaml)), policies(undefined)).cases;
}

/** An expectation that does not hold of archival work from Shanghai, and what is said of it. */
const wrong: readonly (readonly [expect: string, what: string, expected: string, found: RegExp])[] =
  [
    ["pool: east-yrd-1", "pool", "east-yrd-1", /^west-/],
    ["pool: [east-yrd-1, east-wuhu-1]", "pool", "east-yrd-1 or east-wuhu-1", /^west-/],
    ["unplaceable: unsatisfiable", "outcome", "unsatisfiable", /^west-/],
    ["row: W3", "row", "W3", /^W4$/],
    ["basis: policy text", "basis", "policy text", /^house default$/],
    ["applies: [W3, G1]", "rows that apply", "W3 G1", /^W4 .*G1/],
    ["overrides: [O1]", "overrides", "O1", /^nothing$/],
    ["fit: [west-gansu-1]", "fit", "west-gansu-1", /west-gansu-1 .*west-guizhou-1/],
    ["rejected: { west-gansu-1: {} }", "west-gansu-1 is out", "yes", /^it is fit$/],
    [
      "rejected: { east-yrd-1: { reason: data-class } }",
      "east-yrd-1 is out by",
      "data-class",
      /^region-not-allowed$/,
    ],
    ["rejected: { east-yrd-1: { row: W1 } }", "east-yrd-1 is out by row", "W1", /^W4$/],
    [
      "rejected: { east-yrd-1: { basis: policy text } }",
      "east-yrd-1 is out on",
      "policy text",
      /^house default$/,
    ],
    ["prefers: { west-gansu-1: { G3: repels } }", "row G3 at west-gansu-1", "repels", /^attracts$/],
    [
      "prefers: { east-yrd-1: { G3: repels } }",
      "row G3 at east-yrd-1",
      "repels",
      /^it is out: region-not-allowed: /,
    ],
    ["warns: { west-gansu-1: [G2] }", "west-gansu-1 is marked by", "G2", /^nothing$/],
    ["admits: { west-gansu-1: [W1x] }", "west-gansu-1 is admitted by", "W1x", /^nothing$/],
    ["costNanoMax: 1", "cost", "at most 1 nano", /^\d+ nano$/],
    ["termsNanoMax: { price: 1 }", "price", "at most 1 nano", /^\d+ nano$/],
  ];

test.for(wrong)("%s fails, and says what was found", ([expectation, what, expected, found]) => {
  const yaml = `cases: [{ name: a, request: { class: archival }, expect: { ${expectation} } }]`;
  expect(run(yaml)).toMatchObject([
    { name: "a", differences: [{ what, expected, found: expect.stringMatching(found) }] },
  ]);
});

test("order tells which is cheaper, whatever the files order", () => {
  const pools = "pools: { west-gansu-1: { outputNanoPerToken: 1 } }";
  const found = run(
    `cases: [{ name: a, ${pools}, expect: { order: [west-ningxia-1, west-gansu-1] } }]`,
  );
  expect(found[0]?.differences).toEqual([
    {
      what: "order",
      expected: "west-ningxia-1 west-gansu-1",
      found: "west-gansu-1 west-ningxia-1",
    },
  ]);
});

/** Files that cannot be run, and the words that say why. */
const refused: readonly (readonly [yaml: string, told: RegExp])[] = [
  ["cases: []", /cases: Too small/],
  ["cases: [{ name: a, expects: {} }]", /cases\[0\]: Unrecognized key: "expects"/],
  ["cases: [{ name: a, expect: {} }, { name: a, expect: {} }]", /two are called a/],
  ["cases: [{ name: a, expect: { pool: west } }]", /expected a pool of the fleet, found west/],
  [
    "cases: [{ name: a, request: { origin: atlantis }, expect: {} }]",
    /expected a city of the map or nowhere, found atlantis/,
  ],
  ["with: { rows: [{ id: X }] }\ncases: [{ name: a, expect: {} }]", /rows\[21\]\.textEn/],
  ["with: { rows: [{ id: W4 }] }\ncases: [{ name: a, expect: {} }]", /W4 is the id of rows/],
  ["policy: none.yaml\ncases: [{ name: a, expect: {} }]", /ENOENT.*none\.yaml/],
];

test.for(refused)("%j is refused", ([yaml, told]) => {
  expect(() => run(yaml)).toThrow(told);
});

test("a folder without cases is refused", () => {
  expect(() => loadFixtures(mkdtempSync(join(folder, "empty-")))).toThrow("found none");
});

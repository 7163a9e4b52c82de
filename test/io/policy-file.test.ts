import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { rowReasons } from "../../services/core/placement/policy.ts";
import { policyJsonSchema } from "../../services/io/policy-schema.ts";
import type { PolicyWorld } from "../../services/io/policy-warnings.ts";
import {
  defaultPolicyYaml,
  parsePolicy,
  type ParsedPolicy,
} from "../../services/io/policy-file.ts";

interface Row {
  [key: string]: unknown;
}

interface PolicyData {
  [key: string]: unknown;
  overrides?: Row[];
  rows: Row[];
  sources: Record<string, unknown>;
  objectives: Record<string, Record<string, unknown>>;
}

/** The shipped policy with something done to it. */
function changed(change: (data: PolicyData) => void, world?: PolicyWorld): ParsedPolicy {
  const data = parse(defaultPolicyYaml()) as PolicyData;
  change(data);
  return parsePolicy(stringify(data), 1, world);
}

/** An override of the tenant acme. */
function override(settings: Row, id = "O1"): Row {
  const text = { textEn: "x", textZh: "某", basis: "house default", sources: [] };
  return { id, ...text, when: { tenants: ["acme"] }, ...settings };
}

function rowOf(data: PolicyData, id: string): Row {
  return data.rows.find((row) => row["id"] === id) ?? expect.unreachable();
}

const at = (id: string) =>
  `rows[${(parse(defaultPolicyYaml()) as PolicyData).rows.findIndex((row) => row["id"] === id)}]`;

test("the shipped policy is valid, and is the revision that it is given", () => {
  const parsed = parsePolicy(defaultPolicyYaml(), 7);
  expect(parsed).toMatchObject({ policy: { revision: 7, carbonAccount: "location-based" } });
});

test("the examples in the shipped policy are valid when they are uncommented, and say nothing in vain", () => {
  const parsed = parsePolicy(defaultPolicyYaml().replaceAll(/^#: ?/gm, ""), 1);
  expect(parsed).toMatchObject({
    warnings: [],
    policy: { overrides: [{ id: "O-acme" }], classTable: { default: "llm-interactive" } },
  });
  if ("policy" in parsed) expect(parsed.policy.budgets).toHaveLength(3);
});

test("the shipped policy has every row of the decision table, with words in both languages", () => {
  const { rows } = policyOf(parsePolicy(defaultPolicyYaml(), 1));
  const table = ["W0", "W1", "W1x", "W2", "W3", "W4"];
  const ids = [...table, "D1", "D2", "D3", "D4", "D5", "G1", "G2", "G3", "N1"];
  expect(rows.map(({ id }) => id)).toEqual(expect.arrayContaining(ids));
  for (const row of rows) {
    expect(row.textEn, row.id).toMatch(/[a-z]/);
    expect(row.textZh, row.id).toMatch(/\p{Script=Han}/u);
    expect(row.textEn, `${row.id} binds nobody`).not.toMatch(/required by policy/i);
    expect(row.sources.length > 0 || row.basis === "house default", row.id).toBe(true);
  }
});

test("the shipped policy has the sources that its rows name, all of them of the preset", () => {
  const preset = new URL("../../deploy/preset/policy.json", import.meta.url);
  const { sources } = JSON.parse(readFileSync(preset, "utf8")) as PolicyData;
  const shipped = parsePolicy(defaultPolicyYaml(), 1);
  expect(Object.keys(sources)).toEqual(
    expect.arrayContaining(Object.keys(policyOf(shipped).sources)),
  );
  expect(shipped).toMatchObject({ warnings: [] });
});

test("sets are sets and a row is of one kind", () => {
  const { rows, sources } = policyOf(parsePolicy(defaultPolicyYaml(), 1));
  expect(rows.find(({ id }) => id === "W1x")).toMatchObject({
    kind: "exempt",
    of: "W1",
    when: { classes: new Set(["realtime-interactive"]) },
    pool: { regions: new Set(["horinger"]), oneWayMsMax: 5 },
  });
  expect(rows.find(({ id }) => id === "G1")).toMatchObject({
    kind: "tariff",
    tariff: { nanoPerToken: 50, greenShareTarget: 0.8 },
  });
  expect(sources["XH25"]).toMatch(/^Xinhua.*; http/);
});

/** What is done to the file, and the places and words of all mistakes it makes. */
const mistakes: [string, (data: PolicyData) => void, [string, RegExp][]][] = [
  ["an unknown key", (data) => (data["colour"] = 1), [["colour", /unknown key colour/]]],
  ["a key that is missing", (data) => delete data["leaseMs"], [["leaseMs", /expected number/]]],
  ["a lease that nobody can renew", (data) => (data["leaseMs"] = 999), [["leaseMs", />=1000/]]],
  ["a lease for ever", (data) => (data["leaseMs"] = 600_001), [["leaseMs", /<=600000/]]],
  [
    "a number as a word",
    (data) => (data["leaseMs"] = "30 s"),
    [["leaseMs", /received string, found "30 s"/]],
  ],
  [
    "a number that is none",
    (data) => (data["carbonNanoPerGram"] = NaN),
    [["carbonNanoPerGram", /NaN/]],
  ],
  ["a negative price", (data) => (data["carbonNanoPerGram"] = -1), [["carbonNanoPerGram", />=0/]]],
  ["a share above 1", (data) => (data["powerShare"] = 1.5), [["powerShare", /<=1/]]],
  [
    "an account that there is not",
    (data) => (data["carbonAccount"] = "both"),
    [["carbonAccount", /location-based/]],
  ],
  [
    "a class without objectives",
    (data) => delete data.objectives["archival"],
    [["objectives.archival", /expected object/]],
  ],
  [
    "objectives of a class that there is not",
    (data) => (data.objectives["chat"] = data.objectives["archival"] ?? {}),
    [["objectives.chat", /unknown key chat/]],
  ],
  [
    "an objective without its unit",
    (data) => Object.assign(data.objectives["archival"] ?? {}, { ttftMax: 1 }),
    [["objectives.archival.ttftMax", /did you mean ttftMsMax\?/]],
  ],
  [
    "a row that does nothing",
    (data) => delete rowOf(data, "W2")["tariff"],
    [[at("W2"), /exactly one of require, exempt, tariff, warn/]],
  ],
  [
    "a row that does two things",
    (data) => Object.assign(rowOf(data, "W2"), { warn: { pool: {} } }),
    [[at("W2"), /exactly one/]],
  ],
  [
    "a row twice",
    (data) => data.rows.push(rowOf(data, "W4")),
    [["rows[21].id", /W4 is the id of rows\[\d+\] already/]],
  ],
  [
    "a condition that there is not",
    (data) => Object.assign(rowOf(data, "W2"), { when: { class: ["llm-interactive"] } }),
    [[`${at("W2")}.when.class`, /did you mean classes\?/]],
  ],
  [
    "an empty list",
    (data) => Object.assign(rowOf(data, "W2"), { when: { classes: [] } }),
    [[`${at("W2")}.when.classes`, />=1/]],
  ],
  [
    "a class that there is not",
    (data) => Object.assign(rowOf(data, "W2"), { when: { classes: ["chat"] } }),
    [[`${at("W2")}.when.classes[0]`, /metro-realtime/]],
  ],
  [
    "a filter that no row may speak through",
    (data) => Object.assign(rowOf(data, "W4"), { require: { reason: "budget", pool: {} } }),
    [[`${at("W4")}.require.reason`, new RegExp(rowReasons[0])]],
  ],
  [
    "a basis that there is not",
    (data) => (rowOf(data, "W2")["basis"] = "required by policy"),
    [[`${at("W2")}.basis`, /house default/]],
  ],
  [
    "a source that is not named",
    (data) => (rowOf(data, "W2")["sources"] = ["EX22", "EX99"]),
    [[`${at("W2")}.sources[1]`, /expected a key of sources, found EX99/]],
  ],
  [
    "a source that is no address",
    (data) => (data.sources["XH25"] = { citation: "Xinhua", url: "somewhere" }),
    [["sources.XH25.url", /URL/]],
  ],
  [
    "an exemption of a row that there is not",
    (data) => Object.assign(rowOf(data, "W1x"), { exempt: { of: "W9", pool: {} } }),
    [[`${at("W1x")}.exempt.of`, /expected a row that requires, found W9/]],
  ],
  [
    "an exemption of a row that requires nothing",
    (data) => Object.assign(rowOf(data, "W1x"), { exempt: { of: "W2", pool: {} } }),
    [[`${at("W1x")}.exempt.of`, /expected a row that requires, found W2/]],
  ],
  [
    "an override that sets nothing",
    (data) => (data.overrides = [override({})]),
    [["overrides[0]", /at least one of objectives, carbonAccount/]],
  ],
  [
    "a setting that there is not",
    (data) => (data.overrides = [override({ powerSchare: 1 })]),
    [
      ["overrides[0]", /at least one/],
      ["overrides[0].powerSchare", /did you mean powerShare\?/],
    ],
  ],
  [
    "an override with the id of a row",
    (data) => (data.overrides = [override({ powerShare: 1 }, "W4")]),
    [["overrides[0].id", /W4 is the id of rows\[\d+\] already/]],
  ],
  [
    "a row to take out that there is not",
    (data) => (data.overrides = [override({ rowsOff: ["W4", "W2-cirle"] })]),
    [["overrides[0].rowsOff[1]", /found W2-cirle; did you mean W2-circle\?/]],
  ],
  [
    "a row in the place of one that there is not",
    (data) => (data.overrides = [override({ rowsInstead: [{ ...rowOf(data, "W4"), id: "W9" }] })]),
    [["overrides[0].rowsInstead[0].id", /expected a row, found W9/]],
  ],
  [
    "mistakes within a row that takes another's place",
    (data) =>
      (data.overrides = [
        override({
          rowsInstead: [{ ...rowOf(data, "W1x"), sources: ["EX99"], exempt: { of: "W9" } }],
        }),
      ]),
    [
      ["overrides[0].rowsInstead[0].exempt.pool", /expected object, found nothing/],
      ["overrides[0].rowsInstead[0].sources[0]", /EX99/],
      ["overrides[0].rowsInstead[0].exempt.of", /found W9/],
    ],
  ],
  [
    "an exemption of what an override limits",
    (data) => {
      data.overrides = [override({ vendorsAllowed: ["a"] })];
      Object.assign(rowOf(data, "W1x"), { exempt: { of: "O1", pool: {} } });
    },
    [[`${at("W1x")}.exempt.of`, /expected a row that requires, found O1/]],
  ],
  [
    "several mistakes at once",
    (data) => {
      data["leaseMs"] = -1;
      rowOf(data, "W2")["sources"] = ["EX99"];
      rowOf(data, "W2")["basis"] = "mine";
    },
    [
      ["leaseMs", />=1000/],
      [`${at("W2")}.basis`, /house default/],
      [`${at("W2")}.sources[0]`, /EX99/],
    ],
  ],
];

/** Each level names the one before four times. */
const levels = ["a", "b", "c", "d", "e", "f", "g"].map((name, level, names) => {
  const each = level === 0 ? "x" : `*${names[level - 1]}`;
  return `${name}: &${name} [${Array(4).fill(each).join(", ")}]\n`;
});

const aliases: readonly (readonly [title: string, yaml: string, told: RegExp])[] = [
  ["without its anchor", "name: *nobody\n", /Unresolved alias/],
  ["of aliases of aliases", levels.join(""), /Excessive alias count/],
];

test.for(aliases)("parsePolicy() finds an alias %s", ([, yaml, told]) => {
  expect(mistakesOf(parsePolicy(yaml, 1))).toEqual([
    { path: "", message: expect.stringMatching(told), line: 1, column: expect.any(Number) },
  ]);
});

test.for(mistakes)("parsePolicy() finds %s", ([, change, expected]) => {
  const found = mistakesOf(changed(change));
  const paths = (all: readonly string[]) => all.toSorted();
  expect(paths(found.map(({ path }) => path))).toEqual(paths(expected.map(([path]) => path)));
  for (const [path, words] of expected) {
    expect(found.find((each) => each.path === path)?.message, path).toMatch(words);
  }
});

/** Where the text is wrong, said as `line:column path`. */
const placesOf: readonly (readonly [title: string, text: string, place: string])[] = [
  ["a value", "leaseMs: soon", "1:10 leaseMs"],
  ["a key", "colour: red", "1:1 colour"],
  ["an item of a list", "rows:\n  - 1\n  - 2", "3:5 rows[1]"],
  ["a field of a flow", "congestion: { exponent: 4, rate: 2 }", "1:28 congestion.rate"],
  ["what is behind an alias", "a: &a { exponent: x }\ncongestion: *a", "1:19 congestion.exponent"],
  [
    "a field that is missing, at what it is missing in",
    "\ncongestion: {}",
    "2:1 congestion.exponent",
  ],
  ["what is no YAML", "name: [\nleaseMs: 1", "2:1 "],
  ["a key that is there twice", "name: a\nname: b", "2:1 "],
  ["every alias without its anchor", "name: *a\nleaseMs: *b", "2:10 "],
];

test.for(placesOf)("parsePolicy() says where %s is", ([, text, place]) => {
  const found = mistakesOf(parsePolicy(text, 1));
  expect(found.map(({ line, column, path }) => `${line}:${column} ${path}`)).toContain(place);
});

/** What is done to the shipped policy, and the warnings that it gives rise to. */
const warned: [string, (data: PolicyData) => void, [string, RegExp][], PolicyWorld?][] = [
  ["nothing", () => undefined, []],
  [
    "a source that no row names",
    (data) => (data.sources["X1"] = { citation: "x" }),
    [["sources.X1", /no row names/]],
  ],
  [
    "a requirement that an earlier one makes already",
    (data) =>
      data.rows.push({
        ...rowOf(data, "W0-circle"),
        id: "X1",
        require: { reason: "latency-circle", pool: { oneWayMsMax: 12 } },
      }),
    [["rows[21].id", /W0-circle comes before and says as much/]],
  ],
  [
    "no requirement that is stricter, or of other requests, or that an exemption lifts of the earlier one",
    (data) => {
      const circle = (oneWayMsMax: number) => ({
        require: { reason: "latency-circle", pool: { oneWayMsMax } },
      });
      data.rows.push({ ...rowOf(data, "W0-circle"), id: "X1", ...circle(9) });
      data.rows.push({ ...rowOf(data, "W0-circle"), id: "X2", when: {}, ...circle(50) });
      data.rows.push({ ...rowOf(data, "W1"), id: "X3" });
    },
    [],
  ],
  [
    "an exemption that an earlier one makes already",
    (data) =>
      data.rows.push({
        ...rowOf(data, "W1x"),
        id: "X1",
        exempt: { of: "W1", pool: { regions: ["horinger"], oneWayMsMax: 3 } },
      }),
    [["rows[21].id", /W1x comes before/]],
  ],
  [
    "an exemption for requests that the row is not about",
    (data) => Object.assign(rowOf(data, "W1x"), { when: { classes: ["archival"] } }),
    [[`${at("W1x")}.when`, /W1 is about: it lifts nothing/]],
  ],
  [
    "conditions that no pool meets",
    (data) => {
      Object.assign(rowOf(data, "N1"), { warn: { pool: { oneWayMsAbove: 20, oneWayMsMax: 20 } } });
      const pool = { vendors: ["a"], vendorsExcept: ["a", "b"] };
      Object.assign(rowOf(data, "W4"), { require: { reason: "vendor-not-allowed", pool } });
    },
    [
      [`${at("N1")}.warn.pool`, /the row does nothing/],
      [`${at("W4")}.require.pool`, /every pool is out/],
    ],
  ],
  [
    "a row that is taken out where it does not hold",
    (data) =>
      (data.overrides = [override({ rowsOff: ["W3", "W4"], when: { classes: ["archival"] } })]),
    [["overrides[0].rowsOff[0]", /W3 is about none of these requests/]],
  ],
  [
    "an override that never counts",
    (data) => {
      const later = { ...override({ powerShare: 0, carbonNanoPerGram: 1 }, "O2"), when: {} };
      data.overrides = [override({ powerShare: 1 }), later];
    },
    [["overrides[0].id", /O2 comes later and sets all of it again/]],
  ],
  [
    "nothing of overrides that still count for something",
    (data) =>
      (data.overrides = [
        override({ powerShare: 1, carbonNanoPerGram: 2 }),
        override({ powerShare: 0 }, "O2"),
        { ...override({ objectives: { missNano: 1 } }, "O3"), when: {} },
        override({ objectives: { missNano: 2 } }, "O4"),
      ]),
    [],
  ],
  ["names, where nobody knows which there are", (data) => regions(data, "zongwei"), []],
  [
    "names that nobody here has",
    (data) => {
      regions(data, "zongwei");
      data.overrides = [
        {
          ...override({ vendorsAllowed: ["quilian"], regionsDenied: ["zhongwei"] }),
          when: { models: ["a"] },
        },
      ];
    },
    [
      [`${at("W1x")}.exempt.pool.regions[0]`, /called zongwei; did you mean zhongwei\?/],
      ["overrides[0].vendorsAllowed[0]", /quilian; did you mean qilian\?/],
      ["overrides[0].when.models[0]", /nothing here is called a$/],
    ],
    {
      regions: new Set(["zhongwei"]),
      vendors: new Set(["qilian"]),
      models: new Set(["b-model"]),
    },
  ],
];

function regions(data: PolicyData, ...names: string[]): void {
  Object.assign(rowOf(data, "W1x"), { exempt: { of: "W1", pool: { regions: names } } });
}

test.for(warned)("parsePolicy() warns of %s", ([, change, expected, world]) => {
  const parsed = changed(change, world);
  const { warnings } = "policy" in parsed ? parsed : expect.unreachable(JSON.stringify(parsed));
  expect(warnings.map(({ path }) => path).toSorted()).toEqual(
    expected.map(([path]) => path).toSorted(),
  );
  for (const [path, words] of expected) {
    expect(warnings.find((each) => each.path === path)?.message, path).toMatch(words);
  }
});

test("an override of a file is one of the policy, with sets and rows", () => {
  const { overrides } = policyOf(
    changed((data) => {
      const rowsInstead = [{ ...rowOf(data, "W4"), when: { classes: ["archival"] } }];
      data.overrides = [
        override({
          objectives: { missNano: 3 },
          rowsOff: ["W3"],
          vendorsDenied: ["a"],
          rowsInstead,
        }),
      ];
    }),
  );
  expect(overrides).toMatchObject([
    {
      id: "O1",
      when: { tenants: new Set(["acme"]) },
      objectives: { missNano: 3 },
      rowsOff: new Set(["W3"]),
      vendorsDenied: new Set(["a"]),
      rowsInstead: [{ id: "W4", kind: "require", when: { classes: new Set(["archival"]) } }],
    },
  ]);
  expect(Object.keys(overrides?.[0] ?? {})).not.toContain("powerShare");
});

test("the schema for editors is that of this version, and the shipped policy names it", () => {
  const file = new URL("../../deploy/policies/policy.schema.json", import.meta.url);
  const shipped = JSON.parse(readFileSync(file, "utf8")) as unknown;
  // If it differs: tokengrid policy schema > deploy/policies/policy.schema.json, and format it.
  expect(shipped).toEqual(policyJsonSchema());
  expect(defaultPolicyYaml()).toMatch(
    /^# yaml-language-server: \$schema=\.\/policy\.schema\.json$/m,
  );
});

test.for(["rows: [", "a: 1\na: 2", "", "- 1", "42"])("parsePolicy() refuses %j", (yaml) => {
  expect(mistakesOf(parsePolicy(yaml, 1)).length).toBeGreaterThan(0);
});

function policyOf(parsed: ParsedPolicy) {
  return "policy" in parsed ? parsed.policy : expect.unreachable(JSON.stringify(parsed.mistakes));
}

function mistakesOf(parsed: ParsedPolicy) {
  return "mistakes" in parsed ? parsed.mistakes : expect.unreachable("it is valid");
}

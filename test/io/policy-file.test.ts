import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { rowReasons } from "../../services/core/placement/policy.ts";
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
  rows: Row[];
  sources: Record<string, unknown>;
  objectives: Record<string, Record<string, unknown>>;
}

/** The shipped policy with something done to it. */
function changed(change: (data: PolicyData) => void): ParsedPolicy {
  const data = parse(defaultPolicyYaml()) as PolicyData;
  change(data);
  return parsePolicy(stringify(data), 1);
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
  expect(found.map(({ path }) => path)).toEqual(expected.map(([path]) => path));
  for (const [index, [, words]] of expected.entries()) expect(found[index]?.message).toMatch(words);
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

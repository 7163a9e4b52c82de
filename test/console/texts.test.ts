import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { filters } from "../../services/core/placement/filters.ts";
import { terms } from "../../services/core/placement/terms.ts";

const folder = "services/console";
const english = catalogue("en");
const chinese = catalogue("zh");

/** Where the page makes a key of a value: every value that there can be has a text. */
const words: Readonly<Record<string, readonly string[]>> = {
  filter: Object.keys(filters),
  term: Object.keys(terms),
  class: ["metro-realtime", "realtime-interactive", "llm-interactive", "batch-offline", "archival"],
  health: ["fresh", "stale", "lost", "ejected"],
  status: ["cordoned", "draining"],
  source: ["measured", "declared", "estimated"],
  reason: [
    "no-eligible-pool",
    "budget-exhausted",
    "unsatisfiable",
    "model-not-found",
    "context-too-long",
    "not-allowed",
  ],
  by: ["control", "gateway"],
  basis: ["policy text", "general knowledge", "house default"],
  role: ["supply-hub", "demand-hub"],
  side: ["east", "west"],
  link: ["live", "connecting", "lost"],
};

test("both languages have the same keys", () => {
  expect(Object.keys(english).length).toBeGreaterThan(100);
  expect(Object.keys(chinese)).toEqual(Object.keys(english));
});

test("both languages fill in the same values", () => {
  for (const key of Object.keys(english)) {
    expect({ key, values: valuesIn(chinese[key]) }).toEqual({
      key,
      values: valuesIn(english[key]),
    });
  }
});

test("no text is empty, and Chinese texts are Chinese", () => {
  const empty = Object.entries({ ...english, ...chinese }).filter(([, text]) => text.trim() === "");
  expect(empty).toEqual([]);
  // These are the same in every language, or say the name of the other one.
  const same = new Set(["pools.pue", "tool.language", "tool.language.hint", "legend.fair"]);
  const foreign = Object.entries(chinese)
    .filter(([key, text]) => !same.has(key) && !/\p{Script=Han}/u.test(text))
    .map(([key]) => key);
  expect(foreign).toEqual([]);
});

test("every key that the page names has a text", () => {
  const keys = usedKeys();
  expect(keys.length).toBeGreaterThan(60);
  expect(keys.filter((key) => english[key] === undefined)).toEqual([]);
});

test("every word that a message can bring has a text", () => {
  const keys = Object.entries(words).flatMap(([prefix, each]) =>
    each.map((word) => `${prefix}.${word}`),
  );
  expect(keys.filter((key) => english[key] === undefined)).toEqual([]);
});

function catalogue(language: string): Readonly<Record<string, string>> {
  const text = readFileSync(`${folder}/texts/${language}.json`, "utf8");
  return JSON.parse(text) as Record<string, string>;
}

function valuesIn(text = ""): readonly string[] {
  return [...text.matchAll(/\{(\w+)\}/g)].map(([whole]) => whole).sort();
}

/** Literal keys in the markup, and in the calls of `text()`. */
function usedKeys(): readonly string[] {
  const keys = new Set<string>();
  for (const file of readdirSync(folder).filter((name) => /\.(js|html)$/.test(name))) {
    const source = readFileSync(`${folder}/${file}`, "utf8");
    const markup = source.matchAll(/data-(?:text|label|hint|prompt)="([^"]+)"/g);
    const calls = source.matchAll(/\btext\(\s*"([^"]+)"/g);
    const columns = file === "columns.js" ? source.matchAll(/^ {4}key: "(\w+)",$/gm) : [];
    for (const [, key = ""] of [...markup, ...calls]) keys.add(key);
    for (const [, key] of columns) keys.add(`pools.${key}`).add(`pools.${key}.hint`);
  }
  return [...keys];
}

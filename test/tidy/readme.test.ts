import { existsSync, readFileSync } from "node:fs";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { outcomes, type Outcome } from "../../services/wire/errors.ts";
import { lines } from "./source.ts";

const english = readFileSync("README.md", "utf8");
const chinese = readFileSync("README.zh-CN.md", "utf8");
const readmes = { "README.md": english, "README.zh-CN.md": chinese };

test("both languages have the same headings, level by level", () => {
  expect(levels(english).length).toBeGreaterThan(6);
  expect(levels(chinese)).toEqual(levels(english));
});

test("both languages have the same commands", () => {
  const commands = commandsIn(english);
  expect(commands.length).toBeGreaterThan(15);
  expect(commandsIn(chinese)).toEqual(commands);
});

test("both languages have tables of the same size", () => {
  const rows = (text: string): number => lines(text).filter((line) => line.startsWith("|")).length;
  expect(rows(chinese)).toBe(rows(english));
});

for (const [name, text] of Object.entries(readmes)) {
  test(`${name}: the table of errors is the one in services/wire/errors.ts`, () => {
    const table = /<!-- errors -->\n([^]*?)<!-- \/errors -->/.exec(text)?.[1] ?? "";
    const rows = lines(table)
      .filter((line) => line.startsWith("|"))
      .map(cellsOf)
      .slice(2);
    expect(rows).toEqual(Object.entries(outcomes).map(([reason, each]) => rowOf(reason, each)));
  });

  test(`${name}: every file and folder that it names is there`, () => {
    const paths = [
      ...text.matchAll(/`((?:bench|deploy|proto|services|test)\/[\w./-]*)`/g),
      ...text.matchAll(/\]\((?!http)([^)#]+)\)/g),
      ...text.matchAll(/--(?:config|trace) (\S+)/g),
    ].map(([, path = ""]) => path);
    expect(paths.length).toBeGreaterThan(20);
    expect(paths.filter((path) => !existsSync(path))).toEqual([]);
  });
}

test("every npm script that they name is in package.json", () => {
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as {
    readonly scripts: Readonly<Record<string, string>>;
  };
  const named = commandsIn(english).flatMap(
    (line) => /^npm (?:run )?([\w:]+)/.exec(line)?.[1] ?? [],
  );
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((script) => scripts[script] === undefined)).toEqual([]);
});

function levels(text: string): readonly string[] {
  return lines(withoutCode(text)).flatMap((line) => /^#+ /.exec(line)?.[0] ?? []);
}

function withoutCode(text: string): string {
  return text.replaceAll(/^```[^]*?^```/gm, "");
}

function commandsIn(text: string): readonly string[] {
  const blocks = [...text.matchAll(/^```sh\n([^]*?)^```/gm)].map(([, code = ""]) => code);
  return blocks.flatMap(lines).filter((line) => line !== "");
}

function cellsOf(row: string): readonly string[] {
  return row
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim());
}

/** The reason, the gRPC code, the HTTP status, and what an OpenAI client sees. */
function rowOf(reason: string, outcome: Outcome): readonly string[] {
  const { code, httpStatus, openaiType, openaiCode } = outcome;
  const grpc = Code[code].replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
  return [
    `\`${reason}\``,
    `\`${grpc}\``,
    String(httpStatus),
    `\`${openaiType}\` / \`${openaiCode}\``,
  ];
}

import { relative } from "node:path";
import { Argument, Command } from "commander";
import type { Policy } from "../../core/placement/policy.ts";
import { defaultPolicyYaml } from "../../io/policy-file.ts";
import { type OutputOptions, withOutput } from "../connect.ts";
import { readText } from "../document.ts";
import { exits, type ExitCode } from "../outcome.ts";
import { type Column, print, textTable } from "../print.ts";
import { type Fixture, loadFixtures, shippedFixtures } from "./fixture-file.ts";
import { type FixtureRun, runFixtures } from "./fixture-run.ts";
import { policyOf, shippedName, withAdditions } from "./read-policy.ts";

interface Options extends OutputOptions {
  readonly policy?: string;
}

export function testCommand(): Command {
  return withOutput(new Command("test"))
    .summary("runs cases against a policy")
    .description(
      "Decides every case of a file, or of all YAML files of a folder, as the dispatcher would, on a fleet with " +
        "what the case changes about it, and compares the outcome with what the case expects. Needs no server. " +
        "Without a file it runs the cases of the shipped policy. Exits with 2 if a case fails.",
    )
    .addArgument(
      new Argument("[path]", "file or folder of cases").default(
        shippedFixtures,
        "those of the shipped policy",
      ),
    )
    .option("--policy <file>", "instead of the one that the cases name; - reads standard input")
    .action(exits(test));
}

async function test(path: string, { policy, output }: Options): Promise<ExitCode> {
  const run = runFixtures(loadFixtures(path), policies(policy));
  const failed = run.cases.filter(({ differences }) => differences.length > 0);
  print(output, {
    json: { passed: run.cases.length - failed.length, failed: failed.length, ...run },
    names: failed.map(({ name }) => name),
    text: (isWide) => report(run, failed.length, isWide),
  });
  return failed.length === 0 ? 0 : 2;
}

/** Each file of cases with its policy; one that several name is read once. */
export function policies(path: string | undefined): (fixture: Fixture) => Policy {
  const texts = new Map<string, string>();
  return ({ policyPath, additions }) => {
    const from = path ?? policyPath;
    const key = from ?? "";
    const text = texts.get(key) ?? (from === undefined ? defaultPolicyYaml() : readText(from));
    texts.set(key, text);
    const yaml = additions === undefined ? text : withAdditions(text, additions);
    return policyOf(from ?? shippedName, yaml).policy;
  };
}

const columns: readonly Column[] = [
  { name: "CASE" },
  { name: "RESULT" },
  { name: "WHAT" },
  { name: "EXPECTED" },
  { name: "FOUND" },
  { name: "FILE", isWide: true },
];

function report({ cases, unseen }: FixtureRun, failed: number, isWide: boolean): string {
  const rows = cases.flatMap(({ file, name, differences }) => {
    const where = relative(".", file);
    if (differences.length === 0) return [[name, "passed", "", "", "", where]];
    return differences.map(({ what, expected, found }, index) => [
      index === 0 ? name : "",
      index === 0 ? "FAILED" : "",
      what,
      expected,
      found,
      where,
    ]);
  });
  const silent = unseen.length === 0 ? "" : `rows that no case shows: ${unseen.join(", ")}\n`;
  return `${textTable(columns, rows, isWide)}\n${cases.length - failed} passed, ${failed} failed\n${silent}`;
}

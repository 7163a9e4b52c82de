import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { fleetNames } from "../../services/sim/fleets.ts";
import { everybody, quick, usual, type Campaign } from "./campaign.ts";
import { rowsPath, suites } from "./rows.ts";
import { traceNames } from "./traces.ts";

export interface Options {
  readonly campaign: Campaign;
  /** Runs on file with the same options and commit are not done again. */
  readonly isResumed: boolean;
  /** Where rows go. */
  readonly rowsPath: string;
  /** Whether the page and its plots are written from them. */
  readonly hasPage: boolean;
}

type Flags = { readonly [Name in keyof Campaign]?: Campaign[Name] } & {
  readonly quick?: true;
  readonly resume?: true;
  readonly out?: string;
  readonly duration?: number;
};

/** Where a quick look leaves its rows: the page is of whole campaigns. */
const quickPath = join(tmpdir(), "tokengrid-bench-dispatch.jsonl");

/** Prints what is wrong, or the help, and ends the process. */
export function optionsFrom(args: readonly string[]): Options {
  const flags = command().parse(args, { from: "user" }).opts<Flags>();
  const { quick: isQuick = false, resume = false, out, duration, ...changes } = flags;
  const campaign: Campaign = {
    ...(isQuick ? quick : usual),
    ...changes,
    ...(duration === undefined ? {} : { durationMs: duration }),
  };
  const path = out ?? (isQuick ? quickPath : rowsPath);
  return { campaign, isResumed: resume, rowsPath: path, hasPage: path === rowsPath };
}

function command(): Command {
  return new Command("bench:dispatch")
    .description(
      "Our placement beside its peers' policies and a clairvoyant bound, in virtual time.\n" +
        "Runs go to a file of JSON lines; bench/dispatch/README.md and its plots are made from it.",
    )
    .addOption(listOf("--traces <names>", "recorded workloads", traceNames))
    .addOption(listOf("--fleets <names>", "fleets", fleetNames))
    .addOption(
      new Option("--loads <parts>", "parts of the fleet's capacity")
        .argParser((text) => text.split(",").map(numberFrom))
        .default(undefined, usual.loads.join(",")),
    )
    .addOption(
      new Option("--seeds <list>", "how many, or which: 3, or 1,2,7")
        .argParser(seedsFrom)
        .default(undefined, usual.seeds.join(",")),
    )
    .addOption(
      new Option(
        "--duration <seconds>",
        "in which requests come; traces of longer answers take more",
      )
        .argParser(millisecondsFrom)
        .default(undefined, `${usual.durationMs / 1_000}s`),
    )
    .addOption(
      new Option("--at <time>", "when the first request is due, with its zone")
        .argParser(timeFrom)
        .default(undefined, usual.at),
    )
    .addOption(
      listOf("--policies <names>", "policies, or all", everybody).argParser((text) =>
        text === "all" ? everybody : namesFrom(text, everybody),
      ),
    )
    .addOption(listOf("--suites <names>", "kinds of run", suites))
    .option("--quick", "one trace, one fleet, one load, one seed, half a minute of it")
    .option("--resume", "leave out runs that are on file with the same options and commit")
    .option("--out <file>", "where rows go", undefined);
}

function listOf<Name extends string>(
  flags: string,
  description: string,
  names: readonly Name[],
): Option {
  const shown = names.length > 8 ? "all" : names.join(",");
  return new Option(flags, description)
    .argParser((text) => namesFrom(text, names))
    .default(undefined, shown);
}

function namesFrom<Name extends string>(text: string, names: readonly Name[]): Name[] {
  return text.split(",").map((each) => {
    const found = names.find((name) => name === each);
    if (found !== undefined) return found;
    throw new InvalidArgumentError(`expected some of ${names.join(", ")}, found ${each}`);
  });
}

function numberFrom(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && value > 0 && value < Infinity) return value;
  throw new InvalidArgumentError(`expected a number above 0, found ${text}`);
}

function seedsFrom(text: string): number[] {
  const numbers = text.split(",").map(numberFrom);
  const bad = numbers.find((each) => !Number.isSafeInteger(each));
  if (bad !== undefined) throw new InvalidArgumentError(`expected whole numbers, found ${bad}`);
  const [count = 1, ...others] = numbers;
  return others.length > 0 ? numbers : Array.from({ length: count }, (_, index) => index + 1);
}

function millisecondsFrom(text: string): number {
  return numberFrom(text.replace(/s$/, "")) * 1_000;
}

function timeFrom(text: string): string {
  if (/T.*(Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(Date.parse(text))) return text;
  throw new InvalidArgumentError(`expected a time with its zone like ${usual.at}, found ${text}`);
}

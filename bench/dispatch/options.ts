import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { fleetNames } from "../../services/sim/fleets.ts";
import { everybody, quick, usual, type Campaign } from "./campaign.ts";
import { rowsPath, suites } from "./rows.ts";
import { traceNames, traces } from "./traces.ts";

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
  const { loads, seeds, durationMs, at } = usual;
  const loadsText = `parts of the fleet's capacity (default ${loads.join(",")})`;
  const durationText = `in which requests come, times ${stretchText} (default ${durationMs / 1_000}s)`;
  return new Command("bench:dispatch")
    .description(
      "Our placement beside its peers' policies and a clairvoyant bound, in virtual time.\n" +
        "Runs go to a file of JSON lines; bench/dispatch/README.md and its plots are made from it.",
    )
    .option("--traces <names>", listed("recorded workloads", traceNames), (text) =>
      namesFrom(text, traceNames),
    )
    .option("--fleets <names>", listed("fleets", fleetNames), (text) => namesFrom(text, fleetNames))
    .option("--loads <parts>", loadsText, (text) => text.split(",").map(numberFrom))
    .option("--seeds <list>", `how many, or which: 2, or 1,7 (default ${seeds.length})`, seedsFrom)
    .option("--duration <seconds>", durationText, millisecondsFrom)
    .option("--at <time>", `when the first request is due, with its zone (default ${at})`, timeFrom)
    .option(
      "--policies <names>",
      `"all", or of: ${everybody.join(", ")} (default all)`,
      policiesFrom,
    )
    .option("--suites <names>", listed("kinds of run", suites), (text) => namesFrom(text, suites))
    .option("--quick", "a look: one trace, fleet, load and seed; its rows go to a temporary file")
    .option("--resume", "leave out runs that are on file with the same options and commit")
    .option("--out <file>", `where rows go (default ${rowsPath}, from which the page is made)`);
}

const stretchText = traceNames.map((name) => `${traces[name].stretch} for ${name}`).join(", ");

function listed(what: string, names: readonly string[]): string {
  return `${what} (default ${names.join(",")})`;
}

function policiesFrom(text: string): readonly string[] {
  return text === "all" ? everybody : namesFrom(text, everybody);
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

import { Command, InvalidArgumentError } from "commander";
import { parsePolicy } from "../../io/policy-file.ts";
import {
  ListHistoryResponseSchema,
  PolicyDocumentSchema,
  type PolicyDocument,
  type PolicyMistake,
  PolicyService,
} from "../../wire/gen/tokengrid/v1/policy_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { readText } from "../document.ts";
import { exits, type ExitCode, Refusal } from "../outcome.ts";
import { localTime } from "../period.ts";
import { testCommand } from "../policy/test-command.ts";
import { jsonOf, print, textTable } from "../print.ts";

type Options = ServerOptions & OutputOptions;

interface SetOptions extends Options {
  readonly file: string;
  readonly author: string;
  readonly comment: string;
}

export function command(): Command {
  return new Command("policy")
    .description("The operator's rules: a decision table in YAML, with a revision.")
    .addCommand(
      withOutput(withServer(new Command("get")))
        .description("The policy as it was set, comments included.")
        .option("--revision <n>", "an earlier one", revisionNumber, 0n)
        .action(exits(get)),
    )
    .addCommand(
      changing(new Command("set"))
        .description(
          "Replaces the policy if nobody else has since the base revision. Exits with 2 if refused.",
        )
        .requiredOption("--base <n>", "revision that the change is based on", revisionNumber)
        .action(exits(set)),
    )
    .addCommand(
      changing(new Command("apply"))
        .description(
          "Makes the file the policy in force; does nothing if it already is. A refused file changes nothing.",
        )
        .option(
          "--check-version <n>",
          "exit with 2 if another revision is in force",
          revisionNumber,
        )
        .action(exits(apply)),
    )
    .addCommand(
      withServer(new Command("validate"))
        .description(
          "All mistakes of a file at once, each with its place. Needs no server; exits with 2 if refused.",
        )
        .argument("<file>", "the policy; - reads standard input")
        .option("--server", "ask the server, which knows its own version of the rules")
        .action(exits(validate)),
    )
    .addCommand(testCommand())
    .addCommand(
      withOutput(withServer(new Command("history")))
        .description("Revisions, newest first.")
        .option("--limit <n>", "at most so many", limitNumber, 50)
        .action(exits(history)),
    );
}

function changing(command: Command): Command {
  return withOutput(withServer(command))
    .requiredOption("-f, --file <path>", "the policy; - reads standard input")
    .option("--author <name>", "for the history", "operator")
    .option("--comment <text>", "for the history", "");
}

function revisionNumber(text: string): bigint {
  if (/^\d+$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError(`expected a revision number, found ${JSON.stringify(text)}`);
}

function limitNumber(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1_000) return limit;
  throw new InvalidArgumentError(`expected a number from 1 to 1000, found ${JSON.stringify(text)}`);
}

async function get(options: Options & { readonly revision: bigint }): Promise<ExitCode> {
  const { policy } = await answered(options, () =>
    client(PolicyService, options).get({ revision: options.revision }),
  );
  const document = present(policy);
  print(options.output, {
    json: jsonOf(PolicyDocumentSchema, document),
    names: [String(document.revision)],
    text: () => document.yaml,
  });
  return 0;
}

async function set(options: SetOptions & { readonly base: bigint }): Promise<ExitCode> {
  return send(options, readText(options.file), options.base);
}

async function apply(options: SetOptions & { readonly checkVersion?: bigint }): Promise<ExitCode> {
  const yaml = readText(options.file);
  const { policy } = await answered(options, () => client(PolicyService, options).get({}));
  const { revision, yaml: inForce } = present(policy);
  if (options.checkVersion !== undefined && options.checkVersion !== revision) {
    throw new Refusal(
      `policy: expected revision ${options.checkVersion} in force, found ${revision}`,
    );
  }
  if (inForce === yaml) {
    process.stdout.write(`policy unchanged at revision ${revision}\n`);
    return 0;
  }
  return send(options, yaml, revision);
}

async function send(options: SetOptions, yaml: string, baseRevision: bigint): Promise<ExitCode> {
  const { author, comment } = options;
  const { policy } = await answered(options, () =>
    client(PolicyService, options).set({ yaml, baseRevision, author, comment }),
  );
  const document = present(policy);
  print(options.output, {
    json: jsonOf(PolicyDocumentSchema, document),
    names: [String(document.revision)],
    text: () => `policy at revision ${document.revision} is in force\n`,
  });
  return 0;
}

async function validate(
  file: string,
  options: ServerOptions & { readonly server?: boolean },
): Promise<ExitCode> {
  const yaml = readText(file);
  const mistakes =
    options.server === true
      ? (await answered(options, () => client(PolicyService, options).validate({ yaml }))).mistakes
      : mistakesIn(yaml);
  if (mistakes.length > 0) {
    const lines = mistakes.map(({ path, message }) =>
      path === "" ? message : `${path}: ${message}`,
    );
    throw new Refusal(`${file}:\n${lines.map((line) => `  ${line}`).join("\n")}`);
  }
  process.stdout.write(`${file}: valid\n`);
  return 0;
}

function mistakesIn(yaml: string): readonly Pick<PolicyMistake, "path" | "message">[] {
  const parsed = parsePolicy(yaml, 0);
  return "mistakes" in parsed ? parsed.mistakes : [];
}

async function history(options: Options & { readonly limit: number }): Promise<ExitCode> {
  const answer = await answered(options, () =>
    client(PolicyService, options).listHistory({ limit: options.limit }),
  );
  print(options.output, {
    json: jsonOf(ListHistoryResponseSchema, answer),
    names: answer.policies.map(({ revision }) => String(revision)),
    text: () => textTable(historyColumns, answer.policies.map(historyRow)),
  });
  return 0;
}

const historyColumns = [
  { name: "REVISION", align: "right" as const },
  { name: "SET AT" },
  { name: "AUTHOR" },
  { name: "HASH" },
  { name: "COMMENT" },
];

function historyRow({ revision, setAtUs, author, hash, comment }: PolicyDocument): string[] {
  return [String(revision), localTime(setAtUs), author, hash.slice(0, 12), comment];
}

function present(policy: PolicyDocument | undefined): PolicyDocument {
  if (policy === undefined) throw new Error("expected a policy in the answer, found none");
  return policy;
}

import { Command, InvalidArgumentError } from "commander";
import { parsePolicy, type PolicyMistake } from "../../io/policy-file.ts";
import { placed } from "../../io/policy-mistakes.ts";
import { policyJsonSchema } from "../../io/policy-schema.ts";
import {
  ListHistoryResponseSchema,
  PolicyDocumentSchema,
  type PolicyDocument,
  PolicyService,
} from "../../wire/gen/tokengrid/v1/policy_pb.js";
import { toPolicyMistakes } from "../../wire/policy.ts";
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
import { comparison, diffCommand, effectOn } from "../policy/diff-command.ts";
import { refusalText } from "../policy/read-policy.ts";
import { revisionNumber } from "../policy/revision-number.ts";
import { rollbackCommand } from "../policy/rollback-command.ts";
import { present, sendPolicy } from "../policy/send-policy.ts";
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
        .option("--dry-run", "print what would change, and change nothing")
        .action(exits(apply)),
    )
    .addCommand(
      withOutput(withServer(new Command("validate")))
        .description(
          "All mistakes of a file at once, each with line, column and path, and warnings of what it says in vain. " +
            "Needs no server; exits with 2 if refused.",
        )
        .argument("<file>", "the policy; - reads standard input")
        .option(
          "--server",
          "ask the server, which also knows what regions, vendors, models and tags there are",
        )
        .action(exits(validate)),
    )
    .addCommand(testCommand())
    .addCommand(diffCommand())
    .addCommand(rollbackCommand())
    .addCommand(
      new Command("schema")
        .description(
          "JSON Schema of a policy file, for editors. Rules between names, such as a source that is not there, are " +
            "not in it: `policy validate` knows them.",
        )
        .action(exits(schema)),
    )
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
  return sendPolicy(options, readText(options.file), options.base);
}

async function apply(
  options: SetOptions & { readonly checkVersion?: bigint; readonly dryRun?: boolean },
): Promise<ExitCode> {
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
  if (options.dryRun === true) {
    const was = { name: `revision ${revision}`, yaml: inForce };
    const is = { name: options.file, yaml };
    print(options.output, comparison(was, is, effectOn(was, is)));
    return 0;
  }
  return sendPolicy(options, yaml, revision);
}

async function validate(
  file: string,
  options: ServerOptions & OutputOptions & { readonly server?: boolean },
): Promise<ExitCode> {
  const yaml = readText(file);
  const { mistakes, warnings } = options.server === true ? await asked(yaml, options) : found(yaml);
  print(options.output, {
    json: { file, isValid: mistakes.length === 0, mistakes, warnings },
    names: mistakes.length === 0 ? [file] : [],
    text: () =>
      [...warnings.map((each) => `${file}: warning: ${placed(each)}\n`)].join("") +
      (mistakes.length === 0 ? `${file}: valid\n` : ""),
  });
  if (mistakes.length > 0) throw new Refusal(refusalText(file, mistakes));
  return 0;
}

interface Verdict {
  readonly mistakes: readonly PolicyMistake[];
  readonly warnings: readonly PolicyMistake[];
}

async function asked(yaml: string, options: ServerOptions): Promise<Verdict> {
  const answer = await answered(options, () => client(PolicyService, options).validate({ yaml }));
  return {
    mistakes: toPolicyMistakes(answer.mistakes),
    warnings: toPolicyMistakes(answer.warnings),
  };
}

function found(yaml: string): Verdict {
  const parsed = parsePolicy(yaml, 0);
  return "mistakes" in parsed
    ? { mistakes: parsed.mistakes, warnings: [] }
    : { mistakes: [], warnings: parsed.warnings };
}

async function schema(): Promise<ExitCode> {
  process.stdout.write(`${JSON.stringify(policyJsonSchema(), null, 2)}\n`);
  return Promise.resolve(0);
}

async function history(options: Options & { readonly limit: number }): Promise<ExitCode> {
  const answer = await answered(options, () =>
    client(PolicyService, options).listHistory({ limit: options.limit }),
  );
  print(options.output, {
    json: jsonOf(ListHistoryResponseSchema, answer),
    names: answer.policies.map(({ revision }) => String(revision)),
    text: () =>
      textTable(
        historyColumns,
        answer.policies.map((each) => historyRow(each, answer.revisionInForce)),
      ),
  });
  return 0;
}

const historyColumns = [
  { name: "IN FORCE" },
  { name: "REVISION", align: "right" as const },
  { name: "SET AT" },
  { name: "AUTHOR" },
  { name: "HASH" },
  { name: "COMMENT" },
];

function historyRow(
  { revision, setAtUs, author, hash, comment }: PolicyDocument,
  revisionInForce: bigint,
): string[] {
  const mark = revision === revisionInForce ? "yes" : "";
  return [mark, String(revision), localTime(setAtUs), author, hash.slice(0, 12), comment];
}

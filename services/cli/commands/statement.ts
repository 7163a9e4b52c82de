import { Command } from "commander";
import {
  SettlementService,
  StatementProgressSchema,
  StatementSchema,
} from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { disputeCommand } from "../dispute-command.ts";
import { exits, type ExitCode } from "../outcome.ts";
import { netCommand } from "../net-command.ts";
import { jsonOf, print, textCard } from "../print.ts";
import { reconcileCommand } from "../reconcile-command.ts";
import { statementCard, statementList } from "../statement-text.ts";
import { exportCommand } from "../statement/export-command.ts";
import { generateCommand } from "../statement/generate-command.ts";
import {
  newestFirst,
  type PairOptions,
  pairOf,
  periodOf,
  present,
  withPair,
} from "../statement/source.ts";
import {
  approveCommand,
  payCommand,
  progressPairs,
  signCommand,
} from "../statement/step-commands.ts";
import { verifyCommand } from "../statement/verify-command.ts";

type Options = ServerOptions & OutputOptions;

interface ListOptions extends Options, PairOptions {
  readonly period?: string;
}

export function command(): Command {
  return new Command("statement")
    .description("What is owed between the operator and a counterparty for a period.")
    .addCommand(generateCommand())
    .addCommand(
      withPair(withOutput(withServer(new Command("list"))))
        .description("Closed statements, newest first.")
        .option("--period <period>", "yesterday, YYYY-MM-DD or YYYY-MM")
        .action(exits(list)),
    )
    .addCommand(
      withOutput(withServer(new Command("get")))
        .description("One closed statement, line by line, and what became of it.")
        .argument("<statement>", "its id, as `statement list` prints it")
        .action(exits(get)),
    )
    .addCommand(exportCommand())
    .addCommand(verifyCommand())
    .addCommand(signCommand())
    .addCommand(approveCommand())
    .addCommand(payCommand())
    .addCommand(reconcileCommand())
    .addCommand(disputeCommand())
    .addCommand(netCommand());
}

async function list(options: ListOptions): Promise<ExitCode> {
  const periodName = options.period === undefined ? "" : periodOf(options.period).name;
  const statements = await newestFirst(options, { pairId: pairOf(options), periodName });
  print(options.output, {
    json: statements.map((statement) => jsonOf(StatementSchema, statement)),
    names: statements.map(({ statementId }) => statementId),
    text: (isWide) => statementList(statements, isWide),
  });
  return 0;
}

async function get(statementId: string, options: Options): Promise<ExitCode> {
  const answer = await answered(options, () =>
    client(SettlementService, options).getStatement({ statementId }),
  );
  const statement = present(answer.statement);
  const { progress } = answer;
  print(options.output, {
    json: {
      ...(jsonOf(StatementSchema, statement) as object),
      progress: progress && jsonOf(StatementProgressSchema, progress),
    },
    names: [statement.statementId],
    text: (isWide) => {
      const steps = progress === undefined ? "" : `\n${textCard(progressPairs(progress))}`;
      return `${statementCard(statement, isWide)}${steps}`;
    },
  });
  return 0;
}

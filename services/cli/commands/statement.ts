import { Command } from "commander";
import { StatementSchema } from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import { type OutputOptions, type ServerOptions, withOutput, withServer } from "../connect.ts";
import { disputeCommand } from "../dispute-command.ts";
import { exits, type ExitCode } from "../outcome.ts";
import { limitOf } from "../limit.ts";
import { netCommand } from "../net-command.ts";
import { type PairOptions, pairOf, withPair } from "../pair.ts";
import { jsonOf, print } from "../print.ts";
import { reconcileCommand } from "../reconcile-command.ts";
import { statementList } from "../statement-text.ts";
import { exportCommand } from "../statement/export-command.ts";
import { generateCommand } from "../statement/generate-command.ts";
import { getCommand } from "../statement/get-command.ts";
import { listLimit, newestFirst, periodOf } from "../statement/source.ts";
import { approveCommand, payCommand, signCommand } from "../statement/step-commands.ts";
import { verifyCommand } from "../statement/verify-command.ts";

interface ListOptions extends ServerOptions, OutputOptions, PairOptions {
  readonly period?: string;
  readonly limit: number;
}

export function command(): Command {
  return new Command("statement")
    .description("What is owed between the operator and a counterparty for a period.")
    .addCommand(generateCommand())
    .addCommand(
      withPair(withOutput(withServer(new Command("list"))))
        .description("Closed statements, newest first.")
        .option("--period <period>", "today, yesterday, YYYY-MM-DD or YYYY-MM")
        .option("--limit <n>", "at most so many", limitOf(listLimit), listLimit)
        .action(exits(list)),
    )
    .addCommand(getCommand())
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
  const { limit } = options;
  const statements = await newestFirst(options, { pairId: pairOf(options), periodName, limit });
  print(options.output, {
    json: statements.map((statement) => jsonOf(StatementSchema, statement)),
    names: statements.map(({ statementId }) => statementId),
    text: (isWide) => statementList(statements, isWide),
  });
  return 0;
}

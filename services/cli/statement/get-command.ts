import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import {
  SettlementService,
  type Statement,
  StatementProgressSchema,
  StatementSchema,
  type StatementSignature,
} from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { exits, type ExitCode } from "../outcome.ts";
import { jsonOf, print, textCard } from "../print.ts";
import { statementCard } from "../statement-text.ts";
import { present } from "./source.ts";
import { progressPairs } from "./step-commands.ts";

interface GetOptions extends ServerOptions, OutputOptions {
  readonly out?: string;
}

export function getCommand(): Command {
  return withOutput(withServer(new Command("get")))
    .summary("one closed statement, and what became of it")
    .description(
      "One closed statement, line by line, and what became of it. With --out its bytes are written to statement.json and " +
        "each signature to statement.operator.jws and statement.counterparty.jws, as `statement verify` reads them.",
    )
    .argument("<statement>", "its id, as `statement list` prints it")
    .option("--out <folder>", "write the signed files there; their names are printed instead")
    .action(exits(get));
}

async function get(statementId: string, options: GetOptions): Promise<ExitCode> {
  const answer = await answered(options, () =>
    client(SettlementService, options).getStatement({ statementId }),
  );
  const statement = present(answer.statement);
  const { progress } = answer;
  if (options.out !== undefined) {
    return printFiles(writeSigned(options.out, statement, progress?.signatures ?? []), options);
  }
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

/** The statement's bytes and nothing else: its digest is of the file. */
function writeSigned(
  folder: string,
  { canonicalJson }: Statement,
  signatures: readonly StatementSignature[],
): string[] {
  mkdirSync(folder, { recursive: true });
  const files = [
    ["statement.json", canonicalJson],
    ...signatures.map(({ party, jws }) => [`statement.${party}.jws`, `${jws}\n`] as const),
  ] as const;
  return files.map(([name, text]) => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  });
}

function printFiles(paths: readonly string[], { output }: GetOptions): ExitCode {
  print(output, {
    json: { files: paths },
    names: paths,
    text: () => paths.map((path) => `${path}\n`).join(""),
  });
  return 0;
}

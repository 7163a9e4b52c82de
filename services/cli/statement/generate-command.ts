import { Command, Option } from "commander";
import {
  RecomputeSource,
  SettlementService,
  type Statement,
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
import { complaintOf, exitCodeOf, exits, type ExitCode, Refusal } from "../outcome.ts";
import { jsonOf, print, textCard, yuan } from "../print.ts";
import { statementList } from "../statement-text.ts";
import { type PairOptions, withPair } from "../pair.ts";
import { openWorkProgress } from "../work-progress.ts";
import { pairsOf, periodOf, present } from "./source.ts";

interface GenerateOptions extends ServerOptions, OutputOptions, PairOptions {
  readonly period: string;
  readonly catchUp?: boolean;
  readonly recompute?: keyof typeof sources;
}

const sources = {
  hours: RecomputeSource.HOURS,
  records: RecomputeSource.RECORDS,
  leaves: RecomputeSource.LEAVES,
} as const;

export function generateCommand(): Command {
  return withPair(withOutput(withServer(new Command("generate"))))
    .summary("close a period, or say how it stands")
    .description(
      "Closes a day or a month of every vendor, or of one counterparty, and prints its statement. Of several those are " +
        "closed that can be, and the others are named with the reason. A closed period never changes: what comes later goes into the next day. Of a period that is not over an interim statement, which is " +
        "not kept. Days and months are those of Asia/Shanghai.",
    )
    .requiredOption("--period <period>", "today, yesterday, YYYY-MM-DD or YYYY-MM")
    .option("--catch-up", "close the days before that are still open, too")
    .addOption(
      new Option(
        "--recompute <source>",
        "make each closed one again and compare the bytes",
      ).choices(Object.keys(sources)),
    )
    .action(exits(generate));
}

async function generate(options: GenerateOptions): Promise<ExitCode> {
  const { statements, refusals } = await closeAll(await pairsOf(options), options);
  const differences = options.recompute === undefined ? [] : await recompute(statements, options);
  if (statements.length > 0 || refusals.length === 0) {
    print(options.output, {
      json: statements.map((statement) => jsonOf(StatementSchema, statement)),
      names: statements.map(({ statementId }) => statementId),
      text: (isWide) => generated(statements, isWide),
    });
  }
  const complaints = [
    ...(refusals.length > 0 ? [`not closed:\n${refusals.join("\n")}`] : []),
    ...(differences.length > 0
      ? [`expected the bytes that were stated, found others:\n${differences.join("\n")}`]
      : []),
  ];
  if (complaints.length > 0) throw new Refusal(complaints.join("\n"));
  return 0;
}

/** One that cannot be closed yet is no reason to leave the others open. */
async function closeAll(pairs: readonly string[], options: GenerateOptions) {
  const { fromUs, toUs, timeZone } = periodOf(options.period);
  const { catchUp = false } = options;
  const statements: Statement[] = [];
  const refusals: string[] = [];
  const progress = openWorkProgress("close", "statements");
  try {
    for (const [place, pairId] of pairs.entries()) {
      const asked = { pairId, period: { fromUs, toUs, timeZone }, catchUp };
      try {
        const answer = await answered(options, () =>
          client(SettlementService, options).closeStatement(asked),
        );
        statements.push(present(answer.statement));
      } catch (error) {
        if (exitCodeOf(error) !== 2) throw error;
        refusals.push(`${pairId}: ${complaintOf(error)}`);
      }
      progress.at(place + 1, pairs.length);
    }
  } finally {
    progress.stop();
  }
  return { statements, refusals };
}

/** Resolves to what was not as it was stated. */
async function recompute(
  statements: readonly Statement[],
  options: GenerateOptions,
): Promise<string[]> {
  const sourceWord = options.recompute ?? "hours";
  const source = sources[sourceWord];
  const found: string[] = [];
  for (const { statementId, kind } of statements) {
    if (kind === "interim") continue;
    const progress = openWorkProgress(`recompute ${statementId}`, sourceWord);
    const steps = client(SettlementService, options).recomputeStatement({ statementId, source });
    for await (const { items, itemsTotal, differences } of steps) {
      progress.at(items, itemsTotal);
      found.push(...differences.map((each) => `${statementId}: ${each}`));
    }
    progress.stop();
  }
  return found;
}

function generated(statements: readonly Statement[], isWide: boolean): string {
  const netNano = statements.reduce((sum, { totals }) => sum + (totals?.netNano ?? 0n), 0n);
  const attempts = statements.reduce((sum, { totals }) => sum + (totals?.attempts ?? 0n), 0n);
  const isOpen = statements.some(({ kind }) => kind === "interim");
  const total = textCard([
    ["total", `${attempts} ${attempts === 1n ? "attempt" : "attempts"}, ${yuan(netNano)} CNY net`],
    ...(isOpen ? [["interim", "the period is not closed: figures may change"] as const] : []),
  ]);
  return `${statementList(statements, isWide)}\n${total}`;
}

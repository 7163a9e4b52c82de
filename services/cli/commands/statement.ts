import { Command, Option } from "commander";
import {
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
import { focusFile } from "../focus-file.ts";
import { exits, type ExitCode, Failure, Refusal } from "../outcome.ts";
import { type NamedPeriod, parsePeriod } from "../period.ts";
import { jsonOf, print, textCard, yuan } from "../print.ts";
import { statementCard, statementList } from "../statement-text.ts";

type Options = ServerOptions & OutputOptions;

interface GenerateOptions extends Options {
  readonly period: string;
  readonly vendor?: string;
}

interface ListOptions extends Options {
  readonly vendor?: string;
}

interface ExportOptions extends ServerOptions {
  readonly format: "focus" | "json";
  readonly last?: boolean;
}

const listLimit = 1_000;

export function command(): Command {
  return new Command("statement")
    .description("What a vendor is owed for a period, from the ledger.")
    .addCommand(generateCommand())
    .addCommand(
      withOutput(withServer(new Command("list")))
        .description("Statements that were made, newest first.")
        .option("--vendor <id>", "only this vendor's")
        .action(exits(list)),
    )
    .addCommand(
      withOutput(withServer(new Command("get")))
        .description("One statement, line by line.")
        .argument("<statement>", "its id, as `statement list` prints it")
        .action(exits(get)),
    )
    .addCommand(exportCommand());
}

function generateCommand(): Command {
  return withOutput(withServer(new Command("generate")))
    .summary("make the statements of a period")
    .description(
      "Makes the statement of every vendor, or of one. The same period again gives the same bytes unless usage " +
        "came in since: then a new revision. Days and months are those of Asia/Shanghai.",
    )
    .requiredOption("--period <period>", "today, yesterday, YYYY-MM-DD or YYYY-MM")
    .option("--vendor <id>", "only this vendor's")
    .action(exits(generate));
}

function exportCommand(): Command {
  return withServer(new Command("export"))
    .summary("statements as FOCUS rows or as the canonical JSON text")
    .description(
      "Writes statements to standard output: `focus` is CSV with the columns of the FinOps specification, " +
        "`json` the canonical text that the digest is of, one statement per line.",
    )
    .argument("[statement...]", "ids, as `statement list` prints them")
    .addOption(
      new Option("--format <format>", "what to write").choices(["focus", "json"]).default("focus"),
    )
    .option("--last", "the newest period, all vendors")
    .action(exits(exportStatements));
}

async function generate(options: GenerateOptions): Promise<ExitCode> {
  const period = parsePeriod(options.period, Date.now());
  if (typeof period === "string") throw new Failure(`--period: ${period}`);
  const vendors = options.vendor === undefined ? await vendorIds(options) : [options.vendor];
  if (vendors.length === 0)
    throw new Refusal("expected at least one vendor with a pool or a price book, found none");
  const statements: Statement[] = [];
  for (const vendorId of vendors) statements.push(await close(options, vendorId, period));
  print(options.output, {
    json: statements.map((statement) => jsonOf(StatementSchema, statement)),
    names: statements.map(({ statementId }) => statementId),
    text: (isWide) => generated(statements, isWide),
  });
  return 0;
}

function generated(statements: readonly Statement[], isWide: boolean): string {
  const netNano = statements.reduce((sum, { totals }) => sum + (totals?.netNano ?? 0n), 0n);
  const attempts = statements.reduce((sum, { totals }) => sum + (totals?.attempts ?? 0n), 0n);
  const total = textCard([
    ["total", `${attempts} ${attempts === 1n ? "attempt" : "attempts"}, ${yuan(netNano)} CNY net`],
  ]);
  return `${statementList(statements, isWide)}\n${total}`;
}

async function close(
  options: ServerOptions,
  vendorId: string,
  { fromUs, toUs, timeZone }: NamedPeriod,
): Promise<Statement> {
  const { statement } = await answered(options, () =>
    client(SettlementService, options).closeStatement({
      vendorId,
      period: { fromUs, toUs, timeZone },
    }),
  );
  return present(statement);
}

async function vendorIds(options: ServerOptions): Promise<string[]> {
  const answer = await answered(options, () => client(SettlementService, options).listVendors({}));
  return answer.vendorIds;
}

async function list(options: ListOptions): Promise<ExitCode> {
  const statements = await newestFirst(options, options.vendor);
  print(options.output, {
    json: statements.map((statement) => jsonOf(StatementSchema, statement)),
    names: statements.map(({ statementId }) => statementId),
    text: (isWide) => statementList(statements, isWide),
  });
  return 0;
}

async function newestFirst(options: ServerOptions, vendorId = ""): Promise<Statement[]> {
  const { statements } = await answered(options, () =>
    client(SettlementService, options).list({ vendorId, limit: listLimit }),
  );
  return statements;
}

async function get(statementId: string, options: Options): Promise<ExitCode> {
  const statement = await one(options, statementId);
  print(options.output, {
    json: jsonOf(StatementSchema, statement),
    names: [statement.statementId],
    text: (isWide) => statementCard(statement, isWide),
  });
  return 0;
}

async function one(options: ServerOptions, statementId: string): Promise<Statement> {
  const { statement } = await answered(options, () =>
    client(SettlementService, options).getStatement({ statementId }),
  );
  return present(statement);
}

async function exportStatements(ids: readonly string[], options: ExportOptions): Promise<ExitCode> {
  if ((ids.length === 0) === (options.last !== true)) {
    throw new Failure("statement export: expected statement ids or --last, one of the two");
  }
  const wanted = ids.length > 0 ? ids : await lastIds(options);
  const statements: Statement[] = [];
  for (const id of wanted) statements.push(await one(options, id));
  if (options.format === "json") {
    process.stdout.write(statements.map(({ canonicalJson }) => `${canonicalJson}\n`).join(""));
  } else {
    process.stdout.write(focusFile(statements));
  }
  return 0;
}

/** Of the period that was closed last, each vendor's newest revision. */
async function lastIds(options: ServerOptions): Promise<string[]> {
  const statements = await newestFirst(options);
  const [newest] = statements;
  if (newest === undefined) {
    throw new Refusal(
      "no statement yet: make one with `tokengrid statement generate --period today`",
    );
  }
  const byVendor = new Map<string, Statement>();
  for (const each of statements) {
    const isSamePeriod =
      each.period?.fromUs === newest.period?.fromUs && each.period?.toUs === newest.period?.toUs;
    const known = byVendor.get(each.vendorId);
    if (isSamePeriod && (known === undefined || each.rev > known.rev)) {
      byVendor.set(each.vendorId, each);
    }
  }
  return [...byVendor.values()].map(({ statementId }) => statementId).toSorted();
}

function present(statement: Statement | undefined): Statement {
  if (statement === undefined) throw new Error("expected a statement in the answer, found none");
  return statement;
}

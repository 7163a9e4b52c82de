import { Command, InvalidArgumentError } from "commander";
import { SettlementService } from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import {
  type SettledUsage,
  UsageService,
  UsageServiceListResponseSchema,
} from "../../wire/gen/tokengrid/v1/usage_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { exits, type ExitCode, Failure } from "../outcome.ts";
import { dimensionNames, type DimensionName, printSums } from "../usage-sums-text.ts";
import { limitOf } from "../limit.ts";
import { parsePeriod } from "../period.ts";
import { jsonOf, print } from "../print.ts";
import { usageTable } from "../usage-text.ts";

interface Options extends ServerOptions, OutputOptions {
  readonly vendor?: string;
  readonly tenant?: string;
  readonly request?: string;
}

interface QueryOptions extends Options {
  readonly period?: string;
  readonly limit: number;
  readonly by?: readonly DimensionName[];
  readonly csv?: boolean;
  readonly model?: string;
}

export function command(): Command {
  return new Command("usage")
    .description("What was used, attempt by attempt, and what is owed for it.")
    .addCommand(
      filtered(new Command("query"))
        .summary("what was used: attempt by attempt, or added up")
        .description(
          "Attempts in the ledger, newest first. With --by, what was used in a period added up: requests, tokens and " +
            "money by the sell book, what packages covered and let go of, what is billed, its cost and the margin.",
        )
        .option("--period <period>", "today, yesterday, YYYY-MM-DD or YYYY-MM")
        .option(
          "--by <what...>",
          `add up by these, in this order: ${dimensionNames.join(", ")}; with spaces or commas between them`,
          dimensions,
        )
        .option("--model <id>", "only this model; with --by")
        .option("--csv", "comma-separated, with --by")
        .option("--limit <n>", "at most so many", limitOf(100_000), 100)
        .action(exits(query)),
    )
    .addCommand(
      filtered(new Command("tail"))
        .description("Attempts as they reach the ledger, until Ctrl-C.")
        .action(exits(tail)),
    );
}

function filtered(command: Command): Command {
  return withOutput(withServer(command))
    .optionsGroup("Selection:")
    .option("--vendor <id>", "owed to this vendor")
    .option("--tenant <id>", "asked for by this tenant")
    .option("--request <id>", "attempts of this request");
}

/** `tenant,model` is as good as `tenant model`. */
function dimensions(text: string, before: readonly DimensionName[] = []): DimensionName[] {
  const named = text.split(",").filter((name) => name !== "");
  return [
    ...before,
    ...named.map((name) => {
      const found = dimensionNames.find((each) => each === name);
      if (found !== undefined) return found;
      const expected = `expected some of ${dimensionNames.join(", ")}`;
      throw new InvalidArgumentError(`${expected}, found ${JSON.stringify(name)}`);
    }),
  ];
}

async function query(options: QueryOptions): Promise<ExitCode> {
  if (options.by !== undefined) return querySums(options, options.by);
  if (options.csv === true) throw new Failure("--csv: expected --by with it, found none");
  const span = options.period === undefined ? {} : periodOf(options.period);
  const usages: SettledUsage[] = [];
  let pageToken = "";
  do {
    const limit = Math.min(options.limit - usages.length, 1_000);
    const page = await answered(options, () =>
      client(UsageService, options).list({ ...filter(options), ...span, limit, pageToken }),
    );
    usages.push(...page.usages);
    pageToken = page.nextPageToken;
  } while (pageToken !== "" && usages.length < options.limit);
  printUsages(options, usages);
  return 0;
}

function periodOf(text: string): { fromUs: bigint; toUs: bigint } {
  const period = parsePeriod(text, Date.now());
  if (typeof period === "string") throw new Failure(`--period: ${period}`);
  return { fromUs: period.fromUs, toUs: period.toUs };
}

async function querySums(options: QueryOptions, by: readonly DimensionName[]): Promise<ExitCode> {
  const { vendor = "", tenant = "", model = "", request, period = "today" } = options;
  if (request !== undefined) throw new Failure("--request: expected it without --by");
  const span = parsePeriod(period, Date.now());
  if (typeof span === "string") throw new Failure(`--period: ${span}`);
  const { fromUs, toUs, timeZone } = span;
  const answer = await answered(options, () =>
    client(SettlementService, options).queryUsage({
      period: { fromUs, toUs, timeZone },
      groupBy: by.map((name) => dimensionNames.indexOf(name) + 1),
      ...{ tenantId: tenant, vendorId: vendor, modelId: model },
    }),
  );
  printSums(answer, { by, output: options.output, isCsv: options.csv ?? false });
  return 0;
}

async function tail(options: Options): Promise<ExitCode> {
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  const asked = filter(options);
  const stream = client(SettlementService, options).tailUsage(asked, { signal: stop.signal });
  try {
    for await (const { usages, leftOut } of stream) {
      if (usages.length > 0) printUsages(options, usages);
      if (leftOut > 0n) {
        process.stderr.write("… more came in than were printed; `usage query` has them all\n");
      }
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  }
  return 0;
}

function filter({ vendor = "", tenant = "", request = "" }: Options): {
  vendorId: string;
  tenantId: string;
  requestId: string;
} {
  return { vendorId: vendor, tenantId: tenant, requestId: request };
}

function printUsages({ output }: Options, usages: readonly SettledUsage[]): void {
  print(output, {
    json: jsonOf(UsageServiceListResponseSchema, {
      $typeName: "tokengrid.v1.UsageServiceListResponse",
      usages: [...usages],
      nextPageToken: "",
    }),
    names: usages.map(idOf),
    text: (isWide) => usageTable(usages, isWide),
  });
}

function idOf({ record }: SettledUsage): string {
  return record?.recordId ?? "";
}

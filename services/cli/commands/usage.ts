import { setTimeout } from "node:timers/promises";
import { Command, InvalidArgumentError } from "commander";
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
}

const tailLimits = { intervalMs: 1_000, recordsPerLook: 1_000 } as const;

export function command(): Command {
  return new Command("usage")
    .description("What was used, attempt by attempt, and what is owed for it.")
    .addCommand(
      filtered(new Command("query"))
        .description("Attempts in the ledger, newest first.")
        .option("--period <period>", "today, yesterday, YYYY-MM-DD or YYYY-MM")
        .option("--limit <n>", "at most so many", limitNumber, 100)
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

function limitNumber(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= 100_000) return limit;
  throw new InvalidArgumentError(
    `expected a number from 1 to 100000, found ${JSON.stringify(text)}`,
  );
}

async function query(options: QueryOptions): Promise<ExitCode> {
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

/** Looks again and again; what it has printed it knows by the record's id. */
async function tail(options: Options): Promise<ExitCode> {
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  const usage = client(UsageService, options);
  const newest = () => usage.list({ ...filter(options), limit: tailLimits.recordsPerLook });
  let seen = new Set((await answered(options, newest)).usages.map(idOf));
  while (!stop.signal.aborted) {
    await pause(stop.signal);
    const { usages } = await answered(options, newest);
    const fresh = usages.filter((each) => !seen.has(idOf(each)));
    if (fresh.length > 0) printUsages(options, fresh.toReversed());
    if (fresh.length === tailLimits.recordsPerLook) {
      process.stderr.write("… more came in than were printed; `usage query` has them all\n");
    }
    seen = new Set(usages.map(idOf));
  }
  return 0;
}

/** Ends early, without a word, when the signal says stop. */
async function pause(signal: AbortSignal): Promise<void> {
  try {
    await setTimeout(tailLimits.intervalMs, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
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

import { Command } from "commander";
import {
  DiscrepancySchema,
  ReconcileReportSchema,
  ReconcileService,
  type Discrepancy,
  type ReconcileReport,
} from "../wire/gen/tokengrid/v1/claim_pb.js";
import { LogService } from "../wire/gen/tokengrid/v1/log_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "./connect.ts";
import { limitOf } from "./limit.ts";
import { exits, type ExitCode, Failure } from "./outcome.ts";
import { parsePeriod } from "./period.ts";
import { jsonOf, print } from "./print.ts";
import { reportText } from "./reconcile-text.ts";
import { openWorkProgress } from "./work-progress.ts";

interface ReconcileOptions extends ServerOptions, OutputOptions {
  readonly period: string;
  readonly vendor?: string;
  readonly limit: number;
  readonly severe?: boolean;
}

/** `tokengrid statement reconcile`. */
export function reconcileCommand(): Command {
  return withOutput(withServer(new Command("reconcile")))
    .summary("compare a vendor's claims with our records")
    .description(
      "Compares every record of a period with the vendor's claim of the same attempt. Each is in exactly one bucket; " +
        "the money is what the difference comes to at the price that each names. Exits with 2 if anything severe is found.",
    )
    .requiredOption("--period <period>", "today, yesterday, YYYY-MM-DD or YYYY-MM")
    .option("--vendor <id>", "only with this vendor (default: every vendor)")
    .option("--limit <n>", "at most so many differences are listed", limitOf(100_000), 100)
    .option("--severe", "leave out what is only a warning")
    .action(exits(reconcile));
}

async function reconcile(options: ReconcileOptions): Promise<ExitCode> {
  const period = parsePeriod(options.period, Date.now());
  if (typeof period === "string") throw new Failure(`--period: ${period}`);
  const { fromUs, toUs, timeZone } = period;
  const asked = {
    period: { fromUs, toUs, timeZone },
    discrepanciesMax: options.limit,
    severeOnly: options.severe === true,
  };
  const named = options.vendor === undefined ? undefined : [options.vendor];
  const compared: Compared[] = [];
  for (const vendorId of named ?? (await vendors(options))) {
    compared.push(await answered(options, () => compare(options, { ...asked, vendorId })));
  }
  const json = compared.map(({ report, found }) => ({
    report: jsonOf(ReconcileReportSchema, report),
    discrepancies: found.map((each) => jsonOf(DiscrepancySchema, each)),
  }));
  print(options.output, {
    json: named === undefined ? json : json[0],
    names: compared.flatMap(({ found }) => found.map(({ attemptId }) => attemptId)),
    text: (isWide) =>
      compared
        .map(({ report, found }) =>
          named === undefined
            ? headedText(report, found, isWide)
            : reportText(report, found, isWide),
        )
        .join(""),
  });
  return compared.every(({ report }) => isClean(report)) ? 0 : 2;
}

interface Compared {
  readonly report: ReconcileReport;
  readonly found: readonly Discrepancy[];
}

/** All that have books with the operator; to a vendor, itself. */
async function vendors(options: ServerOptions): Promise<string[]> {
  const { logs } = await answered(options, () => client(LogService, options).listLogs({}));
  return logs.flatMap(({ logId }) => /^vendor:(.+)$/.exec(logId)?.[1] ?? []);
}

function headedText(
  report: ReconcileReport,
  found: readonly Discrepancy[],
  isWide: boolean,
): string {
  const { vendorId, buckets } = report;
  const isEmpty = buckets.every(({ ours, theirs }) => !ours?.items && !theirs?.items);
  if (isEmpty) return `vendor ${vendorId}: nothing used, nothing claimed\n\n`;
  return `vendor ${vendorId}\n${reportText(report, found, isWide)}\n`;
}

async function compare(
  options: ServerOptions,
  request: Parameters<ReturnType<typeof client<typeof ReconcileService>>["reconcile"]>[0],
): Promise<Compared> {
  const progress = openWorkProgress("reconcile", "records");
  const found: Discrepancy[] = [];
  let report: ReconcileReport | undefined;
  try {
    for await (const { part } of client(ReconcileService, options).reconcile(request)) {
      if (part.case === "progress") {
        progress.at(part.value.records, part.value.recordsTotal);
      } else if (part.case === "report") report = part.value;
      else if (part.case === "discrepancies") found.push(...part.value.discrepancies);
    }
  } finally {
    progress.stop();
  }
  if (report === undefined) throw new Failure("expected a report, found the end of the answer");
  return { report, found };
}

/** Nothing that a dispute could be about. */
function isClean({ buckets, breaches }: ReconcileReport): boolean {
  const severe = new Set(["quantity", "price", "duplicate", "missing-operator"]);
  const hasAny = buckets.some(
    ({ bucket, ours, theirs }) =>
      severe.has(bucket) && (ours?.items ?? 0n) + (theirs?.items ?? 0n) > 0n,
  );
  return !hasAny && breaches.length === 0;
}

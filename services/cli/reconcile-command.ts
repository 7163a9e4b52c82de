import { Command } from "commander";
import {
  DiscrepancySchema,
  ReconcileReportSchema,
  ReconcileService,
  type Discrepancy,
  type ReconcileReport,
} from "../wire/gen/tokengrid/v1/claim_pb.js";
import { openProgress } from "./claim-progress.ts";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "./connect.ts";
import { exits, type ExitCode, Failure } from "./outcome.ts";
import { parsePeriod } from "./period.ts";
import { grouped, jsonOf, print } from "./print.ts";
import { reportText } from "./reconcile-text.ts";

interface ReconcileOptions extends ServerOptions, OutputOptions {
  readonly vendor: string;
  readonly limit: string;
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
    .argument("<period>", "today, yesterday, YYYY-MM-DD or YYYY-MM")
    .requiredOption("--vendor <id>", "whose claims")
    .option("--limit <count>", "differences that are listed", "100")
    .option("--severe", "leave out what is only a warning")
    .action(exits(reconcile));
}

async function reconcile(periodText: string, options: ReconcileOptions): Promise<ExitCode> {
  const period = parsePeriod(periodText, Date.now());
  if (typeof period === "string") throw new Failure(`period: ${period}`);
  const { fromUs, toUs, timeZone } = period;
  const request = {
    vendorId: options.vendor,
    period: { fromUs, toUs, timeZone },
    discrepanciesMax: limitOf(options.limit),
    severeOnly: options.severe === true,
  };
  const { report, found } = await answered(options, () => compared(options, request));
  print(options.output, {
    json: {
      report: jsonOf(ReconcileReportSchema, report),
      discrepancies: found.map((each) => jsonOf(DiscrepancySchema, each)),
    },
    names: found.map(({ attemptId }) => attemptId),
    text: (isWide) => reportText(report, found, isWide),
  });
  return isClean(report) ? 0 : 2;
}

async function compared(
  options: ServerOptions,
  request: Parameters<ReturnType<typeof client<typeof ReconcileService>>["reconcile"]>[0],
): Promise<{ readonly report: ReconcileReport; readonly found: readonly Discrepancy[] }> {
  const progress = openProgress("reconcile");
  const found: Discrepancy[] = [];
  let report: ReconcileReport | undefined;
  try {
    for await (const { part } of client(ReconcileService, options).reconcile(request)) {
      if (part.case === "progress") {
        const { records, claims, recordsTotal } = part.value;
        const words = `${grouped(records)} records, ${grouped(claims)} claims`;
        progress.at(Number(records), Math.max(Number(recordsTotal), Number(records)), words);
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

const limitMost = 100_000;

function limitOf(text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= limitMost) return limit;
  throw new Failure(`--limit: expected 1 to ${limitMost}, found ${JSON.stringify(text)}`);
}

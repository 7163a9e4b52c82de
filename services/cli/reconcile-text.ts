import type {
  Discrepancy,
  ReconcileReport,
  ReconcileSide,
} from "../wire/gen/tokengrid/v1/claim_pb.js";
import { grouped, textCard, textTable, yuan } from "./print.ts";

const sideColumns = [
  { name: "RECORDS", align: "right" },
  { name: "CLAIMS", align: "right" },
  { name: "OUR TOKENS", align: "right" },
  { name: "THEIR TOKENS", align: "right" },
  { name: "OURS CNY", align: "right" },
  { name: "THEIRS CNY", align: "right" },
  { name: "DIFFERENCE CNY", align: "right" },
] as const;

/** What was compared, what it comes to, and what is to be looked at. */
export function reportText(
  report: ReconcileReport,
  found: readonly Discrepancy[],
  isWide: boolean,
): string {
  const buckets = report.buckets.filter(
    ({ ours, theirs }) => (ours?.items ?? 0n) + (theirs?.items ?? 0n) > 0n,
  );
  const parts = [
    textTable(
      [{ name: "BUCKET" }, ...sideColumns],
      buckets.map(({ bucket, ours, theirs }) => [bucket, ...sideCells(ours, theirs)]),
    ),
    isWide ? linesText(report) : "",
    breachesText(report),
    auditsText(report),
    discrepanciesText(found),
    restText(report, found),
  ];
  return parts.filter((each) => each !== "").join("\n");
}

function linesText({ lines }: ReconcileReport): string {
  const head = [{ name: "POOL" }, { name: "MODEL" }, { name: "SLOT" }, { name: "PRICE" }];
  const rows = lines.map(({ poolId, modelId, slot, priceHash, ours, theirs }) => [
    ...[poolId, modelId, slot, priceHash.slice(0, 12)],
    ...sideCells(ours, theirs),
  ]);
  return textTable([...head, ...sideColumns], rows);
}

function breachesText({ breaches }: ReconcileReport): string {
  return breaches
    .map(
      ({ poolId, modelId, day, oursTokens, theirsTokens, gapPpm }) =>
        `${poolId} ${modelId} ${day}: small differences add up to ${grouped(gapPpm)} ppm, ` +
        `ours ${grouped(oursTokens)}, theirs ${grouped(theirsTokens)} tokens\n`,
    )
    .join("");
}

function auditsText({ audits }: ReconcileReport): string {
  return audits
    .map(
      ({ modelId, check, records, sincePeriod }) =>
        `${modelId}: in audit since ${sincePeriod}, by ${check} after ${grouped(records)} records\n`,
    )
    .join("");
}

function discrepanciesText(found: readonly Discrepancy[]): string {
  if (found.length === 0) return "";
  const columns = [
    { name: "ATTEMPT" },
    { name: "BUCKET" },
    { name: "SEVERITY" },
    { name: "REASON" },
    { name: "TOKENS", align: "right" },
    { name: "DIFFERENCE CNY", align: "right" },
  ] as const;
  return textTable(
    columns,
    found.map(({ attemptId, bucket, severity, reason, ours, theirs, valueNano, fuzzy }) => [
      fuzzy ? `${attemptId} (by looks)` : attemptId,
      ...[bucket, severity, reason],
      signedCount(tokensOf(theirs) - tokensOf(ours)),
      valueNano === undefined ? "?" : yuan(valueNano),
    ]),
  );
}

function restText(report: ReconcileReport, found: readonly Discrepancy[]): string {
  const pairs: [string, string][] = [
    ["differences", `${grouped(report.discrepancies)}, ${grouped(found.length)} shown`],
  ];
  if (report.fuzzyPairs > 0n) pairs.push(["matched by looks", grouped(report.fuzzyPairs)]);
  if (report.fuzzyCut) pairs.push(["not tried", "too many claims have no attempt id"]);
  return textCard(pairs);
}

function sideCells(ours: ReconcileSide | undefined, theirs: ReconcileSide | undefined): string[] {
  const [a, b] = [ours?.valueNano ?? 0n, theirs?.valueNano ?? 0n];
  return [
    grouped(ours?.items ?? 0n),
    grouped(theirs?.items ?? 0n),
    grouped(tokensOf(ours)),
    grouped(tokensOf(theirs)),
    priced(ours),
    priced(theirs),
    yuan(b - a),
  ];
}

/** What has no known price is not free. */
function priced(side: ReconcileSide | undefined): string {
  const { valueNano = 0n, unpriced = 0n } = side ?? {};
  return unpriced === 0n ? yuan(valueNano) : `${yuan(valueNano)} and ${grouped(unpriced)} unpriced`;
}

function tokensOf(side: { readonly tokensByClass: Record<string, bigint> } | undefined): bigint {
  return Object.values(side?.tokensByClass ?? {}).reduce((sum, each) => sum + each, 0n);
}

function signedCount(count: bigint): string {
  return count < 0n ? `-${grouped(-count)}` : grouped(count);
}

import { type TermName } from "../core/placement/terms.ts";
import type {
  AppliedOverride,
  AppliedTariff,
  Candidate,
  DecisionRecord,
  Expected,
  Input,
  PassedOverModel,
  Rejection,
} from "../wire/gen/tokengrid/v1/placement_pb.js";
import { ServiceClass, UnplaceableReason } from "../wire/gen/tokengrid/v1/placement_pb.js";
import { FigureSource } from "../wire/gen/tokengrid/v1/pool_pb.js";
import { budgetLine } from "./budget-text.ts";
import {
  bold,
  brief,
  type Column,
  enumWord,
  grouped,
  percent,
  span,
  textCard,
  textTable,
  yuan,
} from "./print.ts";

/** In the order of the bill. */
const termNames: readonly TermName[] = [
  "price",
  "energy",
  "carbon",
  "latency",
  "congestion",
  "budget",
  "preference",
];

/**
 * Why this pool? The head, the bill of the pool that was chosen, all candidates under each other, cheapest
 * first, and those that were out with the reason. `isWide` writes out everyone's bill.
 */
export function explanation(record: DecisionRecord, isWide: boolean): string {
  const bills = isWide ? record.candidates : record.candidates.slice(0, 1);
  return [
    head(record),
    ...bills.map((candidate) => bill(candidate)),
    candidateTable(record),
    rejectionTable(record.rejections),
  ]
    .filter((part) => part !== "")
    .join("\n");
}

function head(record: DecisionRecord): string {
  const asked = [
    `${grouped(record.inputTokens)} tokens in`,
    `${brief(record.outputTokensExpected)} expected out`,
    classOf(record),
    `from ${record.originId}`,
    `for ${record.tenantId}`,
  ];
  return textCard([
    ["request", record.requestId],
    ["attempt", record.attemptId],
    ["asked", `${record.modelAlias || record.modelId}: ${asked.join(", ")}`],
    ...modelRows(record),
    ...record.budgets.map(
      (each, index) => [index === 0 ? "budgets" : "", budgetLine(each)] as const,
    ),
    ...policyRow(record),
    ...appliedRows(record),
    ...record.overrides.flatMap(overrideRows),
    ["decision", verdict(record)],
    ["runner-up", runnerUp(record)],
    ["pools", poolCounts(record)],
    [
      "made of",
      `snapshot ${record.snapshotRevision}, policy ${record.policyRevision}, seed ${record.seed}; by ${record.decidedBy}, ${span(record.ageMs)} ago`,
    ],
  ]);
}

/** The class, and from what it follows. */
function classOf({ serviceClass, classSource }: DecisionRecord): string {
  const word = enumWord(ServiceClass[serviceClass]);
  return classSource === "" ? word : `${word} (from ${classSource})`;
}

/** Which model serves of those that the name stands for, and why not one that is wanted more. */
function modelRows(record: DecisionRecord): (readonly [string, string])[] {
  if (record.modelAlias === "" && record.passedOverModels.length === 0) return [];
  return [
    ["model", record.poolId === "" ? "none" : record.modelId],
    ...record.passedOverModels.map((each) => ["passed over", passedOver(each)] as const),
  ];
}

function passedOver({ modelId, version, reason, poolsByFilter }: PassedOverModel): string {
  const name = version === "" ? modelId : `${modelId}@${version}`;
  const pools = Object.entries(poolsByFilter).map(([filter, count]) => `${count} ${filter}`);
  const word = reason === "not-allowed" ? "not on the key's list of models" : reason;
  return `${name}: ${word}${pools.length === 0 ? "" : `; out: ${pools.join(", ")}`}`;
}

function policyRow({ policyRow: row }: DecisionRecord): (readonly [string, string])[] {
  if (row === undefined) return [["policy row", "none applied"]];
  const sources = row.sources.length > 0 ? `; ${row.sources.join(", ")}` : "";
  return [
    ["policy row", `${row.rowId} (${row.basis}${sources})`],
    ...wrapped(row.textEn).map((line) => ["", line] as const),
    ["", row.textZh],
  ];
}

/** Rows of the same basis together, so that nobody takes our own choice for policy. */
function appliedRows({ appliedRows: rows }: DecisionRecord): (readonly [string, string])[] {
  return [...new Set(rows.map(({ basis }) => basis))].map((basis, index) => {
    const ids = rows.filter((row) => row.basis === basis).map(({ rowId }) => rowId);
    return [index === 0 ? "rows" : "", `${basis}: ${ids.join(", ")}`] as const;
  });
}

function overrideRows(override: AppliedOverride): (readonly [string, string])[] {
  const { overrideId, basis, settings, textEn, textZh } = override;
  return [
    ["override", `${overrideId} (${basis}): ${settings.join(", ")}`],
    ...wrapped(textEn).map((line) => ["", line] as const),
    ["", textZh],
  ];
}

const textWidth = 100;

function wrapped(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= textWidth) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(word);
  }
  return lines;
}

function verdict(record: DecisionRecord): string {
  const chosen = record.candidates.find(({ poolId }) => poolId === record.poolId);
  if (chosen === undefined) {
    return `unplaceable: ${enumWord(UnplaceableReason[record.unplaceableReason])}`;
  }
  return `${record.poolId} at ${money(chosen.costNano)}`;
}

function runnerUp({ runnerUpPoolId, marginNano }: DecisionRecord): string {
  if (runnerUpPoolId === "") return "none";
  return `${runnerUpPoolId}, ${money(marginNano)} more`;
}

function poolCounts(record: DecisionRecord): string {
  const reasons = Object.entries(record.poolsByFilter).toSorted(([, a], [, b]) => b - a);
  const out = reasons.map(([reason, count]) => `${count} ${reason}`).join(", ");
  const counts = `${record.evaluated} evaluated, ${record.candidates.length} fit`;
  return out === "" ? counts : `${counts}; out: ${out}`;
}

const billColumns: readonly Column[] = [
  { name: "" },
  { name: "nano", align: "right" },
  { name: "CNY", align: "right" },
  { name: "" },
];

/** The terms, their sum, what they rest on. */
function bill(candidate: Candidate): string {
  const items = [...termNames, ...otherTerms(candidate)].map((name) => {
    const costNano = candidate.nanoByTerm[name] ?? 0n;
    return [`  ${name}`, grouped(costNano), yuan(costNano), remark(name, candidate)];
  });
  const total = ["  total", grouped(candidate.costNano), yuan(candidate.costNano), ""];
  const place = `${bold(candidate.poolId)}  ${candidate.regionId}, ${candidate.vendorId}`;
  return [
    `${place}\n`,
    textTable(billColumns, [...items, total]),
    candidate.expected === undefined ? "" : expectedLines(candidate.expected),
    rowLine("admitted by", candidate.exemptionRows),
    rowLine("marked by", candidate.warningRows),
    inputLines(candidate.inputs),
  ].join("");
}

/** Of a newer server: shown, so that the bill still adds up for the reader. */
function otherTerms({ nanoByTerm }: Candidate): string[] {
  const known: readonly string[] = termNames;
  return Object.keys(nanoByTerm).filter((name) => !known.includes(name));
}

function remark(term: string, candidate: Candidate): string {
  const { expected, tariffs } = candidate;
  if (term === "price") {
    const book = `${candidate.priceBookId}@${candidate.priceVersion}, slot ${candidate.priceSlot}`;
    return expected === undefined ? book : `${tokens(expected)}; ${book}`;
  }
  if (term === "preference") {
    return tariffs
      .map((each) => `${each.rowId} ${grouped(each.costNano)}${basisOf(each)}`)
      .join(", ");
  }
  if (expected === undefined) return "";
  if (term === "energy") {
    return `adds ${brief(expected.joulesAdded)} J at the site; its part ${brief(expected.joules)} J`;
  }
  if (term === "carbon") return `${brief(expected.gramsCo2)} gCO2e`;
  if (term === "congestion") {
    return `holds up each of the others for ${span(expected.delayOthersMs)}`;
  }
  if (term === "latency") return `an objective is missed with ${percent(expected.missProbability)}`;
  return "";
}

function basisOf({ basis }: AppliedTariff): string {
  return basis === "" ? "" : ` (${basis})`;
}

function tokens(expected: Expected): string {
  const { uncachedTokens, cachedTokens, outputTokens } = expected;
  return `${brief(uncachedTokens)} in + ${brief(cachedTokens)} cached + ${brief(outputTokens)} out`;
}

function expectedLines(expected: Expected): string {
  const { ttftMs, roundTripMs, waitMs, prefillMs, tpotMs, finishMs } = expected;
  const first = `first token in ${span(ttftMs)} (round trip ${span(roundTripMs)}, wait ${span(waitMs)}, prefill ${span(prefillMs)})`;
  return `  expected  ${first}, then ${span(tpotMs)} per token, done in ${span(finishMs)}\n`;
}

function rowLine(what: string, rows: readonly string[]): string {
  return rows.length === 0 ? "" : `  ${what}  ${rows.join(", ")}\n`;
}

const inputColumns: readonly Column[] = [
  { name: "  INPUT" },
  { name: "VALUE", align: "right" },
  { name: "SOURCE" },
  { name: "AGE", align: "right" },
  { name: "BELIEVED", align: "right" },
];

function inputLines(inputs: readonly Input[]): string {
  if (inputs.length === 0) return "";
  const rows = inputs.map(({ figure, value, source, ageMs, confidence }) => [
    `  ${figure}`,
    brief(value),
    enumWord(FigureSource[source]),
    span(ageMs),
    percent(confidence),
  ]);
  return textTable(inputColumns, rows);
}

const candidateColumns: readonly Column[] = [
  { name: "CANDIDATE" },
  { name: "CNY", align: "right" },
  { name: "NANO", align: "right" },
  ...termNames.map((name) => ({ name: name.toUpperCase(), align: "right" as const })),
  { name: "FIRST TOKEN", align: "right" },
  { name: "DONE", align: "right" },
];

function candidateTable({ candidates }: DecisionRecord): string {
  if (candidates.length === 0) return "";
  const rows = candidates.map((candidate) => [
    candidate.poolId,
    yuan(candidate.costNano),
    grouped(candidate.costNano),
    ...termNames.map((name) => grouped(candidate.nanoByTerm[name] ?? 0n)),
    candidate.expected === undefined ? "-" : span(candidate.expected.ttftMs),
    candidate.expected === undefined ? "-" : span(candidate.expected.finishMs),
  ]);
  return textTable(candidateColumns, rows);
}

const rejectionColumns: readonly Column[] = [
  { name: "OUT" },
  { name: "REASON" },
  { name: "ROW" },
  { name: "DETAIL" },
];

function rejectionTable(rejections: readonly Rejection[]): string {
  if (rejections.length === 0) return "";
  const rows = rejections.map((each) => [each.poolId, each.reason, ruleOf(each), each.detail]);
  return textTable(rejectionColumns, rows);
}

/** `W1 (policy text)`. */
function ruleOf({ policyRow: row, basis }: Rejection): string {
  return row === "" || basis === "" ? row : `${row} (${basis})`;
}

function money(amountNano: bigint): string {
  return `${yuan(amountNano)} CNY (${grouped(amountNano)} nano)`;
}

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Candidate, Decision, Rejection } from "../core/placement/decide.ts";
import { inputsOf, poolsByFilter, ranked, type Input } from "../core/placement/explain.ts";
import { settingsOf } from "../core/placement/overrides.ts";
import type { PolicyOverride, PolicyRow } from "../core/placement/policy.ts";
import type { Instant } from "../core/units.ts";
import { fromBudgetStanding } from "./budget.ts";
import { fromMap } from "./field.ts";
import * as gen from "./gen/tokengrid/v1/placement_pb.js";
import { fromPassedOver } from "./model-choice.ts";
import { serviceClassWords, unplaceableReasonWords } from "./placement.ts";
import { figureSources, toAgeMs } from "./pool.ts";

/** Why a decision came out as it did, with every term and the age of every input. */
export function fromDecision(
  decision: Decision,
  options: { readonly now: Instant; readonly decidedBy: "control" | "gateway" },
): gen.DecisionRecord {
  const { now, decidedBy } = options;
  const { request } = decision;
  const candidates = ranked(decision);
  const chosen = candidates.find(({ pool }) => pool === chosenPool(decision));
  const runnerUp = candidates.find((each) => each !== chosen);
  const expected = chosen ?? candidates[0];
  return create(gen.DecisionRecordSchema, {
    requestId: request.request,
    attemptId: decision.attempt,
    poolId: chosenPool(decision) ?? "",
    decidedBy,
    snapshotRevision: BigInt(decision.snapshotRevision),
    policyRevision: BigInt(decision.policyRevision),
    ...(decision.policyRow === undefined ? {} : { policyRow: fromRow(decision.policyRow) }),
    appliedRows: decision.policyRows.map(({ id, basis }) => ({ rowId: id, basis })),
    overrides: decision.overrides.map(fromOverride),
    seed: decision.seed >>> 0,
    evaluated: decision.candidates.length + decision.rejections.length + decision.poolsElsewhere,
    poolsByFilter: fromMap(poolsByFilter(decision), (count) => count),
    rejections: decision.rejections.map(fromRejection),
    candidates: candidates.map((each) => fromCandidate(each, decision)),
    runnerUpPoolId: chosen === undefined ? "" : (runnerUp?.pool ?? ""),
    marginNano: margin(chosen, runnerUp),
    tenantId: request.tenant,
    modelId: request.model,
    serviceClass: serviceClassWords.fromWord(request.class),
    originId: request.origin,
    inputTokens: request.inputTokens,
    outputTokensExpected: expected?.expected.outputTokens ?? request.outputTokensExpected ?? 0,
    ageMs: ageOf(decision.decidedAt, now),
    classSource: request.classSource ?? "",
    modelAlias: request.alias ?? "",
    passedOverModels: request.passedOver?.map(fromPassedOver) ?? [],
    budgets: request.budgets?.standings.map((each) => fromBudgetStanding(each, undefined)) ?? [],
    ...(decision.kind === "unplaceable"
      ? { unplaceableReason: unplaceableReasonWords.fromWord(decision.reason) }
      : {}),
  });
}

/** One line about a decision. */
export function fromDecisionToSummary(decision: Decision, now: Instant): gen.DecisionSummary {
  const { request } = decision;
  const chosen = decision.kind === "placed" ? decision.chosen : undefined;
  return create(gen.DecisionSummarySchema, {
    requestId: request.request,
    attemptId: decision.attempt,
    tenantId: request.tenant,
    modelId: request.model,
    serviceClass: serviceClassWords.fromWord(request.class),
    originId: request.origin,
    poolId: chosen?.pool ?? "",
    regionId: chosen?.evidence.region.id ?? "",
    costNano: toWhole(chosen?.costNano ?? 0),
    policyRow: decision.policyRow?.id ?? "",
    ageMs: ageOf(decision.decidedAt, now),
    ...(chosen && {
      ttftMsExpected: chosen.expected.ttftMs,
      missProbability: chosen.expected.missProbability,
    }),
  });
}

function chosenPool(decision: Decision) {
  return decision.kind === "placed" ? decision.pool : undefined;
}

function margin(chosen: Candidate | undefined, runnerUp: Candidate | undefined): bigint {
  if (chosen === undefined || runnerUp === undefined) return 0n;
  return toWhole(runnerUp.costNano - chosen.costNano);
}

function fromRow(row: PolicyRow): MessageInitShape<typeof gen.PolicyRowSchema> {
  return {
    rowId: row.id,
    basis: row.basis,
    sources: [...row.sources],
    textEn: row.textEn,
    textZh: row.textZh,
  };
}

function fromOverride(
  override: PolicyOverride,
): MessageInitShape<typeof gen.AppliedOverrideSchema> {
  const { id: overrideId, basis, textEn, textZh } = override;
  return { overrideId, basis, settings: settingsOf(override), textEn, textZh };
}

function fromRejection(rejection: Rejection): MessageInitShape<typeof gen.RejectionSchema> {
  const { pool, reason, detail, row, basis } = rejection;
  return { poolId: pool, reason, detail, policyRow: row ?? "", basis: basis ?? "" };
}

function fromCandidate(
  candidate: Candidate,
  decision: Decision,
): MessageInitShape<typeof gen.CandidateSchema> {
  const { evidence, expected, terms } = candidate;
  const price = evidence.served.get(decision.model)?.price;
  return {
    poolId: candidate.pool,
    regionId: evidence.region.id,
    vendorId: evidence.vendor,
    costNano: toWhole(candidate.costNano),
    nanoByTerm: fromMap(new Map(Object.entries(terms)), toWhole),
    expected: {
      uncachedTokens: expected.uncachedTokens,
      cachedTokens: expected.cachedTokens,
      outputTokens: expected.outputTokens,
      roundTripMs: expected.roundTripMs,
      waitMs: expected.waitMs,
      prefillMs: expected.prefillMs,
      ttftMs: expected.ttftMs,
      tpotMs: expected.tpotMs,
      finishMs: expected.finishMs,
      joules: expected.joules,
      gramsCo2: expected.gramsCo2,
      missProbability: expected.missProbability,
      joulesAdded: expected.joulesAdded,
      delayOthersMs: expected.delayOthersMs,
    },
    inputs: inputsOf(candidate, decision).map(fromInput),
    tariffs: candidate.tariffs.map(({ row, basis, costNano }) => ({
      rowId: row,
      basis,
      costNano: toWhole(costNano),
    })),
    warningRows: [...candidate.warnings],
    exemptionRows: [...candidate.exemptions],
    priceBookId: price?.book ?? "",
    priceVersion: BigInt(price?.version ?? 0),
    priceSlot: price?.slot ?? "",
  };
}

function fromInput({ source, ageMs, ...rest }: Input): MessageInitShape<typeof gen.InputSchema> {
  return { ...rest, source: figureSources.fromWord(source), ageMs: toAgeMs(ageMs) };
}

function ageOf(then: Instant, now: Instant): number {
  return toAgeMs(now - then);
}

/** Terms and costs are whole nanos; rounding only guards the conversion. */
function toWhole(nano: number): bigint {
  return BigInt(Math.round(nano));
}

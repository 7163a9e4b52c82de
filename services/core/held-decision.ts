import type { Candidate, Placed } from "./placement/decide.ts";
import type { Pool } from "./pool.ts";

/**
 * What of a decision lives on in an image while its lease does: all that an answer is made of, and all that is learned
 * from its end. The bills of the other pools and all rows that applied are in the journal already, where the decision was
 * made; here the lists have the chosen one alone, and its pool no more than its bill reads. New fields of a decision do not compile without
 * an entry here.
 */
export function heldDecision(decision: Placed): Placed {
  const chosen = heldCandidate(decision);
  const tally = { candidates: 1, poolsByReason: new Map() };
  const held: Required<Record<keyof Placed, unknown>> & Placed = {
    kind: decision.kind,
    pool: decision.pool,
    costNano: decision.costNano,
    attempt: decision.attempt,
    request: decision.request,
    model: decision.model,
    decidedAt: decision.decidedAt,
    seed: decision.seed,
    snapshotRevision: decision.snapshotRevision,
    policyRevision: decision.policyRevision,
    policyRow: decision.policyRow,
    policyRows: decision.policyRow === undefined ? [] : [decision.policyRow],
    overrides: [],
    poolsElsewhere: decision.poolsElsewhere,
    evaluated: decision.evaluated,
    chosen,
    candidates: [chosen],
    rejections: [],
    tally,
    tallyAtHand: tally,
  };
  return held;
}

function heldCandidate({ chosen, request, model }: Placed): Candidate {
  const { evidence } = chosen;
  const served = evidence.served.get(model);
  const path = evidence.roundTripMsFrom.get(request.origin);
  const pool: Pool = {
    ...evidence,
    served: new Map(served === undefined ? [] : [[model, served]]),
    roundTripMsFrom: new Map(path === undefined ? [] : [[request.origin, path]]),
  };
  return { ...chosen, evidence: pool };
}

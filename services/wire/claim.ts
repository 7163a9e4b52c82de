import { create } from "@bufbuild/protobuf";
import type { UsageClaim } from "../core/settlement/claims/claim.ts";
import type { ClaimStatus } from "../core/settlement/claims/claim-batch.ts";
import type { AttemptId, ModelId, PoolId } from "../core/units.ts";
import {
  ClaimResultSchema,
  ClaimStatus as WireStatus,
  UsageClaimSchema,
  type ClaimResult as WireResult,
  type UsageClaim as WireClaim,
} from "./gen/tokengrid/v1/claim_pb.js";

/** Whether it is a claim that can be taken is looked at where it is taken: a wrong one is given back alone. */
export function toUsageClaim(message: WireClaim): UsageClaim {
  return {
    id: message.claimId,
    attempt: message.attemptId as AttemptId,
    rev: BigInt(message.rev),
    pool: message.poolId as PoolId,
    model: message.modelId as ModelId,
    tokens: {
      uncachedInput: message.inUncached,
      cacheRead: message.inCacheRead,
      cacheWrite: message.inCacheWrite,
      response: message.outResponse,
      reasoning: message.outReasoning,
    },
    priceHash: message.priceHash,
    slot: message.slot,
    openedUs: message.openedUs,
    closedUs: message.closedUs,
  };
}

export function fromUsageClaim(claim: UsageClaim): WireClaim {
  const { tokens } = claim;
  return create(UsageClaimSchema, {
    claimId: claim.id,
    attemptId: claim.attempt,
    rev: Number(claim.rev),
    poolId: claim.pool,
    modelId: claim.model,
    inUncached: tokens.uncachedInput,
    inCacheRead: tokens.cacheRead,
    inCacheWrite: tokens.cacheWrite,
    outResponse: tokens.response,
    outReasoning: tokens.reasoning,
    priceHash: claim.priceHash,
    slot: claim.slot,
    openedUs: claim.openedUs,
    closedUs: claim.closedUs,
  });
}

const statuses: Readonly<Record<ClaimStatus, WireStatus>> = {
  accepted: WireStatus.ACCEPTED,
  exists: WireStatus.EXISTS,
  conflict: WireStatus.CONFLICT,
  refused: WireStatus.REFUSED,
};

export function fromClaimResult(result: {
  readonly claim: string;
  readonly status: ClaimStatus;
  readonly reason: string;
}): WireResult {
  const { claim: claimId, status, reason } = result;
  return create(ClaimResultSchema, { claimId, status: statuses[status], reason });
}

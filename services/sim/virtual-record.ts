import { assert } from "../core/assert.ts";
import type { Candidate } from "../core/placement/decide.ts";
import type { ServiceClass } from "../core/placement/request.ts";
import {
  unsaid,
  type AttemptEnd,
  type AttemptRole,
  type EngineCounts,
  type UsageRecord,
} from "../core/settlement/counting/usage.ts";
import type {
  AttemptId,
  GatewayId,
  Instant,
  InstantUs,
  OriginId,
  RequestId,
  TenantId,
} from "../core/units.ts";
import type { VirtualJob } from "./virtual-server.ts";

/** All that is known of an attempt when it ends. */
export interface ClosedAttempt {
  readonly id: AttemptId;
  readonly request: RequestId;
  readonly tenant: TenantId;
  readonly chosen: Candidate;
  readonly job: VirtualJob;
  readonly origin: OriginId;
  readonly class: ServiceClass;
  readonly role: AttemptRole;
  readonly isWinner: boolean;
  readonly end: AttemptEnd;
  readonly httpStatus: number | undefined;
  readonly sequence: bigint;
  readonly openedAt: Instant;
  readonly firstByteAt: Instant | undefined;
  readonly closedAt: Instant;
}

/** Text that a token stands for; simulated engines send a word and a space. */
const bytesPerToken = 4n;

/** The witness of an attempt as the gateway writes it, of an engine that counts as it goes. */
export function recordOf(closed: ClosedAttempt): UsageRecord {
  const { chosen, job, firstByteAt } = closed;
  const { evidence: pool, expected } = chosen;
  const served = pool.served.get(job.model);
  assert(served?.price !== undefined, "what was chosen is served and has a price");
  const made = firstByteAt === undefined ? 0n : BigInt(job.tokensMade);
  const firstByteUs = firstByteAt === undefined ? undefined : toUs(firstByteAt);
  const closedUs = toUs(closed.closedAt);
  return {
    ...unsaid,
    id: `${closed.id}:0`,
    attempt: closed.id,
    request: closed.request,
    tenant: closed.tenant,
    vendor: pool.vendor,
    pool: pool.id,
    region: pool.region.id,
    model: job.model,
    modelVersion: served.version,
    engine: pool.engine,
    capabilities: served.capabilities,
    endpoint: "chat",
    gateway: "virtual" as GatewayId,
    epoch: 1n,
    producerSeq: closed.sequence,
    role: closed.role,
    isWinner: closed.isWinner,
    openedUs: toUs(closed.openedAt),
    dispatchedUs: toUs(closed.openedAt),
    firstByteUs,
    lastByteUs: firstByteUs === undefined ? undefined : closedUs,
    cancelUs: undefined,
    closedUs,
    clockErrUs: 0n,
    end: closed.end,
    cancelCause: undefined,
    httpStatus: closed.httpStatus,
    finishReason: closed.end === "complete" ? "length" : undefined,
    outputTokensMax: BigInt(job.outputTokensMax),
    promptBytes: BigInt(job.promptTokens) * bytesPerToken,
    engineCounts: countsOf(closed),
    gatewayCounts: { source: "none", input: undefined, output: undefined },
    evidence: {
      outBytes: made * bytesPerToken,
      reasoningBytes: 0n,
      toolBytes: 0n,
      deliveredBytes: made * bytesPerToken,
      chunks: made,
      outDigest: "",
    },
    flags: [],
    priceBook: served.price.book,
    priceVersion: BigInt(served.price.version),
    origin: closed.origin,
    serviceClass: closed.class,
    joulesExpected: expected.joules,
    gramsCo2Expected: expected.gramsCo2,
  };
}

/** The engine's last word, or its running count, or nothing if it never spoke. */
function countsOf({ end, firstByteAt, job }: ClosedAttempt): EngineCounts {
  const unknown = { cacheWrite: undefined, reasoning: undefined };
  if (firstByteAt === undefined) {
    const none = { input: undefined, cacheRead: undefined, output: undefined };
    return { source: "none", ...none, ...unknown };
  }
  return {
    source: end === "complete" ? "final" : "continuous",
    input: BigInt(job.promptTokens),
    cacheRead: BigInt(job.cachedTokens),
    output: BigInt(job.tokensMade),
    ...unknown,
  };
}

function toUs(at: Instant): InstantUs {
  return BigInt(Math.round(at * 1_000));
}

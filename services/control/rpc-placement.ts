import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { PlaceOutcome } from "../core/lease.ts";
import type { Decision } from "../core/placement/decide.ts";
import type { PlacementRequest } from "../core/placement/request.ts";
import type { Instant, LeaseId } from "../core/units.ts";
import type { Policy } from "../core/placement/policy.ts";
import { validate } from "../io/grpc-validation.ts";
import { parsePolicy } from "../io/policy-file.ts";
import { placed } from "../io/policy-mistakes.ts";
import { fromDecision, fromDecisionToSummary } from "../wire/decision.ts";
import { toConnectError } from "../wire/errors.ts";
import { required } from "../wire/field.ts";
import {
  PlaceRequestSchema,
  type DecisionRecord,
  type ExplainRequest,
  type PlaceRequest,
  type PlaceResultSchema,
  type PlacementService,
  type PlaceStreamRequest,
  type PlaceStreamResponseSchema,
  type ReadJournalResponseSchema,
  type ReleaseRequest,
  type RenewRequest,
  type RenewResponseSchema,
} from "../wire/gen/tokengrid/v1/placement_pb.js";
import type { HeldLease } from "../wire/place-answer.ts";
import type { Hold, ReleasedHold } from "../wire/place-codec.ts";
import { fromPlaceOutcome, toAttemptOutcome, toPlacementRequest } from "../wire/placement.ts";
import { requireOperator } from "./caller.ts";
import { outcomeOf, type Decisions } from "./decisions.ts";
import { requireOrigin } from "./origins.ts";
import { pause } from "./pause.ts";
import type { Replica } from "./replica.ts";

const watchPollMs = 200;
const watchPerSecondDefault = 50;

/** Decides, grants and answers, all in one turn of the loop. Throws for an origin that the geography does not have. */
export function place(replica: Replica, request: PlacementRequest): PlaceOutcome {
  const { clock, step, metrics, geography } = replica;
  requireOrigin(geography, request.origin);
  const at = clock.now();
  const startedMs = performance.now();
  for (const effect of step({ kind: "placement-requested", at, request })) {
    if (effect.kind !== "answer") continue;
    metrics.observeDuration(performance.now() - startedMs);
    return outcomeOf(effect.decision, effect.lease, at);
  }
  throw new Error("expected an answer to a placement request, found none");
}

/** Undefined: the lease expired, was released, or the fence is too old. */
export function renew({ clock, step }: Replica, { lease, fence }: Hold): HeldLease | undefined {
  const at = clock.now();
  const effects = step({ kind: "lease-renewed", at, lease, fence });
  const renewed = effects.find((effect) => effect.kind === "renewed")?.lease;
  if (renewed === undefined) return undefined;
  const { id, pool, expiresAt } = renewed;
  return { lease: id, pool, fence: renewed.fence, ttlMs: Math.max(0, Math.floor(expiresAt - at)) };
}

/** Releasing a lease that is gone changes nothing. */
export function release(replica: Replica, { lease, fence, outcome }: ReleasedHold): void {
  const { clock, step, metrics } = replica;
  step({ kind: "lease-released", at: clock.now(), lease, fence, outcome });
  metrics.countRelease(lease, outcome);
}

/** Undefined: none was sent. It is never put in force. */
function policyFrom(yaml: string): Policy | undefined {
  if (yaml === "") return undefined;
  const parsed = parsePolicy(yaml, 0);
  if ("policy" in parsed) return parsed.policy;
  const list = parsed.mistakes.map(placed).join(", ");
  throw toConnectError("BAD_REQUEST", `policy_yaml: the policy cannot be used: ${list}`);
}

function toHold({ leaseId, fence, outcome }: ReleaseRequest): ReleasedHold {
  return {
    lease: leaseId as LeaseId,
    fence: Number(fence),
    outcome: outcome === undefined ? undefined : toAttemptOutcome(outcome),
  };
}

export function placementService(replica: Replica): ServiceImpl<typeof PlacementService> {
  const { dispatcher, clock, decisions, geography } = replica;
  return {
    place: (message, { values }) => {
      requireOperator(values);
      return fromPlaceOutcome(place(replica, toPlacementRequest(message)));
    },
    async *placeStream(messages, { values }) {
      requireOperator(values);
      for await (const message of messages) yield placeBatch(replica, message);
    },
    renew: (message, { values }) => {
      requireOperator(values);
      return toRenewResponse(replica, message);
    },
    release: (message, { values }) => {
      requireOperator(values);
      release(replica, toHold(message));
      return {};
    },
    plan: ({ request, policyYaml }, { values }) => {
      requireOperator(values);
      const wanted = toPlacementRequest(required("request", request));
      requireOrigin(geography, wanted.origin);
      const now = clock.now();
      const decision = dispatcher.plan(wanted, now, policyFrom(policyYaml) ?? dispatcher.policy);
      return {
        decision: fromDecision(decision, { now, decidedBy: "control" }),
        stateVersion: BigInt(decision.snapshotRevision),
      };
    },
    explain: async ({ which }, { values }) => {
      requireOperator(values);
      return { decisions: await explained(replica, which) };
    },
    async *readJournal({ sinceUs }, { values }) {
      requireOperator(values);
      yield* journalParts(replica, Number(sinceUs) / 1_000);
    },
    async *watchDecisions({ backlog, perSecondMax }, { values, signal }) {
      requireOperator(values);
      const perPoll = Math.max(
        1,
        Math.floor(((perSecondMax || watchPerSecondDefault) * watchPollMs) / 1_000),
      );
      let seen = Math.max(0, decisions.count - backlog);
      let atMost: number = backlog;
      for (;;) {
        const fresh = decisions.from(seen, atMost);
        const skipped = BigInt(Math.max(0, decisions.count - seen - fresh.length));
        seen = decisions.count;
        atMost = perPoll;
        if (fresh.length > 0 || skipped > 0n) {
          const now = clock.now();
          yield { decisions: fresh.map((each) => fromDecisionToSummary(each, now)), skipped };
        }
        await pause(watchPollMs, signal);
      }
    },
  };
}

/** One answer per request, in its order; a request that is malformed does not hold up the others. */
export function placeBatch(
  replica: Replica,
  message: PlaceStreamRequest,
): MessageInitShape<typeof PlaceStreamResponseSchema> {
  // First what frees slots, then what keeps them, then what takes them.
  for (const each of message.releases) release(replica, toHold(each));
  return {
    renewals: message.renewals.map((each) => toRenewResponse(replica, each)),
    places: message.places.map((each) => placeOne(replica, each)),
  };
}

function placeOne(
  replica: Replica,
  message: PlaceRequest,
): MessageInitShape<typeof PlaceResultSchema> {
  const { attemptId } = message;
  try {
    validate(PlaceRequestSchema, message);
    const response = fromPlaceOutcome(place(replica, toPlacementRequest(message)));
    return { attemptId, result: { case: "response", value: response } };
  } catch (error) {
    if (!(error instanceof ConnectError) || error.code !== Code.InvalidArgument) throw error;
    return { attemptId, result: { case: "invalid", value: error.rawMessage } };
  }
}

function toRenewResponse(
  replica: Replica,
  { leaseId, fence }: RenewRequest,
): MessageInitShape<typeof RenewResponseSchema> {
  const held = renew(replica, { lease: leaseId as LeaseId, fence: Number(fence) });
  if (held === undefined) return { outcome: { case: "gone", value: { leaseId } } };
  const { lease, pool, ttlMs } = held;
  const value = { leaseId: lease, poolId: pool, fence: BigInt(held.fence), ttlMs };
  return { outcome: { case: "lease", value } };
}

async function* journalParts(
  { decisionLog }: Replica,
  since: Instant,
): AsyncGenerator<MessageInitShape<typeof ReadJournalResponseSchema>> {
  const endPosition = BigInt(await decisionLog.end());
  for await (const batch of decisionLog.read(since)) {
    const position = BigInt(batch.position);
    if (batch.kind === "lines") {
      yield { part: { case: "lines", value: batch.bytes }, position, endPosition };
    } else {
      const value = { bytes: BigInt(batch.bytes), reason: batch.reason };
      yield { part: { case: "loss", value }, position, endPosition };
    }
  }
}

/** What is in memory no more is made again from the journal. */
async function explained(
  { decisions, decisionLog, clock }: Replica,
  which: ExplainRequest["which"],
): Promise<DecisionRecord[]> {
  const known = decisionsOf(decisions, which);
  const isLogged = known.length === 0 && which.case !== "last" && which.case !== undefined;
  const found = isLogged ? await decisionLog.find(which.value) : known;
  if (found.length === 0) {
    const wanted =
      which.case === "last" ? "any decision" : `decisions of ${which.value ?? "nothing"}`;
    throw toConnectError("NOT_FOUND", `expected ${wanted} in memory or in the journal, found none`);
  }
  const now = clock.now();
  return found.map((decision) => fromDecision(decision, { now, decidedBy: "control" }));
}

function decisionsOf(decisions: Decisions, which: ExplainRequest["which"]): readonly Decision[] {
  switch (which.case) {
    case "requestId":
      return decisions.ofRequest(which.value);
    case "attemptId":
      return decisions.ofAttempt(which.value);
    case "last":
      return decisions.last === undefined ? [] : [decisions.last];
    case undefined:
      return [];
  }
}

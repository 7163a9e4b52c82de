import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { Lease, PlaceOutcome } from "../core/lease.ts";
import type { Decision } from "../core/placement/decide.ts";
import type { PlacementRequest } from "../core/placement/request.ts";
import type { LeaseId } from "../core/units.ts";
import { validate } from "../io/grpc-validation.ts";
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
  type ReleaseRequest,
  type RenewRequest,
  type RenewResponseSchema,
} from "../wire/gen/tokengrid/v1/placement_pb.js";
import { fromPlaceOutcome, toAttemptOutcome, toPlacementRequest } from "../wire/placement.ts";
import { requireOperator } from "./caller.ts";
import { outcomeOf, type Decisions } from "./decisions.ts";
import { pause } from "./pause.ts";
import type { Replica } from "./replica.ts";

const watchPollMs = 200;
const watchPerSecondDefault = 50;

/** Decides, grants and answers, all in one turn of the loop. */
export function place(replica: Replica, request: PlacementRequest): PlaceOutcome {
  const { clock, step, metrics } = replica;
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
export function renew(replica: Replica, lease: LeaseId, fence: number): Lease | undefined {
  const effects = replica.step({ kind: "lease-renewed", at: replica.clock.now(), lease, fence });
  return effects.find((effect) => effect.kind === "renewed")?.lease;
}

/** Releasing a lease that is gone changes nothing. */
export function release(replica: Replica, message: ReleaseRequest): void {
  const { clock, step, metrics } = replica;
  const lease = message.leaseId as LeaseId;
  const fence = Number(message.fence);
  const outcome = message.outcome === undefined ? undefined : toAttemptOutcome(message.outcome);
  step({ kind: "lease-released", at: clock.now(), lease, fence, outcome });
  metrics.countRelease(lease, outcome);
}

export function placementService(replica: Replica): ServiceImpl<typeof PlacementService> {
  const { dispatcher, clock, decisions } = replica;
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
      release(replica, message);
      return {};
    },
    plan: ({ request }, { values }) => {
      requireOperator(values);
      const wanted = toPlacementRequest(required("request", request));
      const now = clock.now();
      const decision = dispatcher.plan(wanted, now);
      return {
        decision: fromDecision(decision, { now, decidedBy: "control" }),
        stateVersion: BigInt(decision.snapshotRevision),
      };
    },
    explain: ({ which }, { values }) => {
      requireOperator(values);
      return { decisions: explained(replica, which) };
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
  for (const each of message.releases) release(replica, each);
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
  const lease = renew(replica, leaseId as LeaseId, Number(fence));
  if (lease === undefined) return { outcome: { case: "gone", value: { leaseId } } };
  const value = {
    leaseId: lease.id,
    poolId: lease.pool,
    fence: BigInt(lease.fence),
    ttlMs: Math.max(0, Math.floor(lease.expiresAt - replica.clock.now())),
  };
  return { outcome: { case: "lease", value } };
}

function explained(
  { decisions, clock }: Replica,
  which: ExplainRequest["which"],
): DecisionRecord[] {
  const found = decisionsOf(decisions, which);
  if (found.length === 0) {
    const wanted =
      which.case === "last" ? "any decision" : `decisions of ${which.value ?? "nothing"}`;
    throw toConnectError("NOT_FOUND", `expected ${wanted} in memory, found none`);
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

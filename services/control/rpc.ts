import { fromBinary, toBinary, create } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import type { HotMethod } from "../io/grpc-hot.ts";
import { validate } from "../io/grpc-validation.ts";
import {
  PlacementService,
  PlaceRequestSchema,
  PlaceResponseSchema,
  PlaceStreamRequestSchema,
  PlaceStreamResponseSchema,
} from "../wire/gen/tokengrid/v1/placement_pb.js";
import { PolicyService } from "../wire/gen/tokengrid/v1/policy_pb.js";
import {
  PoolService,
  ReportRequestSchema,
  ReportResponseSchema,
} from "../wire/gen/tokengrid/v1/pool_pb.js";
import { fromPlaceOutcome, toPlacementRequest } from "../wire/placement.ts";
import { operator } from "./caller.ts";
import type { Replica } from "./replica.ts";
import { admitAgent, report } from "./reports.ts";
import { place, placeBatch, placementService } from "./rpc-placement.ts";
import { policyService } from "./rpc-policy.ts";
import { poolService } from "./rpc-pools.ts";

/** All calls of a control replica, for every protocol. */
export function routes(replica: Replica): (router: ConnectRouter) => void {
  return (router) => {
    router.service(PoolService, poolService(replica));
    router.service(PlacementService, placementService(replica));
    router.service(PolicyService, policyService(replica));
  };
}

/** The calls that come by the thousand, for gRPC alone. */
export function hotMethods(replica: Replica): readonly HotMethod[] {
  return [
    {
      path: "/tokengrid.v1.PlacementService/Place",
      kind: "unary",
      open: (caller) => {
        operator(caller);
        return {
          answer: (bytes) => {
            const message = parsed(() => fromBinary(PlaceRequestSchema, bytes));
            validate(PlaceRequestSchema, message);
            const outcome = place(replica, toPlacementRequest(message));
            return toBinary(PlaceResponseSchema, fromPlaceOutcome(outcome));
          },
        };
      },
    },
    {
      path: "/tokengrid.v1.PlacementService/PlaceStream",
      kind: "stream",
      open: (caller) => {
        operator(caller);
        return {
          answer: (bytes) => {
            const message = parsed(() => fromBinary(PlaceStreamRequestSchema, bytes));
            const batch = placeBatch(replica, message);
            return toBinary(PlaceStreamResponseSchema, create(PlaceStreamResponseSchema, batch));
          },
        };
      },
    },
    {
      path: "/tokengrid.v1.PoolService/Report",
      kind: "stream",
      open: (caller) => {
        const vendor = admitAgent(caller);
        return {
          answer: (bytes) => {
            const message = parsed(() => fromBinary(ReportRequestSchema, bytes));
            const answer = report(replica, vendor, message);
            return toBinary(ReportResponseSchema, create(ReportResponseSchema, answer));
          },
        };
      },
    },
  ];
}

function parsed<Message>(parse: () => Message): Message {
  try {
    return parse();
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new ConnectError(`expected a protobuf message, found ${found}`, Code.InvalidArgument);
  }
}

import type { ConnectRouter } from "@connectrpc/connect";
import { BudgetService } from "../wire/gen/tokengrid/v1/budget_pb.js";
import { PlacementService } from "../wire/gen/tokengrid/v1/placement_pb.js";
import { PolicyService } from "../wire/gen/tokengrid/v1/policy_pb.js";
import { PoolService } from "../wire/gen/tokengrid/v1/pool_pb.js";
import type { Replica } from "./replica.ts";
import { budgetService } from "./rpc-budgets.ts";
import { placementService } from "./rpc-placement.ts";
import { policyService } from "./rpc-policy.ts";
import { poolService } from "./rpc-pools.ts";

/** All calls of a control replica, for every protocol. */
export function routes(replica: Replica): (router: ConnectRouter) => void {
  return (router) => {
    router.service(PoolService, poolService(replica));
    router.service(PlacementService, placementService(replica));
    router.service(PolicyService, policyService(replica));
    router.service(BudgetService, budgetService(replica));
  };
}

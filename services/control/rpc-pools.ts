import type { ServiceImpl } from "@connectrpc/connect";
import type { Pool } from "../core/pool.ts";
import type { PoolId } from "../core/units.ts";
import { toConnectError } from "../wire/errors.ts";
import { required, toMap, words } from "../wire/field.ts";
import {
  DrainState as State,
  type Pool as PoolMessage,
  type PoolService,
} from "../wire/gen/tokengrid/v1/pool_pb.js";
import { fromPool } from "../wire/pool-state.ts";
import { toFigure } from "../wire/pool.ts";
import { callerOf, requireOperator, requireVendor } from "./caller.ts";
import type { DrainState } from "./drain.ts";
import { mark, publishPrices, register, unknownPool } from "./pool-registry.ts";
import { requireOrigin } from "./origins.ts";
import { pause } from "./pause.ts";
import { poolOf, type Replica } from "./replica.ts";
import { admitAgent, report } from "./reports.ts";

/** How often an agent is expected to report. */
export const reportIntervalMs = 1_000;

const watchIntervalMsDefault = 1_000;
const drainDeadlineMsDefault = 3_600_000;
const drainPollMs = 200;

const drainStates = words<DrainState, State>({
  draining: State.DRAINING,
  drained: State.DRAINED,
  cut: State.CUT,
  cancelled: State.CANCELLED,
});

export function poolService(replica: Replica): ServiceImpl<typeof PoolService> {
  return { ...vendorCalls(replica), ...viewerCalls(replica), ...operatorCalls(replica) };
}

type Calls<Name extends keyof ServiceImpl<typeof PoolService>> = Pick<
  ServiceImpl<typeof PoolService>,
  Name
>;

/** What vendors and their agents say. */
function vendorCalls(replica: Replica): Calls<"register" | "report" | "publishPrices"> {
  return {
    register: async ({ pool }, { values }) => {
      const registration = required("pool", pool);
      const caller = requireVendor(values, registration.vendorId);
      const entry = await register(replica, registration, caller);
      return {
        revision: BigInt(entry.revision),
        generation: registration.generation,
        reportIntervalMs,
      };
    },
    async *report(messages, { values }) {
      const vendor = admitAgent(callerOf(values));
      for await (const message of messages) yield report(replica, vendor, message);
    },
    publishPrices: async ({ book }, { values }) => {
      const message = required("book", book);
      const caller = requireVendor(values, message.vendorId);
      const { entry, hash } = await publishPrices(replica, message, caller);
      return { revision: BigInt(entry.revision), priceHash: hash };
    },
  };
}

/** What everybody with a key may see; a vendor sees its own pools. */
function viewerCalls(replica: Replica): Calls<"watch" | "list" | "get"> {
  const { dispatcher } = replica;
  return {
    list: ({ vendorId, regionId, modelId }, { values }) => {
      const pools = visible(replica, callerOf(values)).filter(
        (pool) =>
          (vendorId === "" || pool.vendor === vendorId) &&
          (regionId === "" || pool.region.id === regionId) &&
          (modelId === "" || [...pool.served.keys()].some((model) => model === modelId)),
      );
      return {
        snapshotRevision: BigInt(dispatcher.revision),
        pools: pools.map((pool) => toMessage(replica, pool)),
      };
    },
    get: ({ poolId }, { values }) => {
      const pool = visible(replica, callerOf(values)).find(({ id }) => id === poolId);
      if (pool === undefined) throw unknownPool(poolId);
      return { pool: toMessage(replica, pool) };
    },
    async *watch({ intervalMs }, { values, signal }) {
      const caller = callerOf(values);
      let told = -1;
      for (;;) {
        if (dispatcher.revision !== told) {
          told = dispatcher.revision;
          const pools = visible(replica, caller).map((pool) => toMessage(replica, pool));
          yield { snapshotRevision: BigInt(told), pools };
        }
        await pause(intervalMs === 0 ? watchIntervalMsDefault : intervalMs, signal);
      }
    },
  };
}

/** How operators steer. */
function operatorCalls(replica: Replica): Calls<"cordon" | "uncordon" | "drain" | "observePaths"> {
  const { clock, step, drains } = replica;
  return {
    cordon: async ({ poolId, reason }, { values }) => {
      const caller = requireOperator(values);
      await mark(replica, { pool: poolId, status: "cordoned", reason, caller });
      return { pool: known(replica, poolId) };
    },
    uncordon: async ({ poolId, reason }, { values }) => {
      const caller = requireOperator(values);
      await mark(replica, { pool: poolId, status: "ready", reason, caller });
      return { pool: known(replica, poolId) };
    },
    async *drain({ poolId, deadlineMs, reason }, { values, signal }) {
      const caller = requireOperator(values);
      const cutAt = clock.now() + (deadlineMs === 0 ? drainDeadlineMsDefault : deadlineMs);
      await mark(replica, { pool: poolId, status: "draining", cutAt, reason, caller });
      let told = "";
      for (;;) {
        const { state, leasesLeft, leasesCut } = drains.progress(poolId as PoolId);
        const progress = { state: drainStates.fromWord(state), leasesLeft, leasesCut };
        if (JSON.stringify(progress) !== told) yield progress;
        told = JSON.stringify(progress);
        if (state !== "draining") return;
        await pause(drainPollMs, signal);
      }
    },
    observePaths: ({ originId, roundTripMsByPool }, { values }) => {
      requireOperator(values);
      const at = clock.now();
      step({
        kind: "paths-observed",
        at,
        origin: requireOrigin(replica.geography, originId),
        roundTripMsByPool: toMap(roundTripMsByPool, (figure) => toFigure(figure, at)),
      });
      return {};
    },
  };
}

function visible({ dispatcher }: Replica, caller: ReturnType<typeof callerOf>): readonly Pool[] {
  switch (caller.kind) {
    case "operator":
      return dispatcher.pools;
    case "vendor":
      return dispatcher.pools.filter(({ vendor }) => vendor === caller.subject);
    case "tenant":
    case "model":
    case "channel":
      throw toConnectError("NOT_ALLOWED", "expected the key of an operator or a vendor");
  }
}

function known(replica: Replica, id: string): PoolMessage {
  const pool = poolOf(replica, id);
  if (pool === undefined) throw unknownPool(id);
  return toMessage(replica, pool);
}

function toMessage({ clock, dispatcher, geography }: Replica, pool: Pool): PoolMessage {
  return fromPool(pool, { now: clock.now(), policy: dispatcher.policy, geography });
}

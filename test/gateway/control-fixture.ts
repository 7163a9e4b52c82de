/**
 * The parts behind a gateway, scripted: a control plane that always takes the first pool that was not tried, and a
 * ledger that keeps what it is sent. Both speak over real sockets.
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ConnectError, Code, type ConnectRouter } from "@connectrpc/connect";
import type { HotMethod } from "../../services/io/grpc-hot.ts";
import { serveRpc } from "../../services/io/rpc-server.ts";
import { openLog } from "../../services/io/log.ts";
import {
  PlaceResponseSchema,
  PlaceStreamRequestSchema,
  PlaceStreamResponseSchema,
  UnplaceableReason,
  type AttemptOutcome,
  type PlaceRequest,
  type PlaceResponse,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import {
  EngineCapability,
  EngineKind,
  PoolService,
  PoolStatus,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { Admission, QuotaService } from "../../services/wire/gen/tokengrid/v1/package_pb.js";
import {
  RecordStatus,
  UsageService,
  type UsageRecord,
} from "../../services/wire/gen/tokengrid/v1/usage_pb.js";

export const log = openLog({ role: "test", level: "silent" });

export interface ScriptedPool {
  readonly id: string;
  readonly endpoint: string;
  readonly region?: string;
  readonly side?: "east" | "west";
  readonly capabilities?: readonly EngineCapability[];
}

export interface Release {
  readonly lease: string;
  readonly outcome: AttemptOutcome | undefined;
}

export interface ScriptedControl {
  readonly url: string;
  readonly places: readonly PlaceRequest[];
  readonly releases: readonly Release[];
  /** Leases, as often as they were renewed. */
  readonly renewals: readonly string[];
  /** By origin and pool. */
  readonly roundTrips: ReadonlyMap<string, number>;
  /** What the ledger has, by record id, in the order it came first. */
  readonly records: ReadonlyMap<string, UsageRecord>;
  /** How often each record was sent. */
  readonly deliveries: ReadonlyMap<string, number>;
  /** The ledger answers with this instead of keeping what it is sent. */
  refuseRecords: ConnectError | undefined;
  /** Tokens of any kind that the tenant's package still has; undefined: it pays as it goes. */
  quotaLeft: bigint | undefined;
  /** What was used of slices that were given back. */
  readonly slicesUsed: readonly bigint[];
  /** Instead of placing. */
  unplaceable: UnplaceableReason | undefined;
  close(): Promise<void>;
}

export async function openScriptedControl(
  pools: readonly ScriptedPool[],
  options: { readonly ttlMs?: number } = {},
): Promise<ScriptedControl> {
  const stop = new AbortController();
  const state = {
    places: [] as PlaceRequest[],
    releases: [] as Release[],
    renewals: [] as string[],
    roundTrips: new Map<string, number>(),
    records: new Map<string, UsageRecord>(),
    deliveries: new Map<string, number>(),
    refuseRecords: undefined as ConnectError | undefined,
    quotaLeft: undefined as bigint | undefined,
    slicesUsed: [] as bigint[],
    unplaceable: undefined as UnplaceableReason | undefined,
  };
  const ttlMs = options.ttlMs ?? 60_000;
  let fence = 0n;
  let slices = 0;
  const place = (request: PlaceRequest): PlaceResponse => {
    state.places.push(request);
    const pool = pools.find(({ id }) => !request.poolIdsExcluded.includes(id));
    if (pool === undefined || state.unplaceable !== undefined) {
      const reason = state.unplaceable ?? UnplaceableReason.NO_ELIGIBLE_POOL;
      const value = { reason, retryAfterMs: 1_000, policyRow: "W2" };
      return create(PlaceResponseSchema, { outcome: { case: "unplaceable", value } });
    }
    fence += 1n;
    const lease = { leaseId: `lease-${fence}`, poolId: pool.id, fence, ttlMs };
    const value = {
      lease,
      vendorId: "vendor-1",
      engineModelName: "engine/model",
      priceBookId: "book-1",
      priceVersion: 1n,
      costNano: 1_000n,
      ttftMsExpected: 0,
      policyRow: "W2",
      snapshotRevision: 1n,
      policyRevision: 1n,
    };
    return create(PlaceResponseSchema, { outcome: { case: "placement", value } });
  };
  const answer = (bytes: Uint8Array): Uint8Array => {
    const { places, renewals, releases } = fromBinary(PlaceStreamRequestSchema, bytes);
    for (const { leaseId, outcome } of releases) state.releases.push({ lease: leaseId, outcome });
    const response = create(PlaceStreamResponseSchema, {
      places: places.map((request) => ({
        attemptId: request.attemptId,
        result: { case: "response" as const, value: place(request) },
      })),
      renewals: renewals.map(({ leaseId }) => {
        state.renewals.push(leaseId);
        return { outcome: { case: "lease" as const, value: { leaseId, fence: 1n, ttlMs } } };
      }),
    });
    return toBinary(PlaceStreamResponseSchema, response);
  };
  const hot: readonly HotMethod[] = [
    {
      path: "/tokengrid.v1.PlacementService/PlaceStream",
      kind: "stream",
      open: () => ({ answer }),
    },
  ];
  const routes = (router: ConnectRouter): void => {
    router.service(PoolService, {
      watch: async function* (_request, { signal }) {
        yield { snapshotRevision: 1n, pools: pools.map(toPool) };
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
      },
      get: ({ poolId }) => {
        const pool = pools.find(({ id }) => id === poolId);
        if (pool === undefined) throw new ConnectError("no such pool", Code.NotFound);
        return { pool: toPool(pool) };
      },
      observePaths: ({ originId, roundTripMsByPool }) => {
        for (const [pool, figure] of Object.entries(roundTripMsByPool)) {
          state.roundTrips.set(`${originId}/${pool}`, figure.value);
        }
        return {};
      },
    });
    router.service(QuotaService, {
      acquireSlice: ({ uncachedInputTokens, responseTokens, times }) => {
        const { quotaLeft: left } = state;
        if (left === undefined) return { admission: Admission.UNLIMITED };
        const least = uncachedInputTokens + responseTokens;
        if (least > left)
          return { admission: Admission.REFUSED, reason: `${left} tokens are left` };
        const wanted = least * BigInt(times);
        const units = wanted < left ? wanted : left;
        state.quotaLeft = left - units;
        slices += 1;
        const burn = { denominator: 1n, rates: [{ modelId: "*", numerator: 1n }] };
        const slice = { sliceId: `slice-${slices}`, units, left: units, ttlMs: 60_000n, burn };
        return { admission: Admission.GRANTED, slices: [slice] };
      },
      returnSlice: ({ slices: returned }) => {
        state.slicesUsed.push(...returned.map(({ used }) => used));
        return {};
      },
    });
    router.service(UsageService, {
      record: ({ records }) => {
        if (state.refuseRecords !== undefined) throw state.refuseRecords;
        return {
          results: records.map((record) => ({ recordId: record.recordId, status: keep(record) })),
        };
      },
    });
  };
  const keep = (record: UsageRecord): RecordStatus => {
    const { recordId } = record;
    state.deliveries.set(recordId, (state.deliveries.get(recordId) ?? 0) + 1);
    if (state.records.has(recordId)) return RecordStatus.EXISTS;
    state.records.set(recordId, record);
    return RecordStatus.POSTED;
  };
  const server = await serveRpc({
    host: "127.0.0.1",
    port: 0,
    routes,
    hot,
    signal: stop.signal,
    log,
  });
  return Object.assign(state, {
    url: `http://127.0.0.1:${server.port}`,
    close: async () => {
      stop.abort();
      await server.close();
    },
  });
}

function toPool({
  id,
  endpoint,
  region = "zhongwei",
  side = "west",
  capabilities = [],
}: ScriptedPool) {
  return {
    registration: {
      poolId: id,
      vendorId: "vendor-1",
      regionId: region,
      endpoint,
      engine: EngineKind.VLLM,
      mlpsLevel: 3,
      models: [
        {
          modelId: "model-1",
          engineModelName: "engine/model",
          version: "r1",
          contextTokensMax: 8_192,
          slotsTotal: 8,
          replicas: 1,
          capabilities: [...capabilities],
        },
      ],
    },
    status: PoolStatus.READY,
    region: { regionId: region, side },
  };
}

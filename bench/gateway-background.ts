/** What stands behind a gateway: a real control replica, a real ledger, and pools that somebody else serves. */

import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { toJson, type MessageInitShape } from "@bufbuild/protobuf";
import { openControl } from "../services/control/main.ts";
import type { PoolId, ReplicaId } from "../services/core/units.ts";
import { systemClock } from "../services/io/clock.ts";
import { createKey } from "../services/io/keys.ts";
import { openLog } from "../services/io/log.ts";
import { Registry as Metrics } from "../services/io/metrics.ts";
import { loadGeography } from "../services/io/preset.ts";
import type { EntryKind, Registry } from "../services/io/registry.ts";
import { openSqliteRegistry } from "../services/io/registry-sqlite.ts";
import { rpcTransport } from "../services/io/rpc-client.ts";
import { serveRpc } from "../services/io/rpc-server.ts";
import { openSettlement } from "../services/settlement/main.ts";
import { loadFleet } from "../services/sim/main.ts";
import {
  FigureSource,
  PoolHealth,
  PoolService,
  ReportRequestSchema,
} from "../services/wire/gen/tokengrid/v1/pool_pb.js";
import { PriceBookSchema } from "../services/wire/gen/tokengrid/v1/price_pb.js";
import { UsageService } from "../services/wire/gen/tokengrid/v1/usage_pb.js";
import { fromPoolRegistration } from "../services/wire/pool.ts";
import { fromPriceBook } from "../services/wire/price.ts";

export interface Background {
  readonly rpcUrl: string;
  readonly registryPath: string;
  /** Of the tenant `bench`; a debug key. */
  readonly key: string;
  /** Of an operator. */
  readonly credential: string;
  /** Alias and name of the model that all pools serve. */
  readonly alias: string;
  readonly model: string;
  readonly registry: Registry;
  /** Newest first. */
  usages(): ReturnType<ReturnType<typeof createClient<typeof UsageService>>["list"]>;
  close(): Promise<void>;
}

const slots = 20_000;

/** Opens all of it in `folder`, with one pool per endpoint, each reporting that it is idle. */
export async function openBackground(options: {
  readonly folder: string;
  readonly endpoints: readonly string[];
}): Promise<Background> {
  const { folder, endpoints } = options;
  const stop = new AbortController();
  const log = openLog({ role: "background", level: "error" });
  const registryPath = join(folder, "registry.sqlite");
  const registry = await openSqliteRegistry(registryPath);
  const metrics = new Metrics();
  const shared = { registry, log, metrics, clock: systemClock, signal: stop.signal };
  const { poolIds, ...parties } = await openParties(registry, endpoints);
  const settlement = await openSettlement({
    ...shared,
    ledger: join(folder, "ledger.sqlite"),
    secretsPath: folder,
    domain: "bench",
  });
  const control = await openControl({
    ...shared,
    geography: loadGeography(),
    replica: "control-1" as ReplicaId,
    journalFolder: join(folder, "journal"),
  });
  const server = await serveRpc({
    host: "127.0.0.1",
    port: 0,
    routes: (router) => {
      control.routes(router);
      settlement.routes(router);
    },
    hot: control.hot,
    identify: control.identify,
    isReady: () => control.isReady(),
    signal: stop.signal,
    log,
  });
  const rpcUrl = `http://127.0.0.1:${server.port}`;
  const reporting = report({ rpcUrl, ...parties, signal: stop.signal });
  await fresh(rpcUrl, poolIds.length);
  const usage = createClient(UsageService, rpcTransport({ url: rpcUrl }));
  return {
    rpcUrl,
    registryPath,
    registry,
    ...parties,
    usages: () => usage.list({ limit: 1_000 }),
    close: async () => {
      stop.abort();
      await reporting;
      await server.close();
      await control.close();
      await settlement.close();
      await registry.close();
    },
  };
}

/** Vendor, prices, pools and keys, as an operator would set them. */
async function openParties(registry: Registry, endpoints: readonly string[]) {
  const fleet = loadFleet();
  const [template] = fleet.pools;
  const served = template?.registration.models[0];
  if (template === undefined || served === undefined) throw new Error("the preset fleet is empty");
  const { vendor } = template.registration;
  await put(registry, "vendor", vendor, { name: vendor });
  await put(registry, "tenant", "bench", { name: "Benchmark" });
  await put(registry, "alias", "bench-chat", { model: served.model });
  for (const book of fleet.priceBooks.filter((each) => each.vendor === vendor)) {
    await put(
      registry,
      "price-book",
      `${book.id}@${book.version}`,
      toJson(PriceBookSchema, fromPriceBook(book)),
      // Published by the vendor itself, which is its consent.
      vendor,
    );
  }
  const keys = {
    key: createKey({ kind: "tenant", subject: "bench", isDebug: true, nowUs: 0n }),
    vendorKey: createKey({ kind: "vendor", subject: vendor, nowUs: 0n }),
    credential: createKey({ kind: "operator", subject: "bench", nowUs: 0n }),
  };
  for (const { record } of Object.values(keys)) await put(registry, "key", record.prefix, record);
  const registrations = endpoints.map((endpoint, index) => ({
    ...template.registration,
    id: `pool-${index + 1}` as PoolId,
    endpoint,
    generation: 1,
    models: [{ ...served, slotsTotal: slots, capabilities: new Set<never>() }],
  }));
  return {
    alias: "bench-chat",
    model: served.model,
    key: keys.key.secret,
    vendorKey: keys.vendorKey.secret,
    credential: keys.credential.secret,
    poolIds: registrations.map(({ id }) => id),
    registrations,
  };
}

async function put(
  registry: Registry,
  kind: EntryKind,
  key: string,
  value: unknown,
  author = "bench",
): Promise<void> {
  const current = await registry.get(kind, key);
  await registry.set({
    kind,
    key,
    value: JSON.stringify(value),
    baseRevision: current?.revision ?? 0,
    author,
    comment: "",
  });
}

/** Registers the pools and says every second that they are idle, until the signal says stop. */
async function report(options: {
  readonly rpcUrl: string;
  readonly vendorKey: string;
  readonly model: string;
  readonly registrations: Awaited<ReturnType<typeof openParties>>["registrations"];
  readonly signal: AbortSignal;
}): Promise<void> {
  const { rpcUrl, vendorKey, registrations, signal } = options;
  const client = createClient(PoolService, rpcTransport({ url: rpcUrl, credential: vendorKey }));
  const now = systemClock.now();
  for (const pool of registrations) {
    await client.register({ pool: fromPoolRegistration(pool, now) });
  }
  try {
    const answers = client.report(reports(options), { signal });
    for await (const { result } of answers) if (result !== 1) throw new Error(`report: ${result}`);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function* reports(
  options: Parameters<typeof report>[0],
): AsyncGenerator<MessageInitShape<typeof ReportRequestSchema>> {
  const { registrations, model, signal } = options;
  const idle = { value: 0, source: FigureSource.MEASURED, ageMs: 0, validMs: 5_000 };
  for (let sequence = 1n; !signal.aborted; sequence += 1n) {
    for (const { id: poolId } of registrations) {
      const models = [
        { modelId: model, runningRequests: idle, waitingRequests: idle, kvUsedRatio: idle },
      ];
      yield { poolId, generation: 1n, sequence, models };
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000).unref());
  }
}

/** Resolves when control believes all pools. */
async function fresh(rpcUrl: string, count: number): Promise<void> {
  const client = createClient(PoolService, rpcTransport({ url: rpcUrl }));
  for (;;) {
    const { pools } = await client.list({});
    const ready = pools.filter(
      ({ health, reportAgeMs }) => health === PoolHealth.FRESH && reportAgeMs !== undefined,
    );
    if (ready.length >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

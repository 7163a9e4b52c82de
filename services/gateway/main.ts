import { createClient } from "@connectrpc/connect";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { GatewayId, OriginId, RegionId } from "../core/units.ts";
import { systemClock, type Clock } from "../io/clock.ts";
import { openLog, type Log } from "../io/log.ts";
import { openMetrics, serveMetrics, type Registry as Metrics } from "../io/metrics.ts";
import { loadGeography } from "../io/preset.ts";
import type { Registry } from "../io/registry.ts";
import { openSqliteRegistry } from "../io/registry-sqlite.ts";
import { rpcTransport } from "../io/rpc-client.ts";
import { systemDisk, type SegmentDisk } from "../io/segment-disk.ts";
import { PoolService } from "../wire/gen/tokengrid/v1/pool_pb.js";
import { openClassTable } from "./class-table.ts";
import { openTenancy } from "./auth.ts";
import { openVendorTerms } from "./cancel-terms.ts";
import { DrainPlaces } from "./drain.ts";
import { Refusal } from "./errors.ts";
import { IdempotencyKeys } from "./idempotency.ts";
import { openGatewayMetrics, startPool } from "./metrics.ts";
import { defaultRequestLimits, type OpenAiParts, type RequestLimits } from "./openai.ts";
import { openPlacementClient } from "./placement-client.ts";
import { PoolDirectory } from "./pools.ts";
import {
  defaultRecountLimits,
  openRecounter,
  type Recounter,
  type RecountLimits,
} from "./recount.ts";
import { QuotaKeeper } from "./quota.ts";
import { RetryBudget } from "./retry-budget.ts";
import { defaultRoundTripTimings, RoundTrips, type RoundTripTimings } from "./round-trips.ts";
import { GatewayServer } from "./server.ts";
import { shipRest, shipUsage, type Shipping } from "./ship.ts";
import { defaultSpoolLimits, openSpool, type SpoolLimits } from "./spool.ts";
import { openSliceSource } from "./slice-client.ts";
import { Sweeper } from "./sweeper.ts";
import { Upstreams } from "./upstream.ts";
import { recordSender } from "./usage-sender.ts";

export interface GatewayOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly gatewayId: GatewayId;
  /** Where this gateway stands, and so where its tenants' demand arises. */
  readonly origin: OriginId;
  /** Of a control replica. */
  readonly rpcUrl: string;
  /** Of settlement; the same address where one process serves both. */
  readonly settlementUrl: string;
  readonly registry: Registry;
  readonly spoolFolder: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** For control and settlement; undefined where both listen on loopback. */
  readonly credential?: string | undefined;
  readonly limits?: Partial<RequestLimits>;
  readonly spoolLimits?: SpoolLimits;
  readonly spoolDisk?: SegmentDisk;
  readonly roundTrips?: RoundTripTimings;
  /** With a folder for each model, see `TokenizerFiles`. Undefined or empty: nothing is counted again. */
  readonly tokenizersPath?: string;
  /** Of a million answers that were counted well, so many are counted again. */
  readonly auditPpm?: number;
  readonly recountLimits?: RecountLimits;
  /** Answers end where the tenant's packages do. Settlement must serve QuotaService. */
  readonly isQuotaKept?: boolean;
  /** How long streams may go on when the gateway is closed. */
  readonly drainMs?: number;
}

export interface Gateway {
  readonly port: number;
  /** It could serve a request now. */
  isReady(): boolean;
  /** Takes nothing more, lets streams end for a while, ships what it can, and closes the spool. */
  close(): Promise<void>;
}

export const configSchema = z.strictObject({
  host: z.string().default("127.0.0.1"),
  port: z.int().min(0).max(65_535).default(8080),
  gatewayId: z.string().min(1).max(64).default("gateway-1"),
  /** Where the demand that comes here arises, unless a key for debugging says otherwise. */
  origin: z
    .string()
    .refine(isOrigin, { error: ({ input }) => `expected the id of a city, found ${String(input)}` })
    .default("shanghai"),
  rpcUrl: z.url().default("http://127.0.0.1:7233"),
  settlementUrl: z.url().default("http://127.0.0.1:7233"),
  registryPath: z.string().min(1).default(".tokengrid/registry.sqlite"),
  spoolFolder: z.string().min(1).default(".tokengrid/spool"),
  metricsHost: z.string().default("127.0.0.1"),
  metricsPort: z.int().min(0).max(65_535).default(9464),
  /** Folder with tokenizers, by model. Empty: what engines do not count is estimated. */
  tokenizersPath: z.string().default(""),
  /** Of a million answers that engines counted, so many are counted again. */
  auditPpm: z.int().min(0).max(1_000_000).default(0),
  /** Whether answers end where the tenant's packages do: asked of settlement, or of nobody. */
  quota: z.enum(["ledger", "none"]).default("none"),
  /** File with an operator's key, where control or settlement is not on loopback. Empty: none. */
  credentialPath: z.string().default(""),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

function isOrigin(id: string): boolean {
  return loadGeography().origins.has(id as OriginId);
}

export type GatewayConfig = z.output<typeof configSchema>;

const drainMsDefault = 10_000;
const shipRestMs = 2_000;
const quotaTickMs = 5_000;

/** Makes each thing once, hands it on, and listens. Resolves when requests are taken. */
export async function openGateway(options: GatewayOptions): Promise<Gateway> {
  const { log, settlementUrl, credential, signal } = options;
  const stop = new AbortController();
  const { parts, pools, watching } = await openParts(options, stop.signal);
  const { spool, directory } = parts;
  const send = recordSender({ url: settlementUrl, credential });
  const shipping = { spool, send, log, signal: stop.signal };
  const tasks = [
    shipUsage(shipping),
    directory.watch(stop.signal),
    new RoundTrips(options.roundTrips ?? defaultRoundTripTimings).watch({
      ...parts,
      client: pools,
      signal: stop.signal,
    }),
    watching,
    keepQuota(parts.quota, stop.signal),
  ];
  let isDraining = false;
  const server = new GatewayServer(parts, () =>
    isDraining ? new Refusal("DRAINING", "the gateway is stopping") : undefined,
  );
  const leave = async (): Promise<void> => {
    isDraining = true;
    await drain(server, parts, options.drainMs ?? drainMsDefault);
    stop.abort();
    await parts.placement.close();
    await Promise.all(tasks);
    await parts.quota?.close();
    await shipLast(shipping);
    parts.sweeper.stop();
    await parts.recounter?.close();
    await parts.upstreams.close();
    await spool.closeFiles();
  };
  let leaving: Promise<void> | undefined;
  const close = (): Promise<void> => (leaving ??= leave());
  signal.addEventListener("abort", () => {
    close().catch((error: unknown) => log.error({ error: String(error) }, "not closed well"));
  });
  try {
    const port = await server.listen(options.host, options.port);
    return { port, isReady: () => !isDraining && directory.isKnown && spool.isWritable, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** All that requests are served with, and what keeps it up until the signal says stop. */
async function openParts(options: GatewayOptions, signal: AbortSignal) {
  const { log, clock, registry, rpcUrl, credential } = options;
  const budget = new RetryBudget();
  const drains = new DrainPlaces();
  const metrics = openGatewayMetrics(options.metrics, {
    unacknowledged: () => spool.unacknowledged,
    retryTokens: () => budget.tokens,
    drainedStreams: () => drains.taken,
  });
  const tenancy = await openTenancy({ registry, log, signal });
  const classTables = await openClassTable({ registry, log, signal });
  const vendorTerms = await openVendorTerms({ registry, log, signal });
  const spool = await openSpool({
    folder: options.spoolFolder,
    gatewayId: options.gatewayId,
    limits: options.spoolLimits ?? defaultSpoolLimits,
    disk: options.spoolDisk ?? systemDisk,
    clock,
    log,
    onFsync: (ms) => metrics.fsync.observe(ms / 1_000),
  });
  const pools = createClient(PoolService, rpcTransport({ url: rpcUrl, credential }));
  const upstreams = new Upstreams();
  const directory = new PoolDirectory({
    client: pools,
    log,
    onPool: (id) => startPool(metrics, id),
    onList: (list) => upstreams.keepOnly(new Set(list.values().map(({ endpoint }) => endpoint))),
  });
  const parts: OpenAiParts = {
    upstreams,
    placement: await openPlacementClient({ rpcUrl, credential, log, signal }),
    spool,
    sweeper: new Sweeper(),
    vendorTerms,
    drains,
    recounter: await recounterOf(options),
    metrics,
    clock,
    log,
    directory,
    budget,
    live: new Set(),
    tenancy,
    classTables,
    idempotency: new IdempotencyKeys(),
    quota: quotaOf(options),
    origin: options.origin,
    limits: { ...defaultRequestLimits, ...options.limits },
  };
  const watching = Promise.all([tenancy.watching, classTables.watching, vendorTerms.watching]);
  return { parts, pools, watching };
}

function quotaOf(options: GatewayOptions): QuotaKeeper | undefined {
  const { isQuotaKept = false, settlementUrl: url, credential, gatewayId: gateway } = options;
  if (!isQuotaKept) return undefined;
  const transport = rpcTransport({ url, credential });
  // Where a gateway stands is the region for which it holds slices.
  const region = String(options.origin) as RegionId;
  const { clock, log } = options;
  return new QuotaKeeper({ source: openSliceSource({ transport, gateway, region }), clock, log });
}

/** Slices are held longer, or given back, until the signal says stop. */
async function keepQuota(quota: QuotaKeeper | undefined, signal: AbortSignal): Promise<void> {
  const isStopped = (): boolean => signal.aborted;
  while (quota !== undefined && !isStopped()) {
    await delay(quotaTickMs, undefined, { signal, ref: false }).catch(ignoreAbort);
    if (!isStopped()) await quota.tick();
  }
}

function ignoreAbort(): void {
  // The loop looks at the signal itself.
}

async function recounterOf(options: GatewayOptions): Promise<Recounter | undefined> {
  const { tokenizersPath: folder = "", auditPpm = 0, log } = options;
  if (folder === "") return undefined;
  const limits = options.recountLimits ?? defaultRecountLimits;
  return openRecounter({ folder, auditPpm, limits, log });
}

/** Streams may end by themselves for a while; then they are told that they are cut. */
async function drain(server: GatewayServer, { live }: OpenAiParts, drainMs: number): Promise<void> {
  const ended = server.drained();
  await Promise.race([ended, delay(drainMs, undefined, { ref: false })]);
  for (const attempt of live) attempt.cut("the gateway is stopping");
  await Promise.race([ended, delay(1_000, undefined, { ref: false })]);
  server.close();
  await ended;
}

/** What cannot be shipped now stays in the spool for the next start. */
async function shipLast(shipping: Shipping): Promise<void> {
  try {
    await Promise.race([shipRest(shipping), delay(shipRestMs, undefined, { ref: false })]);
  } catch (error) {
    shipping.log.warn({ error: String(error) }, "usage stays in the spool");
  }
}

/** The role as a process of its own, until the signal says stop. */
export async function start(config: GatewayConfig, signal: AbortSignal): Promise<void> {
  const { registry: metrics, onLogMessage } = openMetrics("0.1.0");
  const log = openLog({ role: "gateway", level: config.logLevel, onMessage: onLogMessage });
  const registry = await openSqliteRegistry(config.registryPath);
  const { credentialPath } = config;
  const credential =
    credentialPath === "" ? undefined : (await readFile(credentialPath, "utf8")).trim();
  const gateway = await openGateway({
    ...config,
    credential,
    gatewayId: config.gatewayId as GatewayId,
    origin: config.origin as OriginId,
    isQuotaKept: config.quota === "ledger",
    registry,
    log,
    metrics,
    clock: systemClock,
    signal,
  });
  const { metricsHost, metricsPort } = config;
  const isReady = (): boolean => gateway.isReady();
  await serveMetrics({ host: metricsHost, port: metricsPort, registry: metrics, isReady, signal });
  log.info({ port: gateway.port }, "gateway listens");
  if (!signal.aborted) {
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
  await gateway.close();
  await registry.close();
}

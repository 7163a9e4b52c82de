import type { ConnectRouter } from "@connectrpc/connect";
import { z } from "zod";
import { defaultContract, type Contract } from "../core/settlement/contract.ts";
import type { InstantUs, VendorId } from "../core/units.ts";
import { systemClock, type Clock } from "../io/clock.ts";
import { openIdentities } from "../io/grpc-identity.ts";
import { openLedgerThread } from "../io/ledger-thread.ts";
import { openLog, type Log } from "../io/log.ts";
import { openMetrics, serveMetrics, type Registry as Metrics } from "../io/metrics.ts";
import { loadCalendar } from "../io/preset.ts";
import { openSqliteRegistry } from "../io/registry-sqlite.ts";
import type { Registry } from "../io/registry.ts";
import { serveRpc } from "../io/rpc-server.ts";
import { Books } from "./books.ts";
import { Ingest } from "./ingest.ts";
import { SettlementMetrics } from "./metrics.ts";
import { Producers } from "./producers.ts";
import { serveSettlement } from "./rpc.ts";
import { Statements } from "./statements.ts";

export interface SettlementOptions {
  readonly registry: Registry;
  /** The SQLite file of the books. */
  readonly ledgerPath: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** By vendor; the others have the house default. */
  readonly contracts?: ReadonlyMap<VendorId, Contract>;
}

export interface Settlement {
  /** UsageService and SettlementService. */
  routes(router: ConnectRouter): void;
  isReady(): boolean;
  /** Waits for what was accepted to be durable. */
  close(): Promise<void>;
}

export const configSchema = z.strictObject({
  rpc: z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65_535) }),
  metrics: z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65_535) }),
  registryPath: z.string().min(1),
  ledgerPath: z.string().min(1),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

export type SettlementConfig = z.output<typeof configSchema>;

/** How often holes in gateways' sequences are looked at. */
const holeIntervalMs = 5_000;

/** Opens the ledger, learns the price books, and posts what had waited for one of them. */
export async function openSettlement(options: SettlementOptions): Promise<Settlement> {
  const { registry, ledgerPath, log, clock, contracts } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, options.signal]);
  const metrics = new SettlementMetrics(options.metrics);
  const contractOf = (vendor: VendorId): Contract => contracts?.get(vendor) ?? defaultContract;
  const store = await openLedgerThread(ledgerPath);
  const producers = new Producers({
    states: await store.producers(),
    clock,
    onLost: (numbers) => metrics.onLost(numbers),
  });
  const calendar = loadCalendar();
  const calendarOf = (id: string) => (id === calendar.id ? calendar : undefined);
  const books = new Books({ registry, calendarOf, log });
  const ingest = new Ingest({ store, books, contractOf, metrics, log, producers });
  const statements = new Statements({ store, contractOf, metrics });
  const release = (): void => {
    ingest.release().catch((error: unknown) => log.error({ error }, "quarantine was not released"));
  };
  await books.follow(release, signal);
  metrics.onWaiting(await store.waitingCount());
  release();
  const timer = setInterval(() => {
    ingest.giveUpHoles().catch((error: unknown) => log.error({ error }, "holes were not kept"));
  }, holeIntervalMs);
  const vendors = async (): Promise<ReadonlySet<string>> =>
    new Set([...(await registeredVendors(registry)), ...books.vendors, ...(await store.vendors())]);
  const nowUs = (): InstantUs => BigInt(Math.round(clock.now() * 1_000));
  return {
    routes: (router) => serveSettlement(router, { store, ingest, statements, vendors, nowUs }),
    isReady: () => ingest.isReady,
    close: async () => {
      stop.abort();
      clearInterval(timer);
      await ingest.drain();
      await store.close();
    },
  };
}

const ownerSchema = z.object({ vendorId: z.string().min(1) });

/** By name, and by the pools they have. */
async function registeredVendors(registry: Registry): Promise<string[]> {
  const named = await registry.list("vendor");
  const pools = await registry.list("pool");
  const owners = pools.map(({ value }) => ownerSchema.parse(JSON.parse(value)).vendorId);
  return [...named.map(({ key }) => key), ...owners];
}

/** Runs the role until the signal says stop. */
export async function start(config: SettlementConfig, signal: AbortSignal): Promise<void> {
  const { registry: metrics, onLogMessage } = openMetrics("0.1.0");
  const log = openLog({ role: "settlement", level: config.logLevel, onMessage: onLogMessage });
  const registry = await openSqliteRegistry(config.registryPath);
  const { ledgerPath } = config;
  const clock = systemClock;
  const settlement = await openSettlement({ registry, ledgerPath, log, metrics, clock, signal });
  const isReady = (): boolean => settlement.isReady();
  await serveMetrics({ ...config.metrics, registry: metrics, isReady, signal });
  const server = await serveRpc({
    ...config.rpc,
    routes: (router) => settlement.routes(router),
    identify: await openIdentities({ registry, log, signal }),
    isReady,
    signal,
    log,
  });
  log.info({ port: server.port, ledgerPath }, "settlement listens");
  await aborted(signal);
  await server.close();
  await settlement.close();
  await registry.close();
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => {
    signal.addEventListener("abort", resolve, { once: true });
  });
}

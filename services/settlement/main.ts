import type { ConnectRouter } from "@connectrpc/connect";
import { z } from "zod";
import { defaultContract } from "../core/settlement/contract.ts";
import type { AnyContract } from "../core/settlement/other-contracts.ts";
import { contractText } from "../core/settlement/terms-text.ts";
import type { PairId } from "../core/units.ts";
import { systemClock, type Clock } from "../io/clock.ts";
import { openIdentities } from "../io/grpc-identity.ts";
import { openLedger } from "../io/ledger-open.ts";
import { openLog, type Log } from "../io/log.ts";
import { openMetrics, serveMetrics, type Registry as Metrics } from "../io/metrics.ts";
import { openSqliteRegistry } from "../io/registry-sqlite.ts";
import type { Registry } from "../io/registry.ts";
import { serveRpc } from "../io/rpc-server.ts";
import { sha256 } from "../io/signing.ts";
import type { Agreements } from "./agreements.ts";
import { followCancelTerms } from "./cancel-terms.ts";
import { SettlementMetrics } from "./metrics.ts";
import { openParts } from "./parts.ts";
import { openPlaces } from "./places.ts";
import { serveSettlement } from "./rpc.ts";
import { openSalt } from "./salt.ts";
import { StatementSteps } from "./statement-steps.ts";
import { Statements, type StatementSources } from "./statements.ts";

export interface SettlementOptions {
  readonly registry: Registry;
  /** The SQLite file of the books; with `ledgerUrl` only where the salt is. */
  readonly ledgerPath: string;
  /** `postgres://…`, instead of the file. */
  readonly ledgerUrl?: string;
  /** The secret that salts leaves; beside the ledger's file if it is not said. */
  readonly saltPath?: string;
  /** Of the operator: logs are named after it. */
  readonly domain?: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Beside those that the ledger has; vendors without one have the house default. */
  readonly contracts?: readonly AnyContract[];
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
  ledgerUrl: z
    .string()
    .regex(/^postgres(ql)?:\/\//)
    .optional(),
  saltPath: z.string().min(1).optional(),
  domain: z.string().min(1).default("localhost"),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

export type SettlementConfig = z.output<typeof configSchema>;

/** Opens the ledger, learns what was agreed, and posts what had waited for it. */
export async function openSettlement(options: SettlementOptions): Promise<Settlement> {
  const { registry, ledgerPath, log, clock, contracts } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, options.signal]);
  const metrics = new SettlementMetrics(options.metrics);
  const store = await openLedger(options.ledgerUrl ?? ledgerPath);
  const saltOf = await openSalt(options.saltPath ?? `${ledgerPath}.salt`);
  const parts = await openParts({ store, registry, metrics, clock, log, saltOf });
  for (const contract of contracts ?? []) parts.agreements.addContract(contract);
  await parts.start(signal);
  const { ingest, books, agreements } = parts;
  const statements = new Statements({
    ...parts,
    domain: options.domain ?? "localhost",
    sources: sourcesOf(agreements),
  });
  const vendors = async (): Promise<ReadonlySet<string>> =>
    new Set([...(await registeredVendors(registry)), ...books.vendors, ...(await store.vendors())]);
  const places = await openPlaces(registry, { log, signal });
  const { nowUs } = parts;
  const steps = new StatementSteps({
    ...{ store, writer: parts.writer, nowUs },
    find: async (id) => statements.find(id),
    keyOf: () => undefined,
    disputedNano: async () => 0n,
  });
  const isKnown = async (pair: PairId): Promise<boolean> =>
    pair.startsWith("vendor:")
      ? (await vendors()).has(pair.slice("vendor:".length))
      : (await store.logs()).has(pair);
  const contractWith = (pair: PairId) => agreements.contractWith(pair, nowUs());
  const telling = followCancelTerms({ registry, vendors, contractWith }, { log, signal });
  const rpc = { ...parts, statements, steps, places, vendors, isKnown };
  return {
    routes: (router) => serveSettlement(router, rpc),
    isReady: () => ingest.isReady,
    close: async () => {
      stop.abort();
      await telling;
      await parts.close();
    },
  };
}

/** What statements ask of parts that say nothing yet. */
function sourcesOf(agreements: Agreements): StatementSources {
  return {
    termsOf: (pair) => {
      const contract = agreements.contractOf(pair, latestUs) ?? defaultContract;
      return { ...contract, hash: sha256(contractText(contract)) };
    },
    sign: () => undefined,
    trueUps: async () => ({ trueUps: [], entries: [] }),
    recon: async () => undefined,
    openAttempts: async () => 0n,
    unwitnessedSinceUs: () => undefined,
    calendars: () => [],
  };
}

/** After every instant that a version can start at. */
const latestUs = 2n ** 62n;

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
  const { ledgerPath, ledgerUrl, saltPath, domain } = config;
  const settlement = await openSettlement({
    ...{ registry, ledgerPath, log, metrics, clock: systemClock, signal, domain },
    ...(ledgerUrl === undefined ? {} : { ledgerUrl }),
    ...(saltPath === undefined ? {} : { saltPath }),
  });
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

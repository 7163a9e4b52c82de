import { setTimeout } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { serveConsole } from "../../control/console.ts";
import { openControl } from "../../control/main.ts";
import type { GatewayId, OriginId, ReplicaId } from "../../core/units.ts";
import { openGateway } from "../../gateway/main.ts";
import { systemClock } from "../../io/clock.ts";
import { type Log, openLog } from "../../io/log.ts";
import { openMetrics, type Registry as Metrics, serveMetrics } from "../../io/metrics.ts";
import { loadGeography } from "../../io/preset.ts";
import type { Registry } from "../../io/registry.ts";
import { openSqliteRegistry } from "../../io/registry-sqlite.ts";
import { rpcTransport } from "../../io/rpc-client.ts";
import { serveRpc } from "../../io/rpc-server.ts";
import { openSettlement } from "../../settlement/main.ts";
import { loadFleet } from "../../sim/main.ts";
import { PoolHealth, PoolService } from "../../wire/gen/tokengrid/v1/pool_pb.js";
import { version } from "../version.ts";
import { agree } from "./agree.ts";
import { reachable } from "./banner.ts";
import { createDataFolder, type DataFolder, lockFolder } from "./data-folder.ts";
import { type FleetThread, openFleetThread } from "./fleet-thread.ts";
import { prepare, type Parties, type Prepared } from "./first-start.ts";
import { listening, type Ports } from "./ports.ts";
import { openStack, type Stack } from "./stack.ts";

export interface DevOptions {
  readonly dataPath: string;
  readonly host: string;
  readonly ports: Ports;
  /** File of the simulated fleet; undefined: no pools are simulated. */
  readonly fleetPath: string | undefined;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
}

export interface Dev {
  readonly ports: Ports;
  readonly folder: DataFolder;
  readonly isFirstStart: boolean;
  /** Ids of the simulated pools. */
  readonly pools: readonly string[];
  /** Resolves to the number of simulated pools that report, when all do and the rest is ready, or the wait is over. */
  poolsReporting(): Promise<number>;
  /** Rejects if a part dies that nobody told to stop. */
  readonly died: Promise<never>;
  /** In order: no new requests, streams end, usage is shipped, the books are closed. */
  close(): Promise<void>;
  /** The part that is being closed now. */
  closing(): string | undefined;
}

/** Logs of `dev` are named after it. */
const devDomain = "tokengrid.localhost";
const reportIntervalMs = 1_000;
const reportWaitMs = 15_000;
const reportAskMs = 50;

/** Opens everything in one process. If a part cannot be opened, those before it are closed again. */
export async function openDev(options: DevOptions): Promise<Dev> {
  const stack = openStack();
  try {
    return await openParts(options, stack);
  } catch (error) {
    await stack.close();
    throw error;
  }
}

/** What several parts need. */
interface Ground {
  readonly options: DevOptions;
  readonly folder: DataFolder;
  readonly registry: Registry;
  readonly prepared: Prepared;
  readonly parties: Parties;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly stack: Stack;
  readonly signal: AbortSignal;
}

async function openParts(options: DevOptions, stack: Stack): Promise<Dev> {
  const ground = await openGround(options, stack);
  const { folder, prepared } = ground;
  const back = await openBack(ground);
  const fleet =
    options.fleetPath === undefined
      ? undefined
      : await openPools(ground, options.fleetPath, back.rpcPort);
  const gateway = await openFront(ground, back.rpcPort);
  const isReady = (): boolean => back.isReady() && gateway.isReady();
  const [consolePort, metricsPort] = await openWindows(ground, back.control, isReady);
  agreeSoon(ground, rpcUrl(options, back.rpcPort), () => fleet?.agreed());
  const pools = fleet?.pools ?? [];
  return {
    ports: {
      gateway: gateway.port,
      rpc: back.rpcPort,
      console: consolePort,
      metrics: metricsPort,
      sim: fleet?.port ?? 0,
    },
    folder,
    isFirstStart: prepared.isFirstStart,
    pools,
    poolsReporting: () =>
      poolsReporting(rpcUrl(options, back.rpcPort), {
        credential: prepared.operatorKey,
        expected: pools.length,
        isReady,
      }),
    died: fleet?.died ?? new Promise<never>(() => undefined),
    close: () => stack.close(),
    closing: () => stack.closing,
  };
}

async function openGround(options: DevOptions, stack: Stack): Promise<Ground> {
  const folder = createDataFolder(options.dataPath);
  const lock = lockFolder(folder);
  stack.push("lock", () => lock.unlock());
  const stop = new AbortController();
  stack.push("signal", () => stop.abort());
  const registry = await openSqliteRegistry(folder.registry);
  stack.push("registry", () => registry.close());
  const parties = options.fleetPath === undefined ? nobody : loadFleet(options.fleetPath);
  const prepared = await prepare({ folder, registry, parties, nowUs: BigInt(Date.now()) * 1_000n });
  const { registry: metrics, onLogMessage } = openMetrics(version());
  const log = openLog({ role: "dev", level: options.logLevel, onMessage: onLogMessage });
  return { options, folder, registry, prepared, parties, log, metrics, stack, signal: stop.signal };
}

const nobody = { vendors: [], priceBooks: [], aliases: new Map<string, string>() };

interface Back {
  readonly rpcPort: number;
  readonly control: Awaited<ReturnType<typeof openControl>>;
  readonly settlement: Awaited<ReturnType<typeof openSettlement>>;
  readonly isReady: () => boolean;
}

/** Settlement and control, and the one port for both. */
async function openBack(ground: Ground): Promise<Back> {
  const { options, folder, registry, log, metrics, stack, signal } = ground;
  const shared = { registry, log, metrics, clock: systemClock, signal };
  const settlement = await openSettlement({
    ...shared,
    ledger: folder.ledger,
    secretsPath: folder.secrets,
    domain: devDomain,
  });
  stack.push("settlement", () => settlement.close());
  const control = await openControl({
    ...shared,
    geography: loadGeography(),
    replica: "control-1" as ReplicaId,
    journalFolder: folder.journal,
  });
  stack.push("control", () => control.close());
  const isReady = (): boolean => control.isReady() && settlement.isReady();
  const server = await listening("rpc", options.ports.rpc, () =>
    serveRpc({
      host: options.host,
      port: options.ports.rpc,
      routes: (router) => {
        control.routes(router);
        settlement.routes(router);
      },
      hot: control.hot,
      identify: control.identify,
      isReady,
      isCleartextAllowed: true,
      signal,
      log,
    }),
  );
  stack.push("RPC server", () => server.close());
  return { rpcPort: server.port, control, settlement, isReady };
}

async function openPools(ground: Ground, fleetPath: string, rpcPort: number): Promise<FleetThread> {
  const { options, folder, prepared, stack } = ground;
  const fleet = await listening("sim", options.ports.sim, () =>
    openFleetThread({
      fleetPath,
      host: "127.0.0.1",
      port: options.ports.sim,
      rpcUrl: rpcUrl(options, rpcPort),
      credentialByVendor: prepared.credentialByVendor,
      keys: folder.keys,
      vendors: folder.vendors,
      reportIntervalMs,
      logLevel: options.logLevel,
    }),
  );
  stack.push("simulated fleet", () => fleet.close());
  return fleet;
}

type Gateway = Awaited<ReturnType<typeof openGateway>>;

async function openFront(ground: Ground, rpcPort: number): Promise<Gateway> {
  const { options, folder, registry, prepared, log, metrics, stack, signal } = ground;
  const gateway = await listening("gateway", options.ports.gateway, () =>
    openGateway({
      host: options.host,
      port: options.ports.gateway,
      gatewayId: "gateway-1" as GatewayId,
      origin: "shanghai" as OriginId,
      rpcUrl: rpcUrl(options, rpcPort),
      settlementUrl: rpcUrl(options, rpcPort),
      credential: prepared.operatorKey,
      registry,
      spoolFolder: folder.spool,
      log,
      metrics,
      clock: systemClock,
      signal,
      isQuotaKept: true,
    }),
  );
  stack.push("gateway", () => gateway.close());
  return gateway;
}

/** Nobody waits for it: what is used before the prices are signed waits in quarantine for them. */
function agreeSoon(
  { folder, prepared, parties, log, stack }: Ground,
  url: string,
  onAgreed: () => void,
): void {
  const agreeing = agree({ url, keys: folder.keys, prepared, parties })
    .then(onAgreed)
    .catch((error: unknown) => log.error({ error }, "the simulated parties have not signed"));
  stack.push("signing", async () => agreeing);
}

/** What people and Prometheus look through. Closed before the rest, so that nobody watches it go. */
async function openWindows(
  ground: Ground,
  control: Back["control"],
  isReady: () => boolean,
): Promise<[console: number, metrics: number]> {
  const { options, metrics, log, stack } = ground;
  const { host, ports } = options;
  const stop = new AbortController();
  stack.push("console and metrics", () => stop.abort());
  const { signal } = stop;
  return [
    await listening("console", ports.console, () =>
      serveConsole({
        host,
        port: ports.console,
        routes: (router) => control.routes(router),
        log,
        signal,
      }),
    ),
    await listening("metrics", ports.metrics, () =>
      serveMetrics({ host, port: ports.metrics, registry: metrics, isReady, signal }),
    ),
  ];
}

/** Our own parts call each other here, whatever address others call. */
function rpcUrl({ host }: DevOptions, port: number): string {
  return `http://${reachable(host)}:${port}`;
}

/** Asks again and again: it is over in a second, and leaves no stream behind. */
async function poolsReporting(
  url: string,
  options: {
    readonly credential: string;
    readonly expected: number;
    readonly isReady: () => boolean;
  },
): Promise<number> {
  const { credential, expected, isReady } = options;
  const service = createClient(PoolService, rpcTransport({ url, credential }));
  const giveUpAt = performance.now() + reportWaitMs;
  for (;;) {
    const { pools } = await service.list({});
    const fresh = pools.filter(({ health }) => health === PoolHealth.FRESH).length;
    const isAll = fresh >= expected && isReady();
    if (isAll || performance.now() > giveUpAt) return Math.min(fresh, expected);
    await setTimeout(reportAskMs);
  }
}

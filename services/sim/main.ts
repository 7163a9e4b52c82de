import { once } from "node:events";
import { z } from "zod";
import type { PoolRegistration } from "../core/pool.ts";
import type { Geography } from "../core/region.ts";
import type { OwnCount } from "../core/settlement/claims/own-count.ts";
import type { VendorId } from "../core/units.ts";
import { openLog, type Log } from "../io/log.ts";
import { openMetrics, serveMetrics } from "../io/metrics.ts";
import { loadGeography } from "../io/preset.ts";
import { serveEngines } from "./engine-server.ts";
import { loadFleet, presetFleetPath, type Fleet, type FleetPool } from "./fleet.ts";
import { countOf, honest, type ServedAttempt } from "./served-attempt.ts";

export { arrivalsOf, type TraceOptions } from "./arrivals.ts";
export { loadFleet, presetFleetPath, type Fleet } from "./fleet.ts";
export { TraceError } from "./trace.ts";
export { replayVirtual } from "./virtual-replay.ts";

export const configSchema = z.strictObject({
  host: z.string().default("127.0.0.1"),
  port: z.int().min(0).max(65_535).default(18_000),
  /** Of the simulator itself; its pools have their own. */
  metrics: z
    .strictObject({
      host: z.string().min(1).default("127.0.0.1"),
      port: z.int().min(0).max(65_535).default(9_468),
    })
    .prefault({}),
  fleetPath: z.string().min(1).default(presetFleetPath),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

export type SimConfig = z.output<typeof configSchema>;

/** A pool that is served, and all that an agent needs for it. */
export interface SimulatedPool {
  readonly registration: PoolRegistration;
  readonly metricsUrl: string;
  /** Where its accelerators tell what they draw. */
  readonly power: { readonly kind: "dcgm"; readonly url: string; readonly hostWatts: number };
}

export interface OpenFleet {
  readonly port: number;
  readonly pools: readonly SimulatedPool[];
  close(): Promise<void>;
}

/** Serves every pool of a fleet on one port, in real time. Resolves when it listens. */
export async function openFleet(options: {
  readonly fleet: Fleet;
  readonly geography: Geography;
  readonly host: string;
  /** 0 takes any that is free. */
  readonly port: number;
  /** Told what a vendor says that it served, attempt by attempt. */
  readonly onCounted?: (vendor: VendorId, count: OwnCount) => void;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<OpenFleet> {
  const { fleet, geography, host, port, onCounted, log, signal } = options;
  const countings = new Map(fleet.vendors.map(({ id, claims }) => [id, claims]));
  const onServed = (served: ServedAttempt): void => {
    const { vendor } = served.pool;
    onCounted?.(vendor, countOf(served, countings.get(vendor) ?? honest));
  };
  const served = { pools: fleet.pools, onServed };
  const server = await serveEngines({ ...served, geography, host, port, log, signal });
  const pools = fleet.pools.map((pool) => toSimulatedPool(pool, `http://${host}:${server.port}`));
  return { port: server.port, pools, close: () => server.close() };
}

function toSimulatedPool({ registration, engines }: FleetPool, baseUrl: string): SimulatedPool {
  const endpoint = `${baseUrl}/${registration.id}`;
  const hostWatts = [...engines.values()].reduce(
    (watts, { power, replicas }) => watts + power.hostWatts * replicas,
    0,
  );
  return {
    registration: { ...registration, endpoint, generation: 0 },
    metricsUrl: `${endpoint}/metrics`,
    power: { kind: "dcgm", url: `${endpoint}/dcgm/metrics`, hostWatts },
  };
}

/** Serves the fleet until the signal says stop. */
export async function start(config: SimConfig, signal: AbortSignal): Promise<void> {
  const { host, port, fleetPath, logLevel } = config;
  const { registry, onLogMessage } = openMetrics("0.1.0");
  const log = openLog({ role: "sim", level: logLevel, onMessage: onLogMessage });
  const fleet = loadFleet(fleetPath);
  const served = await openFleet({ fleet, geography: loadGeography(), host, port, log, signal });
  await serveMetrics({ ...config.metrics, registry, isReady: () => true, signal });
  log.info({ host, port: served.port, pools: served.pools.length }, "simulated pools are served");
  if (!signal.aborted) await once(signal, "abort");
  await served.close();
}

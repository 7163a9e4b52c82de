import { parentPort, workerData } from "node:worker_threads";
import { openAgent } from "../../agent/main.ts";
import { openLog } from "../../io/log.ts";
import { loadGeography } from "../../io/preset.ts";
import { loadFleet, openFleet } from "../../sim/main.ts";
import type { FleetNews, FleetOrder } from "./fleet-order.ts";

await runFleet(workerData as FleetOrder);

/** The thread's whole life: simulated pools, an agent for each, until the message that says stop. */
async function runFleet(order: FleetOrder): Promise<void> {
  const stop = new AbortController();
  const stopped = new Promise<void>((resolve) => parentPort?.once("message", () => resolve()));
  const log = openLog({ role: "sim", level: order.logLevel });
  const fleet = await openFleet({
    fleet: loadFleet(),
    geography: loadGeography(),
    host: order.host,
    port: order.port,
    log,
    signal: stop.signal,
  });
  const agents = await Promise.all(
    fleet.pools.map(({ registration, metricsUrl, power }) =>
      openAgent({
        registration,
        metricsUrl,
        dialect: "vllm",
        power,
        rpcUrl: order.rpcUrl,
        credential: order.credentialByVendor[registration.vendor] ?? "",
        intervalMs: order.reportIntervalMs,
        log,
        signal: stop.signal,
      }),
    ),
  );
  const news: FleetNews = {
    port: fleet.port,
    pools: fleet.pools.map(({ registration }) => registration.id),
  };
  parentPort?.postMessage(news);
  await stopped;
  await Promise.all(agents.map((agent) => agent.close()));
  await fleet.close();
  stop.abort();
}

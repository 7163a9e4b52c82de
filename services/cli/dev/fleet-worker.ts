import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { openAgent } from "../../agent/main.ts";
import { openLog, type Log } from "../../io/log.ts";
import { loadGeography } from "../../io/preset.ts";
import { loadFleet, openFleet, type Fleet } from "../../sim/main.ts";
import type { FleetNews, FleetOrder, FleetWord } from "./fleet-order.ts";
import { VendorSide } from "./vendor-side.ts";

await runFleet(workerData as FleetOrder);

/** The thread's whole life: simulated pools, an agent for each, their vendors, until the message that says stop. */
async function runFleet(order: FleetOrder): Promise<void> {
  const stop = new AbortController();
  const log = openLog({ role: "sim", level: order.logLevel });
  const simulated = loadFleet(order.fleetPath);
  const vendors = vendorsOf(simulated, order, log);
  const stopped = listen(() => {
    for (const [id, vendor] of vendors) {
      vendor.start().catch((error: unknown) => {
        log.error({ vendor: id, error }, "a simulated vendor neither claims nor witnesses");
      });
    }
  });
  const fleet = await openFleet({
    fleet: simulated,
    geography: loadGeography(),
    host: order.host,
    port: order.port,
    onCounted: (vendor, count) => vendors.get(vendor)?.count(count),
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
  // What the engines served last is claimed too.
  await Promise.all([...vendors.values()].map(async (vendor) => vendor.close()));
  stop.abort();
}

function vendorsOf(fleet: Fleet, order: FleetOrder, log: Log) {
  const { rpcUrl, keys } = order;
  return new Map(
    fleet.vendors.map(({ id: vendor }) => {
      const credential = order.credentialByVendor[vendor] ?? "";
      const folder = join(order.vendors, vendor);
      return [vendor, new VendorSide({ vendor, rpcUrl, credential, keys, folder, log })];
    }),
  );
}

/** Resolves when the thread is told to stop. After it nobody listens, so that the thread can end. */
async function listen(onAgreed: () => void): Promise<void> {
  await new Promise<void>((resolve) => {
    const hear = (word: FleetWord): void => {
      if (word === "agreed") return onAgreed();
      parentPort?.off("message", hear);
      resolve();
    };
    parentPort?.on("message", hear);
  });
}

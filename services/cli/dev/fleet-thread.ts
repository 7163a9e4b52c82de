import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { FleetNews, FleetOrder, FleetWord } from "./fleet-order.ts";

export interface FleetThread extends FleetNews {
  /** Rejects if the thread dies before it was told to stop. */
  readonly died: Promise<never>;
  /** The operator knows the vendors' keys: from now on they claim and witness. */
  agreed(): void;
  close(): Promise<void>;
}

/**
 * Runs the simulated pools and their agents in a thread of their own, so that simulating engines does not slow the
 * product that is being shown.
 */
export async function openFleetThread(order: FleetOrder): Promise<FleetThread> {
  const worker = new Worker(new URL("./fleet-worker.ts", import.meta.url), { workerData: order });
  const tell = (word: FleetWord): void => worker.postMessage(word);
  let isStopping = false;
  const exited = once(worker, "exit");
  const died = new Promise<never>((_, reject) => {
    worker.once("error", reject);
    worker.once("exit", (code) => {
      if (!isStopping) reject(new Error(`the simulated fleet ended by itself with code ${code}`));
    });
  });
  // Also handled by whoever waits for it; without this a fault between two waits would end the process.
  died.catch(() => undefined);
  const news: FleetNews = await Promise.race([firstMessage(worker), died]);
  return {
    ...news,
    died,
    agreed: () => tell("agreed"),
    close: async () => {
      isStopping = true;
      tell("stop");
      await exited;
    },
  };
}

function firstMessage(worker: Worker): Promise<FleetNews> {
  return new Promise((resolve) => {
    worker.once("message", resolve);
  });
}

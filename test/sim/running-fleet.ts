import { openLog } from "../../services/io/log.ts";
import { loadGeography } from "../../services/io/preset.ts";
import type { ModelId } from "../../services/core/units.ts";
import type { Fleet } from "../../services/sim/fleet.ts";
import { loadFleet, openFleet, type SimulatedPool } from "../../services/sim/main.ts";

export interface RunningPool extends SimulatedPool {
  readonly baseUrl: string;
  /** Metrics by `name{labels}` without the labels `engine` and `model_name`, summed. */
  metric(name: string): Promise<number>;
  chat(body: unknown, headers?: Record<string, string>): Promise<Response>;
  close(): Promise<void>;
}

export const model = "qwen3.6-plus" as ModelId;

/** A pool that is quick: a test does not wait for a model of 235 B parameters. */
export function quickFleet(stepBaseMs = 2): Fleet {
  const fleet = loadFleet();
  return {
    ...fleet,
    pools: fleet.pools.map((pool) => ({
      ...pool,
      engines: new Map(
        [...pool.engines].map(([name, engine]) => [
          name,
          {
            ...engine,
            profile: { ...engine.profile, stepBaseMs, stepMsPerSequence: 0, stepMsPerKvToken: 0 },
          },
        ]),
      ),
    })),
  };
}

/** Serves the quick fleet, and hands out one pool of it. */
export async function runPool(stepBaseMs?: number): Promise<RunningPool> {
  const id = "west-ningxia-1";
  const stop = new AbortController();
  const served = await openFleet({
    fleet: quickFleet(stepBaseMs),
    geography: loadGeography(),
    host: "127.0.0.1",
    port: 0,
    log: openLog({ role: "test", level: "silent" }),
    signal: stop.signal,
  });
  const pool = served.pools.find(({ registration }) => registration.id === id);
  if (pool === undefined) throw new Error(`no pool ${id} in the fleet`);
  const baseUrl = pool.registration.endpoint;
  return {
    ...pool,
    baseUrl,
    metric: async (name) => {
      const text = await (await fetch(pool.metricsUrl)).text();
      const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`));
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
    },
    chat: (body, headers = {}) =>
      fetch(`${baseUrl}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    close: () => served.close(),
  };
}

/** The events of a stream that ended, `[DONE]` included. */
export function eventsOf(text: string): string[] {
  return text
    .split("\n\n")
    .filter((event) => event !== "")
    .map((event) => event.replace(/^data: /, ""));
}

/** Looks again until it is so; the test's own time limit ends it. */
export async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10));
}

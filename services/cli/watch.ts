import { Code, ConnectError } from "@connectrpc/connect";
import { answered, client, type OutputOptions, type ServerOptions } from "./connect.ts";
import { type Printable, rendered } from "./print.ts";
import { type Pool, PoolService } from "../wire/gen/tokengrid/v1/pool_pb.js";

const clearScreen = "\x1b[H\x1b[2J\x1b[3J";

/** Prints the pools whenever they change: over the last ones on a terminal, under them in a pipe. */
export async function watching(
  options: ServerOptions & OutputOptions & { readonly interval: number },
  printable: (pools: readonly Pool[]) => Printable,
): Promise<void> {
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  const pools = client(PoolService, options);
  await answered(options, () =>
    untilStopped(stop.signal, async () => {
      const request = { intervalMs: options.interval };
      for await (const { pools: now } of pools.watch(request, { signal: stop.signal })) {
        const text = rendered(options.output, printable(now));
        process.stdout.write(process.stdout.isTTY ? `${clearScreen}${text}` : `${text}\n`);
      }
    }),
  );
}

/** Being told to stop is no failure. */
export async function untilStopped(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const isStop = signal.aborted && error instanceof ConnectError && error.code === Code.Canceled;
    if (!isStop) throw error;
  }
}

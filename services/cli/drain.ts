import { answered, client, type ServerOptions } from "./connect.ts";
import type { ExitCode } from "./outcome.ts";
import { untilStopped } from "./watch.ts";
import { type DrainResponse, DrainState, PoolService } from "../wire/gen/tokengrid/v1/pool_pb.js";

export interface DrainOptions extends ServerOptions {
  readonly deadline: number;
  readonly detach?: boolean;
  readonly reason: string;
}

/** Follows a drain to its end. Leaving, by Ctrl-C or `--detach`, leaves the drain running. */
export async function drain(poolId: string, options: DrainOptions): Promise<ExitCode> {
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  const pools = client(PoolService, options);
  let last: DrainResponse | undefined;
  await answered(options, () =>
    untilStopped(stop.signal, async () => {
      const request = { poolId, deadlineMs: options.deadline, reason: options.reason };
      for await (const progress of pools.drain(request, { signal: stop.signal })) {
        if (isNews(progress, last)) show(poolId, progress);
        last = progress;
        if (options.detach === true) stop.abort();
      }
    }),
  );
  if (last?.state === DrainState.DRAINING && stop.signal.aborted) return leave(poolId);
  return conclude(poolId, last);
}

function isNews(progress: DrainResponse, last: DrainResponse | undefined): boolean {
  return last?.leasesLeft !== progress.leasesLeft || last.state !== progress.state;
}

function show(poolId: string, { state, leasesLeft }: DrainResponse): void {
  if (state !== DrainState.DRAINING) return;
  const line = `pool ${poolId}: draining, ${leases(leasesLeft)} left`;
  process.stdout.write(process.stdout.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
}

function leave(poolId: string): ExitCode {
  say(
    `pool ${poolId}: the drain goes on; see it with: tokengrid pool watch; cancel it with: tokengrid pool uncordon ${poolId}`,
  );
  return 0;
}

function conclude(poolId: string, last: DrainResponse | undefined): ExitCode {
  if (last?.state === DrainState.DRAINED) {
    say(`pool ${poolId}: drained, nothing was cut`);
    return 0;
  }
  if (last?.state === DrainState.CUT) {
    say(`pool ${poolId}: the deadline passed, ${leases(last.leasesCut)} cut`);
    return 2;
  }
  if (last?.state === DrainState.CANCELLED) {
    say(`pool ${poolId}: someone uncordoned it, the drain is cancelled`);
    return 2;
  }
  throw new Error(`expected the end of the drain of ${poolId}, found the end of the answer`);
}

function leases(count: number): string {
  return count === 1 ? "1 lease" : `${count} leases`;
}

function say(line: string): void {
  process.stdout.write(process.stdout.isTTY ? `\r\x1b[K${line}\n` : `${line}\n`);
}

/**
 * Placements over gRPC, client and server in separate processes: unary, streamed, and streamed in batches, each beside
 * a bare echo of the same messages on the same stack. `--stacks` compares what the fast lane could have been.
 *
 *   node bench/placement.ts [--pools 64] [--rounds 3] [--ms 800] [--stacks] [--dry]
 */

import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { run, type Load } from "./placement-load.ts";
import { echoPaths, runServer, type Ports } from "./placement-server.ts";
import { appendResult } from "./report.ts";
import { interleave, median } from "./rounds.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    pools: { type: "string", default: "64" },
    rounds: { type: "string", default: "3" },
    ms: { type: "string", default: "800" },
    stacks: { type: "boolean", default: false },
    /** Prints and appends nothing. */
    dry: { type: "boolean", default: false },
  },
});

const pools = Number(values.pools);
const rounds = Number(values.rounds);
const durationMs = Number(values.ms);

const place = "/tokengrid.v1.PlacementService/Place";
const placeStream = "/tokengrid.v1.PlacementService/PlaceStream";

type Shape = Pick<Load, "inFlight" | "batch" | "connections">;

const unary: Shape = { inFlight: 64, batch: undefined, connections: 2 };
const streamed: Shape = { inFlight: 256, batch: 1, connections: 2 };
const batched: Shape = { inFlight: 16, batch: 64, connections: 2 };

type Case = Shape & { readonly path: string; readonly port: keyof Ports };

const placementCases = {
  unary: { ...unary, path: place, port: "thin" },
  "unary-echo": { ...unary, path: echoPaths.handUnary, port: "thin" },
  streamed: { ...streamed, path: placeStream, port: "thin" },
  "streamed-echo": { ...streamed, path: echoPaths.handStream, port: "thin" },
  batched: { ...batched, path: placeStream, port: "thin" },
  "batched-echo": { ...batched, path: echoPaths.handStream, port: "thin" },
} as const satisfies Record<string, Case>;

const stackCases = {
  "connect, generated code": { ...unary, path: place, port: "connect" },
  "grpc-js, generated code": { ...unary, path: echoPaths.generatedUnary, port: "grpcJs" },
  "thin, generated code": { ...unary, path: echoPaths.generatedUnary, port: "thin" },
  "thin, by hand": { ...unary, path: echoPaths.handUnary, port: "thin" },
} as const satisfies Record<string, Case>;

interface Measured {
  readonly perSecond: number;
  /** Of the server process, per placement. */
  readonly cpuUs: number;
}

async function measure(cases: Readonly<Record<string, Case>>): Promise<Map<string, Measured>> {
  const server = fork(import.meta.filename, ["serve", "--pools", String(pools)]);
  const { ports } = await next<{ ports: Ports }>(server);
  const cpuUsByCase = new Map<string, number[]>();
  const contestants = Object.entries(cases).map(([name, { port, ...load }]) => {
    const cpuUs: number[] = [];
    cpuUsByCase.set(name, cpuUs);
    const round = async (): Promise<number> => {
      const before = await cpuOf(server);
      const perSecond = await run({ ...load, port: ports[port], durationMs });
      cpuUs.push((await cpuOf(server)) - before);
      return perSecond;
    };
    return [name, round] as const;
  });
  const perSecondByCase = await interleave(Object.fromEntries(contestants), { rounds });
  server.send("stop");
  await once(server, "exit");
  return new Map(
    Object.entries(perSecondByCase).map(([name, perSecond]) => {
      const middle = median(perSecond);
      const cpuUs = median((cpuUsByCase.get(name) ?? []).slice(-rounds));
      return [name, { perSecond: middle, cpuUs: cpuUs / ((middle * durationMs) / 1_000) }];
    }),
  );
}

async function cpuOf(server: ChildProcess): Promise<number> {
  server.send("cpu");
  const { cpu } = await next<{ cpu: NodeJS.CpuUsage }>(server);
  return cpu.user + cpu.system;
}

async function next<Message>(server: ChildProcess): Promise<Message> {
  const [message] = await once(server, "message");
  return message as Message;
}

function tell(name: string, value: number, conditions: Record<string, string | number>): void {
  const all = { rounds, durationMs, ...conditions };
  if (values.dry) console.log(name, Math.round(value), JSON.stringify(all));
  else appendResult({ name, unit: "placements/s", value, conditions: all });
}

async function comparePlacements(): Promise<void> {
  const measured = await measure(placementCases);
  for (const shape of ["unary", "streamed", "batched"] as const) {
    const [own, echo] = [measured.get(shape), measured.get(`${shape}-echo`)];
    if (own === undefined || echo === undefined) continue;
    const { inFlight, connections, batch = 0 } = placementCases[shape];
    tell(`placement/${shape}`, own.perSecond, {
      ...{ pools, inFlight, connections, batch },
      echoPerSecond: Math.round(echo.perSecond),
      ratioToEcho: Number((own.perSecond / echo.perSecond).toFixed(3)),
      cpuUs: Number(own.cpuUs.toFixed(2)),
      echoCpuUs: Number(echo.cpuUs.toFixed(2)),
    });
  }
}

async function compareStacks(): Promise<void> {
  for (const [name, { perSecond, cpuUs }] of await measure(stackCases)) {
    tell(`placement-stack/${name}`, perSecond, {
      inFlight: unary.inFlight,
      connections: unary.connections,
      cpuUs: Number(cpuUs.toFixed(1)),
    });
  }
}

if (positionals[0] === "serve") await runServer(pools);
else if (values.stacks) await compareStacks();
else await comparePlacements();

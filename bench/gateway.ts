/**
 * What the gateway costs beside proxies that do less: the same client and the same backend, every part a process of
 * its own, rounds that take turns, medians. `node bench/gateway.ts [rounds] [ms per round] [results file]`.
 */

import { fork, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GatewayId, OriginId } from "../services/core/units.ts";
import { openGateway } from "../services/gateway/main.ts";
import { systemClock } from "../services/io/clock.ts";
import { openLog } from "../services/io/log.ts";
import { Registry as Metrics } from "../services/io/metrics.ts";
import { openSqliteRegistry } from "../services/io/registry-sqlite.ts";
import { eventMs, eventsPerAnswer, serveBackend } from "./gateway-backend.ts";
import { openBackground } from "./gateway-background.ts";
import { load, type Load } from "./gateway-client.ts";
import { appendResult, resultsPath } from "./report.ts";
import { interleave, median, quantile } from "./rounds.ts";

/** Somebody who passes requests on to the backend. */
interface Contestant {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  readonly path: string;
  readonly key: string;
  readonly model: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const [role = "main", ...args] = process.argv.slice(2);
const roles: Readonly<Record<string, () => Promise<void>>> = {
  backend: async () => tell({ port: await serveBackend() }),
  background: async () => {
    const [folder = "", endpoint = ""] = args;
    const { rpcUrl, registryPath, key, credential, alias } = await openBackground({
      folder,
      endpoints: [endpoint],
    });
    tell({ rpcUrl, registryPath, key, credential, alias });
  },
  gateway: async () => {
    const [folder = "", rpcUrl = "", registryPath = "", credential = ""] = args;
    const gateway = await openGateway({
      host: "127.0.0.1",
      port: 0,
      gatewayId: "bench" as GatewayId,
      origin: "shanghai" as OriginId,
      rpcUrl,
      settlementUrl: rpcUrl,
      credential,
      registry: await openSqliteRegistry(registryPath),
      spoolFolder: join(folder, "spool"),
      log: openLog({ role: "gateway", level: "info" }),
      metrics: new Metrics(),
      clock: systemClock,
      signal: new AbortController().signal,
    });
    while (!gateway.isReady()) await new Promise((resolve) => setTimeout(resolve, 10));
    tell({ port: gateway.port });
  },
};

async function main(): Promise<void> {
  const rounds = Number(role === "main" ? 5 : role);
  const [durationText = "1000", results = resultsPath] = args;
  const durationMs = Number(durationText);
  const folder = mkdtempSync(join(tmpdir(), "bench-gateway-"));
  const children: ChildProcess[] = [];
  try {
    const contestants = await openContestants(folder, children);
    await compare(contestants, { rounds, durationMs, results });
  } finally {
    for (const child of children) child.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  }
}

async function openContestants(folder: string, children: ChildProcess[]): Promise<Contestant[]> {
  const backend = await start("backend", [], children);
  const endpoint = `http://127.0.0.1:${backend.told["port"]}`;
  const behind = await start("background", [folder, endpoint], children);
  const { rpcUrl = "", registryPath = "", credential = "", key = "", alias = "" } = behind.told;
  const gateway = await start("gateway", [folder, rpcUrl, registryPath, credential], children);
  const path = "/v1/chat/completions";
  const contestants: Contestant[] = [
    {
      name: "tokengrid",
      pid: gateway.pid,
      port: Number(gateway.told["port"]),
      path,
      key,
      model: alias,
    },
    {
      name: "direct",
      pid: backend.pid,
      port: Number(backend.told["port"]),
      path,
      key: "none",
      model: "bench-model",
    },
  ];
  for (const open of [openHaproxy, openNginx, openPortkey]) {
    const peer = await open(folder, Number(backend.told["port"]), children);
    if (peer !== undefined) contestants.push({ ...peer, path, key: "none", model: "bench-model" });
  }
  return contestants;
}

const warmMs = 3_000;

/** The three ways a chat is asked for, and how many at once. */
const cases = {
  plain: { connections: 32, spreadMs: 0, body: { stream: false } },
  burst: { connections: 32, spreadMs: 0, body: { stream: true } },
  // One after the other, or all streams would begin at once and wait for each other.
  paced: {
    connections: 32,
    spreadMs: eventsPerAnswer * eventMs,
    body: { stream: true, user: "paced" },
  },
} as const;

async function compare(
  all: readonly Contestant[],
  {
    rounds,
    durationMs,
    results,
  }: { readonly rounds: number; readonly durationMs: number; readonly results: string },
): Promise<void> {
  for (const [name, { connections, spreadMs, body }] of Object.entries(cases)) {
    const contestants = await ableAmong(all, { connections, spreadMs, body });
    const firsts = new Map<string, number[]>(contestants.map((each) => [each.name, []]));
    const costs = await interleave(
      Object.fromEntries(
        contestants.map((each) => [
          each.name,
          async () => {
            const before = cpuMs(each.pid);
            const { requests, firstByteMs } = await ask(each, {
              connections,
              spreadMs,
              durationMs,
              body,
            });
            for (const ms of firstByteMs) firsts.get(each.name)?.push(ms);
            return (cpuMs(each.pid) - before) / requests;
          },
        ]),
      ),
      { rounds },
    );
    const conditions = {
      rounds,
      connections,
      events: eventsPerAnswer,
      eventMs: name === "paced" ? eventMs : 0,
    };
    const direct = firsts.get("direct") ?? [0];
    for (const { name: who } of contestants) {
      const first = firsts.get(who) ?? [];
      if (who !== "direct") {
        const value = median(costs[who] ?? []);
        appendResult(
          {
            name: `gateway/${name}/${who}/cpu`,
            unit: "CPU-ms per request",
            value,
            conditions,
          },
          results,
        );
      }
      const added = {
        p50: median(first) - median(direct),
        p99: quantile(first, 0.99) - quantile(direct, 0.99),
      };
      if (who === "direct" || name !== "paced") continue;
      appendResult(
        {
          name: `gateway/${name}/${who}/first-token-p50`,
          unit: "ms added",
          value: added.p50,
          conditions,
        },
        results,
      );
      appendResult(
        {
          name: `gateway/${name}/${who}/first-token-p99`,
          unit: "ms added",
          value: added.p99,
          conditions,
        },
        results,
      );
    }
  }
}

/**
 * Those that answer with 200, warmed up: a JavaScript program is compiled while it runs, and what it costs is what it
 * costs after that. Who cannot do a case is named and left out of it; ourselves never.
 */
async function ableAmong(
  contestants: readonly Contestant[],
  how: Pick<Load, "connections" | "spreadMs"> & { readonly body: object },
): Promise<Contestant[]> {
  const able: Contestant[] = [];
  for (const each of contestants) {
    try {
      await ask(each, { ...how, durationMs: warmMs });
      able.push(each);
    } catch (error) {
      if (each.name === "tokengrid" || each.name === "direct") throw error;
      console.log(`${each.name}: left out, it answered ${String(error).split("\r\n")[0]}`);
    }
  }
  return able;
}

function ask(
  contestant: Contestant,
  {
    body,
    ...how
  }: Pick<Load, "connections" | "spreadMs" | "durationMs"> & { readonly body: object },
) {
  const messages = [{ role: "user", content: "Tell me about the grid. ".repeat(20) }];
  const text = JSON.stringify({ model: contestant.model, messages, ...body });
  return load({ ...contestant, ...how, body: text });
}

/**
 * What all threads of a process have run, in ms. From the scheduler's nanoseconds: the clock ticks of `/proc/…/stat`
 * hardly see a process that works for less than a tick at a time, as proxies do.
 */
function cpuMs(pid: number): number {
  const nanoseconds = readdirSync(`/proc/${pid}/task`).map((thread) =>
    Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]),
  );
  return nanoseconds.reduce((sum, each) => sum + each, 0) / 1e6;
}

async function start(
  name: string,
  options: readonly string[],
  children: ChildProcess[],
): Promise<{ pid: number; told: Readonly<Record<string, string>> }> {
  const child = fork(import.meta.filename, [name, ...options], {
    stdio: ["ignore", "inherit", "ignore", "ipc"],
  });
  children.push(child);
  const [told] = (await once(child, "message")) as [Record<string, string>];
  return { pid: child.pid ?? 0, told };
}

function tell(what: Readonly<Record<string, string | number>>): void {
  process.send?.(what);
}

type Peer = Pick<Contestant, "name" | "pid" | "port" | "headers"> | undefined;

async function openHaproxy(
  folder: string,
  backendPort: number,
  children: ChildProcess[],
): Promise<Peer> {
  const port = await freePort();
  const path = join(folder, "haproxy.cfg");
  writeFileSync(
    path,
    `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  option http-no-delay
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:${port}
  default_backend pool
backend pool
  server pool 127.0.0.1:${backendPort}
`,
  );
  return openPeer("haproxy", ["-v"], { args: ["-db", "-f", path], port, children });
}

async function openNginx(
  folder: string,
  backendPort: number,
  children: ChildProcess[],
): Promise<Peer> {
  const port = await freePort();
  const path = join(folder, "nginx.conf");
  writeFileSync(
    path,
    `daemon off; master_process off; pid ${folder}/nginx.pid; error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log off;
  upstream pool { server 127.0.0.1:${backendPort}; keepalive 256; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port};
    keepalive_requests 100000000;
    location / {
      proxy_pass http://pool; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }
  }
}
`,
  );
  return openPeer("nginx", ["-v"], { args: ["-c", path, "-p", folder], port, children });
}

/** Undefined, and said so, where the program is not installed. */
async function openPeer(
  program: string,
  probe: readonly string[],
  options: {
    readonly args: readonly string[];
    readonly port: number;
    readonly children: ChildProcess[];
  },
): Promise<Peer> {
  if (spawnSync(program, probe).error !== undefined) {
    console.log(`${program}: not installed, left out`);
    return undefined;
  }
  const child = spawn(program, options.args, { stdio: "ignore" });
  options.children.push(child);
  await reachable(options.port);
  return { name: program, pid: child.pid ?? 0, port: options.port };
}

/** The rival of our own runtime, told by headers where to send. `PORTKEY_DIR` names a folder it is installed in. */
async function openPortkey(
  _folder: string,
  backendPort: number,
  children: ChildProcess[],
): Promise<Peer> {
  const server = portkeyServer(process.env.PORTKEY_DIR);
  if (server === undefined) {
    console.log("portkey: not installed, left out");
    return undefined;
  }
  const port = await freePort();
  const peer = await openPeer(process.execPath, ["--version"], {
    args: [server, `--port=${port}`, "--headless"],
    port,
    children,
  });
  const headers = {
    "x-portkey-provider": "openai",
    "x-portkey-custom-host": `http://127.0.0.1:${backendPort}/v1`,
  };
  return peer && { ...peer, name: "portkey", headers };
}

function portkeyServer(folder = "."): string | undefined {
  const path = join(folder, "node_modules/@portkey-ai/gateway/build/start-server.js");
  return existsSync(path) ? path : undefined;
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function reachable(port: number): Promise<void> {
  for (;;) {
    try {
      await fetch(`http://127.0.0.1:${port}/health`);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

await (roles[role] ?? main)();

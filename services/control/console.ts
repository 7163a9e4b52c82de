import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { ConnectRouter } from "@connectrpc/connect";
import { identityKey, localOperator } from "../io/grpc-identity.ts";
import { validation } from "../io/grpc-validation.ts";
import type { Log } from "../io/log.ts";
import { rpcHandler } from "../io/rpc-handler.ts";
import { isLoopback } from "../io/rpc-server.ts";

export interface ConsoleOptions {
  /** Of loopback alone: whoever reaches the console reads as an operator. */
  readonly host: string;
  /** 0 takes any that is free. */
  readonly port: number;
  /** The routes of the RPC server; of them only `readable` are reached from here. */
  readonly routes: (router: ConnectRouter) => void;
  /** Names, beside loopback's, under which browsers may know this server, for a proxy in front of it. */
  readonly hostNames?: readonly string[];
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The console reads. What changes something goes over the RPC port, with a credential. */
export const readable: ReadonlySet<string> = new Set([
  "/tokengrid.v1.PoolService/Watch",
  "/tokengrid.v1.PoolService/List",
  "/tokengrid.v1.PoolService/Get",
  "/tokengrid.v1.PlacementService/WatchDecisions",
  "/tokengrid.v1.PlacementService/Explain",
  "/tokengrid.v1.PolicyService/Get",
]);

const requestBytesMax = 64 * 1_024;
const connectionsMax = 256;
const headersMsMax = 10_000;

const page = new URL("../console/", import.meta.url);
const preset = new URL("../../deploy/preset/", import.meta.url);

/** Everything that is served, by path. What is not here does not exist. */
const sources: Readonly<Record<string, URL>> = {
  "/": new URL("index.html", page),
  "/style.css": new URL("style.css", page),
  "/favicon.svg": new URL("favicon.svg", page),
  "/console.js": new URL("console.js", page),
  "/arcs.js": new URL("arcs.js", page),
  "/columns.js": new URL("columns.js", page),
  "/ground.js": new URL("ground.js", page),
  "/messages.js": new URL("messages.js", page),
  "/bill.js": new URL("bill.js", page),
  "/charts.js": new URL("charts.js", page),
  "/dom.js": new URL("dom.js", page),
  "/flow-map.js": new URL("flow-map.js", page),
  "/grid.js": new URL("grid.js", page),
  "/labels.js": new URL("labels.js", page),
  "/placements.js": new URL("placements.js", page),
  "/pool-table.js": new URL("pool-table.js", page),
  "/rpc.js": new URL("rpc.js", page),
  "/text.js": new URL("text.js", page),
  "/texts/en.json": new URL("texts/en.json", page),
  "/texts/zh.json": new URL("texts/zh.json", page),
  "/cities.json": new URL("cities.json", preset),
  "/modules/d3-array.js": new URL(import.meta.resolve("d3-array")),
  "/modules/d3-geo.js": new URL(import.meta.resolve("d3-geo")),
  "/modules/uplot.js": new URL(import.meta.resolve("uplot/dist/uPlot.esm.js")),
  "/modules/uplot.css": new URL(import.meta.resolve("uplot/dist/uPlot.min.css")),
};

const types: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
  js: "text/javascript; charset=utf-8",
  mjs: "text/javascript; charset=utf-8",
  json: "application/json; charset=utf-8",
};

interface Asset {
  readonly bytes: Buffer;
  readonly type: string;
  readonly etag: string;
}

/**
 * Serves the console and, on the same origin, the calls it reads from, as Connect JSON over HTTP/1.1, until the
 * signal says stop. Resolves to the port once it listens.
 */
export async function serveConsole(options: ConsoleOptions): Promise<number> {
  const { host, port, routes, hostNames = [], log, signal } = options;
  if (!isLoopback(host)) throw new Error(`expected a loopback address, found ${host}`);
  const assets = new Map(Object.entries(sources).map(([path, source]) => [path, read(source)]));
  const headers = safeHeaders(assets.get("/"));
  const rpc = rpcHandler({
    log,
    routes,
    interceptors: [validation],
    requestGate: ({ values }) => {
      values.set(identityKey, localOperator);
    },
    grpc: false,
    grpcWeb: false,
    readMaxBytes: requestBytesMax,
    shutdownSignal: signal,
  });
  const names = new Set([...hostNames, host, "127.0.0.1", "localhost", "[::1]"]);

  const server = createServer({ headersTimeout: headersMsMax }, (request, response) => {
    const path = request.url?.split("?")[0] ?? "/";
    for (const [name, value] of headers) response.setHeader(name, value);
    if (!isOurs(request, names)) refuse(response, 421, "expected this server's own name as host");
    else if (readable.has(path)) rpc(request, response);
    else serveAsset(request, response, assets.get(path));
  });
  server.maxConnections = connectionsMax;
  server.on("clientError", (_error, socket) => socket.destroy());
  server.listen(port, host);
  await once(server, "listening");
  signal.addEventListener("abort", () => {
    server.close();
    server.closeAllConnections();
  });
  const address = server.address();
  const bound = typeof address === "object" && address !== null ? address.port : port;
  log.info({ host, port: bound }, "console listens");
  return bound;
}

/** A page of another site that resolves its own name to this machine is told nothing (DNS rebinding). */
function isOurs(request: IncomingMessage, names: ReadonlySet<string>): boolean {
  const host = request.headers.host ?? "";
  if (!names.has(host.replace(/:\d+$/, "").toLowerCase())) return false;
  const { origin } = request.headers;
  return origin === undefined || origin === `http://${host}` || origin === `https://${host}`;
}

function serveAsset(request: IncomingMessage, response: ServerResponse, asset?: Asset): void {
  if (asset === undefined) return refuse(response, 404, "no such page");
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    return refuse(response, 405, `expected GET or HEAD, found ${request.method}`);
  }
  response.setHeader("etag", asset.etag);
  response.setHeader("cache-control", "no-cache");
  if (request.headers["if-none-match"] === asset.etag) {
    response.writeHead(304).end();
    return;
  }
  response.setHeader("content-type", asset.type);
  response.setHeader("content-length", asset.bytes.length);
  response.writeHead(200).end(request.method === "HEAD" ? undefined : asset.bytes);
}

function refuse(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(`${message}\n`);
}

function read(source: URL): Asset {
  const bytes = readFileSync(source);
  const type = types[source.pathname.split(".").at(-1) ?? ""];
  if (type === undefined) throw new Error(`no content type is known for ${source.pathname}`);
  return { bytes, type, etag: `"${sha256(bytes)}"` };
}

/** The import map is the one inline script there can be: browsers take none from a file. */
function safeHeaders(index: Asset | undefined): ReadonlyMap<string, string> {
  const html = index?.bytes.toString("utf8") ?? "";
  const importMap = /<script type="importmap">([^]*?)<\/script>/.exec(html)?.[1] ?? "";
  const policy = [
    "default-src 'self'",
    `script-src 'self' 'sha256-${sha256(importMap)}'`,
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  return new Map([
    ["content-security-policy", policy.join("; ")],
    ["x-content-type-options", "nosniff"],
    ["x-frame-options", "DENY"],
    ["referrer-policy", "no-referrer"],
    ["cross-origin-opener-policy", "same-origin"],
    ["cross-origin-resource-policy", "same-origin"],
  ]);
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("base64");
}

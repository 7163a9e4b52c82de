import { createServer as createHttp1, type Server as Http1Server } from "node:http";
import {
  createServer as createHttp2,
  Http2ServerRequest,
  Http2ServerResponse,
  type Http2Server,
  type ServerHttp2Session,
} from "node:http2";
import { once } from "node:events";
import { createServer, isIP, type Server, type Socket } from "node:net";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { healthRoutes } from "./grpc-health.ts";
import { isHotRequest, serveHot, type HotMethod } from "./grpc-hot.ts";
import { identityKey, localOperator, type Identify, type Identity } from "./grpc-identity.ts";
import { reflectionRoutes } from "./grpc-reflection.ts";
import { validation } from "./grpc-validation.ts";
import type { Log } from "./log.ts";
import { rpcHandler, type RpcHandler } from "./rpc-handler.ts";

/** Bounds of what callers may do to us. */
export const rpcLimits = {
  readBytesMax: 4 * 1024 * 1024,
  writeBytesMax: 4 * 1024 * 1024,
  /** Longest deadline that a caller may ask for. */
  timeoutMsMax: 3_600_000,
  connectionsMax: 4_096,
  concurrentStreamsMax: 100,
  /** Resets that a connection may make at once, and then per second. */
  streamResetBurst: 100,
  streamResetPerSecond: 10,
  sessionMemoryMbMax: 10,
  headerPairsMax: 128,
  headerBytesMax: 16 * 1024,
  invalidFramesMax: 100,
  rejectedStreamsMax: 100,
  /** First bytes of a connection; headers and body of an HTTP/1.1 request. */
  prefaceMsMax: 10_000,
  headersMsMax: 10_000,
  requestMsMax: 30_000,
  pingIntervalMs: 15_000,
  pingTimeoutMs: 10_000,
  /** What a draining server waits for streams to end. */
  closeGraceMs: 5_000,
} as const;

export interface RpcServer {
  readonly port: number;
  /** NOT_SERVING and GOAWAY at once; calls may end within the grace, then they are cut. */
  close(): Promise<void>;
}

export interface RpcServerOptions {
  readonly host: string;
  /** 0 takes any that is free. */
  readonly port: number;
  readonly routes: (router: ConnectRouter) => void;
  readonly hot?: readonly HotMethod[];
  /** Who has which key. Without it no key is known. */
  readonly identify?: Identify;
  readonly isReady?: () => boolean;
  /** Keys travel in the clear: off loopback only where the network is trusted. */
  readonly isCleartextAllowed?: boolean;
  readonly limits?: Partial<Record<keyof typeof rpcLimits, number>>;
  readonly signal: AbortSignal;
  readonly log: Log;
}

/**
 * One cleartext port for gRPC, gRPC-Web and Connect over HTTP/2, and for Connect JSON over HTTP/1.1 so that plain curl
 * works, with health, reflection and validation. Resolves when it listens; closes by itself when the signal says stop.
 */
export async function serveRpc(options: RpcServerOptions): Promise<RpcServer> {
  const { host, port, isCleartextAllowed = false, signal, log } = options;
  const limits = { ...rpcLimits, ...options.limits };
  if (!isLoopback(host) && !isCleartextAllowed) {
    throw new Error(`expected a loopback address for a port without TLS, found ${host}`);
  }
  const shutdown = new AbortController();
  const authenticate = authenticator(options);
  const handler = connectHandler(options, { limits, shutdown: shutdown.signal, authenticate });
  const http1 = openHttp1(handler, limits);
  const http2 = openHttp2({ options, limits, shutdown: shutdown.signal, authenticate, handler });
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    sniff(socket, { http1, http2: http2.server, limits });
  });
  server.maxConnections = limits.connectionsMax;
  server.listen(port, host);
  await once(server, "listening");
  const close = closer({ server, sockets, http1, http2, shutdown, limits });
  const stop = (): void => {
    close().catch((error: unknown) => log.error({ error }, "closing the RPC server failed"));
  };
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  const address = server.address();
  return { port: typeof address === "object" && address !== null ? address.port : port, close };
}

type Limits = Readonly<Record<keyof typeof rpcLimits, number>>;
type Authenticate = (authorization: string | undefined) => Identity;

/** True for addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  if (isIP(host) === 4) return host.startsWith("127.");
  return host === "localhost" || host === "::1";
}

function authenticator({ host, identify }: RpcServerOptions): Authenticate {
  return (authorization) => {
    if (authorization === undefined && isLoopback(host)) return localOperator;
    const secret = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
    const identity = secret === undefined ? undefined : identify?.(secret);
    if (identity !== undefined) return identity;
    const found = authorization === undefined ? "none" : "one that is unknown or revoked";
    throw new ConnectError(`expected a key as bearer token, found ${found}`, Code.Unauthenticated);
  };
}

function connectHandler(
  { routes, log, isReady = () => true }: RpcServerOptions,
  options: {
    readonly limits: Limits;
    readonly shutdown: AbortSignal;
    readonly authenticate: Authenticate;
  },
): RpcHandler {
  const { limits, shutdown, authenticate } = options;
  return rpcHandler({
    log,
    routes: (router) => {
      routes(router);
      const services = new Set(router.handlers.map(({ service }) => service.typeName));
      healthRoutes({ router, services, isReady: () => isReady() && !shutdown.aborted });
      reflectionRoutes(router);
    },
    readMaxBytes: limits.readBytesMax,
    writeMaxBytes: limits.writeBytesMax,
    maxTimeoutMs: limits.timeoutMsMax,
    shutdownSignal: shutdown,
    interceptors: [validation],
    // Before the body is read, so that strangers cost nothing.
    requestGate: (context) => admit(context, authenticate),
  });
}

/** A prober has no key, and learns only whether we are well. */
function admit(
  { service, requestHeader, values }: HandlerContext,
  authenticate: Authenticate,
): void {
  if (service.typeName === "grpc.health.v1.Health") return;
  values.set(identityKey, authenticate(requestHeader.get("authorization") ?? undefined));
}

function openHttp1(handler: RpcHandler, limits: Limits): Http1Server {
  const server = createHttp1(
    {
      maxHeaderSize: limits.headerBytesMax,
      headersTimeout: limits.headersMsMax,
      requestTimeout: limits.requestMsMax,
      connectionsCheckingInterval: limits.headersMsMax / 2,
    },
    handler,
  );
  // It never listens by itself, but only a server that does looks after its time limits.
  server.emit("listening");
  return server;
}

interface Http2 {
  readonly server: Http2Server;
  readonly sessions: ReadonlySet<ServerHttp2Session>;
}

function openHttp2(parts: {
  readonly options: RpcServerOptions;
  readonly limits: Limits;
  readonly shutdown: AbortSignal;
  readonly authenticate: Authenticate;
  readonly handler: RpcHandler;
}): Http2 {
  const { options, limits, shutdown, authenticate, handler } = parts;
  const hot = new Map((options.hot ?? []).map((method) => [method.path, method]));
  const hotLimits = { readBytesMax: limits.readBytesMax, timeoutMsMax: limits.timeoutMsMax };
  const server = createHttp2(http2Settings(limits));
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    keepAlive(session, limits);
  });
  server.on("sessionError", (error) => options.log.debug({ error }, "a connection broke"));
  server.on("stream", (stream, headers, _flags, rawHeaders: readonly string[]) => {
    const method = hot.get(headers[":path"] ?? "");
    if (method !== undefined && isHotRequest(headers)) {
      const onFault = (error: unknown): void =>
        options.log.error({ error, path: method.path }, "a call failed");
      serveHot({ method, stream, headers, limits: hotLimits, authenticate, shutdown, onFault });
      return;
    }
    const request = new Http2ServerRequest(stream, headers, {}, rawHeaders);
    handler(request, new Http2ServerResponse(stream));
  });
  return { server, sessions };
}

function http2Settings(limits: Limits) {
  return {
    settings: {
      maxConcurrentStreams: limits.concurrentStreamsMax,
      maxHeaderListSize: limits.headerBytesMax,
    },
    maxSessionMemory: limits.sessionMemoryMbMax,
    maxHeaderListPairs: limits.headerPairsMax,
    maxSessionInvalidFrames: limits.invalidFramesMax,
    maxSessionRejectedStreams: limits.rejectedStreamsMax,
    streamResetBurst: limits.streamResetBurst,
    streamResetRate: limits.streamResetPerSecond,
  };
}

/** A cut link says nothing: who does not answer a ping is gone. */
function keepAlive(session: ServerHttp2Session, limits: Limits): void {
  const timer = setInterval(() => {
    if (session.destroyed || session.closed) return;
    const overdue = setTimeout(() => session.destroy(), limits.pingTimeoutMs).unref();
    session.ping(() => clearTimeout(overdue));
  }, limits.pingIntervalMs).unref();
  session.once("close", () => clearInterval(timer));
}

/** HTTP/2 without TLS begins with `PRI`, which is no method of HTTP/1.1. */
function sniff(
  socket: Socket,
  options: { readonly http1: Http1Server; readonly http2: Http2Server; readonly limits: Limits },
): void {
  const { http1, http2, limits } = options;
  const overdue = setTimeout(() => socket.destroy(), limits.prefaceMsMax).unref();
  const onError = (): void => clearTimeout(overdue);
  socket.once("error", onError);
  socket.once("close", onError);
  socket.once("readable", () => {
    clearTimeout(overdue);
    const first: Buffer | null = socket.read();
    socket.removeListener("error", onError);
    socket.removeListener("close", onError);
    if (first === null) {
      socket.destroy();
      return;
    }
    socket.unshift(first);
    // A first packet of one or two bytes cannot be told apart; HTTP/1.1 then refuses a preface.
    const isHttp2 = first.subarray(0, 3).equals(Buffer.from("PRI"));
    (isHttp2 ? http2 : http1).emit("connection", socket);
  });
}

function closer(parts: {
  readonly server: Server;
  readonly sockets: ReadonlySet<Socket>;
  readonly http1: Http1Server;
  readonly http2: Http2;
  readonly shutdown: AbortController;
  readonly limits: Limits;
}): () => Promise<void> {
  const { server, sockets, http1, http2, shutdown, limits } = parts;
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    const closed = once(server, "close");
    server.close();
    http1.close();
    shutdown.abort(new ConnectError("the server is draining", Code.Unavailable));
    for (const session of http2.sessions) session.close();
    http1.closeIdleConnections();
    // Sessions that ended may still wait for a caller that does not hang up, so what is cut are the sockets.
    const cut = setTimeout(() => {
      for (const socket of sockets) socket.destroy();
    }, limits.closeGraceMs);
    await closed;
    clearTimeout(cut);
  };
  return () => (closing ??= close());
}

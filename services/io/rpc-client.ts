import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

/** Bounds of every call that we make. */
export const rpcClientLimits = {
  readBytesMax: 4 * 1024 * 1024,
  writeBytesMax: 4 * 1024 * 1024,
  /** A cut link looks open until a ping is missed. */
  pingIntervalMs: 15_000,
  pingTimeoutMs: 5_000,
  idleConnectionMs: 15 * 60_000,
} as const;

/**
 * Calls one of our servers over gRPC. Streams that are cut without a word are noticed by pings; a deadline is the
 * caller's to set, by `timeoutMs`.
 */
export function rpcTransport(options: {
  readonly url: string;
  /** Sent as `authorization: Bearer`. */
  readonly credential?: string | undefined;
}): Transport {
  const { url, credential } = options;
  return createGrpcTransport({
    baseUrl: url,
    interceptors: credential === undefined ? [] : [bearer(credential)],
    readMaxBytes: rpcClientLimits.readBytesMax,
    writeMaxBytes: rpcClientLimits.writeBytesMax,
    pingIntervalMs: rpcClientLimits.pingIntervalMs,
    pingTimeoutMs: rpcClientLimits.pingTimeoutMs,
    pingIdleConnection: true,
    idleConnectionTimeoutMs: rpcClientLimits.idleConnectionMs,
  });
}

function bearer(credential: string): Interceptor {
  return (next) => (request) => {
    request.header.set("authorization", `Bearer ${credential}`);
    return next(request);
  };
}

/** A closed-loop client on bare sockets, so that it costs less than what it measures. */

import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export interface Load {
  readonly port: number;
  readonly path: string;
  readonly key: string;
  /** Besides the usual ones. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
  readonly connections: number;
  /** The connections begin evenly spread over it. */
  readonly spreadMs: number;
  readonly durationMs: number;
}

export interface LoadResult {
  readonly requests: number;
  /** From the request to the first byte of the answer's body, of each request, in ms. */
  readonly firstByteMs: readonly number[];
}

/** Sends on every connection, one request after the other, until the time is over; then waits for the last ones. */
export async function load(options: Load): Promise<LoadResult> {
  const firstByteMs: number[] = [];
  const until = performance.now() + options.durationMs;
  const request = [
    `POST ${options.path} HTTP/1.1`,
    "host: bench",
    "content-type: application/json",
    `authorization: Bearer ${options.key}`,
    ...Object.entries(options.headers ?? {}).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${Buffer.byteLength(options.body)}`,
    "",
    options.body,
  ].join("\r\n");
  const { connections, spreadMs, port } = options;
  const workers = Array.from({ length: connections }, async (_, index) => {
    await delay((index * spreadMs) / connections);
    return work({ port, request, until, firstByteMs });
  });
  const counts = await Promise.all(workers);
  return { requests: counts.reduce((sum, count) => sum + count, 0), firstByteMs };
}

function work(options: {
  readonly port: number;
  readonly request: string;
  readonly until: number;
  readonly firstByteMs: number[];
}): Promise<number> {
  const { port, request, until, firstByteMs } = options;
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ port, host: "127.0.0.1", noDelay: true });
    let requests = 0;
    let received = "";
    let sentAt = 0;
    let hasBody = false;
    const send = (): void => {
      received = "";
      hasBody = false;
      sentAt = performance.now();
      socket.write(request);
    };
    socket.once("connect", send);
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`closed after ${requests} requests`)));
    socket.on("data", (bytes: Buffer) => {
      received += bytes.toString("latin1");
      const headEnd = received.indexOf("\r\n\r\n");
      if (headEnd < 0) return;
      if (!hasBody && received.length > headEnd + 4) {
        hasBody = true;
        firstByteMs.push(performance.now() - sentAt);
      }
      if (!isWhole(received, headEnd)) return;
      if (!received.startsWith("HTTP/1.1 200")) return reject(new Error(received.slice(0, 500)));
      requests += 1;
      if (performance.now() < until) send();
      else {
        socket.destroy();
        resolve(requests);
      }
    });
  });
}

function isWhole(received: string, headEnd: number): boolean {
  const head = received.slice(0, headEnd).toLowerCase();
  const length = /content-length: *(\d+)/.exec(head)?.[1];
  if (length !== undefined) return received.length >= headEnd + 4 + Number(length);
  return received.endsWith("0\r\n\r\n");
}

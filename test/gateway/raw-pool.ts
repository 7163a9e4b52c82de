/** A pool that does to the wire whatever a test says: HTTP by bytes, no server library in between. */

import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";

export interface PoolRequest {
  readonly method: string;
  readonly path: string;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** One request as the script sees it. */
export interface PoolCall extends PoolRequest {
  /** Status line and headers; chunked unless told otherwise. */
  head(status?: number, headers?: Readonly<Record<string, string>>): void;
  /** Bytes of the body, as one chunk. */
  send(bytes: string | Buffer): void;
  /** `data: …` for each, one chunk each. */
  events(...payloads: readonly unknown[]): void;
  /** The clean end of the body. */
  end(): void;
  /** The connection is reset. */
  cut(): void;
  /** What the other side has not taken yet, in bytes. */
  unsent(): number;
  /** Resolves when the other side closed the connection. */
  readonly closed: Promise<void>;
}

export interface RawPool {
  readonly endpoint: string;
  /** Without probes of `/health`. */
  readonly requests: readonly PoolRequest[];
  close(): Promise<void>;
}

type Script = (call: PoolCall) => void | Promise<void>;

export async function openRawPool(script: Script): Promise<RawPool> {
  const requests: PoolRequest[] = [];
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    readRequests(socket, async (request) => {
      if (request.path.endsWith("/health")) {
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        return;
      }
      requests.push(request);
      await script(callOn(socket, request));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    requests,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function callOn(socket: Socket, request: PoolRequest): PoolCall {
  const send = (bytes: string | Buffer): void => {
    const body = Buffer.from(bytes);
    const size = Buffer.from(`${body.length.toString(16)}\r\n`);
    socket.write(Buffer.concat([size, body, Buffer.from("\r\n")]));
  };
  return {
    ...request,
    head: (status = 200, headers = { "content-type": "text/event-stream" }) => {
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`HTTP/1.1 ${status} X\r\ntransfer-encoding: chunked\r\n${lines.join("")}\r\n`);
    },
    send,
    events: (...payloads) => {
      for (const payload of payloads) send(event(payload));
    },
    end: () => {
      socket.write("0\r\n\r\n");
    },
    cut: () => {
      socket.resetAndDestroy();
    },
    unsent: () => socket.writableLength,
    closed: new Promise((resolve) => {
      socket.once("close", () => resolve());
    }),
  };
}

function readRequests(socket: Socket, serve: (request: PoolRequest) => Promise<void>): void {
  let received = Buffer.alloc(0);
  socket.on("data", (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
    const headEnd = received.indexOf("\r\n\r\n");
    if (headEnd < 0) return;
    const [first = "", ...lines] = received.toString("latin1", 0, headEnd).split("\r\n");
    const headers = new Map(
      lines.map((line) => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
      }),
    );
    const bodyEnd = headEnd + 4 + Number(headers.get("content-length") ?? 0);
    if (received.length < bodyEnd) return;
    const body = received.toString("utf8", headEnd + 4, bodyEnd);
    received = received.subarray(bodyEnd);
    const [method = "", path = ""] = first.split(" ");
    serve({ method, path, headers, body }).catch((error: unknown) => {
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  });
}

export function event(payload: unknown): string {
  return `data: ${typeof payload === "string" ? payload : JSON.stringify(payload)}\n\n`;
}

/** A chunk of an answer as vLLM writes it. */
export function chunk(delta: object, finishReason: string | null = null): object {
  return {
    id: "chatcmpl-1",
    object: "chat.completion.chunk",
    created: 1_795_000_000,
    model: "engine/model",
    choices: [{ index: 0, delta, logprobs: null, finish_reason: finishReason }],
  };
}

export function usageChunk(promptTokens: number, completionTokens: number): object {
  return {
    ...chunk({}),
    choices: [],
    usage: {
      prompt_tokens: promptTokens,
      completion_tokens: completionTokens,
      total_tokens: promptTokens + completionTokens,
    },
  };
}

/** What a pool that does its work says. */
export function answerOf(...words: readonly string[]): unknown[] {
  return [
    chunk({ role: "assistant", content: "" }),
    ...words.map((content) => chunk({ content })),
    chunk({}, "stop"),
    usageChunk(7, words.length),
    "[DONE]",
  ];
}

/** The script of a pool that answers every request well. */
export function answering(...words: readonly string[]): Script {
  return (call) => {
    call.head();
    call.events(...answerOf(...words));
    call.end();
  };
}

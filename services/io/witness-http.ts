import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Log } from "./log.ts";
import type { Witness, WitnessReply } from "./witness.ts";

/** Bounds of what callers may do to a witness. */
export const witnessLimits = {
  bodyBytesMax: 81_920,
  headersMsMax: 10_000,
  requestMsMax: 15_000,
  connectionsMax: 256,
  headerPairsMax: 64,
} as const;

export type WitnessHandler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** `POST <prefix>/add-checkpoint` of C2SP tlog-witness. */
export function witnessHandler(
  witness: Witness,
  options: { readonly prefix: string },
): WitnessHandler {
  const path = `${options.prefix.replace(/\/$/, "")}/add-checkpoint`;
  return async (request, response) => {
    if (request.url?.split("?")[0] !== path) {
      answer(response, 404, "expected a path that ends in /add-checkpoint\n");
      return;
    }
    if (request.method !== "POST") {
      response.setHeader("allow", "POST");
      answer(response, 405, "expected POST\n");
      return;
    }
    const body = await bodyOf(request);
    if (body === undefined) {
      // The rest of it is not read.
      response.setHeader("connection", "close");
      answer(response, 413, `expected at most ${witnessLimits.bodyBytesMax} bytes of UTF-8\n`);
      return;
    }
    write(response, await witness.add(body));
  };
}

/** A server for a witness alone. Resolves to the port once it listens. */
export async function serveWitness(options: {
  readonly host: string;
  /** 0 takes any that is free. */
  readonly port: number;
  readonly prefix: string;
  readonly witness: Witness;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<number> {
  const { host, port, witness, log, signal } = options;
  const handle = witnessHandler(witness, options);
  const server = createServer(
    {
      headersTimeout: witnessLimits.headersMsMax,
      requestTimeout: witnessLimits.requestMsMax,
    },
    (request, response) => {
      handle(request, response).catch((error: unknown) => {
        // What is not on disk is not signed, and nobody is told that it is.
        log.error({ error }, "a checkpoint was not witnessed");
        if (!response.headersSent) answer(response, 500, "the witness could not keep it\n");
        else response.destroy();
      });
    },
  );
  server.maxConnections = witnessLimits.connectionsMax;
  server.maxHeadersCount = witnessLimits.headerPairsMax;
  server.listen(port, host);
  await once(server, "listening");
  const stop = (): void => {
    server.close();
    server.closeAllConnections();
  };
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : port;
}

function write(response: ServerResponse, reply: WitnessReply): void {
  if (reply.status === 200) answer(response, 200, reply.cosignatures);
  else if (reply.status === 409) answer(response, 409, `${reply.size}\n`, "text/x.tlog.size");
  else answer(response, reply.status, `${reply.reason}\n`);
}

function answer(
  response: ServerResponse,
  status: number,
  text: string,
  type = "text/plain; charset=utf-8",
): void {
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(text),
    "x-content-type-options": "nosniff",
  });
  response.end(text);
}

/** Undefined if it is too long or no UTF-8. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > witnessLimits.bodyBytesMax) return undefined;
    chunks.push(chunk);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch {
    return undefined;
  }
}

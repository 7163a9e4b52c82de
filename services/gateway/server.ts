import { once } from "node:events";
import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import type { RequestId } from "../core/units.ts";
import type { Log } from "../io/log.ts";
import { outcomes, type Reason } from "../wire/errors.ts";
import { Refusal, toErrorAnswer, toRefusal } from "./errors.ts";
import { requestIdOf, textHeader, type Exchange, type ExchangeEnd } from "./exchange.ts";
import type { Api, GatewayMetrics, RejectedFor } from "./metrics.ts";
import { chatCompletions, models, type OpenAiParts } from "./openai.ts";

/** Bounds of the door. Node's own are larger. */
export const serverLimits = {
  headerBytesMax: 16 * 1024,
  headersMax: 100,
  headersMs: 10_000,
  requestMs: 30_000,
  connectionsMax: 20_000,
  /** Requests served at once. */
  exchangesMax: 10_000,
} as const;

/** Says why the gateway takes nothing now; undefined if it does. */
export type Closed = () => Refusal | undefined;

type Serve = (parts: OpenAiParts, exchange: Exchange) => Promise<ExchangeEnd> | ExchangeEnd;

interface Route {
  readonly api: Api;
  readonly method: "GET" | "POST";
  readonly serve: Serve;
}

const routes: ReadonlyMap<string, Route> = new Map<string, Route>([
  ["/v1/chat/completions", { api: "chat_completions", method: "POST", serve: chatCompletions }],
  [
    "/v1/models",
    { api: "models", method: "GET", serve: (parts, it) => models(parts, it, undefined) },
  ],
]);

const modelPrefix = "/v1/models/";

/** Known to clients, and not served here. */
const notOffered = new Set([
  "/v1/completions",
  "/v1/responses",
  "/v1/embeddings",
  "/v1/messages",
  "/v1/messages/count_tokens",
]);

/** The HTTP server: one exchange per request, each counted and logged once. */
export class GatewayServer {
  readonly #parts: OpenAiParts;
  readonly #closed: Closed;
  readonly #server: Server;
  readonly #exchanges = new Set<Promise<void>>();

  constructor(parts: OpenAiParts, closed: Closed) {
    this.#parts = parts;
    this.#closed = closed;
    this.#server = createServer(
      {
        noDelay: true,
        keepAlive: true,
        maxHeaderSize: serverLimits.headerBytesMax,
        headersTimeout: serverLimits.headersMs,
        requestTimeout: serverLimits.requestMs,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => {
        const exchange = this.#serve(request, response);
        this.#exchanges.add(exchange);
        exchange.finally(() => this.#exchanges.delete(exchange)).catch(() => undefined);
      },
    );
    this.#server.maxConnections = serverLimits.connectionsMax;
    // One more than allowed, so that it can be seen.
    this.#server.maxHeadersCount = serverLimits.headersMax + 1;
    this.#server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
      refuseRaw(error, socket, parts.metrics);
    });
  }

  /** Resolves to the port. */
  async listen(host: string, port: number): Promise<number> {
    this.#server.listen(port, host);
    await once(this.#server, "listening");
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : port;
  }

  /** No new connections; resolves when the last exchange is over. */
  async drained(): Promise<void> {
    this.#server.close();
    this.#server.closeIdleConnections();
    while (this.#exchanges.size > 0) await Promise.all(this.#exchanges);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = performance.now();
    const { metrics, clock, log } = this.#parts;
    const path = request.url?.split("?", 1)[0] ?? "/";
    const route = routeOf(path);
    const api = route?.api ?? "chat_completions";
    let id: RequestId | undefined;
    let tenant: string | undefined;
    let end: ExchangeEnd;
    try {
      id = requestIdOf(request, clock.now());
      this.#admit(request);
      if (route === undefined) throw unknownPath(path);
      if (request.method !== route.method) throw wrongMethod(request.method, route.method);
      const key = this.#authenticate(request);
      tenant = key.subject;
      end = await route.serve(this.#parts, { id, request, response, startedAt, api, key });
    } catch (error) {
      end = refuse(toRefusal(error), { request, response, id, metrics, log });
    }
    const durationMs = performance.now() - startedAt;
    if (route !== undefined) {
      metrics.requests.inc({ api, code: String(end.code), outcome: end.outcome });
      const outcome = end.outcome === "ok" ? "ok" : "error";
      metrics.duration.observe({ api, outcome }, durationMs / 1_000);
    }
    if (end.isStream) metrics.streamEnds.inc({ reason: String(end.facts["stream_end"] ?? "shed") });
    const { code, outcome, isStream, facts } = end;
    const line = { request: id, tenant, api, code, outcome, stream: isStream, ...facts };
    log.info({ ...line, duration_ms: Math.round(durationMs) }, "request");
  }

  #admit(request: IncomingMessage): void {
    const closed = this.#closed();
    if (closed !== undefined) throw closed;
    if (request.rawHeaders.length / 2 > serverLimits.headersMax) {
      throw new Refusal("BAD_REQUEST", `expected at most ${serverLimits.headersMax} headers`, {
        httpStatus: 431,
        code: "headers_too_large",
      });
    }
    if (this.#exchanges.size > serverLimits.exchangesMax) {
      throw new Refusal("SHED", `${serverLimits.exchangesMax} requests are being served already`);
    }
    if (Number(textHeader(request, "x-stainless-retry-count") ?? 0) > 0) {
      this.#parts.metrics.clientRetries.inc();
    }
  }

  #authenticate(request: IncomingMessage) {
    const startedAt = performance.now();
    const { tenancy, metrics } = this.#parts;
    const key = tenancy.keyOf(request.headers);
    metrics.overhead.observe({ phase: "auth" }, (performance.now() - startedAt) / 1_000);
    return key;
  }
}

function routeOf(path: string): Route | undefined {
  const found = routes.get(path);
  if (found !== undefined || !path.startsWith(modelPrefix)) return found;
  const name = decoded(path.slice(modelPrefix.length));
  return {
    api: "models",
    method: "GET",
    serve: (parts, exchange) => models(parts, exchange, name),
  };
}

/** A name that is badly encoded is the name of nothing. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function unknownPath(path: string): Refusal {
  if (notOffered.has(path)) return new Refusal("NOT_OFFERED", "this endpoint is not offered here");
  return new Refusal("NOT_FOUND", "there is nothing at this address", { code: "unknown_url" });
}

function wrongMethod(found: string | undefined, expected: string): Refusal {
  return new Refusal("BAD_REQUEST", `expected ${expected}, found ${found ?? "nothing"}`, {
    httpStatus: 405,
    code: "method_not_allowed",
    headers: { allow: expected },
  });
}

/** The answer to a request that was not served at all. */
function refuse(
  refusal: Refusal,
  context: {
    readonly request: IncomingMessage;
    readonly response: ServerResponse;
    readonly id: RequestId | undefined;
    readonly metrics: GatewayMetrics;
    readonly log: Log;
  },
): ExchangeEnd {
  const { request, response, id, metrics, log } = context;
  const { httpStatus, headers, body } = toErrorAnswer(refusal, Math.random());
  if (refusal.reason === "INTERNAL") {
    const { cause } = refusal;
    log.error({ request: id, error: cause instanceof Error ? cause.stack : String(cause) }, "bug");
  }
  const reason = refusal.options.rejectedFor ?? rejectedByReason[refusal.reason];
  if (reason !== undefined) metrics.rejected.inc({ reason });
  if (!response.headersSent && !response.destroyed) {
    response.writeHead(httpStatus, {
      ...headers,
      "content-length": Buffer.byteLength(body),
      ...(id === undefined ? {} : { "x-request-id": id }),
    });
    response.end(body);
  }
  // What is left of the body is not worth reading.
  if (!request.complete) response.once("finish", () => request.destroy());
  const { metric } = outcomes[refusal.reason];
  return { code: httpStatus, outcome: metric, isStream: false, facts: { reason: refusal.reason } };
}

const rejectedByReason: Readonly<Partial<Record<Reason, RejectedFor>>> = {
  INVALID_API_KEY: "auth",
  BODY_TOO_LARGE: "body_size",
  DRAINING: "draining",
  SHED: "concurrency",
};

const statusByParserError: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

/** What never became a request: too long, too slow, or no HTTP at all. */
function refuseRaw(error: NodeJS.ErrnoException, socket: Socket, metrics: GatewayMetrics): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = statusByParserError[error.code ?? ""] ?? 400;
  if (status === 431) metrics.rejected.inc({ reason: "header_size" });
  const refusal = new Refusal("BAD_REQUEST", "the request is no HTTP that can be served", {
    httpStatus: status,
    code: status === 431 ? "headers_too_large" : "bad_http",
  });
  const { body } = toErrorAnswer(refusal, 0);
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
      "connection: close",
      "content-type: application/json; charset=utf-8",
      `content-length: ${Buffer.byteLength(body)}`,
      "",
      body,
    ].join("\r\n"),
  );
}

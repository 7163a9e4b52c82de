import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Geography } from "../core/region.ts";
import type { OriginId, RegionId } from "../core/units.ts";
import type { Log } from "../io/log.ts";
import { ChatAnswer, errorText } from "./chat-answer.ts";
import { parseChat, type ChatRequest, type EngineError } from "./chat-request.ts";
import { EnginePool, type Job } from "./engine-pool.ts";
import { faultHeader, faultOrderSchema, Faults, type Fault } from "./faults.ts";
import type { FleetPool } from "./fleet.ts";
import { attemptHeader, type ServedAttempt } from "./served-attempt.ts";

/** Bounds of what callers may do to the simulator. */
export const engineServerLimits = {
  bodyBytesMax: 8 * 1024 * 1024,
  requestsOpenMax: 8_192,
} as const;

/** Where demand arises: the round trip from there is added, since all pools are on this machine. */
export const originHeader = "x-tokengrid-origin";

export interface EngineServer {
  readonly port: number;
  close(): Promise<void>;
}

interface SimulatedPool {
  readonly registration: FleetPool["registration"];
  readonly engines: EnginePool;
  readonly faults: Faults;
}

interface Call {
  readonly pool: SimulatedPool;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/**
 * Serves all pools of a fleet on one port, each below its id: `/<pool>/v1/chat/completions`, `/v1/models`,
 * `/health`, `/metrics` as vLLM has them, `/dcgm/metrics` as the DCGM exporter, and `/sim/fault` for tests.
 */
export async function serveEngines(options: {
  readonly pools: readonly FleetPool[];
  readonly geography: Geography;
  readonly host: string;
  readonly port: number;
  /** Told of each attempt of which anything left the engine, when it is over. */
  readonly onServed?: (served: ServedAttempt) => void;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<EngineServer> {
  const { host, port, log, signal } = options;
  const serving = new Serving(options);
  const server = createServer({ noDelay: true }, (request, response) => {
    serving.answer(request, response).catch((error: unknown) => {
      log.error({ error }, "a simulated pool failed to answer");
      response.destroy();
    });
  });
  server.listen(port, host);
  await once(server, "listening");
  const close = closer(server, serving);
  const stop = (): void => {
    close().catch((error: unknown) => log.error({ error }, "closing the simulated pools failed"));
  };
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  const address = server.address();
  return { port: typeof address === "object" && address !== null ? address.port : port, close };
}

function closer(server: Server, serving: Serving): () => Promise<void> {
  let closing: Promise<unknown> | undefined;
  return async () => {
    if (closing === undefined) {
      closing = once(server, "close");
      server.close();
      server.closeAllConnections();
      serving.close();
    }
    await closing;
  };
}

class Serving {
  readonly #pools: ReadonlyMap<string, SimulatedPool>;
  readonly #geography: Geography;
  readonly #startedAtS = Math.floor(Date.now() / 1_000);
  /** Waits for a round trip to pass: one per open request at most. */
  readonly #delays = new Set<NodeJS.Timeout>();
  #requestsOpen = 0;
  #requestsSeen = 0;
  readonly #onServed: (served: ServedAttempt) => void;

  constructor(options: {
    readonly pools: readonly FleetPool[];
    readonly geography: Geography;
    readonly onServed?: (served: ServedAttempt) => void;
  }) {
    this.#geography = options.geography;
    this.#onServed = options.onServed ?? (() => undefined);
    this.#pools = new Map(
      options.pools.map((pool) => [
        pool.registration.id,
        {
          registration: pool.registration,
          engines: new EnginePool(pool),
          faults: new Faults(),
        },
      ]),
    );
  }

  close(): void {
    for (const { engines } of this.#pools.values()) engines.close();
    for (const delay of this.#delays) clearTimeout(delay);
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, id = "", path = ""] = /^\/([^/?]+)(\/[^?]*)/.exec(request.url ?? "") ?? [];
    const pool = this.#pools.get(id);
    if (pool === undefined) return sendError(response, notFound(`no pool "${id}" is simulated`));
    const call: Call = { pool, request, response };
    switch (`${request.method} ${path}`) {
      case "POST /v1/chat/completions":
        return this.#chat(call);
      case "GET /v1/models":
        return sendJson(response, 200, this.#models(pool));
      case "GET /health":
      case "GET /ping":
        return this.#afterRoundTrip(call, () => response.writeHead(200).end());
      case "GET /metrics":
        return sendText(response, pool.engines.metricsText());
      case "GET /dcgm/metrics":
        return sendText(response, pool.engines.powerText());
      case "GET /sim/fault":
      case "PUT /sim/fault":
      case "DELETE /sim/fault":
        return setFault(call);
      default:
        return sendError(response, notFound("Not Found"));
    }
  }

  #models({ engines }: SimulatedPool): unknown {
    const data = [...engines.served].map(([name, { contextTokensMax }]) => ({
      id: name,
      object: "model",
      created: this.#startedAtS,
      owned_by: "vllm",
      root: name,
      parent: null,
      max_model_len: contextTokensMax,
      permission: [],
    }));
    return { object: "list", data };
  }

  async #chat(call: Call): Promise<void> {
    const { pool, request, response } = call;
    const openedAtMs = Date.now();
    const attempt = request.headers[attemptHeader];
    if (typeof attempt === "string") response.setHeader(attemptHeader, attempt);
    if (this.#requestsOpen >= engineServerLimits.requestsOpenMax) {
      return sendError(response, unavailable);
    }
    this.#requestsOpen += 1;
    response.once("close", () => {
      this.#requestsOpen -= 1;
    });
    const text = await bodyOf(request);
    if (text === undefined) return sendError(response, tooLarge);
    const chat = parseChat(text, pool.engines.served);
    this.#afterRoundTrip(call, () => this.#begin(call, chat, openedAtMs));
  }

  #begin(call: Call, chat: ChatRequest | EngineError, openedAtMs: number): void {
    const { pool, request, response } = call;
    if ("status" in chat) return sendError(response, chat);
    const header = request.headers[faultHeader];
    const fault = pool.faults.take(typeof header === "string" ? header : undefined);
    if (isOverAtOnce(fault, response)) return;
    this.#requestsSeen += 1;
    const id = `${pool.engines.id}-${this.#startedAtS}-${this.#requestsSeen}`;
    const answer = new ChatAnswer({ id, request: chat, response, fault });
    const job: Job = {
      promptTokens: chat.promptTokens,
      outputTokens: chat.outputTokens,
      outputTokensMax: chat.outputTokensMax,
      blocks: chat.blocks,
      finishReason: chat.finishReason,
      submittedAtMs: performance.now(),
      onToken: (cachedTokens) => answer.token(cachedTokens),
      onEnd: () => answer.end(),
      admittedAtMs: 0,
      firstTokenAtMs: 0,
      cachedTokens: 0,
    };
    if (!pool.engines.fits(chat.model, job)) return sendError(response, outOfKv(job));
    answer.open();
    const abort = pool.engines.submit(chat.model, job);
    response.once("close", () => {
      // Also after the whole answer: then there is nothing left to take out.
      abort();
      this.#tell(call, { chat, answer, openedAtMs });
    });
  }

  /** Nothing is owed before the first token, and what has no name is nobody's attempt. */
  #tell(
    { pool, request }: Call,
    over: {
      readonly chat: ChatRequest;
      readonly answer: ChatAnswer;
      readonly openedAtMs: number;
    },
  ): void {
    const { chat, answer, openedAtMs } = over;
    const attempt = request.headers[attemptHeader];
    const { outputTokens, cachedTokens, firstAtMs } = answer.sent;
    const model = pool.engines.served.get(chat.model)?.model;
    if (typeof attempt !== "string" || firstAtMs === undefined || model === undefined) return;
    this.#onServed({
      attempt,
      pool: pool.registration,
      model,
      promptTokens: chat.promptTokens,
      cachedTokens,
      outputTokens,
      openedAtMs,
      firstAtMs,
      closedAtMs: Math.max(openedAtMs, Date.now()),
    });
  }

  /** All of the way at once: when the answer comes is the same, and it costs one timer per request. */
  #afterRoundTrip({ pool, request, response }: Call, run: () => void): void {
    const origin = request.headers[originHeader];
    const roundTripMs = this.#roundTripMs(
      typeof origin === "string" ? origin : "",
      pool.registration.region,
    );
    if (roundTripMs === 0) return run();
    const delay = setTimeout(() => {
      this.#delays.delete(delay);
      if (!response.destroyed) run();
    }, roundTripMs);
    this.#delays.add(delay);
  }

  /** A caller who does not say where, or from where is not on the map, is taken to be at the pool. */
  #roundTripMs(origin: string, region: RegionId): number {
    return this.#geography.roundTripMsPrior.get(origin as OriginId)?.get(region) ?? 0;
  }
}

function isOverAtOnce(fault: Fault | undefined, response: ServerResponse): boolean {
  if (fault?.kind === "drop") response.destroy();
  else if (fault?.kind === "error-503") sendError(response, unavailable);
  else if (fault?.kind === "error-500") {
    sendError(response, { ...unavailable, status: 500, type: "InternalServerError" });
  } else return false;
  return true;
}

async function setFault({ pool, request, response }: Call): Promise<void> {
  if (request.method === "DELETE") pool.faults.set(undefined);
  if (request.method === "PUT") {
    const order = faultOrderSchema.safeParse(jsonOf(await bodyOf(request)));
    if (!order.success) {
      const message = order.error.issues.map((issue) => issue.message).join("; ");
      return sendError(response, { ...notFound(message), status: 400, type: "BadRequestError" });
    }
    pool.faults.set(order.data);
  }
  return sendJson(response, 200, { fault: pool.faults.order ?? null });
}

/** Undefined when it is longer than we take. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(request)) {
    bytes += chunk.length;
    if (bytes > engineServerLimits.bodyBytesMax) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Leaving the loop early leaves the connection open, so that the error can still be said. */
function chunksOf(request: IncomingMessage): AsyncIterable<Buffer> {
  return request.iterator({ destroyOnReturn: false });
}

/** Undefined when it is no JSON: the schema then says what was expected. */
function jsonOf(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}

const unavailable: EngineError = {
  status: 503,
  type: "ServiceUnavailableError",
  message: "the simulated engine takes no more requests",
  param: null,
};

const tooLarge: EngineError = {
  status: 413,
  type: "BadRequestError",
  message: `expected a body of at most ${engineServerLimits.bodyBytesMax} bytes`,
  param: null,
};

function notFound(message: string): EngineError {
  return { status: 404, type: "NotFoundError", message, param: null };
}

function outOfKv({ promptTokens, outputTokensMax }: Job): EngineError {
  return {
    status: 400,
    type: "BadRequestError",
    message: `${promptTokens + outputTokensMax} tokens are more than the KV cache holds`,
    param: null,
  };
}

function sendError(response: ServerResponse, error: EngineError): void {
  const connection = error.status === 413 ? { connection: "close" } : {};
  response.writeHead(error.status, { "content-type": "application/json", ...connection });
  response.end(errorText(error));
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function sendText(response: ServerResponse, text: string): void {
  response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(text);
}

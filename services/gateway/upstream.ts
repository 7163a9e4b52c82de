import { errors, Pool, type Dispatcher } from "undici";

/** Why a call to a pool failed. `connect`: nothing of it was sent. */
export class UpstreamError extends Error {
  override name = "UpstreamError";
  readonly kind: "connect" | "reset" | "aborted";

  constructor(kind: UpstreamError["kind"], message: string, cause?: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}

/** Who hears the answer of a pool. One of `end` and `failed` is called, once, and nothing after it. */
export interface UpstreamHandler {
  /** A connection is there and the request goes out on it. */
  sent(): void;
  headers(status: number, contentType: string): void;
  packet(bytes: Buffer): void;
  end(): void;
  failed(error: UpstreamError): void;
}

/** A call that is under way. */
export interface UpstreamCall {
  /** Nothing more is read until `resume`: the pool is held up by its own socket. */
  pause(): void;
  resume(): void;
  /** Closes the connection at once. `failed` follows. */
  abort(): void;
}

export const upstreamLimits = {
  connectMs: 5_000,
  /** Beyond it calls wait; leases keep it far away. */
  connectionsPerPool: 4_096,
  keepAliveMs: 4_000,
  headerBytesMax: 16 * 1024,
  /** Read ahead of a client that is slow. */
  readAheadBytes: 16 * 1024,
} as const;

/** The connections to all pools. Deadlines are the caller's, so undici's own are off. */
export class Upstreams {
  readonly #poolByOrigin = new Map<string, Pool>();
  readonly #targetByEndpoint = new Map<string, { readonly pool: Pool; readonly path: string }>();
  /** Of pools that are gone, with streams that are not over. */
  readonly #leaving = new Set<Pool>();

  /** Where connections may be. */
  get origins(): readonly string[] {
    return [...this.#poolByOrigin.keys()];
  }

  dispatch(
    endpoint: string,
    request: {
      readonly method: "GET" | "POST";
      readonly path: string;
      readonly headers: Readonly<Record<string, string>>;
      readonly body?: Buffer;
    },
    handler: UpstreamHandler,
  ): UpstreamCall {
    const call = new Call(handler);
    const { method, headers, body = null } = request;
    try {
      const { pool, path } = this.#target(endpoint);
      pool.dispatch({ method, path: path + request.path, headers, body }, call);
    } catch (cause) {
      // An address or a header that nothing can be sent to or with is the pool's fault, and its caller goes on.
      process.nextTick(() => call.unsent(cause));
    }
    return call;
  }

  /** Connections to other endpoints are closed, each when the last stream on it is over. */
  keepOnly(endpoints: ReadonlySet<string>): void {
    for (const endpoint of this.#targetByEndpoint.keys()) {
      if (!endpoints.has(endpoint)) this.#targetByEndpoint.delete(endpoint);
    }
    const kept = new Set([...this.#targetByEndpoint.values()].map(({ pool }) => pool));
    for (const [origin, pool] of this.#poolByOrigin) {
      if (kept.has(pool)) continue;
      this.#poolByOrigin.delete(origin);
      this.#leave(pool);
    }
  }

  async close(): Promise<void> {
    const pools = [...this.#poolByOrigin.values(), ...this.#leaving];
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  #leave(pool: Pool): void {
    this.#leaving.add(pool);
    pool.close(() => this.#leaving.delete(pool));
  }

  #target(endpoint: string): { readonly pool: Pool; readonly path: string } {
    const known = this.#targetByEndpoint.get(endpoint);
    if (known !== undefined) return known;
    const { origin, pathname } = new URL(endpoint);
    const pool = this.#poolByOrigin.get(origin) ?? openPool(origin);
    this.#poolByOrigin.set(origin, pool);
    const target = { pool, path: pathname.replace(/\/+$/, "") };
    this.#targetByEndpoint.set(endpoint, target);
    return target;
  }
}

/** The last one goes through to the socket. */
const connectOptions = {
  timeout: upstreamLimits.connectMs,
  noDelay: true,
  highWaterMark: upstreamLimits.readAheadBytes,
};

function openPool(origin: string): Pool {
  return new Pool(origin, {
    connections: upstreamLimits.connectionsPerPool,
    pipelining: 1,
    allowH2: false,
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: upstreamLimits.keepAliveMs,
    maxHeaderSize: upstreamLimits.headerBytesMax,
    connect: connectOptions,
  });
}

class Call implements Dispatcher.DispatchHandler, UpstreamCall {
  readonly #handler: UpstreamHandler;
  #controller: Dispatcher.DispatchController | undefined;
  #isAborted = false;
  #isOver = false;

  constructor(handler: UpstreamHandler) {
    this.#handler = handler;
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(): void {
    if (this.#isOver || this.#isAborted) return;
    this.#isAborted = true;
    this.#controller?.abort(new UpstreamError("aborted", "the call was given up"));
  }

  /** It was never sent. */
  unsent(cause: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handler.failed(new UpstreamError("connect", "the pool could not be called", cause));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isAborted) controller.abort(new UpstreamError("aborted", "the call was given up"));
    else this.#handler.sent();
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    statusCode: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
  ): void {
    if (statusCode < 200) return;
    const type = headers["content-type"];
    this.#handler.headers(statusCode, typeof type === "string" ? type : "");
  }

  onResponseData(_controller: Dispatcher.DispatchController, bytes: Buffer): void {
    if (!this.#isAborted) this.#handler.packet(bytes);
  }

  onResponseEnd(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handler.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handler.failed(this.#named(error));
  }

  #named(error: Error): UpstreamError {
    if (error instanceof UpstreamError) return error;
    if (this.#isAborted) return new UpstreamError("aborted", "the call was given up", error);
    const isUnsent = this.#controller === undefined || error instanceof errors.ConnectTimeoutError;
    return isUnsent
      ? new UpstreamError("connect", "the pool could not be reached", error)
      : new UpstreamError("reset", "the connection to the pool was lost", error);
  }
}

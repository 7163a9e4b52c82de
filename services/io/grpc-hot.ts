import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { parseTimeout, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { FrameReader, framed } from "./grpc-frame.ts";
import type { Identity } from "./grpc-identity.ts";

/** One call of a hot method. Throws a `ConnectError` to end the call with it. */
export interface HotCall {
  /** Bytes of a message in, bytes of its answer out. */
  answer(message: Buffer): Uint8Array;
}

/**
 * A method with an answer per message and no waiting between the two, served by a thin framing of gRPC on the bare
 * HTTP/2 stream. The same method stands in `routes` for the other protocols.
 */
export interface HotMethod {
  /** `/tokengrid.v1.PlacementService/Place` */
  readonly path: string;
  readonly kind: "unary" | "stream";
  open(caller: Identity): HotCall;
}

export interface HotLimits {
  readonly readBytesMax: number;
  readonly timeoutMsMax: number;
}

/** Plain gRPC without compression is for the fast lane; whatever else is asked goes the long way. */
export function isHotRequest(headers: IncomingHttpHeaders): boolean {
  const type = headers["content-type"];
  const encoding = headers["grpc-encoding"];
  return (
    (type === "application/grpc" || type === "application/grpc+proto") &&
    (encoding === undefined || encoding === "identity") &&
    headers[":method"] === "POST"
  );
}

const responseHeaders: OutgoingHttpHeaders = {
  ":status": 200,
  "content-type": "application/grpc+proto",
  "grpc-accept-encoding": "identity",
};

/** Serves one call. `authenticate` throws if the caller may not come in. */
export function serveHot(options: {
  readonly method: HotMethod;
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly limits: HotLimits;
  readonly authenticate: (authorization: string | undefined) => Identity;
  readonly shutdown: AbortSignal;
  readonly onFault: (error: unknown) => void;
}): void {
  const { method, stream, headers, limits, authenticate, shutdown, onFault } = options;
  const lane = new Lane(stream, onFault);
  try {
    if (shutdown.aborted) throw draining();
    const timeoutMs = timeoutOf(headers, limits.timeoutMsMax);
    const call = method.open(authenticate(headers.authorization));
    const reader = new FrameReader(limits.readBytesMax);
    if (method.kind === "unary") lane.serveUnary(call, reader);
    else lane.serveStream({ call, reader, timeoutMs, shutdown });
  } catch (error) {
    lane.fail(error);
  }
}

/** The answering side of one HTTP/2 stream. */
class Lane {
  readonly #stream: ServerHttp2Stream;
  readonly #onFault: (error: unknown) => void;
  #isOver = false;

  constructor(stream: ServerHttp2Stream, onFault: (error: unknown) => void) {
    this.#stream = stream;
    this.#onFault = onFault;
    // A reset is the caller's right: there is nobody left to tell.
    stream.on("error", () => (this.#isOver = true));
    stream.on("close", () => (this.#isOver = true));
  }

  /** Answers at the first message, without waiting for the end that follows it. */
  serveUnary(call: HotCall, reader: FrameReader): void {
    this.#onMessages(reader, (messages) => {
      const [first] = messages;
      if (first === undefined) return;
      if (messages.length > 1) throw new ConnectError("expected one message", Code.Unimplemented);
      const answer = call.answer(first);
      this.#respond();
      this.#end(undefined, framed([answer]));
    });
    this.#stream.on("end", () => {
      if (!this.#isOver) this.fail(new ConnectError("expected one message", Code.Unimplemented));
    });
  }

  serveStream(options: {
    readonly call: HotCall;
    readonly reader: FrameReader;
    readonly timeoutMs: number | undefined;
    readonly shutdown: AbortSignal;
  }): void {
    const { call, reader, timeoutMs, shutdown } = options;
    this.#respond();
    this.#onMessages(reader, (messages) => {
      const answers: Uint8Array[] = [];
      try {
        for (const message of messages) answers.push(call.answer(message));
      } finally {
        // What was answered before a message that fails has happened, and is told.
        if (answers.length > 0) this.#write(framed(answers));
      }
    });
    this.#stream.on("end", () => {
      if (reader.isEmpty) this.#end(undefined);
      else this.fail(new ConnectError("expected the rest of a message", Code.InvalidArgument));
    });
    this.#endOn(timeoutMs, shutdown);
  }

  fail(error: unknown): void {
    if (this.#isOver) return;
    const isExpected = error instanceof ConnectError;
    if (!isExpected) this.#onFault(error);
    // What broke inside is for the log, not for the caller.
    const shown = isExpected ? error : new ConnectError("internal error", Code.Internal);
    this.#respond();
    this.#end(shown);
  }

  #onMessages(reader: FrameReader, take: (messages: readonly Buffer[]) => void): void {
    this.#stream.on("data", (chunk: Buffer) => {
      if (this.#isOver) return;
      try {
        take(reader.push(chunk));
      } catch (error) {
        this.fail(error);
      }
    });
  }

  #endOn(timeoutMs: number | undefined, shutdown: AbortSignal): void {
    const onShutdown = (): void => this.fail(draining());
    shutdown.addEventListener("abort", onShutdown, { once: true });
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            this.fail(new ConnectError("the deadline passed", Code.DeadlineExceeded));
          }, timeoutMs).unref();
    this.#stream.once("close", () => {
      shutdown.removeEventListener("abort", onShutdown);
      clearTimeout(timer);
    });
  }

  /** A caller who does not read is not read either, so nothing piles up here. */
  #write(answers: Buffer): void {
    if (this.#stream.write(answers)) return;
    this.#stream.pause();
    this.#stream.once("drain", () => this.#stream.resume());
  }

  #respond(): void {
    if (this.#isOver || this.#stream.headersSent || this.#stream.destroyed) return;
    this.#stream.respond(responseHeaders, { waitForTrailers: true });
  }

  #end(error: ConnectError | undefined, last?: Buffer): void {
    if (this.#isOver || this.#stream.destroyed) return;
    this.#isOver = true;
    this.#stream.once("wantTrailers", () => {
      this.#stream.sendTrailers(trailersOf(error));
      // A caller who goes on sending is told that nobody listens.
      if (!this.#stream.readableEnded) setImmediate(() => this.#stream.close());
    });
    if (last === undefined) this.#stream.end();
    else this.#stream.end(last);
    // What the caller still sends is thrown away.
    this.#stream.resume();
  }
}

const okTrailers: OutgoingHttpHeaders = { "grpc-status": "0" };

function trailersOf(error: ConnectError | undefined): OutgoingHttpHeaders {
  if (error === undefined) return okTrailers;
  const trailers = Object.fromEntries(setTrailerStatus(new Headers(), error));
  return { ...trailers, "grpc-message": encodedMessage(error.rawMessage) };
}

/** As the protocol has it, and no more: some clients decode only what must be encoded. */
function encodedMessage(message: string): string {
  return message.toWellFormed().replace(/[^\x20-\x24\x26-\x7e]+/g, encodeURIComponent);
}

function timeoutOf(headers: IncomingHttpHeaders, timeoutMsMax: number): number | undefined {
  const text = headers["grpc-timeout"];
  const { timeoutMs, error } = parseTimeout(typeof text === "string" ? text : null, timeoutMsMax);
  if (error !== undefined) throw error;
  return timeoutMs;
}

function draining(): ConnectError {
  return new ConnectError("the server is draining", Code.Unavailable);
}

import { connect, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { FrameReader, framed } from "./grpc-frame.ts";
import { rpcClientLimits } from "./rpc-client.ts";

/** One call whose messages flow both ways until one side ends it. */
export interface GrpcStream {
  send(message: Uint8Array): void;
  /** Says that nothing more will be sent; answers may still come. */
  end(): void;
  /** Cuts the connection. */
  destroy(): void;
}

export interface GrpcStreamOptions {
  readonly url: string;
  /** `/tokengrid.v1.PlacementService/PlaceStream` */
  readonly path: string;
  readonly credential?: string | undefined;
  /** The server has accepted the call. */
  readonly onOpen: () => void;
  readonly onMessage: (message: Uint8Array) => void;
  /** Once, whatever ended it; undefined if the server ended it well. */
  readonly onEnd: (error: ConnectError | undefined) => void;
}

/**
 * A stream on a connection of its own, with the thinnest framing there is: what is sent and received in one turn of the
 * loop costs one system call. A cut link is noticed by pings.
 */
export function openGrpcStream(options: GrpcStreamOptions): GrpcStream {
  const { url, path, credential, onOpen, onMessage, onEnd } = options;
  const session = connect(url);
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc+proto",
    te: "trailers",
    ...(credential === undefined ? {} : { authorization: `Bearer ${credential}` }),
  });
  const end = onceEnded(session, stream, onEnd);
  const reader = new FrameReader(rpcClientLimits.readBytesMax);
  stream.on("response", (headers) => {
    const error = errorIn(headers);
    if (error === undefined && headers[":status"] === 200) onOpen();
    else
      end(
        error ?? new ConnectError(`expected HTTP 200, found ${headers[":status"]}`, Code.Unknown),
      );
  });
  stream.on("trailers", (trailers) => end(errorIn(trailers)));
  stream.on("data", (chunk: Buffer) => {
    try {
      for (const message of reader.push(chunk)) onMessage(message);
    } catch (error) {
      end(ConnectError.from(error, Code.Internal));
    }
  });
  keepAlive(session);
  return {
    send: (message) => stream.write(framed([message])),
    end: () => stream.end(),
    destroy: () => end(new ConnectError("the caller left", Code.Canceled)),
  };
}

/** Whatever comes first ends it; the rest is only the noise of its ending. */
function onceEnded(
  session: ClientHttp2Session,
  stream: ClientHttp2Stream,
  onEnd: GrpcStreamOptions["onEnd"],
): (error: ConnectError | undefined) => void {
  let isOver = false;
  const end = (error: ConnectError | undefined): void => {
    if (isOver) return;
    isOver = true;
    session.destroy();
    onEnd(error);
  };
  const fail = (cause: unknown): void => end(ConnectError.from(cause, Code.Unavailable));
  session.on("error", fail);
  session.on("goaway", () => end(new ConnectError("the server is draining", Code.Unavailable)));
  stream.on("error", fail);
  stream.on("close", () => end(new ConnectError("the connection was cut", Code.Unavailable)));
  return end;
}

function errorIn(headers: Readonly<Record<string, unknown>>): ConnectError | undefined {
  const texts = Object.entries(headers).filter(
    (entry): entry is [string, string] => typeof entry[1] === "string" && !entry[0].startsWith(":"),
  );
  return findTrailerError(new Headers(texts));
}

function keepAlive(session: ClientHttp2Session): void {
  const timer = setInterval(() => {
    if (session.destroyed || session.connecting) return;
    const overdue = setTimeout(() => session.destroy(), rpcClientLimits.pingTimeoutMs).unref();
    session.ping(() => clearTimeout(overdue));
  }, rpcClientLimits.pingIntervalMs).unref();
  session.once("close", () => clearInterval(timer));
}

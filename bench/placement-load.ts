/** The client of the placement benchmark: as little work per call as HTTP/2 allows, so that the server is the limit. */

import { connect, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { FrameReader, framed } from "../services/io/grpc-frame.ts";
import {
  PlaceRequestSchema,
  PlaceStreamRequestSchema,
} from "../services/wire/gen/tokengrid/v1/placement_pb.js";
import { fromPlacementRequest } from "../services/wire/placement.ts";
import { request } from "../test/core/fixtures.ts";

/** Stands where each attempt has a number of its own. */
const blank = "0".repeat(16);
const answerBytesMax = 4 * 1024 * 1024;

export interface Load {
  readonly port: number;
  readonly path: string;
  /** Calls or messages that wait for their answer, over all connections. */
  readonly inFlight: number;
  /** Placements per message; undefined for unary calls. */
  readonly batch: number | undefined;
  readonly connections: number;
  readonly durationMs: number;
}

/** Placements per second that were answered. */
export async function run(load: Load): Promise<number> {
  const sessions = Array.from({ length: load.connections }, () =>
    connect(`http://127.0.0.1:${load.port}`),
  );
  const counter = { answered: 0, isOver: false };
  const perSession = Math.ceil(load.inFlight / load.connections);
  const startedMs = performance.now();
  const ended = sessions.flatMap((session) =>
    load.batch === undefined
      ? Array.from({ length: perSession }, () => callAgain(session, load, counter))
      : [stream(session, load, { counter, window: perSession, batch: load.batch })],
  );
  await new Promise((resolve) => setTimeout(resolve, load.durationMs));
  counter.isOver = true;
  const { answered } = counter;
  const seconds = (performance.now() - startedMs) / 1_000;
  await Promise.all(ended);
  for (const session of sessions) session.destroy();
  return answered / seconds;
}

interface Counter {
  answered: number;
  isOver: boolean;
}

/** One unary call after the other. */
async function callAgain(session: ClientHttp2Session, load: Load, counter: Counter): Promise<void> {
  const next = messages(undefined);
  while (!counter.isOver) {
    await call(session, load.path, next());
    counter.answered += 1;
  }
}

function call(session: ClientHttp2Session, path: string, message: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const one = open(session, path);
    let bytes = 0;
    let status: unknown;
    one.on("response", (headers) => (status = headers["grpc-status"] ?? status));
    one.on("data", (chunk: Buffer) => (bytes += chunk.length));
    one.on("trailers", (trailers) => (status = trailers["grpc-status"]));
    one.on("error", reject);
    one.on("close", () => {
      if (status === "0" && bytes > 0) resolve();
      else reject(new Error(`expected an answer with status 0, found ${String(status)}`));
    });
    one.end(message);
  });
}

function stream(
  session: ClientHttp2Session,
  load: Load,
  options: { readonly counter: Counter; readonly window: number; readonly batch: number },
): Promise<void> {
  const { counter, window, batch } = options;
  const next = messages(batch);
  const reader = new FrameReader(answerBytesMax);
  return new Promise((resolve, reject) => {
    const one = open(session, load.path);
    let waiting = window;
    one.on("data", (chunk: Buffer) => {
      const answers = reader.push(chunk).length;
      counter.answered += answers * batch;
      waiting -= answers;
      if (!counter.isOver) {
        waiting += answers;
        one.write(Buffer.concat(Array.from({ length: answers }, next)));
      } else if (waiting === 0) one.end();
    });
    one.on("error", reject);
    one.on("trailers", (trailers) => {
      if (trailers["grpc-status"] === "0") resolve();
      else reject(new Error(`expected status 0, found ${String(trailers["grpc-message"])}`));
    });
    one.write(Buffer.concat(Array.from({ length: window }, next)));
  });
}

function open(session: ClientHttp2Session, path: string): ClientHttp2Stream {
  return session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc+proto",
    te: "trailers",
  });
}

let numbers = Date.now() * 1_000;

/** Framed messages whose attempts are all different; made once, then only their numbers are written. */
function messages(batch: number | undefined): () => Buffer {
  const place = fromPlacementRequest(
    request({ request: `request-${blank}` as never, attempt: `attempt-${blank}` as never }),
  );
  const template =
    batch === undefined
      ? framed([toBinary(PlaceRequestSchema, place)])
      : framed([
          toBinary(
            PlaceStreamRequestSchema,
            create(PlaceStreamRequestSchema, {
              places: Array.from({ length: batch }, () => place),
            }),
          ),
        ]);
  const places = placesOf(template, `attempt-${blank}`);
  const requests = placesOf(template, `request-${blank}`);
  return () => {
    const message = Buffer.from(template);
    for (const [index, place] of places.entries()) {
      const number = String((numbers += 1)).padStart(blank.length, "0");
      message.write(number, place, "latin1");
      message.write(number, requests[index] ?? place, "latin1");
    }
    return message;
  };
}

/** Where the numbers begin behind each occurrence of the text. */
function placesOf(bytes: Buffer, text: string): number[] {
  const places: number[] = [];
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) {
    places.push(at + text.length - blank.length);
  }
  return places;
}

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { HotMethod } from "../io/grpc-hot.ts";
import { validate } from "../io/grpc-validation.ts";
import {
  PlaceRequestSchema,
  PlaceStreamRequestSchema,
  PlaceStreamResponseSchema,
} from "../wire/gen/tokengrid/v1/placement_pb.js";
import { ReportRequestSchema, ReportResponseSchema } from "../wire/gen/tokengrid/v1/pool_pb.js";
import { writePlaceOutcome, writePlaceResult, writeRenewal } from "../wire/place-answer.ts";
import { readPlaceBatch, readPlacementRequest, type PlaceBatch } from "../wire/place-codec.ts";
import { toPlacementRequest } from "../wire/placement.ts";
import { BytesReader, BytesWriter, TooUnusual } from "../wire/protobuf-bytes.ts";
import { operator } from "./caller.ts";
import type { Replica } from "./replica.ts";
import { admitAgent, report } from "./reports.ts";
import { place, placeBatch, release, renew } from "./rpc-placement.ts";

/** The calls that come by the thousand, for gRPC alone. */
export function hotMethods(replica: Replica): readonly HotMethod[] {
  // Answers are copied out of it before the next is written.
  const writer = new BytesWriter();
  return [
    {
      path: "/tokengrid.v1.PlacementService/Place",
      kind: "unary",
      open: (caller) => {
        operator(caller);
        return { answer: (bytes) => answerPlace(replica, bytes, writer) };
      },
    },
    {
      path: "/tokengrid.v1.PlacementService/PlaceStream",
      kind: "stream",
      open: (caller) => {
        operator(caller);
        return { answer: (bytes) => answerBatch(replica, bytes, writer) };
      },
    },
    {
      path: "/tokengrid.v1.PoolService/Report",
      kind: "stream",
      open: (caller) => {
        const vendor = admitAgent(caller);
        return {
          answer: (bytes) => {
            const message = parsed(() => fromBinary(ReportRequestSchema, bytes));
            const answer = report(replica, vendor, message);
            return toBinary(ReportResponseSchema, create(ReportResponseSchema, answer));
          },
        };
      },
    },
  ];
}

function answerPlace(replica: Replica, bytes: Buffer, writer: BytesWriter): Uint8Array {
  const request = usually(bytes, readPlacementRequest) ?? checkedRequest(bytes);
  const outcome = place(replica, request);
  return writer.message(() => writePlaceOutcome(writer, outcome));
}

function checkedRequest(bytes: Buffer) {
  const message = parsed(() => fromBinary(PlaceRequestSchema, bytes));
  validate(PlaceRequestSchema, message);
  return toPlacementRequest(message);
}

function answerBatch(replica: Replica, bytes: Buffer, writer: BytesWriter): Uint8Array {
  const batch = usually(bytes, readPlaceBatch);
  if (batch !== undefined && isUsual(replica, batch))
    return writer.message(() => answerUsual(replica, batch, writer));
  const message = parsed(() => fromBinary(PlaceStreamRequestSchema, bytes));
  const answer = create(PlaceStreamResponseSchema, placeBatch(replica, message));
  return toBinary(PlaceStreamResponseSchema, answer);
}

/** What is from an unknown place is refused by itself, which `placeBatch` does. */
function isUsual({ geography }: Replica, { places }: PlaceBatch): boolean {
  return places.every(({ origin }) => geography.origins.has(origin));
}

/** The same as `placeBatch`, in the same order. */
function answerUsual(replica: Replica, batch: PlaceBatch, writer: BytesWriter): void {
  for (const each of batch.releases) release(replica, each);
  for (const each of batch.renewals) writeRenewal(writer, each.lease, renew(replica, each));
  for (const each of batch.places) writePlaceResult(writer, each.attempt, place(replica, each));
}

/** Undefined for what only the generated code reads, or finds wrong. */
function usually<Value>(bytes: Buffer, read: (reader: BytesReader) => Value): Value | undefined {
  try {
    return read(new BytesReader(bytes));
  } catch (error) {
    if (error instanceof TooUnusual) return undefined;
    throw error;
  }
}

function parsed<Message>(parse: () => Message): Message {
  try {
    return parse();
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new ConnectError(`expected a protobuf message, found ${found}`, Code.InvalidArgument);
  }
}

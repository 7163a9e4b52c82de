import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { openGrpcStream } from "../io/grpc-client-stream.ts";
import {
  ProducerMarkSchema,
  RecordResponseSchema,
  type RecordResult,
} from "../wire/gen/tokengrid/v1/usage_pb.js";
import type { ProducerMark } from "./spool.ts";

/** Sends records, each as the bytes of its message, and how far the gateway is. Throws `ConnectError`. */
export type SendRecords = (
  records: readonly Uint8Array[],
  mark: ProducerMark,
) => Promise<readonly RecordResult[]>;

const path = "/tokengrid.v1.UsageService/Record";
const timeoutMs = 30_000;
/** Field 1 of a RecordRequest, with its length before it. */
const recordTag = 0x0a;
/** Field 2, the same. */
const markTag = 0x12;

/**
 * Ships records as the spool has them: they are bytes of the wire already, and a request is nothing but those bytes
 * one behind the other, so nothing is decoded and encoded again on the way.
 */
export function recordSender(options: {
  readonly url: string;
  readonly credential: string | undefined;
}): SendRecords {
  return (records, mark) =>
    new Promise((resolve, reject) => {
      let results: readonly RecordResult[] | undefined;
      const stream = openGrpcStream({
        ...options,
        path,
        onOpen: () => undefined,
        onMessage: (bytes) => {
          ({ results } = fromBinary(RecordResponseSchema, bytes));
        },
        onEnd: (error) => {
          clearTimeout(timer);
          if (error === undefined && results !== undefined) resolve(results);
          else reject(error ?? new ConnectError("expected an answer, found none", Code.Internal));
        },
      });
      const timer = setTimeout(() => stream.destroy(), timeoutMs).unref();
      stream.send(recordRequest(records, mark));
      stream.end();
    });
}

/** A RecordRequest of messages that are encoded already. */
export function recordRequest(records: readonly Uint8Array[], mark?: ProducerMark): Uint8Array {
  const parts = records.flatMap((record) => field(recordTag, record));
  const marks =
    mark === undefined
      ? []
      : field(markTag, toBinary(ProducerMarkSchema, create(ProducerMarkSchema, mark)));
  return Buffer.concat([...parts, ...marks]);
}

function field(tag: number, bytes: Uint8Array): Uint8Array[] {
  return [Uint8Array.of(tag, ...varint(bytes.length)), bytes];
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  return [...bytes, rest];
}

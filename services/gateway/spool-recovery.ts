import { fromBinary } from "@bufbuild/protobuf";
import { z } from "zod";
import type { UsageRecord } from "../core/settlement/counting/usage.ts";
import type { InstantUs } from "../core/units.ts";
import type { Position } from "../io/segment-records.ts";
import type { Segments } from "../io/segments.ts";
import {
  UsageRecordSchema,
  type UsageRecord as WireUsageRecord,
} from "../wire/gen/tokengrid/v1/usage_pb.js";
import { spooledKinds, type Watermark } from "./spooled.ts";

/** What a spool holds when it is opened again. */
export interface Recovered {
  /** Attempts that were open, with how far they had come. */
  readonly open: readonly {
    readonly draft: WireUsageRecord;
    readonly mark: Watermark | undefined;
  }[];
  /** The highest there was; 0 if there was none. */
  readonly epoch: bigint;
  readonly acknowledged: Position;
  readonly unacknowledged: {
    readonly records: number;
    readonly bytes: number;
    readonly oldestUs: bigint;
    /** When each of them was opened. */
    readonly openedUs: readonly InstantUs[];
  };
}

const decimal = z.string().regex(/^\d+$/);
const watermarkSchema = z.object({
  attempt: z.string(),
  atUs: decimal,
  firstByteUs: decimal.optional(),
  dispatchedUs: decimal.optional(),
  input: decimal.optional(),
  cacheRead: decimal.optional(),
  output: decimal.optional(),
  reasoning: decimal.optional(),
  deltas: z.number(),
  outBytes: z.number(),
  deliveredBytes: z.number(),
  sentBytes: z.number().optional(),
  chunks: z.number(),
});

/** Reads the whole spool once. Holds only what is open in memory. */
export async function recover(segments: Segments): Promise<Recovered> {
  const open = new Map<string, WireUsageRecord>();
  const marks = new Map<string, Watermark>();
  const closed: { at: Position; bytes: number; openedUs: bigint; closedUs: bigint }[] = [];
  let epoch = 0n;
  let acknowledged = 0;
  for await (const { position, bytes } of segments.read()) {
    const body = bytes.subarray(1);
    const kind = spooledKinds.get(bytes[0]);
    if (kind === "acknowledged") acknowledged = Math.max(acknowledged, Number(body.toString()));
    else if (kind === "watermark") {
      const mark = watermarkSchema.parse(JSON.parse(body.toString()));
      marks.set(mark.attempt, mark);
    } else if (kind !== undefined) {
      const record = fromBinary(UsageRecordSchema, body);
      if (record.epoch > epoch) epoch = record.epoch;
      if (kind === "opened") open.set(record.attemptId, record);
      else {
        open.delete(record.attemptId);
        marks.delete(record.attemptId);
        const { openedUs, closedUs } = record;
        closed.push({ at: position, bytes: body.length, openedUs, closedUs });
      }
    }
  }
  const left = closed.filter(({ at }) => at >= acknowledged);
  return {
    open: [...open.values()].map((draft) => ({ draft, mark: marks.get(draft.attemptId) })),
    epoch,
    acknowledged,
    unacknowledged: {
      records: left.length,
      bytes: left.reduce((sum, { bytes }) => sum + bytes, 0),
      oldestUs: left[0]?.closedUs ?? 0n,
      openedUs: left.map(({ openedUs }) => openedUs),
    },
  };
}

/**
 * The record of an attempt that a crash left open. The watermark is a lower bound of what the pool made; without
 * one nothing is known, which is not the same as nothing.
 */
export function crashed(
  draft: UsageRecord,
  mark: Watermark | undefined,
  closedUs: InstantUs,
): UsageRecord {
  // The host's clock may have gone back over the restart, and nothing is closed before it was seen.
  const lastUs = mark === undefined ? draft.openedUs : BigInt(mark.atUs);
  const end = { end: "gateway-crash", closedUs: closedUs > lastUs ? closedUs : lastUs } as const;
  const record: UsageRecord = { ...draft, ...end };
  if (mark === undefined) return record;
  const output = big(mark.output);
  return {
    ...record,
    dispatchedUs: big(mark.dispatchedUs),
    firstByteUs: big(mark.firstByteUs),
    lastByteUs: big(mark.atUs),
    isWinner: mark.deliveredBytes > 0,
    engineCounts: {
      source: output === undefined ? "none" : "continuous",
      input: big(mark.input),
      cacheRead: big(mark.cacheRead),
      cacheWrite: undefined,
      output,
      reasoning: big(mark.reasoning),
    },
    gatewayCounts: { ...draft.gatewayCounts, output: BigInt(mark.deltas) },
    sentBytes: mark.sentBytes === undefined ? undefined : BigInt(mark.sentBytes),
    watermarkOutput: output,
    watermarkUs: BigInt(mark.atUs),
    evidence: {
      ...draft.evidence,
      outBytes: BigInt(mark.outBytes),
      deliveredBytes: BigInt(mark.deliveredBytes),
      chunks: BigInt(mark.chunks),
    },
  };
}

function big(text: string | undefined): bigint | undefined {
  return text === undefined ? undefined : BigInt(text);
}

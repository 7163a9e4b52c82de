import { toBinary } from "@bufbuild/protobuf";
import type { UsageRecord } from "../core/settlement/counting/usage.ts";
import { UsageRecordSchema } from "./gen/tokengrid/v1/usage_pb.js";
import { engineCapabilities, engineKinds } from "./pool.ts";
import { BytesWriter } from "./protobuf-bytes.ts";
import {
  attemptEnds,
  attemptRoles,
  cancelCauses,
  engineSources,
  fromUsageRecord,
  gatewaySources,
  usageFlags,
} from "./usage.ts";

const writer = new BytesWriter();

/**
 * The bytes of a record's message. Two are made for every attempt, so the usual ones are written by hand, to the same
 * bytes as by the generated code, which writes what is unusual: a count above 2^53, a text that is there and empty,
 * variants.
 */
export function encodeUsageRecord(record: UsageRecord): Uint8Array {
  if (isUnusual(record)) return toBinary(UsageRecordSchema, fromUsageRecord(record));
  return writer.message(() => write(record));
}

function write(record: UsageRecord): void {
  writeParties(record);
  writeInstants(record);
  writeCounts(record);
  const { evidence } = record;
  writer.uint(40, Number(evidence.outBytes));
  writer.uint(41, Number(evidence.reasoningBytes));
  writer.uint(42, Number(evidence.toolBytes));
  writer.uint(43, Number(evidence.deliveredBytes));
  writer.uint(44, Number(evidence.chunks));
  writer.text(45, evidence.outDigest);
  for (const flag of record.flags) writer.text(46, usageFlags[flag]);
  writer.text(47, record.priceBook);
  writer.uint(48, Number(record.priceVersion));
  writer.text(49, record.origin);
  writer.text(50, record.serviceClass);
  writer.double(51, record.joulesExpected);
  writer.double(52, record.gramsCo2Expected);
  const capabilities = [...record.capabilities];
  writer.packed(
    53,
    capabilities.map((each) => engineCapabilities.fromWord(each)),
  );
  optional(54, record.promptBytes);
  writeLater(record);
}

function writeLater(record: UsageRecord): void {
  writer.text(55, record.department);
  writer.text(56, record.project);
  writer.text(57, record.scenario);
  writer.text(58, record.keyPrefix);
  writer.text(59, record.tokenizerDigest ?? "");
  writer.text(60, record.chatTemplateDigest ?? "");
  writer.text(61, record.engineVersion ?? "");
  optional(62, record.reservedTokens);
  optional(63, record.watermarkOutput);
  optional(64, record.watermarkUs);
  writer.text(65, record.idsDigest ?? "");
  optional(67, record.sentBytes);
  optional(68, record.bytesAtCancel);
}

function writeParties(record: UsageRecord): void {
  writer.text(1, record.id);
  writer.text(2, record.attempt);
  writer.text(3, record.request);
  writer.text(4, record.tenant);
  writer.text(5, record.vendor);
  writer.text(6, record.pool);
  writer.text(7, record.region);
  writer.text(8, record.model);
  writer.text(9, record.modelVersion);
  writer.uint(10, engineKinds.fromWord(record.engine));
  writer.text(11, record.endpoint);
  writer.text(12, record.gateway);
  writer.uint(13, Number(record.epoch));
  writer.uint(14, Number(record.producerSeq));
  writer.uint(15, attemptRoles.fromWord(record.role));
  writer.uint(16, record.isWinner ? 1 : 0);
}

function writeInstants(record: UsageRecord): void {
  writer.uint(17, Number(record.openedUs));
  optional(18, record.dispatchedUs);
  optional(19, record.firstByteUs);
  optional(20, record.lastByteUs);
  optional(21, record.cancelUs);
  writer.uint(22, Number(record.closedUs));
  writer.uint(23, Number(record.clockErrUs));
  writer.uint(24, attemptEnds.fromWord(record.end));
  const { cancelCause, httpStatus, finishReason } = record;
  writer.optionalUint(25, cancelCause && cancelCauses.fromWord(cancelCause));
  writer.optionalUint(26, httpStatus);
  writer.text(27, finishReason ?? "");
}

function writeCounts(record: UsageRecord): void {
  const { engineCounts, gatewayCounts } = record;
  optional(28, record.outputTokensMax);
  optional(29, engineCounts.input);
  optional(30, engineCounts.cacheRead);
  optional(31, engineCounts.cacheWrite);
  optional(32, engineCounts.output);
  optional(33, engineCounts.reasoning);
  writer.uint(34, engineSources.fromWord(engineCounts.source));
  optional(35, record.idsInput);
  optional(36, record.idsOutput);
  optional(37, gatewayCounts.input);
  optional(38, gatewayCounts.output);
  writer.uint(39, gatewaySources.fromWord(gatewayCounts.source));
}

function optional(field: number, value: bigint | undefined): void {
  writer.optionalUint(field, value === undefined ? undefined : Number(value));
}

function isUnusual(record: UsageRecord): boolean {
  return (
    record.finishReason === "" ||
    record.tokenizerDigest === "" ||
    record.chatTemplateDigest === "" ||
    record.engineVersion === "" ||
    record.idsDigest === "" ||
    record.variants.length > 0 ||
    isLarge(record) ||
    isLarge(record.engineCounts) ||
    isLarge(record.gatewayCounts) ||
    isLarge(record.evidence)
  );
}

/** One of its counts is below 0 or no number holds it exactly. */
function isLarge(counts: object): boolean {
  for (const value of Object.values(counts)) {
    if (typeof value === "bigint" && (value > maxSafe || value < 0n)) return true;
  }
  return false;
}

const maxSafe = BigInt(Number.MAX_SAFE_INTEGER);

import type { LogState } from "../../wire/gen/tokengrid/v1/log_pb.js";
import { type Column, grouped, span, textTable } from "../print.ts";

const columns: readonly Column[] = [
  { name: "LOG" },
  { name: "LEAVES", align: "right" },
  { name: "SIGNED", align: "right" },
  { name: "WITNESSED", align: "right" },
  { name: "UNWITNESSED FOR", align: "right" },
  { name: "ORIGIN", isWide: true },
  { name: "" },
];

/** `nowMs` is when the server was asked. */
export function logStateTable(logs: readonly LogState[], nowMs: number, isWide: boolean): string {
  const rows = logs.map((log) => [
    log.logId,
    grouped(log.size),
    grouped(log.signedSize),
    grouped(log.witnessedSize),
    log.unwitnessedSinceUs === undefined
      ? "-"
      : span(Math.max(0, nowMs - Number(log.unwitnessedSinceUs / 1_000n))),
    log.origin,
    log.refusal === "" ? "" : `not signed: ${log.refusal}`,
  ]);
  return textTable(columns, rows, isWide);
}

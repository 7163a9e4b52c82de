import { AttemptEnd, RecordStatus, type SettledUsage } from "../wire/gen/tokengrid/v1/usage_pb.js";
import { tokenClassNames, type TokenClass } from "../core/settlement/counting/usage.ts";
import { localTime } from "./period.ts";
import { type Column, enumWord, grouped, textTable, yuan } from "./print.ts";

const columns: readonly Column[] = [
  { name: "CLOSED" },
  { name: "TENANT" },
  { name: "MODEL" },
  { name: "POOL" },
  { name: "ORIGIN", isWide: true },
  { name: "END" },
  { name: "IN", align: "right" },
  { name: "CACHED", align: "right" },
  { name: "OUT", align: "right" },
  { name: "REASONING", align: "right", isWide: true },
  { name: "CNY", align: "right" },
  { name: "COUNTED BY", isWide: true },
  { name: "PRICE", isWide: true },
  { name: "STATUS" },
  { name: "ATTEMPT" },
  { name: "REQUEST", isWide: true },
];

/** One line per attempt: what was counted, by whom, and what is owed for it. */
export function usageTable(usages: readonly SettledUsage[], isWide: boolean): string {
  return usages.length === 0 ? "no usage\n" : textTable(columns, usages.map(row), isWide);
}

function row(usage: SettledUsage): string[] {
  const { record, tokensByClass: tokens, status, reason } = usage;
  const isSettled = status !== RecordStatus.QUARANTINED;
  // What nobody has settled yet is unknown, not 0.
  const count = (name: TokenClass): string => {
    const settled = tokens[tokenClassNames[name]];
    return settled === undefined ? "-" : grouped(settled);
  };
  const book = record === undefined ? "-" : `${record.priceBookId}@${record.priceVersion}`;
  return [
    record === undefined ? "-" : localTime(record.closedUs),
    record?.tenantId ?? "-",
    record?.modelId ?? "-",
    record?.poolId ?? "-",
    record?.originId ?? "-",
    enumWord(AttemptEnd[record?.outcome ?? 0]),
    count("uncachedInput"),
    count("cacheRead"),
    count("response"),
    count("reasoning"),
    isSettled ? yuan(usage.amountNano) : "-",
    isSettled ? usage.countBasis : "-",
    `${book} ${usage.priceSlot}`.trim(),
    reason === "" ? enumWord(RecordStatus[status]) : `${enumWord(RecordStatus[status])}: ${reason}`,
    record?.attemptId ?? "-",
    record?.requestId ?? "-",
  ];
}

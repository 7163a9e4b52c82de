import { create } from "@bufbuild/protobuf";
import {
  offsetMinutesByZone,
  usPerHour,
  type Period,
  type TimeZone,
} from "../core/settlement/period.ts";
import type { PostedRecord, PostOutcome, WaitingRecord } from "../core/settlement/posting.ts";
import { fromRecordText } from "../core/settlement/record-text.ts";
import { fromStatementText } from "../core/settlement/statement-text.ts";
import type { Statement, StatementLine, StatementTotals } from "../core/settlement/statement.ts";
import { tokenClasses, tokenClassNames, type Tokens } from "../core/settlement/usage.ts";
import { toConnectError } from "./errors.ts";
import {
  PeriodSchema,
  StatementLineSchema,
  StatementSchema,
  StatementTotalsSchema,
  type Period as WirePeriod,
  type Statement as WireStatement,
} from "./gen/tokengrid/v1/settlement_pb.js";
import {
  RecordResultSchema,
  RecordStatus,
  SettledUsageSchema,
  type RecordResult,
  type SettledUsage,
} from "./gen/tokengrid/v1/usage_pb.js";
import { fromUsageRecord } from "./usage.ts";

/** Throws INVALID_ARGUMENT for a period that no statement can be made of. */
export function toPeriod(message: WirePeriod): Period {
  const { fromUs, toUs, timeZone } = message;
  if (!isTimeZone(timeZone)) {
    const expected = Object.keys(offsetMinutesByZone).join(" or ");
    throw wrong("period.time_zone", `expected ${expected}, found ${JSON.stringify(timeZone)}`);
  }
  if (fromUs <= 0n || toUs <= fromUs) {
    throw wrong("period", `expected 0 < from_us < to_us, found ${fromUs} and ${toUs}`);
  }
  if (fromUs % usPerHour !== 0n || toUs % usPerHour !== 0n) {
    throw wrong("period", `expected full hours, found ${fromUs} and ${toUs}`);
  }
  return { fromUs, toUs, timeZone };
}

export function fromStatement(statement: Statement): WireStatement {
  const { period } = statement;
  return create(StatementSchema, {
    statementId: statement.id,
    vendorId: statement.vendor,
    kind: statement.kind,
    period: create(PeriodSchema, period),
    rev: statement.rev,
    currency: statement.currency,
    lines: statement.lines.map(fromLine),
    totals: fromTotals(statement.totals),
    canonicalJson: statement.text,
    digest: statement.digest,
    prevDigest: statement.prevDigest,
  });
}

/** The statement of a message that has its canonical text; the other fields are copies of it. */
export function toStatement(message: WireStatement, sha256: (text: string) => string): Statement {
  const statement = fromStatementText(message.canonicalJson, sha256);
  if (statement.digest === message.digest) return statement;
  throw wrong("digest", `expected ${statement.digest}, found ${message.digest}`);
}

export function fromOutcome({ record, status, reason }: PostOutcome): RecordResult {
  return create(RecordResultSchema, { recordId: record, status: statuses[status], reason });
}

const statuses: Readonly<Record<PostOutcome["status"], RecordStatus>> = {
  posted: RecordStatus.POSTED,
  exists: RecordStatus.EXISTS,
  conflict: RecordStatus.CONFLICT,
  quarantined: RecordStatus.QUARANTINED,
};

export function fromPosted(usage: PostedRecord): SettledUsage {
  return create(SettledUsageSchema, {
    record: fromUsageRecord(fromRecordText(usage.text)),
    status: RecordStatus.POSTED,
    tokensByClass: byName(usage.tokens),
    countBasis: usage.basis,
    amountNano: usage.amountNano,
    priceSlot: usage.slot,
  });
}

export function fromWaiting(usage: WaitingRecord): SettledUsage {
  return create(SettledUsageSchema, {
    record: fromUsageRecord(fromRecordText(usage.text)),
    status: RecordStatus.QUARANTINED,
    reason: usage.reason,
  });
}

function fromLine(line: StatementLine) {
  return create(StatementLineSchema, {
    lineId: line.line,
    poolId: line.pool,
    regionId: line.region,
    modelId: line.model,
    tokenClass: tokenClassNames[line.tokenClass],
    slot: line.slot,
    priceBookId: line.book,
    priceVersion: line.version,
    attempts: line.attempts,
    tokens: line.tokens,
    amountPico: String(line.pico),
    amountNano: line.amountNano,
  });
}

function fromTotals(totals: StatementTotals) {
  return create(StatementTotalsSchema, {
    attempts: totals.attempts,
    tokensByClass: byName(totals.tokens),
    netNano: totals.netNano,
    minorUnits: totals.minorUnits,
    roundingNano: totals.roundingNano,
    quarantined: totals.quarantined,
  });
}

function byName(tokens: Tokens): Record<string, bigint> {
  return Object.fromEntries(tokenClasses.map((each) => [tokenClassNames[each], tokens[each]]));
}

function isTimeZone(name: string): name is TimeZone {
  return Object.hasOwn(offsetMinutesByZone, name);
}

function wrong(field: string, message: string) {
  return toConnectError("BAD_REQUEST", `${field}: ${message}`, { metadata: { field } });
}

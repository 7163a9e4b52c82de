import { create } from "@bufbuild/protobuf";
import type { Closing } from "../core/settlement/statements/closing.ts";
import type { FocusHour } from "../core/settlement/statements/focus.ts";
import {
  nameOfPeriod,
  offsetMinutesByZone,
  usPerHour,
  type Period,
  type TimeZone,
} from "../core/settlement/statements/period.ts";
import type {
  PostedRecord,
  PostOutcome,
  WaitingRecord,
} from "../core/settlement/ledger/posting.ts";
import { fromRecordText } from "../core/settlement/counting/record-text.ts";
import {
  classOf,
  classWord,
  fromStatementText,
} from "../core/settlement/statements/statement-text.ts";
import type {
  Statement,
  StatementLine,
  StatementTotals,
} from "../core/settlement/statements/statement.ts";
import { tokenClasses, tokenClassNames, type Tokens } from "../core/settlement/counting/usage.ts";
import type { PairId, PoolId, RegionId } from "../core/units.ts";
import { toConnectError } from "./errors.ts";
import {
  PackageDrawSchema,
  PeriodSchema,
  StatementFeeSchema,
  StatementHourSchema,
  StatementLineSchema,
  StatementSchema,
  StatementTotalsSchema,
  type Period as WirePeriod,
  type Statement as WireStatement,
  type StatementHour,
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

/** `vendor:<id>` of a vendor, or the pair; throws INVALID_ARGUMENT unless one of both is there. */
export function toPair(message: { readonly vendorId: string; readonly pairId: string }): PairId {
  const { vendorId, pairId } = message;
  if ((vendorId === "") === (pairId === "")) {
    throw wrong(
      "pair_id",
      `expected one of vendor_id and pair_id, found ${vendorId === "" ? "none" : "both"}`,
    );
  }
  if (vendorId !== "") return `vendor:${vendorId}` as PairId;
  if (/^(?:vendor|tenant|model|channel):./.test(pairId)) return pairId as PairId;
  throw wrong(
    "pair_id",
    `expected vendor:, tenant:, model: or channel: and an id, found ${JSON.stringify(pairId)}`,
  );
}

export function fromStatement(statement: Statement): WireStatement {
  const { pair, period } = statement;
  return create(StatementSchema, {
    statementId: statement.id,
    vendorId: vendorIn(pair),
    pairId: pair,
    isPayable: statement.isPayable,
    periodName: nameOfPeriod(period),
    fees: statement.fees.map((fee) => create(StatementFeeSchema, { ...fee, sku: fee.sku ?? "" })),
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

/** A closed statement without its lines. */
export function fromClosing(closing: Closing): WireStatement {
  const { pair, fromUs, toUs, timeZone } = closing;
  return create(StatementSchema, {
    statementId: closing.statement,
    vendorId: vendorIn(pair),
    pairId: pair,
    kind: closing.kind,
    period: create(PeriodSchema, { fromUs, toUs, timeZone }),
    periodName: closing.name,
    currency: "CNY",
    totals: fromTotals(closing.totals),
    digest: closing.digest,
    prevDigest: closing.prevDigest,
    isPayable: closing.isPayable,
  });
}

function vendorIn(pair: PairId): string {
  return pair.startsWith("vendor:") ? pair.slice("vendor:".length) : "";
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

export function fromHour(hour: FocusHour): StatementHour {
  return create(StatementHourSchema, {
    hourUs: hour.hourUs,
    lineId: hour.line,
    poolId: hour.pool,
    regionId: hour.region,
    modelId: hour.model,
    tokenClass: classWord(hour.tokenClass),
    slot: hour.slot,
    attempts: hour.attempts,
    tokens: hour.tokens,
    amountPico: String(hour.pico),
    amountNano: hour.amountNano,
    department: hour.department,
    coveredNano: hour.coveredNano,
    releasedNano: hour.releasedNano,
    draws: hour.draws.map(({ package: packageId, unit, amount, releasedNano }) =>
      create(PackageDrawSchema, { packageId, unit, amount, releasedNano }),
    ),
  });
}

export function toHour(message: StatementHour): FocusHour {
  return {
    hourUs: message.hourUs,
    line: message.lineId,
    pool: message.poolId as PoolId,
    region: message.regionId as RegionId,
    model: message.modelId,
    tokenClass: classOf(message.tokenClass),
    slot: message.slot,
    attempts: message.attempts,
    tokens: message.tokens,
    pico: BigInt(message.amountPico),
    amountNano: message.amountNano,
    department: message.department,
    coveredNano: message.coveredNano,
    releasedNano: message.releasedNano,
    draws: message.draws.map(({ packageId, unit, amount, releasedNano }) => {
      return { package: packageId, unit, amount, releasedNano };
    }),
  };
}

function fromLine(line: StatementLine) {
  return create(StatementLineSchema, {
    lineId: line.line,
    poolId: line.pool,
    regionId: line.region,
    modelId: line.model,
    tokenClass: classWord(line.tokenClass),
    slot: line.slot,
    usagePeriod: line.usagePeriod ?? "",
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
    attempts: totals.attempts ?? 0n,
    tokensByClass: byName(totals.tokens),
    grossNano: totals.grossNano,
    creditsNano: totals.creditsNano,
    adjustmentsNano: totals.adjustmentsNano,
    trueUpNano: totals.trueUpNano,
    disputedNano: totals.disputedNano,
    netNano: totals.netNano,
    minorUnits: totals.minorUnits ?? 0n,
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

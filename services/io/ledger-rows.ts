import { canonicalJson } from "../core/settlement/canonical.ts";
import type { HourKey, RatingKey } from "../core/settlement/charge.ts";
import type { CostSide, Ending } from "../core/settlement/contract.ts";
import type { CountBasis } from "../core/settlement/count-rule.ts";
import type {
  AccountId,
  Balance,
  EntryKind,
  LedgerEntry,
  Unit,
} from "../core/settlement/ledger.ts";
import type {
  At,
  Charge,
  HourTotal,
  PostedRecord,
  StoredRecord,
  WaitingRecord,
} from "../core/settlement/posting.ts";
import type { Cumulative } from "../core/settlement/rate.ts";
import { tokenClassNames, type TokenClass, type UsageFlag } from "../core/settlement/usage.ts";
import { entries } from "../core/table.ts";
import type {
  AttemptId,
  GatewayId,
  ModelId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../core/units.ts";
import type { LedgerBatch, ProducerState } from "./ledger-store.ts";

/** Rows of `ledger.sql` as the driver gives and takes them: integers are bigints. */
export type Value = string | bigint;
export type Row = Readonly<Record<string, unknown>>;

/** A batch as rows, in the order in which they are written. */
export interface BatchRows {
  /** Without their numbers, which the writer gives. */
  readonly posted: readonly Value[][];
  readonly waiting: readonly Value[][];
  readonly released: readonly Value[][];
  /** Without their numbers too. */
  readonly entries: readonly Value[][];
  readonly movements: readonly Value[][];
  readonly cumulatives: readonly Value[][];
  readonly hours: readonly Value[][];
  readonly versions: readonly Value[][];
  readonly producers: readonly Value[][];
}

export function fromBatch(batch: LedgerBatch): BatchRows {
  const { movements, versions } = batch;
  return {
    posted: batch.posted.map(fromPosted),
    waiting: batch.waiting.map(fromWaiting),
    released: batch.released.map(({ attempt, rev }) => [attempt, rev]),
    entries: batch.entries.map(fromEntry),
    movements: [...movements].map(([account, by]) => fromMovement(account, by)),
    cumulatives: batch.cumulatives.map(fromCumulative),
    hours: batch.hours.map(fromHour),
    versions: versions.map((each) => [each.book, each.version, each.hash, each.text]),
    producers: batch.producers.map(fromProducer),
  };
}

function fromMovement(account: AccountId, { debitNano, creditNano }: Balance): Value[] {
  return ["CNY:nano", account, debitNano, creditNano];
}

export const usageColumns = [
  "seq",
  "attempt_id",
  "rev",
  "request_id",
  "tenant_id",
  "vendor_id",
  "pool_id",
  "region_id",
  "model_id",
  "opened_us",
  "period",
  "ending",
  "cost_side",
  "in_uncached",
  "in_cache_read",
  "in_cache_write",
  "out_response",
  "out_reasoning",
  "count_basis",
  "slot",
  "flags",
  "charges",
  "amount_nano",
  "body",
  "hash",
] as const;

/** All columns but the first, the number. */
function fromPosted(record: PostedRecord): Value[] {
  const { tokens } = record;
  return [
    record.attempt,
    record.rev,
    record.request,
    record.tenant,
    record.vendor,
    record.pool,
    record.region,
    record.model,
    record.openedUs,
    record.period,
    record.ending,
    record.cost,
    tokens.uncachedInput,
    tokens.cacheRead,
    tokens.cacheWrite,
    tokens.response,
    tokens.reasoning,
    record.basis,
    record.slot,
    record.flags.join(","),
    chargesText(record.charges),
    record.amountNano,
    record.text,
    record.hash,
  ];
}

export function toPosted(row: Row): PostedRecord & { state: "posted" } {
  return {
    ...toStored(row, "posted"),
    ...identity(row),
    ending: text(row, "ending") as Ending,
    tokens: {
      uncachedInput: int(row, "in_uncached"),
      cacheRead: int(row, "in_cache_read"),
      cacheWrite: int(row, "in_cache_write"),
      response: int(row, "out_response"),
      reasoning: int(row, "out_reasoning"),
    },
    basis: text(row, "count_basis") as CountBasis,
    slot: text(row, "slot"),
    flags: words(text(row, "flags")) as UsageFlag[],
    text: text(row, "body"),
  };
}

export const quarantineColumns = [
  "attempt_id",
  "rev",
  "request_id",
  "tenant_id",
  "vendor_id",
  "pool_id",
  "region_id",
  "model_id",
  "opened_us",
  "reason",
  "body",
  "hash",
  "state",
] as const;

function fromWaiting(record: WaitingRecord): Value[] {
  return [
    record.attempt,
    record.rev,
    record.request,
    record.tenant,
    record.vendor,
    record.pool,
    record.region,
    record.model,
    record.openedUs,
    record.reason,
    record.text,
    record.hash,
    "waiting",
  ];
}

export function toWaiting(row: Row): WaitingRecord & { state: "waiting" } {
  return { ...toStored(row, "waiting"), ...identity(row), text: text(row, "body") };
}

/** What posting needs to know of a record, without its bytes. */
export function toStored<State extends "posted" | "waiting">(
  row: Row,
  state: State,
): StoredRecord & { state: State } {
  const isPosted = state === "posted";
  return {
    attempt: text(row, "attempt_id") as AttemptId,
    rev: int(row, "rev"),
    hash: text(row, "hash"),
    state,
    reason: isPosted ? "" : text(row, "reason"),
    vendor: text(row, "vendor_id") as VendorId,
    pool: text(row, "pool_id") as PoolId,
    region: text(row, "region_id") as RegionId,
    openedUs: int(row, "opened_us"),
    period: isPosted ? text(row, "period") : "",
    cost: isPosted ? (text(row, "cost_side") as CostSide) : "cogs",
    amountNano: isPosted ? int(row, "amount_nano") : 0n,
    charges: isPosted ? toCharges(text(row, "charges")) : [],
  };
}

/** All columns but the first, the number. */
function fromEntry(entry: LedgerEntry): Value[] {
  const { id, kind, record, atUs, unit, debit, credit, amountNano } = entry;
  return [id, kind, record, atUs, unit, debit, credit, amountNano];
}

export function toEntry(row: Row): LedgerEntry {
  return {
    id: text(row, "entry_id"),
    kind: text(row, "kind") as EntryKind,
    record: text(row, "record_id"),
    atUs: int(row, "at_us"),
    unit: text(row, "unit") as Unit,
    debit: text(row, "debit"),
    credit: text(row, "credit"),
    amountNano: int(row, "amount_nano"),
  };
}

function fromCumulative({ key, total }: At<RatingKey, Cumulative>): Value[] {
  return [
    key.vendor,
    key.period,
    key.line,
    key.pool,
    total.tokens,
    String(total.pico),
    total.records,
  ];
}

export function toCumulative(row: Row): At<RatingKey, Cumulative> {
  return {
    key: {
      vendor: text(row, "contract_id") as VendorId,
      period: text(row, "period"),
      line: text(row, "line_id"),
      pool: text(row, "scope") as PoolId,
    },
    total: {
      tokens: int(row, "tokens"),
      pico: BigInt(text(row, "pico")),
      records: int(row, "records"),
    },
  };
}

function fromHour({ key, total }: At<HourKey, HourTotal>): Value[] {
  return [
    key.vendor,
    key.hourUs,
    key.line,
    key.pool,
    key.region,
    total.model,
    tokenClassNames[total.tokenClass],
    total.slot,
    total.tokens,
    String(total.pico),
    total.amountNano,
    total.attempts,
  ];
}

export function toHour(row: Row): At<HourKey, HourTotal> {
  return {
    key: {
      vendor: text(row, "vendor_id") as VendorId,
      hourUs: int(row, "hour_us"),
      line: text(row, "line_id"),
      pool: text(row, "pool_id") as PoolId,
      region: text(row, "region_id") as RegionId,
    },
    total: {
      model: text(row, "model_id") as ModelId,
      tokenClass: toTokenClass(text(row, "token_class")),
      slot: text(row, "slot"),
      tokens: int(row, "tokens"),
      pico: BigInt(text(row, "pico")),
      amountNano: int(row, "amount_nano"),
      attempts: int(row, "attempts"),
    },
  };
}

function fromProducer(state: ProducerState): Value[] {
  return [state.gateway, state.epoch, state.nextSeq, state.ahead, state.lost];
}

export function toProducer(row: Row): ProducerState {
  return {
    gateway: text(row, "gateway_id") as GatewayId,
    epoch: int(row, "epoch"),
    nextSeq: int(row, "next_seq"),
    ahead: text(row, "ahead"),
    lost: int(row, "lost"),
  };
}

/** A column of `ledger.sql` that is text; anything else is a damaged file. */
export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== "string")
    throw new TypeError(`${column}: expected text, found ${typeof value}`);
  return value;
}

export function int(row: Row, column: string): bigint {
  const value = row[column];
  if (typeof value !== "bigint")
    throw new TypeError(`${column}: expected integer, found ${typeof value}`);
  return value;
}

function identity(row: Row) {
  return {
    record: `${text(row, "attempt_id")}:${int(row, "rev")}`,
    request: text(row, "request_id") as RequestId,
    tenant: text(row, "tenant_id") as TenantId,
    model: text(row, "model_id") as ModelId,
  };
}

function chargesText(charges: readonly Charge[]): string {
  return canonicalJson(
    charges.map(({ line, tokens, pico, amountNano }) => ({
      line_id: line,
      tokens,
      pico,
      nano: amountNano,
    })),
  );
}

function toCharges(json: string): Charge[] {
  const all = JSON.parse(json) as readonly Readonly<Record<string, string>>[];
  return all.map((charge) => ({
    line: text(charge, "line_id"),
    tokens: BigInt(text(charge, "tokens")),
    pico: BigInt(text(charge, "pico")),
    amountNano: BigInt(text(charge, "nano")),
  }));
}

const classByName = new Map(entries(tokenClassNames).map(([each, name]) => [name, each]));

function toTokenClass(name: string): TokenClass {
  const found = classByName.get(name);
  if (found === undefined) throw new TypeError(`token_class: expected a class, found ${name}`);
  return found;
}

function words(list: string): string[] {
  return list === "" ? [] : list.split(",");
}

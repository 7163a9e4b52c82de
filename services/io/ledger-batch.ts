import {
  accountKeyOf,
  type Balance,
  type EntryKind,
  type EntryPhase,
  type LedgerEntry,
  type Unit,
} from "../core/settlement/ledger/ledger.ts";
import type {
  At,
  Consumption,
  ConsumptionKey,
  SaleRow,
} from "../core/settlement/ledger/posting.ts";
import type {
  AttemptId,
  GatewayId,
  ModelId,
  PairId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
} from "../core/units.ts";
import {
  fromCumulative,
  fromHour,
  fromPosted,
  fromTokens,
  fromWaiting,
  tokenColumns,
  toTokens,
} from "./ledger-rows.ts";
import type {
  ClaimRow,
  HoldRow,
  Leaf,
  LedgerBatch,
  LedgerDocument,
  LogTile,
  ProducerState,
} from "./ledger-store.ts";
import { int, text, type Row, type Value } from "./sql-driver.ts";

/** A batch as rows. Records, entries and documents are without their numbers, which the store gives. */
export interface BatchRows {
  readonly posted: readonly Value[][];
  readonly waiting: readonly Value[][];
  readonly released: readonly Value[][];
  readonly entries: readonly Value[][];
  readonly movements: readonly Value[][];
  readonly cumulatives: readonly Value[][];
  readonly hours: readonly Value[][];
  /** Of records of the batch: nobody has sold them before. */
  readonly newSales: readonly Value[][];
  readonly sales: readonly Value[][];
  readonly consumption: readonly Value[][];
  readonly versions: readonly Value[][];
  readonly producers: readonly Value[][];
  readonly leaves: readonly Value[][];
  readonly tiles: readonly Value[][];
  readonly documents: readonly Value[][];
  readonly holds: readonly Value[][];
  readonly claims: readonly Value[][];
}

export function fromBatch(batch: LedgerBatch): BatchRows {
  // What is set twice in a batch is as it was set last.
  const holds = new Map(batch.holds.map((each) => [each.id, each]));
  const posted = new Set(batch.posted.map(({ record }) => record));
  const isNew = ({ attempt, rev }: SaleRow): boolean => posted.has(`${attempt}:${rev}`);
  return {
    posted: batch.posted.map(fromPosted),
    waiting: batch.waiting.map(fromWaiting),
    released: batch.released.map(({ attempt, rev }) => [attempt, rev]),
    entries: batch.entries.map(fromEntry),
    movements: [...batch.movements].map(([key, by]) => fromMovement(key, by)),
    cumulatives: batch.cumulatives.map(fromCumulative),
    hours: batch.hours.map(fromHour),
    newSales: batch.sales.filter(isNew).map(fromSale),
    sales: batch.sales.filter((each) => !isNew(each)).map(fromSale),
    consumption: batch.consumption.map(fromConsumption),
    versions: batch.versions.map((each) => [each.book, each.version, each.hash, each.text]),
    producers: batch.producers.map(fromProducer),
    leaves: batch.leaves.map(({ log, index, kind, ref, text: body, hash }) => [
      ...[log, index, kind, ref, body, hash],
    ]),
    tiles: batch.tiles.map(({ log, level, index, hashes }) => [log, BigInt(level), index, hashes]),
    documents: batch.documents.map(({ kind, id, pair, atUs, body, hash }) => [
      ...[kind, id, pair, atUs, body, hash],
    ]),
    holds: [...holds.values()].map(fromHold),
    claims: batch.claims.map(fromClaim),
  };
}

/** The last one is the number. */
export const entryColumns = [
  "entry_id",
  "txn",
  "kind",
  "phase",
  "cause",
  "at_us",
  "unit",
  "debit",
  "credit",
  "amount",
  "corrects",
  "seq",
] as const;

function fromEntry(entry: LedgerEntry): Value[] {
  const { id, txn, kind, phase, cause, atUs, unit, debit, credit, amount, corrects } = entry;
  return [id, txn, kind, phase, cause, atUs, unit, debit, credit, amount, corrects];
}

export function toEntry(row: Row): LedgerEntry {
  return {
    id: text(row, "entry_id"),
    txn: text(row, "txn"),
    kind: text(row, "kind") as EntryKind,
    phase: text(row, "phase") as EntryPhase,
    cause: text(row, "cause"),
    atUs: int(row, "at_us"),
    unit: text(row, "unit") as Unit,
    debit: text(row, "debit"),
    credit: text(row, "credit"),
    amount: int(row, "amount"),
    corrects: text(row, "corrects"),
  };
}

export const balanceKeys = ["unit", "account"] as const;
export const balanceTotals = ["posted_dr", "posted_cr", "held_dr", "held_cr"] as const;

function fromMovement(key: string, by: Balance): Value[] {
  const { unit, account } = accountKeyOf(key);
  return [unit, account, by.debit, by.credit, by.heldDebit, by.heldCredit];
}

export function toBalance(row: Row): Balance {
  return {
    debit: int(row, "posted_dr"),
    credit: int(row, "posted_cr"),
    heldDebit: int(row, "held_dr"),
    heldCredit: int(row, "held_cr"),
  };
}

export const saleKeys = ["attempt_id", "rev"] as const;
export const saleFacts = [
  "request_id",
  "tenant_id",
  "opened_us",
  "booking",
  "state",
  "reason",
  "billed_nano",
  "body",
] as const;

function fromSale(sale: SaleRow): Value[] {
  const { attempt, rev, request, tenant, openedUs, booking, state, reason, billedNano } = sale;
  return [attempt, rev, request, tenant, openedUs, booking, state, reason, billedNano, sale.text];
}

export function toSale(row: Row): SaleRow {
  return {
    attempt: text(row, "attempt_id") as AttemptId,
    rev: int(row, "rev"),
    request: text(row, "request_id") as RequestId,
    tenant: text(row, "tenant_id") as TenantId,
    openedUs: int(row, "opened_us"),
    booking: text(row, "booking"),
    state: text(row, "state") as SaleRow["state"],
    reason: text(row, "reason"),
    billedNano: int(row, "billed_nano"),
    text: text(row, "body"),
  };
}

export const consumptionKeys = [
  "tenant_id",
  "hour_us",
  "department",
  "project",
  "scenario",
  "model_id",
  "pool_id",
  "region_id",
] as const;
export const consumptionTotals = [
  "requests",
  ...tokenColumns,
  "sale_nano",
  "covered_nano",
  "billed_nano",
  "released_nano",
  "cost_nano",
] as const;

export function fromConsumptionKey(key: ConsumptionKey): Value[] {
  const { tenant, hourUs, department, project, scenario, model, pool, region } = key;
  return [tenant, hourUs, department, project, scenario, model, pool, region];
}

function fromConsumption({ key, total }: At<ConsumptionKey, Consumption>): Value[] {
  const { requests, tokens, saleNano, coveredNano, billedNano, releasedNano, costNano } = total;
  const money = [saleNano, coveredNano, billedNano, releasedNano, costNano];
  return [...fromConsumptionKey(key), requests, ...fromTokens(tokens), ...money];
}

export function toConsumption(row: Row): At<ConsumptionKey, Consumption> {
  return {
    key: {
      tenant: text(row, "tenant_id") as TenantId,
      department: text(row, "department"),
      project: text(row, "project"),
      scenario: text(row, "scenario"),
      hourUs: int(row, "hour_us"),
      model: text(row, "model_id") as ModelId,
      pool: text(row, "pool_id") as PoolId,
      region: text(row, "region_id") as RegionId,
    },
    total: {
      requests: int(row, "requests"),
      tokens: toTokens(row),
      saleNano: int(row, "sale_nano"),
      coveredNano: int(row, "covered_nano"),
      billedNano: int(row, "billed_nano"),
      releasedNano: int(row, "released_nano"),
      costNano: int(row, "cost_nano"),
    },
  };
}

export const producerKeys = ["gateway_id", "epoch"] as const;
export const producerFacts = ["next_seq", "ahead", "lost"] as const;

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

export const leafColumns = ["log", "idx", "kind", "ref", "body", "hash"] as const;

export function toLeaf(row: Row): Leaf {
  return {
    log: toLog(row, "log"),
    index: int(row, "idx"),
    kind: text(row, "kind"),
    ref: text(row, "ref"),
    text: text(row, "body"),
    hash: text(row, "hash"),
  };
}

export function toLog(row: Row, column: string): PairId | "internal" {
  return text(row, column) as PairId | "internal";
}

export const tileColumns = ["log", "level", "idx", "hashes"] as const;

export function toTile(row: Row): LogTile {
  return {
    log: toLog(row, "log"),
    level: Number(int(row, "level")),
    index: int(row, "idx"),
    hashes: text(row, "hashes"),
  };
}

/** The last one is the number. */
export const documentColumns = ["kind", "id", "pair_id", "at_us", "body", "hash", "seq"] as const;

export function toDocument(row: Row): LedgerDocument {
  return {
    kind: text(row, "kind"),
    id: text(row, "id"),
    pair: toLog(row, "pair_id"),
    seq: int(row, "seq"),
    atUs: int(row, "at_us"),
    body: text(row, "body"),
    hash: text(row, "hash"),
  };
}

export const holdKeys = ["hold_id"] as const;
export const holdFacts = [
  "unit",
  "debit",
  "credit",
  "amount",
  "amount_left",
  "expires_us",
  "state",
] as const;

function fromHold({ id, unit, debit, credit, amount, left, expiresUs, state }: HoldRow): Value[] {
  return [id, unit, debit, credit, amount, left, expiresUs, state];
}

export function toHold(row: Row): HoldRow {
  return {
    id: text(row, "hold_id"),
    unit: text(row, "unit") as Unit,
    debit: text(row, "debit"),
    credit: text(row, "credit"),
    amount: int(row, "amount"),
    left: int(row, "amount_left"),
    expiresUs: int(row, "expires_us"),
    state: text(row, "state") as HoldRow["state"],
  };
}

export const claimColumns = [
  "pair_id",
  "attempt_id",
  "rev",
  "opened_us",
  "pool_id",
  "model_id",
  ...tokenColumns,
  "batch",
  "body",
  "hash",
] as const;

function fromClaim(claim: ClaimRow): Value[] {
  const { pair, attempt, rev, openedUs, pool, model, tokens, batch, hash } = claim;
  const key = [pair, attempt, rev, openedUs, pool, model];
  return [...key, ...fromTokens(tokens), batch, claim.text, hash];
}

export function toClaim(row: Row): ClaimRow {
  return {
    pair: text(row, "pair_id") as PairId,
    attempt: text(row, "attempt_id") as AttemptId,
    rev: int(row, "rev"),
    openedUs: int(row, "opened_us"),
    pool: text(row, "pool_id") as PoolId,
    model: text(row, "model_id") as ModelId,
    tokens: toTokens(row),
    batch: text(row, "batch"),
    text: text(row, "body"),
    hash: text(row, "hash"),
  };
}

import type { HourKey, RatingKey } from "../core/settlement/pricing/charge.ts";
import type { CostSide, Ending } from "../core/settlement/terms/contract.ts";
import type { CountBasis } from "../core/settlement/counting/count-rule.ts";
import type {
  At,
  Charge,
  Fee,
  HourTotal,
  PostedFlag,
  PostedRecord,
  StoredRecord,
  WaitingRecord,
} from "../core/settlement/ledger/posting.ts";
import { priceClassNames, type PriceClass } from "../core/settlement/pricing/price-book.ts";
import type { Cumulative } from "../core/settlement/pricing/rate.ts";
import {
  noTokens,
  tokenClasses,
  type TokenClass,
  type Tokens,
} from "../core/settlement/counting/usage.ts";
import { entries } from "../core/table.ts";
import type {
  AttemptId,
  ModelId,
  PairId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../core/units.ts";
import type { ChargedRow } from "./ledger-store.ts";
import { int, text, type Row, type Value } from "./sql-driver.ts";

/** In the order of `tokenClasses`. */
export const tokenColumns = [
  "in_uncached",
  "in_cache_read",
  "in_cache_write",
  "out_response",
  "out_reasoning",
] as const;

const dispatchColumns = [
  "attempt_id",
  "rev",
  "request_id",
  "tenant_id",
  "vendor_id",
  "pool_id",
  "region_id",
  "model_id",
  "opened_us",
] as const;

/** The last one is the number, which the store gives. */
export const usageColumns = [
  ...dispatchColumns,
  "period",
  "booking",
  "ending",
  "cost_side",
  ...tokenColumns,
  "count_basis",
  "slot",
  "flags",
  "charges",
  "amount_nano",
  "fees",
  "sold",
  "body",
  "hash",
  "seq",
] as const;

/** All columns but the number. */
export function fromPosted(record: PostedRecord): Value[] {
  return [
    ...fromDispatch(record),
    record.period,
    record.booking,
    record.ending,
    record.cost,
    ...fromTokens(record.tokens),
    record.basis,
    record.slot,
    record.flags.join(","),
    chargesText(record.charges),
    record.amountNano,
    feesText(record.fees),
    fromTokens(record.sold).join(","),
    record.text,
    record.hash,
  ];
}

export function toPosted(row: Row): PostedRecord & { state: "posted" } {
  return {
    ...toStored(row, "posted"),
    ending: text(row, "ending") as Ending,
    tokens: toTokens(row),
    basis: text(row, "count_basis") as CountBasis,
    slot: text(row, "slot"),
    flags: words(text(row, "flags")) as PostedFlag[],
  };
}

export const quarantineColumns = [...dispatchColumns, "reason", "body", "hash", "state"] as const;

export function fromWaiting(record: WaitingRecord): Value[] {
  return [...fromDispatch(record), record.reason, record.text, record.hash, "waiting"];
}

export function toWaiting(row: Row): WaitingRecord & { state: "waiting" } {
  return toStored(row, "waiting");
}

/** What posting needs to know of a record. */
export function toStored<State extends "posted" | "waiting">(
  row: Row,
  state: State,
): StoredRecord & { state: State } {
  const [attempt, rev] = [text(row, "attempt_id") as AttemptId, int(row, "rev")];
  return {
    record: `${attempt}:${rev}`,
    attempt,
    rev,
    request: text(row, "request_id") as RequestId,
    tenant: text(row, "tenant_id") as TenantId,
    vendor: text(row, "vendor_id") as VendorId,
    pool: text(row, "pool_id") as PoolId,
    region: text(row, "region_id") as RegionId,
    model: text(row, "model_id") as ModelId,
    openedUs: int(row, "opened_us"),
    text: text(row, "body"),
    hash: text(row, "hash"),
    state,
    ...(state === "posted" ? settled(row) : { ...unsettled, reason: text(row, "reason") }),
  };
}

type Settled = Pick<
  StoredRecord,
  "reason" | "period" | "booking" | "cost" | "amountNano" | "charges" | "fees" | "sold"
>;

const unsettled: Settled = {
  reason: "",
  period: "",
  booking: "",
  cost: "cogs",
  amountNano: 0n,
  charges: [],
  fees: [],
  sold: noTokens,
};

function settled(row: Row): Settled {
  const sold = text(row, "sold").split(",");
  return {
    reason: "",
    period: text(row, "period"),
    booking: text(row, "booking"),
    cost: text(row, "cost_side") as CostSide,
    amountNano: int(row, "amount_nano"),
    charges: readCharges(text(row, "charges")),
    fees: toFees(text(row, "fees")),
    sold: tokensOf((index) => BigInt(sold[index] ?? "")),
  };
}

function fromDispatch(record: StoredRecord): Value[] {
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
  ];
}

export const cumulativeKeys = ["pair_id", "period", "line_id", "scope"] as const;
export const cumulativeTotals = ["tokens", "pico", "records"] as const;

export function fromRatingKey({ pair, period, line, scope }: RatingKey): Value[] {
  return [pair, period, line, scope];
}

export function fromCumulative({ key, total }: At<RatingKey, Cumulative>): Value[] {
  return [...fromRatingKey(key), total.tokens, String(total.pico), total.records];
}

export function toCumulative(row: Row): At<RatingKey, Cumulative> {
  return {
    key: {
      pair: text(row, "pair_id") as PairId,
      period: text(row, "period"),
      line: text(row, "line_id"),
      scope: text(row, "scope"),
    },
    total: {
      tokens: int(row, "tokens"),
      pico: BigInt(text(row, "pico")),
      records: int(row, "records"),
    },
  };
}

export const hourKeys = [
  "pair_id",
  "booking",
  "hour_us",
  "line_id",
  "pool_id",
  "region_id",
] as const;
export const hourTotals = [
  "model_id",
  "token_class",
  "slot",
  "tokens",
  "pico",
  "amount_nano",
  "attempts",
] as const;

export function fromHourKey({ pair, booking, hourUs, line, pool, region }: HourKey): Value[] {
  return [pair, booking, hourUs, line, pool, region];
}

export function fromHour({ key, total }: At<HourKey, HourTotal>): Value[] {
  return [
    ...fromHourKey(key),
    total.model,
    priceClassNames[total.tokenClass],
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
      pair: text(row, "pair_id") as PairId,
      booking: text(row, "booking"),
      hourUs: int(row, "hour_us"),
      line: text(row, "line_id"),
      pool: text(row, "pool_id") as PoolId,
      region: text(row, "region_id") as RegionId,
    },
    total: {
      model: text(row, "model_id") as ModelId,
      tokenClass: toPriceClass(text(row, "token_class")),
      slot: text(row, "slot"),
      tokens: int(row, "tokens"),
      pico: BigInt(text(row, "pico")),
      amountNano: int(row, "amount_nano"),
      attempts: int(row, "attempts"),
    },
  };
}

export function fromTokens(tokens: Tokens): bigint[] {
  return tokenClasses.map((each) => tokens[each]);
}

export function toTokens(row: Row): Tokens {
  return tokensOf((index) => int(row, tokenColumns[index] ?? ""));
}

function tokensOf(countAt: (index: number) => bigint): Tokens {
  const tokens: Record<TokenClass, bigint> = { ...noTokens };
  for (const [index, each] of tokenClasses.entries()) tokens[each] = countAt(index);
  return tokens;
}

/** As canonical JSON, spelt out: there are some of them for every record. */
/** Charges as the ledger keeps them. */
export function readCharges(json: string): Charge[] {
  return (JSON.parse(json) as Row[]).map(toCharge);
}

export function toCharged(row: Row): ChargedRow {
  return [
    text(row, "attempt_id") as AttemptId,
    int(row, "rev"),
    int(row, "opened_us"),
    text(row, "pool_id") as PoolId,
    text(row, "region_id") as RegionId,
    text(row, "booking"),
    text(row, "period"),
    text(row, "charges"),
  ];
}

function chargesText(charges: readonly Charge[]): string {
  const each = charges.map(({ line, tokens, pico, amountNano }) => {
    const id = JSON.stringify(line);
    return `{"line_id":${id},"nano":"${amountNano}","pico":"${pico}","tokens":"${tokens}"}`;
  });
  return `[${each.join(",")}]`;
}

function toCharge(members: Row): Charge {
  return {
    line: text(members, "line_id"),
    tokens: BigInt(text(members, "tokens")),
    pico: BigInt(text(members, "pico")),
    amountNano: BigInt(text(members, "nano")),
  };
}

function feesText(fees: readonly Fee[]): string {
  const each = fees.map(({ pair, period, booking, charges, amountNano }) => {
    const [at, of, by] = [booking, pair, period].map((text) => JSON.stringify(text));
    const rest = `"nano":"${amountNano}","pair":${of},"period":${by}`;
    return `{"booking":${at},"charges":${chargesText(charges)},${rest}}`;
  });
  return `[${each.join(",")}]`;
}

function toFees(json: string): Fee[] {
  if (json === "[]") return [];
  const fees = JSON.parse(json) as (Row & { readonly charges: readonly Row[] })[];
  return fees.map((fee) => ({
    pair: text(fee, "pair") as PairId,
    period: text(fee, "period"),
    booking: text(fee, "booking"),
    charges: fee.charges.map(toCharge),
    amountNano: BigInt(text(fee, "nano")),
  }));
}

const classByName = new Map(entries(priceClassNames).map(([each, name]) => [name, each]));

function toPriceClass(name: string): PriceClass {
  const found = classByName.get(name);
  if (found === undefined) throw new TypeError(`token_class: expected a class, found ${name}`);
  return found;
}

function words(list: string): string[] {
  return list === "" ? [] : list.split(",");
}

import type {
  AttemptId,
  InstantUs,
  ModelId,
  Nano,
  PairId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../../units.ts";
import type { HourKey, PriceFlag, RatingKey } from "../pricing/charge.ts";
import type { CostSide, Ending } from "../terms/contract.ts";
import type { CountBasis } from "../counting/count-rule.ts";
import type { Balance, LedgerEntry } from "./ledger.ts";
import type { PriceClass, PriceLine } from "../pricing/price-book.ts";
import type { Cumulative } from "../pricing/rate.ts";
import type { Tokens, UsageFlag } from "../counting/usage.ts";

/** What one line of a price book costs for one record. */
export interface Charge {
  /** `<book>:<version>:<line>`. */
  readonly line: string;
  readonly tokens: bigint;
  /** Exact. */
  readonly pico: bigint;
  /** Telescoped over the line's key. */
  readonly amountNano: Nano;
}

/** Owed for a record to another than the vendor by a book of its own: to the owner of the model. */
export interface Fee {
  /** `model:deepseek`. */
  readonly pair: PairId;
  /** Of the key on which its tokens cumulate. */
  readonly period: string;
  /** Day into whose statement of this pair it goes. */
  readonly booking: string;
  readonly charges: readonly Charge[];
  readonly amountNano: Nano;
}

/** What the ledger keeps of a record. */
export interface StoredRecord {
  readonly record: string;
  readonly attempt: AttemptId;
  readonly rev: bigint;
  readonly request: RequestId;
  readonly tenant: TenantId;
  /** Canonical. */
  readonly text: string;
  /** SHA-256 of the text. */
  readonly hash: string;
  /** `waiting` is in quarantine. */
  readonly state: "posted" | "waiting";
  /** Why it waits; empty if it does not. */
  readonly reason: string;
  readonly vendor: VendorId;
  readonly pool: PoolId;
  readonly region: RegionId;
  readonly model: ModelId;
  readonly openedUs: InstantUs;
  /** Of the key on which its tokens cumulate. Empty while it waits, and for a revision that never counted. */
  readonly period: string;
  /** Day into whose statement of the vendor it goes; later than that of `openedUs` for what came late. */
  readonly booking: string;
  readonly cost: CostSide;
  readonly amountNano: Nano;
  readonly charges: readonly Charge[];
  /** At most one: a model has one owner. */
  readonly fees: readonly Fee[];
  /** What the tenant pays for; no tokens while it waits. */
  readonly sold: Tokens;
}

/** A record that was priced, with what there is to keep of it. */
export interface PostedRecord extends StoredRecord {
  readonly ending: Ending;
  readonly tokens: Tokens;
  readonly basis: CountBasis;
  readonly slot: string;
  /** Sorted. */
  readonly flags: readonly PostedFlag[];
}

/** What was odd about the counts, or about the price. */
export type PostedFlag = UsageFlag | PriceFlag;

/** A record in quarantine. */
export type WaitingRecord = StoredRecord;

/** What a tenant owes for a record, with the core's `Sale` as canonical text. A correction replaces it. */
export interface SaleRow {
  readonly attempt: AttemptId;
  readonly rev: bigint;
  readonly request: RequestId;
  readonly tenant: TenantId;
  readonly openedUs: InstantUs;
  /** Day into whose statement of the tenant it goes; empty while it waits. */
  readonly booking: string;
  /** `waiting` for a sell book or a split rule; `billed`; `replaced` by a later revision. */
  readonly state: "waiting" | "billed" | "replaced";
  /** Why it waits; empty if it does not. */
  readonly reason: string;
  readonly billedNano: Nano;
  /** Of a waiting one the record's own text. */
  readonly text: string;
}

/** What a tenant used in an hour, by all that it is asked for. */
export interface ConsumptionKey {
  readonly tenant: TenantId;
  readonly department: string;
  readonly project: string;
  readonly scenario: string;
  readonly hourUs: InstantUs;
  readonly model: ModelId;
  readonly pool: PoolId;
  readonly region: RegionId;
}

export interface Consumption {
  /** Attempts in force that served a tenant something. */
  readonly requests: bigint;
  readonly tokens: Tokens;
  /** By the sell book, before packages. */
  readonly saleNano: Nano;
  /** Of it, covered by packages. */
  readonly coveredNano: Nano;
  readonly billedNano: Nano;
  /** What packages let go of for it. */
  readonly releasedNano: Nano;
  /** Owed to the vendor, whatever the attempt was for. */
  readonly costNano: Nano;
}

/** What was used of one line in one hour by the records in force. */
export interface HourTotal {
  readonly model: ModelId;
  readonly tokenClass: PriceClass;
  readonly slot: string;
  readonly tokens: bigint;
  readonly pico: bigint;
  readonly amountNano: Nano;
  readonly attempts: bigint;
}

/** A total at a key. */
export interface At<Key, Total> {
  readonly key: Key;
  readonly total: Total;
}

/** What was read of the ledger, by the text of its key. Undefined: the ledger has none. Not in the map: nobody has read it. */
export type Sheets<Key, Total> = ReadonlyMap<string, At<Key, Total> | undefined>;

/** The part of the ledger's state that a batch touches. */
export interface Known {
  /** All revisions of the attempts of the batch. */
  readonly records: readonly StoredRecord[];
  /** In force, of the requests of the batch. */
  readonly sales: readonly SaleRow[];
  readonly cumulatives: Sheets<RatingKey, Cumulative>;
  readonly hours: Sheets<HourKey, HourTotal>;
  readonly consumption: Sheets<ConsumptionKey, Consumption>;
}

/** Totals that a batch wants. */
export interface WantedKeys {
  readonly cumulatives: readonly RatingKey[];
  readonly hours: readonly HourKey[];
  readonly consumption: readonly ConsumptionKey[];
}

/** All that a batch changes, for one transaction. */
export interface Changes {
  readonly posted: readonly PostedRecord[];
  readonly waiting: readonly WaitingRecord[];
  /** Were waiting, and are among `posted` now. */
  readonly released: readonly PostedRecord[];
  readonly entries: readonly LedgerEntry[];
  /** To be added to the balances, by `balanceText`. */
  readonly movements: ReadonlyMap<string, Balance>;
  /** To be set. */
  readonly cumulatives: readonly At<RatingKey, Cumulative>[];
  /** To be set. */
  readonly hours: readonly At<HourKey, HourTotal>[];
  /** To be set, by attempt and revision. */
  readonly sales: readonly SaleRow[];
  /** To be set. */
  readonly consumption: readonly At<ConsumptionKey, Consumption>[];
}

export interface PostOutcome {
  readonly record: string;
  readonly status: "posted" | "exists" | "conflict" | "quarantined";
  /** Why it waits or conflicts. */
  readonly reason: string;
}

/** Finds a line by `<book>:<version>:<line>`. */
export type LineOf = (id: string) => PriceLine | undefined;

/** Texts of keys that are used for many records: to put one together again takes longer than what it is wanted for. */
const textByKey = new WeakMap<RatingKey | HourKey, string>();

export function rememberRatingText(key: RatingKey): string {
  const text = ratingText(key);
  textByKey.set(key, text);
  return text;
}

export function rememberHourText(key: HourKey): string {
  const text = hourText(key);
  textByKey.set(key, text);
  return text;
}

export function ratingText(key: RatingKey): string {
  const { pair, period, line, scope } = key;
  return textByKey.get(key) ?? `${pair}\n${period}\n${line}\n${scope}`;
}

export function hourText(key: HourKey): string {
  const { pair, booking, hourUs, line, pool, region } = key;
  return textByKey.get(key) ?? `${pair}\n${booking}\n${hourUs}\n${line}\n${pool}\n${region}`;
}

export function consumptionText(key: ConsumptionKey): string {
  const { tenant, department, project, scenario, hourUs, model, pool, region } = key;
  const who = `${tenant}\n${department}\n${project}\n${scenario}`;
  return `${who}\n${hourUs}\n${model}\n${pool}\n${region}`;
}

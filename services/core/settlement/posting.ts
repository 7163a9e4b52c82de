import { assert } from "../assert.ts";
import type {
  AttemptId,
  InstantUs,
  ModelId,
  Nano,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../units.ts";
import { hourKey, type HourKey, type RatingKey } from "./charge.ts";
import type { CostSide, Ending } from "./contract.ts";
import type { CountBasis } from "./count-rule.ts";
import { accrue, movements, type AccountId, type Balance, type LedgerEntry } from "./ledger.ts";
import type { PriceLine, Tier } from "./price-book.ts";
import { nothingRated, rate, unrate, type Cumulative, type Rated } from "./rate.ts";
import type { TokenClass, Tokens, UsageFlag, UsageRecord } from "./usage.ts";
import type { Doubtful, Owing, Prepared } from "./prepare.ts";

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

/** What the ledger keeps of a record beside its bytes. */
export interface StoredRecord {
  readonly attempt: AttemptId;
  readonly rev: bigint;
  readonly hash: string;
  /** `waiting` is in quarantine. */
  readonly state: "posted" | "waiting";
  /** Why it waits; empty if it does not. */
  readonly reason: string;
  readonly vendor: VendorId;
  readonly pool: PoolId;
  readonly region: RegionId;
  readonly openedUs: InstantUs;
  readonly period: string;
  /** The period into whose statement it goes. */
  readonly booking: string;
  readonly cost: CostSide;
  readonly amountNano: Nano;
  readonly charges: readonly Charge[];
}

/** A record that was priced, with what there is to keep of it. */
export interface PostedRecord extends StoredRecord {
  readonly record: string;
  readonly request: RequestId;
  readonly tenant: TenantId;
  readonly model: ModelId;
  readonly ending: Ending;
  readonly tokens: Tokens;
  readonly basis: CountBasis;
  readonly slot: string;
  readonly flags: readonly UsageFlag[];
  /** Canonical. */
  readonly text: string;
}

/** A record in quarantine. */
export interface WaitingRecord extends StoredRecord {
  readonly record: string;
  readonly request: RequestId;
  readonly tenant: TenantId;
  readonly model: ModelId;
  /** Canonical. */
  readonly text: string;
}

/** What was used of one line in one hour by the records in force. */
export interface HourTotal {
  readonly model: ModelId;
  readonly tokenClass: TokenClass;
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

/** The part of the ledger's state that a batch touches. */
export interface Known {
  readonly records: readonly StoredRecord[];
  readonly cumulatives: readonly At<RatingKey, Cumulative>[];
  readonly hours: readonly At<HourKey, HourTotal>[];
}

/** All that a batch changes, for one transaction. */
export interface Changes {
  readonly posted: readonly PostedRecord[];
  readonly waiting: readonly WaitingRecord[];
  /** Were waiting, and are among `posted` now. */
  readonly released: readonly PostedRecord[];
  readonly entries: readonly LedgerEntry[];
  /** To be added to the balances. */
  readonly movements: ReadonlyMap<AccountId, Balance>;
  /** To be set. */
  readonly cumulatives: readonly At<RatingKey, Cumulative>[];
  /** To be set. */
  readonly hours: readonly At<HourKey, HourTotal>[];
}

export interface PostOutcome {
  readonly record: string;
  readonly status: "posted" | "exists" | "conflict" | "quarantined";
  /** Why it waits or conflicts. */
  readonly reason: string;
}

/** The keys whose totals a batch needs: those of its lines, and of the charges that it may take back. */
export function keysOf(
  prepared: readonly Prepared[],
  stored: readonly StoredRecord[],
): { readonly rating: readonly RatingKey[]; readonly hours: readonly HourKey[] } {
  const rating = new Map<string, RatingKey>();
  const hours = new Map<string, HourKey>();
  const want = (key: RatingKey, hour: HourKey): void => {
    rating.set(ratingText(key), key);
    hours.set(hourText(hour), hour);
  };
  for (const { finding } of prepared) {
    if (finding.kind === "owing") for (const { key, hour } of finding.lines) want(key, hour);
  }
  for (const record of stored) {
    for (const { line } of record.charges) want(ratingKeyOf(record, line), hourKey(record, line));
  }
  return { rating: [...rating.values()], hours: [...hours.values()] };
}

/** Finds a line by `<book>:<version>:<line>`. */
export type LineOf = (id: string) => PriceLine | undefined;

/**
 * One batch. Depends on the state it is given alone; a record that came before changes nothing, and of an
 * attempt's revisions the highest counts, in whatever order they come.
 */
export class Posting {
  readonly #recordsByAttempt = new Map<AttemptId, StoredRecord[]>();
  readonly #cumulatives = new Map<string, At<RatingKey, Cumulative>>();
  readonly #hours = new Map<string, At<HourKey, HourTotal>>();
  readonly #lineOf: LineOf;
  readonly #posted: PostedRecord[] = [];
  readonly #waiting: WaitingRecord[] = [];
  readonly #released: PostedRecord[] = [];
  readonly #entries: LedgerEntry[] = [];
  readonly #touchedKeys = new Set<string>();
  readonly #touchedHours = new Set<string>();

  constructor(known: Known, lineOf: LineOf) {
    this.#lineOf = lineOf;
    for (const record of known.records) this.#remember(record);
    for (const each of known.cumulatives) this.#cumulatives.set(ratingText(each.key), each);
    for (const each of known.hours) this.#hours.set(hourText(each.key), each);
  }

  add(prepared: Prepared): PostOutcome {
    const { record, rev, hash, finding } = prepared;
    const siblings = this.#recordsByAttempt.get(record.attempt) ?? [];
    const same = siblings.find((each) => each.rev === rev);
    if (same !== undefined && same.hash !== hash) {
      const reason = `expected the bytes with SHA-256 ${same.hash}, found ${hash}`;
      return { record: record.id, status: "conflict", reason };
    }
    const mayRelease = same?.state === "waiting" && finding.kind === "owing";
    if (same !== undefined && !mayRelease) {
      return { record: record.id, status: "exists", reason: same.reason };
    }
    if (finding.kind === "doubtful") return this.#keepWaiting(prepared, finding);
    const inForce = highest(siblings.filter(({ state }) => state === "posted"));
    const objection = inForce && this.#objection(record, inForce);
    if (objection !== undefined) return this.#keepWaiting(prepared, objection);
    this.#post(prepared, finding, { inForce, waiting: same });
    return { record: record.id, status: "posted", reason: "" };
  }

  get changes(): Changes {
    const touched = <Key, Total>(all: Map<string, At<Key, Total>>, keys: Set<string>) =>
      [...all].filter(([text]) => keys.has(text)).map(([, each]) => each);
    return {
      posted: this.#posted,
      waiting: this.#waiting,
      released: this.#released,
      entries: this.#entries,
      movements: movements(this.#entries),
      cumulatives: touched(this.#cumulatives, this.#touchedKeys),
      hours: touched(this.#hours, this.#touchedHours),
    };
  }

  /** Why one revision cannot take the place of another. */
  #objection(record: UsageRecord, other: StoredRecord): Doubtful | undefined {
    const moved = dispatchFields.find((field) => record[field] !== other[field]);
    if (moved !== undefined) {
      const detail = `expected ${moved} ${other[moved]} as in revision ${other.rev}, found ${record[moved]}`;
      return { kind: "doubtful", reason: "revision-mismatch", detail };
    }
    if (other.charges.every(({ line }) => this.#lineOf(line) !== undefined)) return undefined;
    const detail = "the price book of the revision in force is not known";
    return { kind: "doubtful", reason: "price-book-unknown", detail };
  }

  #keepWaiting(prepared: Prepared, finding: Doubtful): PostOutcome {
    const { record } = prepared;
    const reason = `${finding.reason}: ${finding.detail}`;
    const unsettled = { period: "", cost: "cogs", amountNano: 0n, charges: [] } as const;
    const waiting: WaitingRecord = { ...stored(prepared, unsettled), state: "waiting", reason };
    this.#remember(waiting);
    this.#waiting.push(waiting);
    return { record: record.id, status: "quarantined", reason };
  }

  #post(
    prepared: Prepared,
    finding: Owing,
    others: {
      readonly inForce: StoredRecord | undefined;
      readonly waiting: StoredRecord | undefined;
    },
  ): void {
    const { inForce, waiting } = others;
    const isSuperseded = inForce !== undefined && inForce.rev > prepared.rev;
    const taken = inForce === undefined || isSuperseded ? [] : this.#takeBack(inForce, prepared);
    const charges = isSuperseded ? [] : this.#charge(finding, taken);
    const amountNano = charges.reduce((sum, charge) => sum + charge.amountNano, 0n);
    const { period, cost, slot, usage } = finding;
    const { ending, tokens, basis, flags } = usage;
    const posted: PostedRecord = {
      ...stored(prepared, { period, cost, amountNano, charges }),
      ...{ ending, tokens, basis, flags, slot },
    };
    this.#enter("usage", posted, posted.record);
    this.#remember(posted);
    this.#posted.push(posted);
    if (waiting !== undefined) this.#released.push(posted);
  }

  /** Reverses the revision in force exactly. What stays on its keys is carried into the new one. */
  #takeBack(old: StoredRecord, by: Prepared): Charge[] {
    this.#enter("reverse", { ...old, amountNano: -old.amountNano }, by.record.id);
    return old.charges.map((charge) => {
      this.#addHour(hourKey(old, charge.line), negated(charge), -1n);
      const undone = this.#rate(ratingKeyOf(old, charge.line), (tiers, before) =>
        unrate(charge.tokens, tiers, before),
      );
      return {
        line: charge.line,
        tokens: 0n,
        pico: charge.pico + undone.pico,
        amountNano: charge.amountNano + undone.amountNano,
      };
    });
  }

  #charge({ lines, usage }: Owing, carried: readonly Charge[]): Charge[] {
    const charges = new Map(carried.map((charge) => [charge.line, charge]));
    for (const { key, tokens } of lines) {
      const rated = this.#rate(key, (tiers, before) => rate(tokens, tiers, before));
      const before = charges.get(key.line);
      charges.set(key.line, {
        line: key.line,
        tokens,
        pico: rated.pico + (before?.pico ?? 0n),
        amountNano: rated.amountNano + (before?.amountNano ?? 0n),
      });
    }
    const kept = [...charges.values()].filter(
      ({ tokens, pico, amountNano }) => tokens !== 0n || pico !== 0n || amountNano !== 0n,
    );
    for (const charge of kept) this.#addHour(hourKey(usage.record, charge.line), charge, 1n);
    return kept;
  }

  #rate(key: RatingKey, move: (tiers: readonly Tier[], before: Cumulative) => Rated): Rated {
    const text = ratingText(key);
    const before = this.#cumulatives.get(text)?.total ?? nothingRated;
    const rated = move(this.#line(key.line).tiers, before);
    this.#cumulatives.set(text, { key, total: rated.after });
    this.#touchedKeys.add(text);
    return rated;
  }

  #addHour(key: HourKey, charge: Charge, attempts: bigint): void {
    const text = hourText(key);
    const before = this.#hours.get(text)?.total ?? emptyHour(this.#line(key.line));
    const total: HourTotal = {
      ...before,
      tokens: before.tokens + charge.tokens,
      pico: before.pico + charge.pico,
      amountNano: before.amountNano + charge.amountNano,
      // A rest that a correction left on a line is money without an attempt.
      attempts: before.attempts + (charge.tokens === 0n ? 0n : attempts),
    };
    this.#hours.set(text, { key, total });
    this.#touchedHours.add(text);
  }

  #line(id: string): PriceLine {
    const line = this.#lineOf(id);
    assert(line !== undefined, "the books of a batch were looked up before");
    return line;
  }

  #enter(
    kind: "usage" | "reverse",
    owed: Pick<StoredRecord, "openedUs" | "vendor" | "pool" | "cost" | "amountNano">,
    record: string,
  ): void {
    const { openedUs: atUs, amountNano, ...parties } = owed;
    if (amountNano === 0n) return;
    this.#entries.push(accrue({ kind, record, atUs, parties, amountNano }));
  }

  #remember(record: StoredRecord): void {
    const siblings = this.#recordsByAttempt.get(record.attempt) ?? [];
    const others = siblings.filter(({ rev }) => rev !== record.rev);
    this.#recordsByAttempt.set(record.attempt, [...others, record]);
  }
}

/** An attempt is one dispatch to one pool: what a correction cannot change. */
const dispatchFields = ["vendor", "pool", "region", "openedUs"] as const;

function stored(
  { record, rev, hash, text }: Prepared,
  settled: Pick<StoredRecord, "period" | "cost" | "amountNano" | "charges">,
): WaitingRecord {
  const { attempt, request, tenant, vendor, pool, region, model, openedUs } = record;
  return {
    ...{
      record: record.id,
      attempt,
      rev,
      hash,
      text,
      request,
      tenant,
      vendor,
      pool,
      region,
      model,
    },
    ...{ openedUs, state: "posted", reason: "", ...settled },
  };
}

function highest(records: readonly StoredRecord[]): StoredRecord | undefined {
  return records.toSorted((a, b) => Number(b.rev - a.rev))[0];
}

function emptyHour({ model, tokenClass, slot }: PriceLine): HourTotal {
  return { model, tokenClass, slot, tokens: 0n, pico: 0n, amountNano: 0n, attempts: 0n };
}

function negated({ line, tokens, pico, amountNano }: Charge): Charge {
  return { line, tokens: -tokens, pico: -pico, amountNano: -amountNano };
}

function ratingKeyOf({ vendor, period, pool }: StoredRecord, line: string): RatingKey {
  return { vendor, period, line, pool };
}

export function ratingText({ vendor, period, line, pool }: RatingKey): string {
  return `${vendor}\n${period}\n${line}\n${pool}`;
}

export function hourText({ vendor, hourUs, line, pool, region }: HourKey): string {
  return `${vendor}\n${hourUs}\n${line}\n${pool}\n${region}`;
}

import type { AttemptId } from "../../units.ts";
import { consumptionKey, Cube, ofRecord } from "./cube.ts";
import type { Hold } from "../packages/hold.ts";
import { feeLeaf, takenBackOf, usageLeaf, type LeafSecrets, type RecordLeaf } from "./leaf.ts";
import {
  accrue,
  costAccount,
  movements,
  payableAccount,
  signed,
  type LedgerEntry,
} from "./ledger.ts";
import { SalePosting, type Tills } from "./post-sale.ts";
import type {
  Changes,
  Fee,
  Known,
  LineOf,
  PostedRecord,
  PostOutcome,
  StoredRecord,
  WaitingRecord,
  WantedKeys,
} from "./posting.ts";
import type { BookingOf, Doubtful, Owing, Prepared } from "./prepare.ts";
import { scopeOf, type PriceBook } from "../pricing/price-book.ts";
import { fromRecordText } from "../counting/record-text.ts";
import type { Place } from "./tally-keys.ts";
import { Tally } from "./tally.ts";
import { noTokens, type UsageRecord } from "../counting/usage.ts";

export interface PostingTools {
  readonly lineOf: LineOf;
  readonly bookingOf: BookingOf;
  /** SHA-256 of a book's canonical text. */
  readonly priceHashOf: (book: PriceBook) => string;
  readonly secrets: LeafSecrets;
  readonly tills: Tills;
}

/**
 * One batch. Depends on the state it is given alone; a record that came before changes nothing, and of an
 * attempt's revisions the highest counts, in whatever order they come.
 */
export class Posting {
  readonly #recordsByAttempt = new Map<AttemptId, StoredRecord[]>();
  readonly #tools: PostingTools;
  readonly #tally: Tally;
  readonly #cube: Cube;
  readonly #sales: SalePosting;
  readonly #posted: PostedRecord[] = [];
  readonly #waiting: WaitingRecord[] = [];
  readonly #released: PostedRecord[] = [];
  readonly #entries: LedgerEntry[] = [];
  readonly #leaves: RecordLeaf[] = [];

  constructor(known: Known, tools: PostingTools) {
    this.#tools = tools;
    this.#tally = new Tally(known, tools.lineOf);
    this.#cube = new Cube(known.consumption);
    this.#sales = new SalePosting(known.sales, {
      ...tools,
      tally: this.#tally,
      cube: this.#cube,
      recordOf: (attempt, rev) => this.#siblings(attempt).find((each) => each.rev === rev),
    });
    for (const record of known.records) this.#remember(record);
  }

  add(prepared: Prepared): PostOutcome {
    const { record, rev, hash, finding } = prepared;
    const siblings = this.#siblings(record.attempt);
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
    const posted = this.#post(prepared, finding, inForce);
    if (same !== undefined) this.#released.push(posted);
    return { record: record.id, status: "posted", reason: "" };
  }

  /**
   * Looks again at a sale that waits. Changes nothing but the tenant's side; `exists` if it does not wait any more, or
   * another revision counts.
   */
  addSale(prepared: Prepared): PostOutcome {
    const { record, rev, finding } = prepared;
    const inForce = highest(this.#siblings(record.attempt).filter(isPosted));
    const row = this.#sales.waiting(record.attempt, rev);
    if (finding.kind !== "owing" || inForce?.rev !== rev || row === undefined) {
      return { record: record.id, status: "exists", reason: "" };
    }
    const sale = this.#sales.settle(prepared, finding, inForce);
    const status = sale === undefined ? "quarantined" : "posted";
    const reason = this.#sales.waiting(record.attempt, rev)?.reason ?? "";
    return { record: record.id, status, reason };
  }

  get changes(): Changes {
    const entries = [...this.#entries, ...this.#sales.entries];
    return {
      posted: this.#posted,
      waiting: this.#waiting,
      released: this.#released,
      entries,
      movements: movements(entries),
      ...this.#tally.changes,
      sales: this.#sales.rows,
      consumption: this.#cube.changes,
    };
  }

  /** Totals that were not read. If there are any, nothing else of this posting counts. */
  get missing(): WantedKeys {
    return { ...this.#tally.missing, consumption: this.#cube.missing };
  }

  /** For the logs of all pairs, in the order of posting. */
  get leaves(): readonly RecordLeaf[] {
    return [...this.#leaves, ...this.#sales.leaves];
  }

  /** New states of holds that sales drew on. */
  get holds(): readonly Hold[] {
    return this.#sales.holds;
  }

  /** Why one revision cannot take the place of another. */
  #objection(record: UsageRecord, other: StoredRecord): Doubtful | undefined {
    const moved = dispatchFields.find((field) => record[field] !== other[field]);
    if (moved !== undefined) {
      const detail = `expected ${moved} ${other[moved]} as in revision ${other.rev}, found ${record[moved]}`;
      return { kind: "doubtful", reason: "revision-mismatch", detail };
    }
    const charges = [...other.charges, ...other.fees.flatMap((fee) => fee.charges)];
    if (this.#tally.knows(charges)) return undefined;
    const detail = "the price book of the revision in force is not known";
    return { kind: "doubtful", reason: "price-book-unknown", detail };
  }

  #keepWaiting(prepared: Prepared, finding: Doubtful): PostOutcome {
    const reason = `${finding.reason}: ${finding.detail}`;
    const waiting: WaitingRecord = {
      ...identity(prepared),
      ...{ state: "waiting", reason, period: "", booking: "", cost: "cogs" },
      ...{ amountNano: 0n, charges: [], fees: [], sold: noTokens },
    };
    this.#remember(waiting);
    this.#waiting.push(waiting);
    return { record: prepared.record.id, status: "quarantined", reason };
  }

  #post(prepared: Prepared, owing: Owing, inForce: StoredRecord | undefined): PostedRecord {
    const isSuperseded = inForce !== undefined && inForce.rev > prepared.rev;
    const old = isSuperseded ? undefined : inForce;
    const posted = isSuperseded ? neverCounted(prepared, owing) : this.#owe(prepared, owing, old);
    this.#remember(posted);
    this.#posted.push(posted);
    if (!isSuperseded) this.#consume(prepared.record, posted, old);
    const sale = isSuperseded ? undefined : this.#sales.settle(prepared, owing, posted);
    const { contract } = owing;
    const buy = isSuperseded
      ? { ...owing.buy, place: { ...owing.buy.place, ...noPeriod } }
      : owing.buy;
    const leaf = usageLeaf(
      prepared,
      {
        ...{ posted, side: buy, takenBack: takenBackOf(old), scopeOf: this.#scopeOf },
        priceHash: buy.book && this.#tools.priceHashOf(buy.book),
        countRule: contract.countRule,
        saleNano: sale?.saleNano,
      },
      this.#tools.secrets,
    );
    this.#leaves.push(leaf);
    return posted;
  }

  #owe(prepared: Prepared, owing: Owing, old: StoredRecord | undefined): PostedRecord {
    const charges = this.#buy(prepared, owing, old);
    const { sold } = owing.usage;
    const posted = postedAs(prepared, owing, { charges, fees: [], sold });
    this.#enter("usage", posted, posted.record, "");
    return { ...posted, fees: this.#fee(prepared, owing, old) };
  }

  /** What the vendor is owed; what an earlier revision was is taken back exactly. */
  #buy({ record }: Prepared, { buy }: Owing, old: StoredRecord | undefined) {
    if (old !== undefined) this.#enter("reverse", old, record.id, `usage:${old.record}`);
    const place = { ...buy.place, period: old?.period ?? buy.place.period };
    const carried = old === undefined ? [] : this.#tally.takeBack(place, old.charges);
    return this.#tally.charge(buy.place, buy.lines, carried);
  }

  /** The same for the owner of the model. */
  #fee(prepared: Prepared, { fee, usage, cost }: Owing, old: StoredRecord | undefined): Fee[] {
    const { record } = prepared;
    const fees: Fee[] = [];
    for (const before of old?.fees ?? []) {
      const place = placeOf(before, record, this.#tools.bookingOf);
      const carried = this.#tally.takeBack(place, before.charges);
      const isSame = fee?.place.pair === before.pair;
      const charges = this.#tally.charge(place, isSame ? fee.lines : [], carried);
      fees.push(feeOf(place, charges));
    }
    if (fee !== undefined && !fees.some(({ pair }) => pair === fee.place.pair)) {
      fees.push(feeOf(fee.place, this.#tally.charge(fee.place, fee.lines, [])));
    }
    for (const each of fees) {
      const before = old?.fees.find(({ pair }) => pair === each.pair);
      const side = fee ?? { slot: "any", lines: [], book: undefined, flags: [] };
      const place = placeOf(each, record, this.#tools.bookingOf);
      if (old !== undefined && before !== undefined)
        this.#enterFee(before, { record, cost: old.cost, of: old });
      this.#enterFee(each, { record, cost, of: undefined });
      if (each.charges.length === 0 && before === undefined) continue;
      const leaf = feeLeaf(
        prepared,
        { ...side, place },
        {
          ...{ tokens: usage.tokens, charges: each.charges },
          priceHash: side.book && this.#tools.priceHashOf(side.book),
          takenBack: old && before && { hash: old.hash, charges: before.charges },
        },
      );
      this.#leaves.push(leaf);
    }
    return fees.filter(({ charges }) => charges.length > 0);
  }

  #consume(record: UsageRecord, posted: StoredRecord, old: StoredRecord | undefined): void {
    if (old !== undefined) {
      this.#cube.takeBack(consumptionKey(fromRecordText(old.text)), ofRecord(old));
    }
    this.#cube.add(consumptionKey(record), ofRecord(posted));
  }

  readonly #scopeOf = (line: string, pool: PostedRecord["pool"]): string => {
    const known = this.#tools.lineOf(line);
    return known === undefined ? pool : scopeOf(known, pool);
  };

  #enter(kind: "usage" | "reverse", owed: StoredRecord, record: string, corrects: string): void {
    const { openedUs: atUs, ...parties } = owed;
    const amountNano = kind === "reverse" ? -owed.amountNano : owed.amountNano;
    if (amountNano === 0n) return;
    this.#entries.push(accrue({ kind, record, atUs, parties, amountNano, corrects }));
  }

  /** `of` is the revision that is taken back. */
  #enterFee(
    { pair, amountNano }: Fee,
    by: {
      readonly record: UsageRecord;
      readonly cost: StoredRecord["cost"];
      readonly of: StoredRecord | undefined;
    },
  ): void {
    const { record, cost, of } = by;
    if (amountNano === 0n) return;
    const kind = of === undefined ? "model-fee" : "model-fee-reverse";
    const debit = cost === "cogs" ? "exp:model_fee" : costAccount({ ...record, cost });
    const accounts = [debit, payableAccount(pair, "accrued")] as const;
    const txn = `${kind}:${record.id}`;
    this.#entries.push({
      ...{ id: `${txn}:${pair}`, txn, kind, phase: "posted", cause: record.id },
      ...{ atUs: record.openedUs, unit: "CNY:nano" },
      ...signed(of === undefined ? amountNano : -amountNano, accounts),
      corrects: of === undefined ? "" : `model-fee:${of.record}`,
    });
  }

  #siblings(attempt: AttemptId): readonly StoredRecord[] {
    return this.#recordsByAttempt.get(attempt) ?? [];
  }

  #remember(record: StoredRecord): void {
    const others = this.#siblings(record.attempt).filter(({ rev }) => rev !== record.rev);
    this.#recordsByAttempt.set(record.attempt, [...others, record]);
  }
}

/** An attempt is one dispatch of one request to one pool: what a correction cannot change. */
const dispatchFields = ["request", "tenant", "vendor", "pool", "region", "openedUs"] as const;

function identity({ record, rev, hash, text }: Prepared) {
  const { attempt, request, tenant, vendor, pool, region, model, openedUs } = record;
  const names = { record: record.id, attempt, rev, request, tenant, text, hash };
  return { ...names, vendor, pool, region, model, openedUs };
}

function postedAs(
  prepared: Prepared,
  { usage, buy, cost }: Owing,
  owed: Pick<PostedRecord, "charges" | "fees" | "sold">,
): PostedRecord {
  const { ending, tokens, basis } = usage;
  const flags = [...new Set([...usage.flags, ...buy.flags])].toSorted();
  const { period, booking } = buy.place;
  const amountNano = owed.charges.reduce((sum, charge) => sum + charge.amountNano, 0n);
  return {
    ...identity(prepared),
    ...{ state: "posted", reason: "", period, booking, cost, amountNano, ...owed },
    ...{ ending, tokens, basis, flags, slot: buy.slot },
  };
}

/** Came behind a later revision. */
function neverCounted(prepared: Prepared, owing: Owing): PostedRecord {
  const nothing = { charges: [], fees: [], sold: noTokens };
  return { ...postedAs(prepared, owing, nothing), ...noPeriod };
}

const noPeriod = { period: "", booking: "" };

function feeOf({ pair, period, booking }: Place, charges: Fee["charges"]): Fee {
  const amountNano = charges.reduce((sum, charge) => sum + charge.amountNano, 0n);
  return { pair, period, booking, charges, amountNano };
}

function placeOf(
  { pair, period }: Pick<Fee, "pair" | "period">,
  { openedUs, pool, region }: UsageRecord,
  bookingOf: BookingOf,
): Place {
  return { pair, period, booking: bookingOf(pair, openedUs), openedUs, pool, region };
}

function isPosted({ state }: StoredRecord): boolean {
  return state === "posted";
}

function highest(records: readonly StoredRecord[]): StoredRecord | undefined {
  return records.toSorted((a, b) => Number(b.rev - a.rev))[0];
}

/**
 * Totals that a batch is sure to want, and that are likely to be new. What else it wants is mostly known; what is not
 * shows when it is posted.
 */
export function keysOf(prepared: readonly Prepared[]): WantedKeys {
  const owing = prepared.filter(({ finding }) => finding.kind === "owing");
  const consumption = owing.map(({ record }) => consumptionKey(record));
  return { cumulatives: [], hours: [], consumption };
}
